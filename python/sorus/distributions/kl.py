"""Kullback-Leibler divergences: a formula for each pair of classes that has one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .._core import Tensor
from .._core import operators as _op
from .discrete import Binomial, Geometric, OneHotCategorical, Poisson
from .distribution import (
    Bernoulli,
    Categorical,
    Distribution,
    Exponential,
    Independent,
    Laplace,
    Normal,
    Uniform,
    _tensors,
)
from .gamma import Beta, Dirichlet, Gamma, _ratio
from .multivariate import LowRankMultivariateNormal, MultivariateNormal, _solved, half_log_det
from .transformed import Cauchy, Gumbel, HalfNormal, TransformedDistribution

_EULER = 0.57721566490153286060
_formulas: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable:
    """`@register_kl(P, Q)` before a function (p, q) makes it the formula for these classes and their subclasses."""
    if not (isinstance(type_p, type) and isinstance(type_q, type)):
        raise TypeError("register_kl: expected two classes")

    def keep(f: Callable) -> Callable:
        _formulas[type_p, type_q] = f
        return f

    return keep


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expectation of log p - log q under p. NotImplementedError for pairs that have no formula here."""
    fits = [pair for pair in _formulas if isinstance(p, pair[0]) and isinstance(q, pair[1])]
    if not fits:
        raise NotImplementedError(f"kl_divergence: no formula for {type(p).__name__} and {type(q).__name__}")
    # The classes nearest to those of p and q.
    best = min(fits, key=lambda pair: (type(p).__mro__.index(pair[0]), type(q).__mro__.index(pair[1])))
    return _formulas[best](p, q)


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: HalfNormal, q: HalfNormal) -> Tensor:
    return _normal(p._whole(), q._whole())


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    terms = _op["where"]((q.probs == 0).expand(terms.shape), math.inf, terms)
    return _op["where"]((p.probs == 0).expand(terms.shape), 0.0, terms).sum(-1)


register_kl(OneHotCategorical, OneHotCategorical)(_categorical)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    log = _op["logsigmoid"]
    return p.probs * (log(p.logits) - log(q.logits)) + (1 - p.probs) * (log(-p.logits) - log(-q.logits))


@register_kl(Binomial, Binomial)
def _binomial(p: Binomial, q: Binomial) -> Tensor:
    one = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return _op["where"](p.total_count > q.total_count, math.inf, p.total_count * one)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    y = ((q.high - q.low) / (p.high - p.low)).log()
    return _op["where"]((q.low > p.low) | (q.high < p.high), math.inf, y)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * (-away / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    together = ((p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2).log()
    return together - (4 * p.scale * q.scale).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, at = p.scale / q.scale, q.loc / q.scale
    away = p.loc / q.scale
    return away - at - ratio.log() + ratio * _EULER + (at + (1 + ratio).lgamma() - away).exp() - (1 + _EULER)


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    return (
        b * (p.rate / q.rate).log()
        + b.lgamma()
        - a.lgamma()
        + (a - b) * a.digamma()
        + (q.rate - p.rate) * (a / p.rate)
    )


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    return (
        _ratio(c, d)
        - _ratio(a, b)
        + (a - c) * a.digamma()
        + (b - d) * b.digamma()
        + (c + d - a - b) * (a + b).digamma()
    )


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    rest = ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)
    return total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1) + rest


def _multivariate(p: Any, q: Any) -> Tensor:
    n = p.loc.shape[-1]
    columns = _solved(q.scale_tril.unsqueeze(-3), p.scale_tril.mT)  # L_q^-1 of each column of L_p
    trace = (columns**2).sum([-2, -1])
    away = (_solved(q.scale_tril, q.loc - p.loc) ** 2).sum(-1)
    return half_log_det(q.scale_tril) - half_log_det(p.scale_tril) + 0.5 * (trace + away - n)


for _p in (MultivariateNormal, LowRankMultivariateNormal):
    for _q in (MultivariateNormal, LowRankMultivariateNormal):
        register_kl(_p, _q)(_multivariate)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("kl_divergence: Independent with different numbers of dimensions")
    return p._added(kl_divergence(p.base_dist, q.base_dist))


def _same(a: Any, b: Any) -> bool:
    """Whether two transforms have the same class and numbers."""
    if type(a) is not type(b):
        return False
    pairs = [(vars(a)[n], vars(b)[n]) for n in ("loc", "scale", "exponent") if n in vars(a)]
    return all(x is y or bool(_op["eq"](*_tensors(x, y)).all()) for x, y in pairs)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    # Functions that can be turned back change nothing, if they are the same.
    if len(p.transforms) != len(q.transforms) or not all(map(_same, p.transforms, q.transforms)):
        raise NotImplementedError("kl_divergence: of different transforms")
    events = len(p.event_shape) - len(p.base_dist.event_shape)
    y = kl_divergence(p.base_dist, q.base_dist)
    return y.sum(list(range(-events, 0))) if events > 0 else y
