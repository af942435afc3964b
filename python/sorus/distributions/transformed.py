"""Functions of random numbers: any distribution behind transforms, and those that are best said so."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _core
from .._core import Tensor
from .._core import operators as _op
from .._functions import broadcast_shapes
from . import constraints
from .distribution import Distribution, Exponential, Normal, _tensors
from .transforms import AffineTransform, ComposeTransform, ExpTransform, Transform, _added

__all__ = [
    "Cauchy", "Gumbel", "HalfCauchy", "HalfNormal", "Kumaraswamy", "LogNormal", "LogisticNormal", "Pareto",
    "TransformedDistribution", "Weibull",
]  # fmt: skip

_EULER = 0.57721566490153286060


class TransformedDistribution(Distribution):
    """What the transforms make of draws from a base distribution."""

    def __init__(
        self, base_distribution: Distribution, transforms: Transform | list[Transform], validate_args: Any = None
    ) -> None:
        self.transforms = [transforms] if isinstance(transforms, Transform) else list(transforms)
        self.base_dist = base_distribution
        whole = ComposeTransform(self.transforms)
        given = (*base_distribution.batch_shape, *base_distribution.event_shape)
        after = whole.forward_shape(given)
        # Parameters of the transforms may make the batch larger.
        for t in self.transforms:
            if isinstance(t, AffineTransform):
                for p in (t.loc, t.scale):
                    after = broadcast_shapes(after, p.shape) if isinstance(p, Tensor) else after
        events = max(whole.event_dim, len(base_distribution.event_shape))
        cut = len(after) - events
        super().__init__(after[:cut], after[cut:], validate_args=validate_args)

    has_rsample = property(lambda self: self.base_dist.has_rsample)

    @property
    def support(self) -> Any:
        inside = self.transforms[-1].codomain if self.transforms else self.base_dist.support
        more = len(self._event_shape) - inside.event_dim
        return constraints.independent(inside, more) if more > 0 else inside

    def expand(self, batch_shape: Any, _instance: Any = None) -> TransformedDistribution:
        shape = ComposeTransform(self.transforms).inverse_shape((*batch_shape, *self._event_shape))
        base = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        return TransformedDistribution(base, self.transforms)

    def _drawn(self, x: Tensor, sample_shape: Any) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def sample(self, sample_shape: Any = ()) -> Tensor:
        before = _core._set_grad_enabled(False)
        try:
            return self._drawn(self.base_dist.sample(sample_shape), sample_shape)
        finally:
            _core._set_grad_enabled(before)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._drawn(self.base_dist.rsample(sample_shape), sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        log: Any = 0.0
        y, events = value, len(self._event_shape)
        for t in reversed(self.transforms):
            x = t.inverse(y)
            log = log - _added(t.log_abs_det_jacobian(x, y), events - t.event_dim)
            y = x
        return log + _added(self.base_dist.log_prob(y), events - len(self.base_dist.event_shape))

    def _sign(self) -> Any:
        sign: Any = 1
        for t in self.transforms:
            sign = sign * t.sign
        return sign

    def cdf(self, value: Tensor) -> Tensor:
        for t in reversed(self.transforms):
            value = t.inverse(value)
        sign, p = self._sign(), self.base_dist.cdf(value)
        return p if isinstance(sign, int) and sign == 1 else sign * (p - 0.5) + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        sign = self._sign()
        x = self.base_dist.icdf(value if isinstance(sign, int) and sign == 1 else sign * (value - 0.5) + 0.5)
        for t in self.transforms:
            x = t(x)
        return x


class LogNormal(TransformedDistribution):
    """exp of a Normal."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.positive

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        super().__init__(Normal(loc, scale), ExpTransform(), validate_args=validate_args)

    loc = property(lambda self: self.base_dist.loc)
    scale = property(lambda self: self.base_dist.scale)
    mean = property(lambda self: (self.loc + self.scale**2 / 2).exp())
    mode = property(lambda self: (self.loc - self.scale**2).exp())
    variance = property(lambda self: (self.scale**2).expm1() * (2 * self.loc + self.scale**2).exp())

    def expand(self, batch_shape: Any, _instance: Any = None) -> LogNormal:
        return LogNormal(self.loc.expand(batch_shape), self.scale.expand(batch_shape))

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class LogisticNormal(TransformedDistribution):
    """Shares: the stick broken at the logistic function of a Normal."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.simplex

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: Any = None) -> None:
        from .transforms import StickBreakingTransform

        super().__init__(Normal(loc, scale), StickBreakingTransform(), validate_args=validate_args)

    loc = property(lambda self: self.base_dist.loc)
    scale = property(lambda self: self.base_dist.scale)


class _LocScale(Distribution):
    """loc + scale * a number from one distribution without parameters, whose inverse distribution function it is."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True
    _names = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc, self.scale = _tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = _core.rand(*self._shape(sample_shape), dtype=self.loc.dtype).clamp(1e-38, 1 - 6e-8)
        return self.icdf(u)


