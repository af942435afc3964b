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
        D.Wishart(5.0, sorus.tensor([[1.0, 0.3], [0.3, 0.5]], dtype=sorus.float64)),
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
    assert math.isinf(D.HalfNormal(1.0, validate_args=False).log_prob(t(-1.0)).item())


def test_angles_and_correlations():
    sorus.manual_seed(3)
    d = D.VonMises(t(3.0, -1.0, 0.0, 1.0), t(4.0, 0.5, 1e-6, 200.0))
    x = d.sample((20000,))
    assert float(x.abs().max()) <= math.pi
    for part, place in ((x.cos(), d.loc.cos()), (x.sin(), d.loc.sin())):
        np.testing.assert_allclose(part.mean(0).numpy(), ((1 - d.variance) * place).numpy(), atol=0.02)
    # The correlation of a pair is 2 B - 1 for a B of Beta(c, c): its variance is 1 / (2 c + 1).
    c = t(0.5, 1.0, 4.0)
    factors = D.LKJCholesky(2, c).sample((20000,))
    np.testing.assert_allclose((factors @ factors.mT)[..., 0, 1].var(0).numpy(), (1 / (2 * c + 1)).numpy(), rtol=0.05)
    of_three = D.LKJCholesky(3, 1.5)
    drawn = of_three.sample((7, 2))
    assert bool(of_three.support.check(drawn).all()) and of_three.log_prob(drawn).shape == (7, 2)


def test_checks_of_parameters_and_values():
    with pytest.raises(
        ValueError,
        match=r"parameter scale \(Tensor of shape \(2,\)\) of distribution Normal\(loc: \(2,\).*"
        r"constraint greater_than\(lower_bound=0.0\), but found invalid values:\ntensor\(\[ 1., -1.\]",
    ):
        D.Normal(0.0, t(1.0, -1.0))  # fmt: skip
    assert sorus.compile(lambda s: D.Normal(0.0, s).log_prob(s))(t(-1.0)).isnan().all()  # a graph knows no numbers
    D.Distribution.set_default_validate_args(False)
    try:
        D.Normal(0.0, -1.0)
        with pytest.raises(ValueError):
            D.Normal(0.0, -1.0, validate_args=True)
    finally:
        D.Distribution.set_default_validate_args(True)

    class Mine(D.Distribution):
        arg_constraints = {"p": D.constraints.unit_interval}  # noqa: RUF012

        def __init__(self, p, validate_args=None):
            self.p = p
            super().__init__(p.shape, validate_args=validate_args)

        @D.constraints.dependent_property(is_discrete=False, event_dim=0)
        def support(self):
            return D.constraints.less_than(self.p)

        def log_prob(self, value):
            return value

    with pytest.raises(ValueError, match="parameter p"):
        Mine(t(2.0))
    assert Mine(t(0.5)).log_prob(t(0.4)).item() == 0.4 and D.constraints.is_dependent(Mine.support)
    with pytest.raises(ValueError, match=r"within the support \(less_than\(upper_bound=tensor\(\[0.5000\]"):
        Mine(t(0.5)).log_prob(t(0.6))


@pytest.mark.parametrize(("name", "inside", "outside"), [
    ("positive_semidefinite", [[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]),
    ("positive_definite", [[2.0, 1.0], [1.0, 2.0]], [[1.0, 0.5], [0.2, 1.0]]),
    ("symmetric", [[2.0, 1.0], [1.0, 2.0]], [[1.0, 2.0, 3.0]]),
    ("corr_cholesky", [[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [0.6, 0.9]]),
    ("lower_triangular", [[-1.0, 0.0], [0.6, 0.8]], [[1.0, 0.1], [0.6, 0.9]]),
    ("one_hot", [0.0, 1.0], [1.0, 1.0]),
    ("positive_integer", 1.0, 0.0),
    ("nonnegative_integer", 0.0, 1.5),
    ("boolean", 1.0, 0.5),
])  # fmt: skip
def test_constraints(name, inside, outside):
    constraint = getattr(D.constraints, name)
    assert bool(constraint.check(sorus.tensor(inside, dtype=sorus.float64)))
    assert not bool(constraint.check(sorus.tensor(outside, dtype=sorus.float64)))
