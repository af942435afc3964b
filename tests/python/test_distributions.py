"""Distributions: formulas against PyTorch's where it is installed, draws against the moments, gradients of draws."""

import copy
import math
from pathlib import Path

import numpy as np
import peers
import pytest

import sorus
from sorus import distributions as D

CASES_FILE = Path(__file__).parent / "peer_cases" / "distributions.py"
CASES = peers.load_cases(CASES_FILE)


@pytest.mark.skipif(peers.peer_python() is None, reason="needs PyTorch (make bench installs it)")
@pytest.mark.parametrize("name", CASES)
def test_against_pytorch(name):
    ours, theirs = peers.flatten(CASES[name](sorus)), peers.peer_results(CASES_FILE)[name]
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        if expected.dtype.kind == "U":
            assert str(ours[key]) == str(expected), key
        else:
            assert ours[key].shape == expected.shape, key
            np.testing.assert_allclose(ours[key], expected, rtol=1e-6, atol=1e-8, err_msg=key)


def t(*values):
    return sorus.tensor(values, dtype=sorus.float64)


@pytest.mark.parametrize(
    "d",
    [
        D.Gamma(t(0.3, 1.0, 5.0), t(1.0, 2.0, 0.5)),
        D.Beta(t(0.5, 2.0), t(0.8, 3.0)),
        D.Dirichlet(t(0.5, 1.5, 3.0)),
        D.Poisson(t(0.0, 0.4, 7.0, 120.0)),
        D.Binomial(9, t(0.1, 0.5, 0.95)),
        D.NegativeBinomial(4, t(0.3, 0.6)),
        D.Geometric(t(0.2, 0.7)),
        D.Multinomial(5, t(0.2, 0.3, 0.5)),
        D.Weibull(t(1.0, 2.0), t(1.5, 3.0)),
        D.Gumbel(t(0.0, 2.0), t(1.0, 0.5)),
        D.LogNormal(t(0.1, 0.2), t(0.3, 0.5)),
        D.Kumaraswamy(t(1.5, 2.0), t(2.5, 1.0)),
        D.StudentT(t(9.0, 12.0), t(0.0, 2.0), t(1.0, 0.5)),
        D.MultivariateNormal(t(1.0, -1.0), sorus.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=sorus.float64)),
        D.LowRankMultivariateNormal(t(1.0, -1.0), sorus.tensor([[1.0], [0.5]], dtype=sorus.float64), t(0.3, 0.2)),
        D.MixtureSameFamily(D.Categorical(t(0.3, 0.7)), D.Normal(t(-1.0, 2.0), t(0.5, 1.0))),
    ],
    ids=lambda d: type(d).__name__,
)
def test_draws_have_the_moments(d):
    sorus.manual_seed(7)
    x = d.sample((20000,)).numpy()
    mean, variance = d.mean.numpy(), d.variance.numpy()
    np.testing.assert_allclose(x.mean(0), mean, atol=5 * np.sqrt(variance.max() / 20000) + 1e-12)
    np.testing.assert_allclose(x.var(0), variance, rtol=0.15, atol=1e-12)
    assert not d.sample((2,)).requires_grad


def test_draws_of_gamma_can_be_differentiated():
    """The mean of x^2 is a (a + 1) and its derivative 2 a + 1; that of log x, which small draws decide, is trigamma."""
    sorus.manual_seed(1)
    a = t(0.2, 0.9, 2.0, 30.0).requires_grad_()
    x = D.Gamma(a, t(1.0)).rsample((20000,))
    (g,) = sorus.autograd.grad((x * x).mean(0).sum(), a, retain_graph=True)
    np.testing.assert_allclose(g.numpy(), 2 * a.detach().numpy() + 1, rtol=0.08)
    (g,) = sorus.autograd.grad(x.log().mean(0)[1:].sum(), a)
    np.testing.assert_allclose(g.numpy()[1:], sorus.special.polygamma(1, a.detach()).numpy()[1:], rtol=0.05)
    b = t(1.5, 2.0).requires_grad_()
    (g,) = sorus.autograd.grad(D.Beta(b, t(2.0)).rsample((20000,)).mean(0).sum(), b)
    np.testing.assert_allclose(g.numpy(), 2.0 / (b.detach().numpy() + 2.0) ** 2, rtol=0.05)


def test_relaxed_draws_carry_gradients():
    logits = t(0.1, 0.7, -0.3).requires_grad_()
    D.RelaxedOneHotCategorical(t(0.5), logits=logits).rsample((4,))[:, 0].sum().backward()
    assert float(logits.grad.abs().sum()) > 0
    hot = D.OneHotCategoricalStraightThrough(logits=logits).rsample((6,))
    assert set(hot.detach().round().flatten().tolist()) <= {0.0, 1.0} and hot.requires_grad
    assert D.RelaxedBernoulli(0.3, probs=0.4).rsample((5,)).shape == (5,)


def test_within_a_compiled_function():
    def f(mean, scale, value):
        d = D.Normal(mean, scale)
        q = D.Gamma(scale, scale)
        return d.log_prob(value), q.entropy(), D.kl_divergence(d, D.Normal(0.0, 1.0))

    given = t(0.3, -1.0), t(0.7, 2.0), t(0.1, 0.2)
    for a, b in zip(f(*given), sorus.compile(f)(*given), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_formulas_of_ones_own():
    class Mine(D.Normal):
        pass

    @D.register_kl(Mine, D.Normal)
    def formula(p, q):
        return t(42.0)

    one = D.Normal(t(0.0), t(1.0))
    assert D.kl_divergence(Mine(0.0, 1.0), one).item() == 42 and D.kl_divergence(one, one).item() == 0
    with pytest.raises(NotImplementedError, match="no formula for Normal and Poisson"):
        D.kl_divergence(one, D.Poisson(t(1.0)))
    with pytest.raises(ValueError, match="either probs or logits"):
        D.Binomial(3)
    with pytest.raises(ValueError, match="exactly one of covariance_matrix"):
        D.MultivariateNormal(t(1.0, 2.0))
    assert copy.deepcopy(one).loc.item() == 0 and "Normal" in repr(one)
    assert math.isinf(D.HalfNormal(1.0).log_prob(t(-1.0)).item())
