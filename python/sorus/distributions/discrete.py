"""Distributions of counts and of one-hot vectors, and continuous stand-ins for them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _core
from .._core import Tensor
from .._core import operators as _op
from .._functions import broadcast_shapes
from . import constraints
from .distribution import Bernoulli, Categorical, Distribution, _tensors
from .gamma import Gamma

__all__ = [
    "Binomial", "Geometric", "Multinomial", "NegativeBinomial", "OneHotCategorical", "OneHotCategoricalStraightThrough",
    "Poisson", "RelaxedBernoulli", "RelaxedOneHotCategorical",
]  # fmt: skip


_PROBABILITY = {"probs": constraints.unit_interval, "logits": constraints.real}
_SHARES = {"probs": constraints.simplex, "logits": constraints.real_vector}


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    return (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()


def _softplus(x: Tensor) -> Tensor:
    return _op["softplus"](x)


class _OfProbability(Distribution):
    """`probs` or `logits`, of which the other follows as in Bernoulli; beside a count of trials if `count` is given."""

    def _keep(self, count: Any, probs: Any, logits: Any, validate_args: Any) -> None:
        if (probs is None) == (logits is None):
            raise ValueError(f"{type(self).__name__}: give either probs or logits")
        given = probs if probs is not None else logits
        if count is not None:
            self.total_count, given = _tensors(count, given)
            if not self.total_count.is_floating_point():
                self.total_count = self.total_count.to(given.dtype)
        base = Bernoulli(given, None, False) if probs is not None else Bernoulli(None, given, False)
        self.probs, self.logits, self._derived = base.probs, base.logits, base._derived
        Distribution.__init__(self, self.probs.shape, validate_args=validate_args)


class Binomial(_OfProbability):
    """How many of `total_count` trials succeed."""

    arg_constraints: ClassVar = {"total_count": constraints.nonnegative_integer, **_PROBABILITY}
    support = property(lambda self: constraints.integer_interval(0, self.total_count))
    _names = ("total_count", "probs", "logits")

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: Any = None
    ) -> None:
        self._keep(total_count, probs, logits, validate_args)

    mean = property(lambda self: self.total_count * self.probs)
    mode = property(lambda self: ((self.total_count + 1) * self.probs).floor().minimum(self.total_count))
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        p, n = self.probs.detach(), self.total_count.detach()
        most = int(n.max().item()) if n.numel() else 0
        shape = self._shape(sample_shape)
        trials = _core.rand(most, *shape, dtype=_core.float64) < p
        counted = _op["arange"](most).reshape((-1, *[1] * len(shape))) < n
        return (trials & counted).sum(0).to(p.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        n, x = self.total_count, self.logits
        return _log_choose(n, value) + value * x - n * _softplus(x)

    def entropy(self) -> Tensor:
        most = int(self.total_count.max().item())
        if bool((self.total_count != most).any()):
            raise NotImplementedError("Binomial: entropy of several counts of trials")
        values = _op["arange"](most + 1, dtype=self.probs.dtype).reshape((-1, *[1] * len(self._batch_shape)))
        log = self.log_prob(values)
        return -(log.exp() * log).sum(0)


class Geometric(_OfProbability):
    """How many trials fail before the first that succeeds."""

    arg_constraints: ClassVar = _PROBABILITY
    support: Any = constraints.nonnegative_integer
    _names = ("probs", "logits")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        self._keep(None, probs, logits, validate_args)

    mean = property(lambda self: 1 / self.probs - 1)
    mode = property(lambda self: _op["zeros_like"](self.probs))
    variance = property(lambda self: (1 / self.probs - 1) / self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        p = self.probs.detach()
        u = 1 - _core.rand(*self._shape(sample_shape), dtype=p.dtype)
        return (u.log() / (-p).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        # Where all trials succeed, 0 log 0 is 0.
        fail = _op["where"]((self.probs == 1) & (value == 0), 0.0, (-self.probs).log1p())
        return value * fail + self.probs.log()

    def entropy(self) -> Tensor:
        return _op["binary_cross_entropy_with_logits"](self.logits, self.probs, reduction="none") / self.probs


def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Draws from the Poisson distribution of these rates, by the inverse of its distribution function."""
    rate = input.detach().double()
    u = _core.rand(*input.shape, dtype=_core.float64)
    low = _op["full_like"](rate, -1.0)
    high = (rate + 12 * rate.sqrt() + 40).ceil()
    # P(count <= k) is Q(k + 1, rate); the least k that reaches u lies in (low, high].
    most = float(high.max().item()) if high.numel() else 1.0
    for _ in range(math.ceil(math.log2(most + 2)) + 1):
        middle = ((low + high) * 0.5).floor()
        reached = (_op["igammac"](middle + 1, rate) >= u) & (middle > low)
        outside = middle <= low
        low, high = _op["where"](reached | outside, low, middle), _op["where"](reached, middle, high)
    return _op["where"](rate == 0, 0.0, high).to(input.dtype)


