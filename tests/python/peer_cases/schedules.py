"""Learning rates over 25 steps of each schedule; see peers.py."""


def rates(torch, make, steps=25, kind="SGD", metrics=None, momentum=0.9):
    p = torch.zeros([1], dtype=torch.float64).requires_grad_(True)
    q = torch.zeros([1], dtype=torch.float64).requires_grad_(True)
    more = {"momentum": momentum} if kind == "SGD" else {}
    optimizer = getattr(torch.optim, kind)([{"params": [p]}, {"params": [q], "lr": 0.5}], lr=0.1, **more)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    seen = []
    for i in range(steps):
        p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
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
    return [*seen, [p.item(), q.item()]]


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
        "gets a momentum": rates(torch, lambda s, o: s.OneCycleLR(o, 0.3, 26), momentum=0),
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


def cycles(torch, **settings):
    p = torch.ones(2).requires_grad_(True)
    o = torch.optim.SGD([p], lr=0.5, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CyclicLR(o, 0.1, 1.0, step_size_up=4, **settings)
    seen = []
    for _ in range(14):
        o.step()
        schedule.step()
        seen.append(torch.tensor([schedule.get_last_lr()[0], o.param_groups[0]["momentum"]]))
    return {"rates": seen}


def case_cyclic(torch):
    return cycles(torch)


def case_cyclic_halved(torch):
    return cycles(torch, mode="triangular2", step_size_down=3)


def case_cyclic_falling(torch):
    return cycles(torch, mode="exp_range", gamma=0.9, cycle_momentum=False)


def case_cyclic_own(torch):
    return cycles(torch, scale_fn=lambda x: 1 / (5**x), base_momentum=0.5)


def case_swa(torch):
    seen = []
    for strategy in ("cos", "linear"):
        for epochs in (5, 0):
            o = torch.optim.SGD([torch.ones(2).requires_grad_(True)], lr=0.5)
            schedule = torch.optim.swa_utils.SWALR(o, 0.05, epochs, strategy)
            for _ in range(8):
                o.step()
                schedule.step()
                seen.append(torch.tensor(schedule.get_last_lr()))
    return {"rates": seen}
