"""Gamma and what is made of it: Beta, Dirichlet, Chi2, StudentT, FisherSnedecor, InverseGamma.

Draws are those of Marsaglia and Tsang (2000): of ten proposals, each of which is taken more than 95 times in 100, the
first one that is. Their derivative by the concentration is that of a number that keeps its place in the distribution,
-(dF / da) / p, with dF / da from two values of F.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _core
from .._core import Tensor
from .._core import operators as _op
from . import constraints
from .distribution import Distribution, _tensors

__all__ = ["Beta", "Chi2", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT"]

_ROUNDS = 10


def _derivative(x: Tensor, a: Tensor) -> Tensor:
    """dx / da of gamma draws x at concentration a; float64."""
    h = (a * 1e-4).clamp(max=1e-3)
    at = x.clamp(min=1e-300)
    change = (_op["igamma"](a + h, at) - _op["igamma"](a - h, at)) / (2 * h)
    density = ((a - 1) * at.log() - at - a.lgamma()).exp()
    # Near 0, F is x^a / Gamma(a + 1).
    low = x * ((a + 1).digamma() - at.log()) / a
    return _op["where"]((x < 1e-4) | (density < 1e-30), low, -change / density)


def standard_gamma(concentration: Tensor) -> Tensor:
    """Draws of the gamma distribution of rate 1, which can be differentiated."""
    shape, dtype = list(concentration.shape), concentration.dtype
    exact = concentration.detach().double()
    raised = _op["where"](exact < 1, exact + 1, exact)  # drawn one higher, and then brought down by a power of a draw
    d = raised - 1.0 / 3
    c = 1 / (9 * d).sqrt()
    result, done = d, _op["zeros"](shape, dtype=_core.bool)
    for _ in range(_ROUNDS):
        n, u = _core.randn(*shape, dtype=_core.float64), 1 - _core.rand(*shape, dtype=_core.float64)
        v = (1 + c * n) ** 3
        fits = (v > 0) & (u.log() < 0.5 * n * n + d - d * v + d * v.clamp(min=1e-300).log())
        result = _op["where"](fits & ~done, d * v, result)
        done = done | fits
    power = (1 - _core.rand(*shape, dtype=_core.float64)).log() / exact
    result = _op["where"](exact < 1, result * power.exp(), result)
    if concentration.requires_grad:
        slope = _derivative(result, exact).to(dtype)
        result = result.to(dtype)
        return (result + (concentration - concentration.detach()) * slope).clamp(min=1e-38)
    return result.to(dtype).clamp(min=1e-38)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """log of the beta function."""
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


class Gamma(Distribution):
    """rate^a x^(a - 1) exp(-rate x) / Gamma(a) with the concentration a."""

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True
    _names = ("concentration", "rate")

    def __init__(self, concentration: Any, rate: Any, validate_args: Any = None) -> None:
        self.concentration, self.rate = _tensors(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.rate)
    mode = property(lambda self: ((self.concentration - 1) / self.rate).clamp(min=0))
    variance = property(lambda self: self.concentration / self.rate**2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return standard_gamma(self.concentration.expand(self._shape(sample_shape))) / self.rate

    def log_prob(self, value: Any) -> Tensor:
        a, rate = self.concentration, self.rate
        (value,) = _tensors(value) if not isinstance(value, Tensor) else (value,)
        return _op["xlogy"](a, rate) + _op["xlogy"](a - 1, value) - rate * value - a.lgamma()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()

    def cdf(self, value: Tensor) -> Tensor:
        return _op["igamma"](self.concentration, self.rate * value)


class Chi2(Gamma):
    """The sum of squares of `df` standard normal numbers."""

    def __init__(self, df: Any, validate_args: Any = None) -> None:
        (df,) = _tensors(df)
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    df = property(lambda self: self.concentration * 2)


class InverseGamma(Distribution):
    """1 over a Gamma of that concentration and rate."""

    arg_constraints: ClassVar = {"concentration": constraints.positive, "rate": constraints.positive}
    support: Any = constraints.positive
    has_rsample = True
    _names = ("concentration", "rate")

    def __init__(self, concentration: Any, rate: Any, validate_args: Any = None) -> None:
        self.concentration, self.rate = _tensors(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        a = self.concentration
        return _op["where"](a > 1, self.rate / (a - 1), math.inf)

    mode = property(lambda self: self.rate / (self.concentration + 1))

    @property
    def variance(self) -> Tensor:
        a = self.concentration
        return _op["where"](a > 2, self.rate**2 / ((a - 1) ** 2 * (a - 2)), math.inf)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return 1 / Gamma(self.concentration, self.rate).rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return Gamma(self.concentration, self.rate).log_prob(1 / value) - 2 * value.log()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()


class Dirichlet(Distribution):
    """Shares that add up to 1, along the last dimension of `concentration`."""

    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}
    support: Any = constraints.simplex
    has_rsample = True
    _names = ("concentration",)

    def __init__(self, concentration: Tensor, validate_args: Any = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("Dirichlet: the concentration needs at least one dimension, that of the shares")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    mean = property(lambda self: self.concentration / self.concentration.sum(-1, keepdim=True))

    @property
    def mode(self) -> Tensor:
        less = (self.concentration - 1).clamp(min=0)
        mode = less / less.sum(-1, keepdim=True)
        # Without a concentration above 1, all lies at the largest share.
        flat = (self.concentration < 1).all(-1, keepdim=True)
        places = _op["arange"](mode.shape[-1])
        corner = (places == self.concentration.argmax(-1, keepdim=True)).to(mode.dtype)
        return _op["where"](flat, corner, mode)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        g = standard_gamma(self.concentration.expand(self._shape(sample_shape)))
        return g / g.sum(-1, keepdim=True)

    def log_prob(self, value: Tensor) -> Tensor:
        a = self.concentration
        return _op["xlogy"](a - 1, value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        a, k = self.concentration, self.concentration.shape[-1]
        total = a.sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() - (k - total) * total.digamma() - ((a - 1) * a.digamma()).sum(-1)


class Beta(Distribution):
    """x^(a - 1) (1 - x)^(b - 1) over the beta function of a = concentration1 and b = concentration0."""

    arg_constraints: ClassVar = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support: Any = constraints.unit_interval
    has_rsample = True
    _names = ("concentration1", "concentration0")

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: Any = None) -> None:
        self.concentration1, self.concentration0 = _tensors(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    mean = property(lambda self: self.concentration1 / (self.concentration1 + self.concentration0))
    mode = property(lambda self: self._both().mode[..., 0])

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def _both(self) -> Dirichlet:
        return Dirichlet(_op["stack"]([self.concentration1, self.concentration0], -1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._both().rsample(sample_shape).select(-1, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return _op["xlogy"](a - 1, value) + _op["xlogy"](b - 1, 1 - value) - _ratio(a, b)

    def entropy(self) -> Tensor:
        return self._both().entropy()


class StudentT(Distribution):
    """loc + scale * normal / sqrt(Chi2(df) / df)."""

    arg_constraints: ClassVar = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True
    _names = ("df", "loc", "scale")

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: Any = None) -> None:
        self.df, self.loc, self.scale = _tensors(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    mean = property(lambda self: _op["where"](self.df > 1, self.loc, math.nan))
    mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Tensor:
        wide = _op["where"](self.df > 2, self.scale**2 * self.df / (self.df - 2), math.inf)
        return _op["where"](self.df > 1, wide, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        z = Chi2(self.df).rsample(sample_shape)
        return (
            self.loc
            + self.scale * _core.randn(*self._shape(sample_shape), dtype=self.loc.dtype) / (z / self.df).sqrt()
        )

    def log_prob(self, value: Tensor) -> Tensor:
        y, df = (value - self.loc) / self.scale, self.df
        scale = self.scale.log() + 0.5 * df.log() + 0.5 * math.log(math.pi) + (0.5 * df).lgamma()
        return -0.5 * (df + 1) * (y**2 / df).log1p() - scale + (0.5 * (df + 1)).lgamma()

    def entropy(self) -> Tensor:
        half, more = 0.5 * self.df, 0.5 * (self.df + 1)
        beta = half.lgamma() + 0.5 * math.log(math.pi) - more.lgamma()
        return self.scale.log() + more * (more.digamma() - half.digamma()) + 0.5 * self.df.log() + beta


class FisherSnedecor(Distribution):
    """The ratio of two Chi2, each over its df."""

    arg_constraints: ClassVar = {"df1": constraints.positive, "df2": constraints.positive}
    support: Any = constraints.positive
    has_rsample = True
    _names = ("df1", "df2")

    def __init__(self, df1: Any, df2: Any, validate_args: Any = None) -> None:
        self.df1, self.df2 = _tensors(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    mean = property(lambda self: _op["where"](self.df2 > 2, self.df2 / (self.df2 - 2), math.nan))

    @property
    def mode(self) -> Tensor:
        m = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return _op["where"](self.df1 > 2, m, math.nan)

    @property
    def variance(self) -> Tensor:
        a, b = self.df1, self.df2
        v = 2 * b**2 * (a + b - 2) / (a * (b - 2) ** 2 * (b - 4))
        return _op["where"](b > 4, v, math.nan)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        x1 = Chi2(self.df1).rsample(sample_shape) / self.df1
        return x1 / (Chi2(self.df2).rsample(sample_shape) / self.df2).clamp(min=1e-38)

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.df1, self.df2
        ratio = a / b
        return (
            0.5 * a * ratio.log()
            + (0.5 * a - 1) * value.log()
            - _ratio(0.5 * a, 0.5 * b)
            - 0.5 * (a + b) * (ratio * value).log1p()
        )
