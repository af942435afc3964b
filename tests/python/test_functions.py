"""Functions of tensors against PyTorch where it is installed; what they refuse."""

import numpy as np
import peers
import pytest

import sorus

CASES_FILE = peers.ROOT / "tests" / "python" / "peer_cases" / "functions.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    ours, theirs = peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name]
    assert ours.keys() == theirs.keys()
    problems = []
    for key, expected in theirs.items():
        found = ours[key]
        if expected.dtype.kind == "U":
            same = str(expected) == str(found)
        else:
            exact = expected.dtype.kind not in "fc"
            tolerance = 0 if exact else 1e-9 if expected.dtype == np.float64 else 2e-6
            same = (expected.dtype == found.dtype and expected.shape == found.shape
                    and np.allclose(found, expected, rtol=tolerance, atol=tolerance, equal_nan=not exact))  # fmt: skip
        if not same:
            problems.append(
                f"{key}: expected {expected.dtype} {expected.shape} {expected}, found {found.dtype} {found.shape} {found}"
            )
    assert not problems, "\n".join(problems)


def test_draws_have_the_right_shares():
    sorus.manual_seed(0)
    weights = sorus.tensor([0.0, 1.0, 3.0])
    counts = sorus.bincount(sorus.multinomial(weights, 20000, replacement=True), minlength=3)
    assert counts[0] == 0 and abs(counts[2].item() / 20000 - 0.75) < 0.02
    rows = sorus.multinomial(weights.expand(500, 3), 2)
    assert all(sorted(r) == [1, 2] for r in rows.tolist())
    assert sorted(sorus.randperm(100).tolist()) == list(range(100))
    assert abs(sorus.bernoulli(sorus.full((20000,), 0.3)).mean().item() - 0.3) < 0.02
    assert abs(sorus.empty(20000).exponential_(2.0).mean().item() - 0.5) < 0.02
    assert sorus.empty(1000, dtype=sorus.int64).random_(5).unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: sorus.multinomial(sorus.tensor([1.0, -1.0]), 1), "weights must be finite, not negative"),
    (lambda: sorus.multinomial(sorus.tensor([1.0, 0.0]), 2), "fewer than 2 weights above zero"),
    (lambda: sorus.flip(sorus.ones(2, 2), [0, 0]), "occurs twice"),
    (lambda: sorus.topk(sorus.ones(3), 4), "k must lie between 0 and 3"),
    (lambda: sorus.nn.functional.interpolate(sorus.ones(1, 1, 4), size=2, mode="bilinear"), "mode must be"),
    (lambda: sorus.quantile(sorus.ones(3), 0.5, interpolation="odd"), "unknown interpolation 'odd'"),
    (lambda: sorus.split(sorus.ones(5), [2, 2]), "do not add up to 5"),
    (lambda: sorus.div(sorus.ones(1), 2, rounding_mode="up"), "rounding_mode"),
    (lambda: sorus.nn.functional.conv2d(sorus.ones(1, 1, 4, 4), sorus.ones(1, 1, 2, 2), stride=2, padding="same"), "stride of 1"),
    (lambda: sorus.ones(2, device="cuda"), "no device 'cuda'"),
    (lambda: sorus.tensor([1.0], device="cuda:0"), "no device 'cuda:0'"),
    (lambda: sorus.rand(2, device="cuda"), "no device 'cuda'"),
    (lambda: sorus.ones(2).cuda(), "no GPU"),
    (lambda: sorus.nn.functional.cross_entropy(sorus.ones(2, 3), sorus.tensor([5, 1])), "cross_entropy.* 5 "),
    (lambda: sorus.distributions.Categorical(), "either probs or logits"),
])  # fmt: skip
def test_errors(call, message):
    with pytest.raises((RuntimeError, ValueError, IndexError, NotImplementedError), match=message):
        call()


def test_limits_of_types():
    assert sorus.finfo(sorus.float16).max == 65504 and sorus.finfo(sorus.float32).eps == np.finfo(np.float32).eps
    assert sorus.iinfo(sorus.int64).max == 2**63 - 1 and sorus.iinfo(sorus.uint8).min == 0
    with pytest.raises(TypeError, match="iinfo is for integers"):
        sorus.finfo(sorus.int32)


def test_second_names_are_the_same_functions():
    x = sorus.tensor([-1.5, 2.0])
    assert sorus.equal(sorus.multiply(x, 2), x * 2) and sorus.equal(x.clip(max=1), x.clamp(max=1))
    assert sorus.equal(sorus.concat([x, x]), sorus.cat([x, x])) and sorus.equal(x.absolute(), x.abs())
    assert sorus.equal(sorus.linalg.vector_norm(x), x.norm())


def test_names_and_texts_of_types():
    x = sorus.ones(2)
    assert x.type() == "torch.FloatTensor" and x.type(sorus.float64).dtype is sorus.float64
    assert x.type("torch.LongTensor").dtype is sorus.int64
    with pytest.raises(ValueError, match=r"no type 'torch\.OddTensor'"):
        x.type("torch.OddTensor")