class Cauchy(_LocScale):
    """1 / (pi scale (1 + ((x - loc) / scale)^2))."""

    mean = property(lambda self: _op["full_like"](self.loc, math.nan))
    variance = property(lambda self: _op["full_like"](self.loc, math.inf))
    mode = property(lambda self: self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        return ((value - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(_LocScale):
    """The distribution of maxima."""

    mean = property(lambda self: self.loc + self.scale * _EULER)
    mode = property(lambda self: self.loc)
    variance = property(lambda self: (math.pi**2 / 6) * self.scale**2)

    def log_prob(self, value: Tensor) -> Tensor:
        y = (self.loc - value) / self.scale
        return y - y.exp() - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return (-((self.loc - value) / self.scale).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + _EULER)


class _Half(Distribution):
    """The size of a number from a symmetric distribution around 0."""

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True
    _names = ("scale",)

    def __init__(self, scale: Any, validate_args: Any = None) -> None:
        (self.scale,) = _tensors(scale)
        super().__init__(self.scale.shape, validate_args=validate_args)

    mode = property(lambda self: _op["zeros_like"](self.scale))

    def _whole(self) -> Distribution:
        raise NotImplementedError

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._whole().rsample(sample_shape).abs()

    def log_prob(self, value: Tensor) -> Tensor:
        return _op["where"](value >= 0, self._whole().log_prob(value) + math.log(2), -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        return 2 * self._whole().cdf(value) - 1

    def icdf(self, value: Tensor) -> Tensor:
        return self._whole().icdf((value + 1) / 2)

    def entropy(self) -> Tensor:
        return self._whole().entropy() - math.log(2)


class HalfNormal(_Half):
    """The size of a Normal around 0."""

    mean = property(lambda self: self.scale * math.sqrt(2 / math.pi))
    variance = property(lambda self: self.scale**2 * (1 - 2 / math.pi))

    def _whole(self) -> Distribution:
        return Normal(0.0, self.scale)


class HalfCauchy(_Half):
    """The size of a Cauchy around 0."""

    mean = property(lambda self: _op["full_like"](self.scale, math.inf))
    variance = property(lambda self: _op["full_like"](self.scale, math.inf))

    def _whole(self) -> Distribution:
        return Cauchy(0.0, self.scale)


class Pareto(Distribution):
    """alpha scale^alpha / x^(alpha + 1) for x >= scale."""

    arg_constraints: ClassVar = {"scale": constraints.positive, "alpha": constraints.positive}
    support = property(lambda self: constraints.greater_than_eq(self.scale))
    has_rsample = True
    _names = ("scale", "alpha")

    def __init__(self, scale: Any, alpha: Any, validate_args: Any = None) -> None:
        self.scale, self.alpha = _tensors(scale, alpha)
        super().__init__(self.scale.shape, validate_args=validate_args)

    mode = property(lambda self: self.scale)

    @property
    def mean(self) -> Tensor:
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def variance(self) -> Tensor:
        a = self.alpha.clamp(min=2)
        return self.scale**2 * a / ((a - 1) ** 2 * (a - 2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.scale * (Exponential(self.alpha).rsample(sample_shape)).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        log = self.alpha.log() + self.alpha * self.scale.log() - (self.alpha + 1) * value.log()
        return _op["where"](value >= self.scale, log, -math.inf)

    def cdf(self, value: Tensor) -> Tensor:
        return 1 - (self.scale / value) ** self.alpha

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (1 - value) ** (-1 / self.alpha)

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + (1 + 1 / self.alpha)


class Weibull(Distribution):
    """scale * Exponential(1) ** (1 / concentration)."""

    arg_constraints: ClassVar = {"scale": constraints.positive, "concentration": constraints.positive}
    support: Any = constraints.positive
    has_rsample = True
    _names = ("scale", "concentration")

    def __init__(self, scale: Any, concentration: Any, validate_args: Any = None) -> None:
        self.scale, self.concentration = _tensors(scale, concentration)
        super().__init__(self.scale.shape, validate_args=validate_args)

    mean = property(lambda self: self.scale * (1 + 1 / self.concentration).lgamma().exp())

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        return self.scale * ((k - 1) / k) ** (1 / k)

    @property
    def variance(self) -> Tensor:
        k = 1 / self.concentration
        return self.scale**2 * ((1 + 2 * k).lgamma().exp() - (2 * (1 + k).lgamma()).exp())

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = 1 - _core.rand(*self._shape(sample_shape), dtype=self.scale.dtype)
        return self.scale * (-u.log()) ** (1 / self.concentration)

    def log_prob(self, value: Tensor) -> Tensor:
        k, x = self.concentration, value / self.scale
        return k.log() - self.scale.log() + (k - 1) * x.log() - x**k

    def cdf(self, value: Tensor) -> Tensor:
        return -(-((value / self.scale) ** self.concentration)).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return self.scale * (-(-value).log1p()) ** (1 / self.concentration)

    def entropy(self) -> Tensor:
        k = 1 / self.concentration
        return _EULER * (1 - k) + (self.scale * k).log() + 1


class Kumaraswamy(Distribution):
    """a b x^(a - 1) (1 - x^a)^(b - 1), a = concentration1 and b = concentration0."""

    arg_constraints: ClassVar = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support: Any = constraints.unit_interval
    has_rsample = True
    _names = ("concentration1", "concentration0")

    def __init__(self, concentration1: Any, concentration0: Any, validate_args: Any = None) -> None:
        self.concentration1, self.concentration0 = _tensors(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    def _moment(self, n: int) -> Tensor:
        a, b = self.concentration1, self.concentration0
        x = 1 + n / a
        return (b.log() + x.lgamma() + b.lgamma() - (x + b).lgamma()).exp()

    mean = property(lambda self: self._moment(1))
    variance = property(lambda self: self._moment(2) - self._moment(1) ** 2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = 1 - _core.rand(*self._shape(sample_shape), dtype=self.concentration1.dtype)
        return (1 - u ** (1 / self.concentration0)) ** (1 / self.concentration1)

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return a.log() + b.log() + _op["xlogy"](a - 1, value) + (b - 1) * (-(value**a)).log1p()

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + _EULER
        return (1 - 1 / b) + (1 - 1 / a) * harmonic - a.log() - b.log()