class Poisson(Distribution):
    """rate^k exp(-rate) / k!."""

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}
    support: Any = constraints.nonnegative_integer
    _names = ("rate",)

    def __init__(self, rate: Any, validate_args: Any = None) -> None:
        (self.rate,) = _tensors(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = variance = property(lambda self: self.rate)
    mode = property(lambda self: self.rate.floor())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return poisson(self.rate.expand(self._shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        return _op["xlogy"](value, self.rate) - self.rate - (value + 1).lgamma()


class NegativeBinomial(_OfProbability):
    """How many trials succeed (with `probs`) before `total_count` have failed."""

    arg_constraints: ClassVar = {"total_count": constraints.nonnegative, **_PROBABILITY,
                                 "probs": constraints.half_open_interval(0.0, 1.0)}  # fmt: skip
    support: Any = constraints.nonnegative_integer
    _names = ("total_count", "probs", "logits")

    def __init__(self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        self._keep(total_count, probs, logits, validate_args)

    mean = property(lambda self: self.total_count * self.logits.exp())
    mode = property(lambda self: ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0))
    variance = property(lambda self: self.mean / (-self.logits).sigmoid())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return poisson(Gamma(self.total_count.detach(), (-self.logits.detach()).exp()).sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        n, x = self.total_count, self.logits
        log = -n * _softplus(x) - value * _softplus(-x)
        ways = -(n + value).lgamma() + (1.0 + value).lgamma() + n.lgamma()
        return log - _op["where"]((n + value) == 0, 0.0, ways)


class Multinomial(Distribution):
    """How often each class is drawn in `total_count` draws."""

    arg_constraints: ClassVar = _SHARES
    support = property(lambda self: constraints.multinomial(self.total_count))
    _names = ("probs", "logits")

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: Any = None
    ) -> None:
        base = Categorical(probs, logits, False)
        self.total_count, self._derived = int(total_count), base._derived
        self.probs, self.logits = base.probs, base.logits
        super().__init__(base.batch_shape, self.probs.shape[-1:], validate_args=validate_args)

    mean = property(lambda self: self.probs * self.total_count)
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        classes = self.probs.shape[-1]
        drawn = Categorical(self.probs.detach()).sample((self.total_count, *sample_shape))
        return (drawn.unsqueeze(-1) == _op["arange"](classes)).sum(0).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        logits = _op["where"]((value == 0) & (self.logits == -math.inf), 0.0, self.logits)
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return ways + (logits * value).sum(-1)

    def entropy(self) -> Tensor:
        n = self.total_count
        one = Binomial(n, self.probs)
        values = _op["arange"](n + 1, dtype=self.probs.dtype).reshape((-1, *[1] * self.probs.dim()))[1:]
        weights = one.log_prob(values).exp()
        within = (weights * (values + 1).lgamma()).sum([0, -1])
        return n * Categorical(self.probs).entropy() - math.lgamma(n + 1) + within


class OneHotCategorical(Distribution):
    """Categorical, with draws as vectors of zeros with a one."""

    arg_constraints: ClassVar = _SHARES
    support: Any = constraints.one_hot
    _names = ("probs", "logits")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        base = Categorical(probs, logits, False)
        self.probs, self.logits, self._derived = base.probs, base.logits, base._derived
        super().__init__(base.batch_shape, self.probs.shape[-1:], validate_args=validate_args)

    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1 - self.probs))
    mode = property(lambda self: self._hot(self.probs.argmax(-1)))

    def _hot(self, index: Tensor) -> Tensor:
        return (index.unsqueeze(-1) == _op["arange"](self.probs.shape[-1])).to(self.probs.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._hot(Categorical(self.probs.detach()).sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        return Categorical(logits=self.logits).log_prob(value.argmax(-1))

    def entropy(self) -> Tensor:
        return Categorical(logits=self.logits).entropy()


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """The same, with the gradient of the probabilities."""

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


def _uniform(shape: Any, dtype: Any) -> Tensor:
    return _core.rand(*shape, dtype=dtype).clamp(1e-7, 1 - 1e-7)


class RelaxedBernoulli(_OfProbability):
    """Numbers in (0, 1) that are near 0 or 1 when the temperature is low (Maddison et al. 2017)."""

    arg_constraints: ClassVar = _PROBABILITY
    support: Any = constraints.unit_interval
    has_rsample = True
    _names = ("probs", "logits")

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        self.temperature = temperature
        self._keep(None, probs, logits, validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = _uniform(self._shape(sample_shape), self.logits.dtype)
        return ((u.log() - (-u).log1p() + self.logits) / self.temperature).sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.log() - (-value).log1p()
        (t,) = _tensors(self.temperature)
        away = self.logits - x * t
        return t.log() + away - 2 * _softplus(away) + _softplus(x) + _softplus(-x)


class RelaxedOneHotCategorical(Distribution):
    """Shares that are near a one-hot vector when the temperature is low (Jang et al. 2017)."""

    arg_constraints: ClassVar = _SHARES
    support: Any = constraints.simplex
    has_rsample = True
    _names = ("probs", "logits")

    def __init__(self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        base = Categorical(probs, logits, False)
        self.temperature, self._derived = temperature, base._derived
        self.probs, self.logits = base.probs, base.logits
        super().__init__(base.batch_shape, self.probs.shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = _uniform(self._shape(sample_shape), self.logits.dtype)
        return _op["softmax"]((self.logits - (-u.log()).log()) / self.temperature, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        k = value.shape[-1]
        shape = broadcast_shapes(value.shape, self.logits.shape)
        logits, log = self.logits.expand(shape), value.expand(shape).log()
        (t,) = _tensors(self.temperature)
        score = logits - log * t
        score = (score - score.logsumexp([-1], True)).sum(-1)
        return score + math.lgamma(k) + (k - 1) * t.log() - log.sum(-1)
