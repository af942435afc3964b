"""The distributions that policies and variational models draw from.

    policy = Categorical(logits=net(state))
    action = policy.sample()
    loss = -policy.log_prob(action) * reward

Parameters may have any shape, which is the `batch_shape`; `sample(shape)` puts `shape` before it. `rsample` is there
where draws can be differentiated by the parameters.
"""

from __future__ import annotations

import copy
import functools
import math
from typing import Any, ClassVar

from .. import _core
from .._core import Tensor, operators
from .._functions import broadcast_shapes, multinomial
from . import constraints


def _tensors(*values: Any) -> list[Tensor]:
    """Numbers and tensors as tensors of one shape."""
    known = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = known.dtype if known is not None else _core.get_default_dtype()
    tensors = [v if isinstance(v, Tensor) else _core.tensor(float(v), dtype=dtype) for v in values]
    shape = broadcast_shapes(*(t.shape for t in tensors))
    return [t.expand(shape) for t in tensors]


def _with_checked_value(f: Any) -> Any:
    """A log_prob or cdf that looks at the value first."""

    @functools.wraps(f)
    def checked(self: Distribution, value: Any) -> Tensor:
        if getattr(self, "_validate_args", False):
            self._validate_sample(value)
        return f(self, value)

    return checked


class Distribution:
    """What all distributions have. `_names` are the tensors of the batch's shape that say everything.

    Parameters are checked against `arg_constraints`, values against `support`, unless validate_args is False or a graph is
    recorded, which does not know the numbers.
    """

    has_rsample = False
    arg_constraints: ClassVar[dict[str, Any]] = {}
    _names: tuple[str, ...] = ()
    _derived = ""  # a parameter that follows from another one
    _default_validate_args = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("log_prob", "cdf"):
            if name in vars(cls):
                setattr(cls, name, _with_checked_value(vars(cls)[name]))

    def __init__(self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = _core.Size(batch_shape), _core.Size(event_shape)
        self._validate_args = Distribution._default_validate_args if validate_args is None else bool(validate_args)
        for name, constraint in self.arg_constraints.items() if self._validate_args else ():
            if name in self.__dict__ and name != self._derived and not constraints.is_dependent(constraint):
                self._check_parameter(name, self.__dict__[name], constraint)

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions that are not told look at their parameters and values; at first they do."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args: expected True or False, not {value!r}")
        Distribution._default_validate_args = value

    @property
    def support(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: support")

    def _check_parameter(self, name: str, value: Tensor, constraint: Any) -> None:
        if _core._is_recording() or bool(constraint.check(value.detach()).all()):
            return
        raise ValueError(
            f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution {self!r} "
            f"to satisfy the constraint {constraint!r}, but found invalid values:\n{value}"
        )

    def _validate_sample(self, value: Any) -> None:
        """ValueError for what cannot be a value of this distribution."""
        if not isinstance(value, Tensor):
            raise ValueError(f"The value argument to log_prob must be a Tensor, not {type(value).__name__}")
        events, whole = len(self._event_shape), (*self._batch_shape, *self._event_shape)
        if tuple(value.shape[len(value.shape) - events :]) != tuple(self._event_shape):
            raise ValueError(
                f"The right-most size of value must match event_shape: {value.shape} vs {self._event_shape}."
            )
        for i, j in zip(reversed(value.shape), reversed(whole), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {_core.Size(whole)}."
                )
        try:
            support = self.support
        except NotImplementedError:
            return
        if _core._is_recording() or bool(support.check(value.detach()).all()):
            return
        raise ValueError(
            f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the support "
            f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}"
        )

    @property
    def batch_shape(self) -> Any:
        return self._batch_shape

    @property
    def event_shape(self) -> Any:
        return self._event_shape

    @property
    def mean(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: mean")

    @property
    def mode(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: mode")

    @property
    def variance(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: variance")

    @property
    def stddev(self) -> Tensor:
        return self.variance.sqrt()

    def _shape(self, sample_shape: Any) -> tuple:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: draws cannot be differentiated")

    def sample(self, sample_shape: Any = ()) -> Tensor:
        before = _core._set_grad_enabled(False)
        try:
            return self.rsample(sample_shape)
        finally:
            _core._set_grad_enabled(before)

    def log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: log_prob")

    def entropy(self) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: entropy")

    def perplexity(self) -> Tensor:
        return self.entropy().exp()

    def cdf(self, value: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: cdf")

    def icdf(self, value: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: icdf")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same for a batch of a shape that this one broadcasts to."""
        if not self._names:
            raise NotImplementedError(f"{type(self).__name__}: expand")
        new = copy.copy(self)
        for name in self._names:
            t = getattr(self, name)
            setattr(new, name, t.expand((*batch_shape, *t.shape[len(self._batch_shape) :])))
        new._batch_shape = _core.Size(batch_shape)
        return new

    def __repr__(self) -> str:
        known = ((n, getattr(self, n, None)) for n in self._names)  # not all while parameters are checked
        parts = (f"{n}: {t.item() if t.numel() == 1 else tuple(t.shape)}" for n, t in known if t is not None)
        return f"{type(self).__name__}({', '.join(parts)})"


class Normal(Distribution):
    """Mean `loc`, standard deviation `scale`."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True
    _names = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc, self.scale = _tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)
    stddev = property(lambda self: self.scale)
    variance = property(lambda self: self.scale * self.scale)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc + _core.randn(*self._shape(sample_shape), dtype=self.loc.dtype) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        return -((value - self.loc) ** 2) / (2 * self.variance) - self.scale.log() - 0.5 * math.log(2 * math.pi)

    def entropy(self) -> Tensor:
        return 0.5 + 0.5 * math.log(2 * math.pi) + self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return 0.5 * (1 + ((value - self.loc) / (self.scale * math.sqrt(2))).erf())

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)


class Laplace(Distribution):
    """exp(-|x - loc| / scale) / (2 scale)."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True
    _names = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc, self.scale = _tensors(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)
    variance = property(lambda self: 2 * self.scale * self.scale)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        u = _core.rand(*self._shape(sample_shape), dtype=self.loc.dtype) - 0.5
        return self.loc - self.scale * u.sign() * (-2 * u.abs()).clamp(min=-1 + 1e-7).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()

    def cdf(self, value: Tensor) -> Tensor:
        away = value - self.loc
        return 0.5 - 0.5 * away.sign() * (-away.abs() / self.scale).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        away = value - 0.5
        return self.loc - self.scale * away.sign() * (-2 * away.abs()).log1p()


class Uniform(Distribution):
    """Between `low` and `high`."""

    arg_constraints: ClassVar = {"low": constraints.dependent, "high": constraints.dependent}
    support = property(lambda self: constraints.interval(self.low, self.high))
    has_rsample = True
    _names = ("low", "high")

    def __init__(self, low: Any, high: Any, validate_args: Any = None) -> None:
        self.low, self.high = _tensors(low, high)
        super().__init__(self.low.shape, validate_args=validate_args)
        if self._validate_args and not _core._is_recording() and not bool((self.low < self.high).all()):
            raise ValueError(f"Uniform is not defined where low >= high: {self!r}")

    mean = property(lambda self: (self.low + self.high) / 2)
    variance = property(lambda self: (self.high - self.low) ** 2 / 12)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.low + _core.rand(*self._shape(sample_shape), dtype=self.low.dtype) * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        inside = (value >= self.low) & (value < self.high)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        return ((value - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        return value * (self.high - self.low) + self.low


class Exponential(Distribution):
    """rate exp(-rate x)."""

    arg_constraints: ClassVar = {"rate": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True
    _names = ("rate",)

    def __init__(self, rate: Any, validate_args: Any = None) -> None:
        (self.rate,) = _tensors(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    mean = stddev = property(lambda self: 1 / self.rate)
    variance = property(lambda self: 1 / self.rate**2)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return -(1 - _core.rand(*self._shape(sample_shape), dtype=self.rate.dtype)).log() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        return self.rate.log() - self.rate * value

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()

    def cdf(self, value: Tensor) -> Tensor:
        return -(-self.rate * value).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        return -(-value).log1p() / self.rate


class Bernoulli(Distribution):
    """1 with probability `probs` (or sigmoid(`logits`)), else 0."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support: Any = constraints.boolean
    _names = ("probs", "logits")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Bernoulli: give either probs or logits")
        self._derived = "logits" if probs is not None else "probs"
        if probs is not None:
            (self.probs,) = _tensors(probs)
            p = self.probs.clamp(1e-7, 1 - 1e-7)
            self.logits = p.log() - (-p).log1p()
        else:
            (self.logits,) = _tensors(logits)
            self.probs = self.logits.sigmoid()
        super().__init__(self.probs.shape, validate_args=validate_args)

    mean = property(lambda self: self.probs)
    mode = property(lambda self: (self.probs >= 0.5).to(self.probs.dtype))
    variance = property(lambda self: self.probs * (1 - self.probs))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1, along a new first dimension."""
        values = _core.tensor([0.0, 1.0], dtype=self.probs.dtype).reshape((-1, *[1] * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values

    def sample(self, sample_shape: Any = ()) -> Tensor:
        p = self.probs.detach()
        return (_core.rand(*self._shape(sample_shape), dtype=_core.float64) < p).to(p.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = _tensors(self.logits, value)
        return -operators["binary_cross_entropy_with_logits"](logits, value.to(logits.dtype), reduction="none")

    def entropy(self) -> Tensor:
        return operators["binary_cross_entropy_with_logits"](self.logits, self.probs, reduction="none")


class Categorical(Distribution):
    """One of the classes in the last dimension, by `probs` (need not add up to 1) or `logits`."""

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = property(lambda self: constraints.integer_interval(0, self._num_events - 1))
    _names = ("probs", "logits")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Categorical: give either probs or logits")
        given = probs if probs is not None else logits
        if given.dim() < 1:
            raise ValueError("Categorical: the parameter needs at least one dimension, that of the classes")
        self._derived = "logits" if probs is not None else "probs"
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = self.probs.clamp(1e-7, 1 - 1e-7).log()
        else:
            self.logits = logits - logits.logsumexp([-1], True)
            self.probs = self.logits.softmax(-1)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    mode = property(lambda self: self.probs.argmax(-1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All classes, along a new first dimension."""
        values = operators["arange"](self._num_events).reshape((-1, *[1] * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values

    def sample(self, sample_shape: Any = ()) -> Tensor:
        count = math.prod(sample_shape)
        rows = multinomial(self.probs.detach().reshape(-1, self._num_events), count, True)
        return rows.t().reshape(self._shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        shape = broadcast_shapes(value.shape, self._batch_shape)
        logits = self.logits.expand((*shape, self._num_events))
        return logits.gather(-1, value.long().expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return -(self.logits * self.probs).sum(-1)


class Independent(Distribution):
    """The last dimensions of a batch as one event: their log_prob is added up."""

    support = property(lambda self: constraints.independent(self.base_dist.support, self.reinterpreted_batch_ndims))

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: Any = None
    ) -> None:
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, reinterpreted_batch_ndims
        shape = base_distribution.batch_shape
        cut = len(shape) - reinterpreted_batch_ndims
        if cut < 0:
            raise ValueError(
                f"Independent: {reinterpreted_batch_ndims} dimensions of a batch of shape {tuple(shape)}"
            )
        super().__init__(shape[:cut], (*shape[cut:], *base_distribution.event_shape), validate_args=validate_args)

    mean = property(lambda self: self.base_dist.mean)
    mode = property(lambda self: self.base_dist.mode)
    variance = property(lambda self: self.base_dist.variance)
    has_rsample = property(lambda self: self.base_dist.has_rsample)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Independent:
        own = self.event_shape[: self.reinterpreted_batch_ndims]
        return Independent(self.base_dist.expand((*batch_shape, *own)), self.reinterpreted_batch_ndims)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def _added(self, x: Tensor) -> Tensor:
        n = self.reinterpreted_batch_ndims
        return x.sum(list(range(-n, 0))) if n else x

    def log_prob(self, value: Tensor) -> Tensor:
        return self._added(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._added(self.base_dist.entropy())
