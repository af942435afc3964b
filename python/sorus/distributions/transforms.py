"""Invertible functions with the logarithm of the size of their derivative (torch.distributions.transforms)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from .._core import Tensor
from .._core import operators as _op
from . import constraints

__all__ = [
    "AbsTransform", "AffineTransform", "ComposeTransform", "ExpTransform", "IndependentTransform", "PowerTransform",
    "SigmoidTransform", "SoftmaxTransform", "SoftplusTransform", "StickBreakingTransform", "TanhTransform", "Transform",
    "identity_transform",
]  # fmt: skip


class Transform:
    """Subclasses define `_call(x)`, `_inverse(y)` and `log_abs_det_jacobian(x, y)`. `event_dim` dimensions at the end
    belong together: the logarithm has them no more."""

    event_dim = 0
    bijective = True
    sign = 1
    domain: Any = constraints.real
    codomain: Any = constraints.real

    def __init__(self, cache_size: int = 0) -> None:
        self._last: tuple[Any, Any] = (None, None)

    def __call__(self, x: Tensor) -> Tensor:
        y = self._call(x)
        self._last = (x, y)
        return y

    @property
    def inv(self) -> Transform:
        return _Inverse(self)

    def inverse(self, y: Tensor) -> Tensor:
        # What was computed last is turned back exactly.
        return self._last[0] if y is self._last[1] else self._inverse(y)

    def _call(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: _call is not defined")

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: log_abs_det_jacobian is not defined")

    def forward_shape(self, shape: Any) -> Any:
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        return shape

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    def __init__(self, of: Transform) -> None:
        super().__init__()
        self._of, self.event_dim, self.sign = of, of.event_dim, of.sign

    inv = property(lambda self: self._of)
    domain = property(lambda self: self._of.codomain)
    codomain = property(lambda self: self._of.domain)

    def _call(self, x: Tensor) -> Tensor:
        return self._of.inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._of(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self._of.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Any) -> Any:
        return self._of.inverse_shape(shape)

    def inverse_shape(self, shape: Any) -> Any:
        return self._of.forward_shape(shape)


def _added(x: Tensor, dims: int) -> Tensor:
    return x.sum(list(range(-dims, 0))) if dims > 0 else x


class ComposeTransform(Transform):
    """One after the other."""

    def __init__(self, parts: Iterable[Transform], cache_size: int = 0) -> None:
        super().__init__()
        self.parts = list(parts)
        self.event_dim = max((p.event_dim for p in self.parts), default=0)
        self.bijective = all(p.bijective for p in self.parts)
        self.sign = math.prod(p.sign for p in self.parts)

    domain = property(lambda self: self.parts[0].domain if self.parts else constraints.real)
    codomain = property(lambda self: self.parts[-1].codomain if self.parts else constraints.real)

    def _call(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part.inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        total: Any = 0.0
        for part in self.parts:
            after = part(x)
            total = total + _added(part.log_abs_det_jacobian(x, after), self.event_dim - part.event_dim)
            x = after
        return total if isinstance(total, Tensor) else _op["zeros_like"](x)

    def forward_shape(self, shape: Any) -> Any:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Any) -> Any:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """Some more dimensions as one event."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0) -> None:
        super().__init__()
        self.base_transform, self.reinterpreted_batch_ndims = base_transform, reinterpreted_batch_ndims
        self.event_dim = base_transform.event_dim + reinterpreted_batch_ndims
        n = reinterpreted_batch_ndims
        self.domain, self.codomain = (
            constraints.independent(c, n) for c in (base_transform.domain, base_transform.codomain)
        )

    def _call(self, x: Tensor) -> Tensor:
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.base_transform.inverse(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _added(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)


class ExpTransform(Transform):
    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class PowerTransform(Transform):
    """x ** exponent of positive numbers."""

    domain = codomain = constraints.positive

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__()
        self.exponent = exponent

    def _call(self, x: Tensor) -> Tensor:
        return x**self.exponent

    def _inverse(self, y: Tensor) -> Tensor:
        return y ** (1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.exponent * y / x).abs().log()


class SigmoidTransform(Transform):
    codomain = constraints.unit_interval

    def _call(self, x: Tensor) -> Tensor:
        return x.sigmoid().clamp(1e-38, 1 - 1e-7)

    def _inverse(self, y: Tensor) -> Tensor:
        y = y.clamp(1e-38, 1 - 1e-7)
        return y.log() - (-y).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -_op["softplus"](-x) - _op["softplus"](x)


class SoftplusTransform(Transform):
    """log(1 + exp(x))."""

    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return _op["softplus"](x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-(-y).expm1()).log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -_op["softplus"](-x)


class TanhTransform(Transform):
    codomain = constraints.interval(-1.0, 1.0)

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return 2.0 * (math.log(2.0) - x - _op["softplus"](-2.0 * x))


class AbsTransform(Transform):
    codomain = constraints.nonnegative

    bijective = False

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """loc + scale * x."""

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__()
        self.loc, self.scale, self.event_dim = loc, scale, event_dim

    @property
    def sign(self) -> Any:  # type: ignore[override]
        if isinstance(self.scale, Tensor):
            return self.scale.sign()
        return (self.scale > 0) - (self.scale < 0)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.scale, Tensor):
            log = self.scale.abs().log().expand(x.shape)
        else:
            log = _op["full_like"](x, math.log(abs(self.scale)))
        return _added(log, self.event_dim)


class SoftmaxTransform(Transform):
    """Shares from numbers; many numbers give the same shares, so there is no derivative to speak of."""

    domain, codomain = constraints.real_vector, constraints.simplex

    event_dim = 1
    bijective = False

    def _call(self, x: Tensor) -> Tensor:
        return _op["softmax"](x, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()


class StickBreakingTransform(Transform):
    """n numbers to n + 1 shares: each takes a part of what the ones before it have left."""

    domain, codomain = constraints.real_vector, constraints.simplex

    event_dim = 1

    def _parts(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        return x - _op["arange"](n, 0, -1).to(x.dtype).log()

    def _call(self, x: Tensor) -> Tensor:
        z = self._parts(x).sigmoid()
        left = (1 - z).cumprod(-1)
        return _op["pad"](z, [0, 1], value=1.0) * _op["pad"](left, [1, 0], value=1.0)

    def _inverse(self, y: Tensor) -> Tensor:
        shares = y[..., :-1]
        left = (1 - shares.cumsum(-1)).clamp(min=1e-38)
        n = shares.shape[-1]
        return shares.log() - left.log() + _op["arange"](n, 0, -1).to(y.dtype).log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        z = self._parts(x)
        return (_op["logsigmoid"](z) - z + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] - 1)
