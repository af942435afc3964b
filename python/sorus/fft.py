"""Discrete Fourier transforms, as torch.fft: all of them are the operator `fourier`, which has gradients of any order."""

from __future__ import annotations

import math
from typing import Any

from . import _core
from ._core import Tensor
from ._core import operators as _op

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft",
    "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

_OTHER_WAY = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _scale(norm: str | None, n: int, inverse: bool) -> float:
    if norm not in _OTHER_WAY:
        raise RuntimeError(f"fft: norm must be 'forward', 'backward' or 'ortho', not {norm!r}")
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1 / n if (norm == "forward") != inverse else 1.0


def _floating(x: Tensor) -> Tensor:
    return x if x.is_floating_point() or x.is_complex() else x.to(_core.get_default_dtype())


def _complex(x: Tensor) -> Tensor:
    x = _floating(x)
    if x.dtype in (_core.float16, _core.bfloat16):
        raise RuntimeError(f"fft: expected float32, float64 or complex, got {x.dtype}")
    if x.is_complex():
        return x
    return x.to(_core.complex128 if x.dtype is _core.float64 else _core.complex64)


def _length(x: Tensor, dim: int) -> int:
    if not -x.dim() <= dim < x.dim():
        raise IndexError(f"fft: dimension {dim} is out of range for a tensor of {x.dim()} dimensions")
    return x.shape[dim]


def _resized(x: Tensor, n: int, dim: int) -> Tensor:
    """Cut off, or filled up with zeros, along a dimension."""
    if n < 1:
        raise RuntimeError(f"fft: expected at least one element along dimension {dim}, got {n}")
    have = _length(x, dim)
    if n <= have:
        return x.narrow(dim, 0, n) if n < have else x
    shape = list(x.shape)
    shape[dim] = n - have
    return _op["cat"]([x, _op["zeros"](shape, dtype=x.dtype)], dim)


def _transform(x: Tensor, n: int | None, dim: int, norm: str | None, inverse: bool) -> Tensor:
    x = _complex(x)
    n = _length(x, dim) if n is None else n
    y = _op["fourier"](_resized(x, n, dim), dim, inverse)
    scale = _scale(norm, n, inverse)
    return y if scale == 1 else y * scale


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The Fourier transform along `dim`, of n elements."""
    return _transform(input, n, dim, norm, False)


def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """What `fft` takes to the input."""
    return _transform(input, n, dim, norm, True)


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The first half of the transform of real numbers; the rest are its conjugates."""
    if input.is_complex():
        raise RuntimeError(f"rfft: expected real numbers, got {input.dtype}")
    n = _length(input, dim) if n is None else n
    return fft(input, n, dim, norm).narrow(dim, 0, n // 2 + 1)


def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The n real numbers whose `rfft` is the input."""
    x = _complex(input)
    n = 2 * (x.shape[dim] - 1) if n is None else n
    if n < 1:
        raise RuntimeError(f"irfft: expected at least one element along dimension {dim}, got {n}")
    x = _resized(x, n // 2 + 1, dim)
    # What is left out are the conjugates of the elements between the first and the middle one: these count twice.
    shape = [1] * x.dim()
    shape[dim] = x.shape[dim]
    twice = _core.tensor([1.0 if k == 0 or 2 * k == n else 2.0 for k in range(x.shape[dim])], dtype=x.dtype)
    return _op["real_part"](_transform(x * twice.reshape(shape), n, dim, norm, True))


def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The real transform of numbers of which the second half, the conjugates of the first, is left out."""
    return irfft(_op["conj"](_complex(input)), n, dim, _OTHER_WAY.get(norm, norm))


def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """What `hfft` takes to the real input."""
    return _op["conj"](rfft(input, n, dim, _OTHER_WAY.get(norm, norm)))


def _axes(input: Tensor, s: Any, dim: Any, last_is_half: bool = False) -> list[tuple[int, int]]:
    """Dimensions and the lengths of their transforms; `last_is_half`: the last one of the input is half as long."""
    s = [s] if isinstance(s, int) else s
    dim = [dim] if isinstance(dim, int) else dim
    if dim is None:
        count = input.dim() if s is None else len(s)
        dim = range(input.dim() - count, input.dim())
    dim = [d % input.dim() for d in dim]
    if len(set(dim)) != len(dim):
        raise RuntimeError(f"fft: the dimensions {dim} must differ")
    if s is not None and len(s) != len(dim):
        raise RuntimeError(f"fft: {len(s)} sizes for {len(dim)} dimensions")
    sizes = [input.shape[d] for d in dim]
    if last_is_half and sizes:
        sizes[-1] = 2 * (sizes[-1] - 1)
    if s is not None:
        sizes = [own if n == -1 else n for n, own in zip(s, sizes, strict=True)]
    return list(zip(dim, sizes, strict=True))


def fftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The transform along several dimensions (all, or the last len(s))."""
    y = _complex(input)
    for d, n in _axes(input, s, dim):
        y = fft(y, n, d, norm)
    return y


def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """What `fftn` takes to the input."""
    y = _complex(input)
    for d, n in _axes(input, s, dim):
        y = ifft(y, n, d, norm)
    return y


def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The transform of real numbers along several dimensions, of which the last keeps its first half."""
    axes = _axes(input, s, dim)
    if not axes:
        raise RuntimeError("rfftn: expected at least one dimension")
    y = rfft(input, axes[-1][1], axes[-1][0], norm)
    for d, n in axes[:-1]:
        y = fft(y, n, d, norm)
    return y


def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The real numbers whose `rfftn` is the input."""
    axes = _axes(input, s, dim, last_is_half=True)
    if not axes:
        raise RuntimeError("irfftn: expected at least one dimension")
    y = _complex(input)
    for d, n in axes[:-1]:
        y = ifft(y, n, d, norm)
    return irfft(y, axes[-1][1], axes[-1][0], norm)


def hfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """`hfft` along several dimensions, of which the last is the one with a half left out."""
    return irfftn(_op["conj"](_complex(input)), s, dim, _OTHER_WAY.get(norm, norm))


def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """What `hfftn` takes to the real input."""
    return _op["conj"](rfftn(input, s, dim, _OTHER_WAY.get(norm, norm)))


def _plane(function: Any, name: str) -> Any:
    def call(input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Tensor:
        return function(input, s, dim, norm)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"`{function.__name__}` along the last two dimensions."
    return call


fft2, ifft2, rfft2, irfft2 = (
    _plane(fftn, "fft2"),
    _plane(ifftn, "ifft2"),
    _plane(rfftn, "rfft2"),
    _plane(irfftn, "irfft2"),
)
hfft2, ihfft2 = _plane(hfftn, "hfft2"), _plane(ihfftn, "ihfft2")


def _shifted(input: Tensor, dim: Any, back: bool) -> Tensor:
    dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    shifts = [input.shape[d] // 2 if not back else (input.shape[d] + 1) // 2 for d in dims]
    return _op["roll"](input, shifts, dims) if dims else input.clone()


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The frequency 0 moved into the middle."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """What `fftshift` takes to the input."""
    return _shifted(input, dim, True)


def fftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of the elements of `fft` for samples at distances d."""
    values = [(k if k < (n + 1) // 2 else k - n) / (n * d) for k in range(n)]
    return _core.tensor(values, dtype=dtype or _core.get_default_dtype(), requires_grad=requires_grad)


def rfftfreq(n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """The frequencies of the elements of `rfft` for samples at distances d."""
    values = [k / (n * d) for k in range(n // 2 + 1)]
    return _core.tensor(values, dtype=dtype or _core.get_default_dtype(), requires_grad=requires_grad)
