"""Schedules of learning rates against PyTorch where it is installed, and against their formulas."""

import math

import numpy as np
import peers
import pytest

import sorus
from sorus.optim import SGD, lr_scheduler, swa_utils

CASES_FILE = peers.ROOT / "tests" / "python" / "peer_cases" / "schedules.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    ours, theirs = peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name]
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        np.testing.assert_allclose(ours[key], expected, rtol=1e-9, atol=1e-12, err_msg=f"{name} {key}")


def optimizer(lr=1.0):
    return SGD([sorus.zeros([1]).requires_grad_(True)], lr=lr, momentum=0.9)


def rates(make, steps):
    o = optimizer()
    s, seen = make(o), []
    for _ in range(steps):
        seen.append(o.param_groups[0]["lr"])
        s.step()
    return seen


@pytest.mark.parametrize(
    "make, formula",
    [
        (lambda o: lr_scheduler.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.8), lambda t: 0.8**t),
        (lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 4), lambda t: 0.2 + 0.8 * min(t, 4) / 4),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 10), lambda t: (1 + math.cos(math.pi * t / 10)) / 2),
        (lambda o: lr_scheduler.MultiStepLR(o, [2, 5]), lambda t: 0.1 ** ((t >= 2) + (t >= 5))),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (t + 1)), lambda t: 1 / (t + 1)),
        (
            lambda o: lr_scheduler.SequentialLR(
                o, [lr_scheduler.LinearLR(o, 0.25, total_iters=4), lr_scheduler.CosineAnnealingLR(o, 8)], [4]
            ),
            lambda t: 0.25 + 0.75 * t / 4 if t < 4 else (1 + math.cos(math.pi * (t - 4) / 8)) / 2,
        ),
    ],
)
def test_formula(make, formula):
    np.testing.assert_allclose(rates(make, 12), [formula(t) for t in range(12)], atol=1e-12)


def test_state_resumes():
    def make(o):
        return lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, 9)], [3]
        )

    whole, o = rates(make, 10), optimizer()
    s = make(o)
    for _ in range(5):
        s.step()
    p = optimizer()
    t = make(p)
    p.load_state_dict(o.state_dict())
    t.load_state_dict(s.state_dict())
    for i in range(5, 10):
        assert p.param_groups[0]["lr"] == pytest.approx(whole[i], rel=1e-12)
        t.step()


def test_what_makes_no_sense_is_said():
    with pytest.raises(TypeError, match="int is not an Optimizer"):
        lr_scheduler.ExponentialLR(3, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step_size must be positive"):
        lr_scheduler.StepLR(optimizer(), 0)
    with pytest.raises(ValueError, match="2 schedules need 1 milestones"):
        o = optimizer()
        lr_scheduler.SequentialLR(o, [lr_scheduler.ExponentialLR(o, 1.0)] * 2, [1, 2])
    with pytest.raises(ValueError, match="give total_steps"):
        lr_scheduler.OneCycleLR(optimizer(), 1.0)
    with pytest.raises(KeyError, match="initial_lr"):
        lr_scheduler.ExponentialLR(optimizer(), 0.5, last_epoch=3)
    with pytest.raises(ValueError, match="factor must be below 1"):
        lr_scheduler.ReduceLROnPlateau(optimizer(), factor=2.0)


def test_cycles_and_averages_say_what_makes_no_sense():
    with pytest.raises(ValueError, match="mode must be"):
        lr_scheduler.CyclicLR(optimizer(), 0.1, 1.0, mode="square")
    with pytest.raises(ValueError, match="no momentum to cycle"):
        lr_scheduler.OneCycleLR(sorus.optim.Adagrad([sorus.zeros(1).requires_grad_(True)]), 0.1, 10)
    with pytest.raises(ValueError, match="values of max_lr"):
        lr_scheduler.CyclicLR(optimizer(), 0.1, [1.0, 2.0, 3.0], cycle_momentum=False)
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa_utils.SWALR(optimizer(), 0.1, anneal_strategy="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="exclude each other"):
        swa_utils.AveragedModel(
            sorus.nn.Linear(1, 1), avg_fn=swa_utils.get_ema_avg_fn(), multi_avg_fn=swa_utils.get_ema_multi_avg_fn()
        )
    with pytest.raises(ValueError, match=r"\[0, 1\], found 1.5"):
        swa_utils.get_ema_multi_avg_fn(1.5)
