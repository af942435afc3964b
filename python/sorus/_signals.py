"""Functions of sampled values that are a few calls of operators: spectra over time, derivatives, orders that leave out NaN."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from . import _core
from ._core import Tensor
from ._core import operators as _op
from ._functions import _shares

__all__ = ["gradient", "istft", "mode", "nanquantile", "stft"]


class Mode(NamedTuple):
    values: Tensor
    indices: Tensor


def _window(window: Tensor | None, win_length: int | None, n_fft: int, x: Tensor, what: str) -> tuple[Tensor, int]:
    """The window, in the middle of n_fft elements."""
    length = n_fft if win_length is None else win_length
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{what}: expected 0 < win_length <= n_fft = {n_fft}, got {length}")
    if window is None:
        kind = _core.float64 if x.dtype in (_core.float64, _core.complex128) else _core.float32
        window = _op["ones"]([length], dtype=kind)
    if window.dim() != 1 or window.shape[0] != length:
        raise RuntimeError(f"{what}: expected a window of {length} elements, got {tuple(window.shape)}")
    left = (n_fft - length) // 2
    return _op["pad"](window, [left, n_fft - length - left]), length


def stft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
    onesided: bool | None = None, return_complex: bool | None = None,
) -> Tensor:  # fmt: skip
    """Fourier transforms of windows of a signal [T] or [B, T]: [.., frequencies, windows], complex.

    Windows of n_fft elements are hop_length apart (a quarter of them by default); with `center` the first one has its middle at the first
    element, and the signal is padded. Real signals have n_fft // 2 + 1 frequencies (`onesided`). With return_complex=False the
    real and imaginary parts are a last dimension. RuntimeError for sizes that do not fit, and where return_complex is not
    said of a real signal.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"stft: expected a signal of one or two dimensions, got {input.dim()}")
    is_complex = input.is_complex() or (window is not None and window.is_complex())
    if return_complex is None:
        if not is_complex:
            raise RuntimeError("stft: return_complex must be given for real signals; True gives complex numbers")
        return_complex = True
    x = input.reshape(1, -1) if input.dim() == 1 else input
    hop = n_fft // 4 if hop_length is None else hop_length
    if center:
        x = _op["pad"](x.unsqueeze(0), [n_fft // 2, n_fft // 2], pad_mode).squeeze(0)
    if not 0 < n_fft <= x.shape[-1] or hop <= 0:
        raise RuntimeError(f"stft: expected 0 < n_fft <= {x.shape[-1]} and hop_length > 0, got {n_fft} and {hop}")
    full, _ = _window(window, win_length, n_fft, x, "stft")
    from . import fft

    frames = x.unfold(-1, n_fft, hop) * full
    half = not is_complex if onesided is None else onesided
    if half and is_complex:
        raise RuntimeError("stft: a complex signal has frequencies of both signs; onesided must be False")
    y = (fft.rfft if half else fft.fft)(frames, norm="ortho" if normalized else None).transpose(-1, -2)
    y = y[0] if input.dim() == 1 else y
    return y if return_complex else _op["stack"]([y.real, y.imag], -1)


def istft(
    input: Tensor, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Tensor | None = None, center: bool = True, normalized: bool = False, onesided: bool | None = None,
    length: int | None = None, return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """The signal whose `stft` is nearest to the input [.., frequencies, windows]: [T] or [B, T], of `length` elements.

    RuntimeError for sizes that do not fit, and where the windows leave an element out.
    """
    if input.dim() not in (2, 3) or not input.is_complex():
        raise RuntimeError(
            f"istft: expected complex numbers of two or three dimensions, got {input.dtype} of {input.dim()}"
        )
    from . import fft
    from .nn import functional as F

    x = input.unsqueeze(0) if input.dim() == 2 else input
    hop = n_fft // 4 if hop_length is None else hop_length
    half = x.shape[1] != n_fft if onesided is None else onesided
    if x.shape[1] != (n_fft // 2 + 1 if half else n_fft) or hop <= 0:
        raise RuntimeError(
            f"istft: {x.shape[1]} frequencies are not those of n_fft={n_fft}, or hop_length={hop} is not positive"
        )
    full, _ = _window(window, win_length, n_fft, x, "istft")
    norm, columns = "ortho" if normalized else None, x.transpose(-1, -2)
    frames = (
        fft.ifft(columns, n_fft, norm=norm)
        if return_complex
        else fft.irfft(columns[..., : n_fft // 2 + 1], n_fft, norm=norm)
    )
    frames = (frames * full).transpose(-1, -2)
    total = n_fft + hop * (x.shape[2] - 1)

    def added(parts: Tensor) -> Tensor:
        return F.fold(parts, (1, total), (1, n_fft), stride=(1, hop)).reshape(parts.shape[0], total)

    power = (full * full).reshape(1, n_fft, 1).expand(1, n_fft, x.shape[2])
    y = added(frames.real) + 1j * added(frames.imag) if frames.is_complex() else added(frames)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - start
    weight = added(power)[:, start:end]
    if weight.numel() == 0 or float(weight.detach().abs().min()) < 1e-11:
        raise RuntimeError("istft: the windows leave an element out; take a smaller hop_length or another window")
    y = y[:, start:end] / weight
    if length is not None and y.shape[1] < length:
        y = _op["pad"](y, [0, length - y.shape[1]])
    return y[0] if input.dim() == 2 else y


def gradient(input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> list[Tensor]:
    """Derivatives along dimensions (all by default) by differences of neighbours, of second order inside.

    spacing: the distance of neighbours, one for each dimension, or the places as tensors. edge_order: 1 or 2, the order at the
    ends. RuntimeError where a dimension has too few elements.
    """
    dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    spacing = 1 if spacing is None else spacing
    steps = list(spacing) if isinstance(spacing, (list, tuple)) else [spacing] * len(dims)
    if len(steps) != len(dims) or edge_order not in (1, 2):
        raise RuntimeError(f"gradient: expected a spacing for each of {len(dims)} dimensions and edge_order 1 or 2")
    x = input if input.is_floating_point() or input.is_complex() else input.to(_core.get_default_dtype())
    return [
        _derivative(x.movedim(d, -1), step, edge_order).movedim(-1, d) for d, step in zip(dims, steps, strict=True)
    ]


def _derivative(f: Tensor, step: Any, order: int) -> Tensor:
    n = f.shape[-1]
    if n < order + 1:
        raise RuntimeError(f"gradient: expected at least {order + 1} elements along each dimension, got {n}")
    if isinstance(step, Tensor) and step.dim() == 1:
        if step.shape[0] != n:
            raise RuntimeError(f"gradient: expected {n} places along a dimension, got {step.shape[0]}")
        h = step[1:] - step[:-1]
    else:
        h = _op["ones"]([n - 1], dtype=_core.float64) * step
    h = h.to(f.dtype)
    slope = (f[..., 1:] - f[..., :-1]) / h
    ends = [slope[..., :1], slope[..., -1:]]
    if order == 2:  # the slope of a parabola through three elements
        ends[0] = ends[0] - h[0] * (slope[..., 1:2] - slope[..., :1]) / (h[0] + h[1])
        ends[1] = ends[1] + h[-1] * (slope[..., -1:] - slope[..., -2:-1]) / (h[-1] + h[-2])
    inner = (slope[..., :-1] * h[1:] + slope[..., 1:] * h[:-1]) / (h[1:] + h[:-1])
    return _op["cat"]([ends[0], inner, ends[1]], -1)


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Mode:
    """The most frequent element along `dim`, of several the smallest, and the last index at which it stands."""
    if input.dim() == 0:
        return Mode(input.clone(), _core.tensor(0))
    x = input.movedim(dim, -1)
    n = x.shape[-1]
    if n == 0:
        raise IndexError("mode: expected at least one element along the dimension")
    ordered = x.sort(-1).values
    places = _op["arange"](n).expand(ordered.shape)
    begins = _op["cat"](
        [_op["ones"](ordered[..., :1].shape, dtype=_core.bool), ordered[..., 1:] != ordered[..., :-1]], -1
    )
    run = places - _op["cummax"](_op["where"](begins, places, 0), -1)[0]  # how many equal ones stand before
    value = ordered.gather(-1, run.argmax(-1, True))
    index = _op["where"](x == value, places, -1).amax(-1, True)
    values, indices = x.gather(-1, index.clamp(min=0)), index.clamp(min=0)
    if keepdim:
        return Mode(values.movedim(-1, dim), indices.movedim(-1, dim))
    return Mode(values.squeeze(-1), indices.squeeze(-1))


def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of the elements that are no NaN; NaN where there are none."""
    q = _shares(q, input, "nanquantile")
    x = input.reshape(-1) if dim is None or input.dim() == 0 else input.movedim(dim, -1)
    ordered = x.sort(-1).values  # NaN last
    count = (~ordered.isnan()).sum(-1, True)
    shares = q.reshape(-1)
    place = (count - 1).clamp(min=0).to(x.dtype) * shares
    rounding = {"nearest": "round", "lower": "floor", "higher": "ceil", "linear": "", "midpoint": ""}
    if interpolation not in rounding:
        raise RuntimeError(f"nanquantile: unknown interpolation {interpolation!r}")
    if rounding[interpolation]:
        place = _op[rounding[interpolation]](place)
    low, high = (ordered.gather(-1, _op[kind](place).long()) for kind in ("floor", "ceil"))
    weight = place - place.floor()
    if interpolation == "midpoint":
        weight = (weight > 0).to(x.dtype) * 0.5
    y = _op["where"](count == 0, math.nan, low.lerp(high, weight)).movedim(-1, 0)
    if keepdim and input.dim():
        y = y.reshape([-1] + [1] * input.dim()) if dim is None else y.unsqueeze(dim % input.dim() + 1)
    return y[0] if q.dim() == 0 else y


Tensor.stft, Tensor.istft, Tensor.mode, Tensor.nanquantile = stft, istft, mode, nanquantile
