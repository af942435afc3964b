"""Training of a few parameters by each optimizer; see peers.py."""


def train(torch, make, steps=6, dtype="float32", skip=None, shapes=((3, 4), (5,), (), (2, 3, 70))):
    """Parameters of several shapes; gradients that differ from step to step."""
    dtype = getattr(torch, dtype)
    params = []
    for k, shape in enumerate(shapes):
        n = 1
        for s in shape:
            n *= s
        p = torch.sin(torch.arange(n, dtype=dtype) + k).reshape(shape)
        params.append(p.clone().requires_grad_(True))
    optimizer = make(params)
    seen = []
    for step in range(steps):
        for k, p in enumerate(params):
            if skip is not None and k == skip and step % 2 == 0:
                p.grad = None
                continue
            p.grad = (torch.cos(p.detach() * 3 + step) * 0.1 * (k + 1)).clone()
        optimizer.step()
        seen.append([p.detach().clone() for p in params])
    state = optimizer.state_dict()
    return {
        "parameters": seen,
        "state": {i: {n: v for n, v in s.items() if v is not None} for i, s in state["state"].items()},
    }


def groups(params, **other):
    return [{"params": params[:2], **other}, {"params": params[2:]}]


def case_sgd(torch):
    return train(torch, lambda p: torch.optim.SGD(p, lr=0.1))


def case_sgd_decay(torch):
    return train(torch, lambda p: torch.optim.SGD(groups(p, weight_decay=0.3, lr=0.05), lr=0.1, weight_decay=0.1))


def case_sgd_momentum(torch):
    return train(torch, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01))


def case_sgd_dampening(torch):
    return train(torch, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5))


def case_sgd_nesterov(torch):
    return train(torch, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, maximize=True))


def case_adam(torch):
    return train(torch, lambda p: torch.optim.Adam(p, lr=0.01))


def case_adam_decay(torch):
    return train(torch, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.2, betas=(0.8, 0.95), eps=1e-6))


def case_adam_double(torch):
    return train(torch, lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.2), dtype="float64")


def case_adam_amsgrad(torch):
    return train(torch, lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True), steps=12)


def case_adamw(torch):
    return train(torch, lambda p: torch.optim.AdamW(p, lr=0.01))


def case_adamw_groups(torch):
    return train(
        torch, lambda p: torch.optim.AdamW(groups(p, weight_decay=0.5, betas=(0.5, 0.9)), lr=0.02, maximize=True)
    )


def case_adamw_missing_gradients(torch):
    return train(torch, lambda p: torch.optim.AdamW(p, lr=0.02), skip=1)


def case_adamw_amsgrad(torch):
    return train(torch, lambda p: torch.optim.AdamW(p, lr=0.05, amsgrad=True, weight_decay=0.1), steps=12)


def case_rmsprop(torch):
    return train(torch, lambda p: torch.optim.RMSprop(groups(p, lr=0.02), lr=0.1), dtype="float64")


def case_rmsprop_all(torch):
    return train(
        torch,
        lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.8, centered=True, weight_decay=0.1, alpha=0.9),
        dtype="float64",
    )


def case_adagrad(torch):
    return train(torch, lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.05, weight_decay=0.1))


def case_adadelta(torch):
    return train(torch, lambda p: torch.optim.Adadelta(p, lr=0.7, rho=0.8, weight_decay=0.1))


def case_adamax(torch):
    return train(torch, lambda p: torch.optim.Adamax(p, lr=0.1, weight_decay=0.1))


def case_nadam(torch):
    return train(torch, lambda p: torch.optim.NAdam(p, lr=0.02, momentum_decay=0.01), steps=9)


def case_nadam_decay(torch):
    return train(torch, lambda p: torch.optim.NAdam(p, lr=0.02, weight_decay=0.2, betas=(0.7, 0.9)))


def case_nadam_decoupled(torch):
    make = lambda p: torch.optim.NAdam(p, weight_decay=0.2, decoupled_weight_decay=True, maximize=True)  # noqa: E731
    return train(torch, make)


