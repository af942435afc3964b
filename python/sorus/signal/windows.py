"""Windows, as torch.signal.windows: M numbers, symmetric, or (sym=False) the first M of a symmetric window of M + 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from .. import _core
from .._core import Tensor

__all__ = [
    "bartlett", "bartlett_window", "blackman", "blackman_window", "cosine", "exponential", "gaussian", "general_cosine",
    "general_hamming", "hamming", "hamming_window", "hann", "hann_window", "kaiser", "kaiser_window", "nuttall",
]  # fmt: skip


def _made(name: str, M: int, sym: bool, value: Callable[[int, int], float], options: dict) -> Tensor:
    """value(k, n) for k below M, n the last place of the symmetric window."""
    known = {"dtype", "layout", "device", "requires_grad"}
    if not set(options) <= known:
        raise TypeError(f"{name}: unknown arguments {sorted(set(options) - known)}")
    if M < 0:
        raise ValueError(f"{name}: the length must not be negative, it is {M}")
    dtype = options.get("dtype") or _core.get_default_dtype()
    if dtype not in (_core.float32, _core.float64):
        raise RuntimeError(f"{name}: expected float32 or float64, got {dtype}")
    _core.operators["empty"]([M], dtype=dtype)  # an error if there is no room for it, before anything is computed
    n = M - 1 if sym else M
    values = [1.0] if M == 1 else [value(k, n) for k in range(M)]
    return _core.tensor(values, dtype=dtype, requires_grad=options.get("requires_grad", False))


def general_cosine(M: int, *, a: Iterable[float], sym: bool = True, **options: Any) -> Tensor:
    """The sum of (-1)^i a[i] cos(2 pi i k / n)."""
    terms = list(a)
    if not terms:
        raise ValueError("general_cosine: expected at least one coefficient")
    return _made("general_cosine", M, sym, lambda k, n: sum(
        (-1) ** i * c * math.cos(2 * math.pi * i * k / n) for i, c in enumerate(terms)), options)  # fmt: skip


def general_hamming(M: int, *, alpha: float = 0.54, sym: bool = True, **options: Any) -> Tensor:
    """alpha - (1 - alpha) cos(2 pi k / n)."""
    return general_cosine(M, a=[alpha, 1 - alpha], sym=sym, **options)


def hamming(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.54 - 0.46 cos(2 pi k / n)."""
    return general_hamming(M, sym=sym, **options)


def hann(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """(1 - cos(2 pi k / n)) / 2."""
    return general_hamming(M, alpha=0.5, sym=sym, **options)


def blackman(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """0.42 - 0.5 cos(2 pi k / n) + 0.08 cos(4 pi k / n)."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **options)


def nuttall(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Nuttall's window with four cosines."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **options)


def bartlett(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """A triangle from 0 to 1 and back."""
    return _made("bartlett", M, sym, lambda k, n: 1 - abs(2 * k / n - 1), options)


def cosine(M: int, *, sym: bool = True, **options: Any) -> Tensor:
    """Half a period of a sine, from the middle of the first element on."""
    return _made("cosine", M, sym, lambda k, n: math.sin(math.pi * (k + 0.5) / (n + 1)), options)


def exponential(M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-|k - center| / tau)."""
    if tau <= 0:
        raise ValueError(f"exponential: tau must be positive, it is {tau}")
    if sym and center is not None:
        raise ValueError("exponential: a symmetric window has its center in the middle")
    return _made("exponential", M, sym, lambda k, n: math.exp(
        -abs(k - (n / 2 if center is None else center)) / tau), options)  # fmt: skip


def gaussian(M: int, *, std: float = 1.0, sym: bool = True, **options: Any) -> Tensor:
    """exp(-((k - n / 2) / std)^2 / 2)."""
    if std <= 0:
        raise ValueError(f"gaussian: std must be positive, it is {std}")
    return _made("gaussian", M, sym, lambda k, n: math.exp(-(((k - n / 2) / std) ** 2) / 2), options)


def _bessel_i0(x: float) -> float:
    """The modified Bessel function of order 0, by its power series, all of whose terms are positive."""
    total = term = 1.0
    k = 1
    while term > total * 1e-17:
        term *= (x / (2 * k)) ** 2
        total += term
        k += 1
    return total


def kaiser(M: int, *, beta: float = 12.0, sym: bool = True, **options: Any) -> Tensor:
    """I0(beta sqrt(1 - (2 k / n - 1)^2)) / I0(beta)."""
    if beta < 0:
        raise ValueError(f"kaiser: beta must not be negative, it is {beta}")
    return _made("kaiser", M, sym, lambda k, n: _bessel_i0(
        beta * math.sqrt(max(0.0, 1 - (2 * k / n - 1) ** 2))) / _bessel_i0(beta), options)  # fmt: skip


# The older names, which PyTorch has at its top: periodic unless said.


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """(1 - cos(2 pi k / n)) / 2, n being `window_length`, or one less if not periodic."""
    return hann(window_length, sym=not periodic, **options)


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, **options: Any
) -> Tensor:
    """alpha - beta cos(2 pi k / n)."""
    return general_cosine(window_length, a=[alpha, beta], sym=not periodic, **options)


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """0.42 - 0.5 cos(2 pi k / n) + 0.08 cos(4 pi k / n)."""
    return blackman(window_length, sym=not periodic, **options)


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Tensor:
    """1 - |2 k / n - 1|."""
    return bartlett(window_length, sym=not periodic, **options)


def kaiser_window(window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any) -> Tensor:
    """I0(beta sqrt(1 - (2 k / n - 1)^2)) / I0(beta)."""
    return kaiser(window_length, beta=beta, sym=not periodic, **options)
