"""Learning rates over 25 steps of each schedule; see peers.py."""


def rates(torch, make, steps=25, kind="SGD", metrics=None):
    p = torch.zeros([1]).requires_grad_(True)
    q = torch.zeros([1]).requires_grad_(True)
    more = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(torch.optim, kind)([{"params": [p]}, {"params": [q], "lr": 0.5}], lr=0.1, **more)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    seen = []
    for i in range(steps):
        p.grad, q.grad = torch.ones([1]), torch.ones([1])
        group = optimizer.param_groups[0]
        seen.append(
            [
                *scheduler.get_last_lr(),
                *[g["lr"] for g in optimizer.param_groups],
                group["betas"][0] if "betas" in group else group["momentum"],
            ]
        )
        optimizer.step()
        scheduler.step(*([] if metrics is None else [metrics(i)]))
    return seen


def case_step(torch):
    return rates(torch, lambda s, o: s.StepLR(o, 4, 0.5))


def case_multi_step(torch):
    return rates(torch, lambda s, o: s.MultiStepLR(o, [3, 3, 9], 0.5))


def case_exponential(torch):
    return rates(torch, lambda s, o: s.ExponentialLR(o, 0.9))


def case_constant(torch):
    return rates(torch, lambda s, o: s.ConstantLR(o, 0.25, 6))


def case_linear(torch):
    return rates(torch, lambda s, o: s.LinearLR(o, 0.1, 0.8, 7))


def case_polynomial(torch):
    return rates(torch, lambda s, o: s.PolynomialLR(o, 10, 2.0))


def case_lambda(torch):
    return rates(torch, lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.9**t]))


def case_multiplicative(torch):
    return rates(torch, lambda s, o: s.MultiplicativeLR(o, lambda t: 0.95))


def case_cosine(torch):
    return rates(torch, lambda s, o: s.CosineAnnealingLR(o, 8, 0.01))


def case_restarts(torch):
    return rates(torch, lambda s, o: s.CosineAnnealingWarmRestarts(o, 4, 2, 0.01))


def case_one_cycle(torch):
    return {
        "cos": rates(torch, lambda s, o: s.OneCycleLR(o, [0.3, 0.6], 26)),
        "linear": rates(
            torch,
            lambda s, o: s.OneCycleLR(o, 0.3, epochs=2, steps_per_epoch=13, anneal_strategy="linear", pct_start=0.4),
            kind="AdamW",
        ),
        "three": rates(torch, lambda s, o: s.OneCycleLR(o, 0.3, 26, three_phase=True, cycle_momentum=False)),
    }


def case_sequential(torch):
    return rates(
        torch,
        lambda s, o: s.SequentialLR(
            o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 10), s.ExponentialLR(o, 0.9)], [5, 15]
        ),
    )


def case_chained(torch):
    return rates(torch, lambda s, o: s.ChainedScheduler([s.LinearLR(o, 0.1, total_iters=5), s.ExponentialLR(o, 0.9)]))


def case_plateau(torch):
    return {
        "min": rates(
            torch,
            lambda s, o: s.ReduceLROnPlateau(o, factor=0.5, patience=2, cooldown=1, min_lr=0.01),
            metrics=lambda i: max(1.0 - 0.2 * i, 0.3),
        ),
        "max": rates(
            torch,
            lambda s, o: s.ReduceLROnPlateau(o, "max", 0.5, 1, threshold=0.05, threshold_mode="abs"),
            metrics=lambda i: 0.02 * i,
        ),
    }