def case_radam(torch):
    return train(torch, lambda p: torch.optim.RAdam(p, lr=0.05), steps=12)


def case_radam_decay(torch):
    return train(torch, lambda p: torch.optim.RAdam(p, lr=0.05, weight_decay=0.3, betas=(0.8, 0.9)), steps=12, skip=1)


def case_radam_decoupled(torch):
    make = lambda p: torch.optim.RAdam(p, lr=0.05, weight_decay=0.3, decoupled_weight_decay=True)  # noqa: E731
    return train(torch, make, dtype="float64")


def case_rprop(torch):
    return train(torch, lambda p: torch.optim.Rprop(p, lr=0.02), steps=12)


def case_rprop_limits(torch):
    make = lambda p: torch.optim.Rprop(p, etas=(0.3, 2.0), step_sizes=(1e-3, 0.05), maximize=True)  # noqa: E731
    return train(torch, make, steps=12, skip=2)


def case_asgd(torch):
    return train(torch, lambda p: torch.optim.ASGD(p, lr=0.1, t0=3, lambd=0.01), steps=9)


def case_asgd_decay(torch):
    return train(torch, lambda p: torch.optim.ASGD(p, lr=0.1, weight_decay=0.1, alpha=0.5))


def case_adafactor(torch):
    return train(torch, lambda p: torch.optim.Adafactor(groups(p, weight_decay=0.1), lr=0.02, d=2.0), steps=9)


def case_adafactor_eps(torch):
    return train(torch, lambda p: torch.optim.Adafactor(p, eps=(1e-4, 0.1), beta2_decay=-0.5, maximize=True))


def case_adafactor_double(torch):
    return train(torch, lambda p: torch.optim.Adafactor(p), dtype="float64")


def case_muon(torch):
    # Few steps: what is rounded to bfloat16 here or there moves small singular values, and then everything after them.
    return train(torch, lambda p: torch.optim.Muon(p, lr=0.02), steps=2, shapes=[(3, 4), (6, 2), (5, 5)])


def case_muon_as_adamw(torch):
    def make(p):
        return torch.optim.Muon(
            p, lr=0.02, weight_decay=0, adjust_lr_fn="match_rms_adamw", nesterov=False, ns_steps=3
        )

    return train(torch, make, steps=2, shapes=[(3, 4), (6, 2)])


def valley(torch, dtype="float64", **settings):
    """Rosenbrock's function of four numbers."""
    x = torch.tensor([-1.2, 1.0, 0.5, 2.0], dtype=getattr(torch, dtype)).requires_grad_(True)
    optimizer = torch.optim.LBFGS([x], history_size=5, **settings)
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
        loss.backward()
        calls.append(loss.detach().clone())
        return loss

    first = [optimizer.step(closure).detach().clone() for _ in range(5)]
    return {"first": first, "evaluations": torch.tensor(float(len(calls))), "x": x.detach().clone()}


def case_lbfgs(torch):
    return valley(torch, lr=0.1, max_iter=8)


def case_lbfgs_line_search(torch):
    return valley(torch, line_search_fn="strong_wolfe")


def case_averages(torch):
    swa = torch.optim.swa_utils
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(torch.arange(p.numel(), dtype=torch.float32).reshape(p.shape) * 0.1 + i)
    kinds = [
        {},
        {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9)},
        {"avg_fn": swa.get_ema_avg_fn(0.5), "use_buffers": True},
    ]
    found: dict = {}
    for i, kind in enumerate(kinds):
        averaged = swa.AveragedModel(model, **kind)
        for _ in range(4):
            with torch.no_grad():
                for p in model.parameters():
                    p.mul_(1.1)
            model(torch.arange(12, dtype=torch.float32).reshape(4, 3))
            averaged.update_parameters(model)
        found[f"{i}"] = {n: t.float() for n, t in averaged.state_dict().items()}
    batches = [torch.arange(12, dtype=torch.float32).reshape(4, 3) * k for k in (1, 2, 3)]
    swa.update_bn([[batches[0], 0], batches[1], batches[2]], averaged)
    found["measured"] = [b.float() for b in averaged.buffers()]
    return found
