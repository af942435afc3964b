"""Comparisons for tests (torch.testing): `assert_close(actual, expected)` says where two results differ most, and by how much;
`make_tensor` makes something to compare."""

from __future__ import annotations

import collections.abc
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core
from ._core import Tensor, operators
from ._functions import finfo

# Relative and absolute, by the less exact of both types; other types have to be equal.
_TOLERANCES = {
    _core.bfloat16: (1.6e-2, 1e-5), _core.float16: (1e-3, 1e-5), _core.float32: (1.3e-6, 1e-5),
    _core.float64: (1e-7, 1e-7), _core.complex64: (1.3e-6, 1e-5), _core.complex128: (1e-7, 1e-7),
}  # fmt: skip


def _fail(where: str, text: str, msg: str | Callable[[str], str] | None) -> None:
    text = f"{text}{f' (at {where})' if where else ''}"
    raise AssertionError(msg(text) if callable(msg) else msg if msg is not None else text)


def _compare(actual: Tensor, expected: Tensor, rtol: float, atol: float, equal_nan: bool) -> str | None:
    """How the values differ, or None."""
    exact = rtol == atol == 0
    wide = actual.dtype if exact else _core.complex128 if actual.is_complex() else _core.float64
    a, b = actual.to(wide), expected.to(wide)
    close = (
        a == b if exact and not equal_nan else operators["isclose"](a, b, rtol=rtol, atol=atol, equal_nan=equal_nan)
    )
    bad = int((~close).sum().item())
    if not bad:
        return None
    x, y = (t.to(_core.complex128 if actual.is_complex() else _core.float64).numpy() for t in (actual, expected))
    with np.errstate(all="ignore"):
        off = np.where(close.numpy(), 0, np.abs(x - y))
        relative = np.where(off == 0, 0, off / np.abs(y))
    lines = [f"{'Scalars' if actual.dim() == 0 else 'Tensors'} are not {'equal' if exact else 'close'}!", ""]
    lines.append(f"Mismatched elements: {bad} / {actual.numel()} ({100 * bad / actual.numel():.1f}%)")
    for name, d, allowed in (("absolute", off, atol), ("relative", relative, rtol)):
        at = np.unravel_index(np.argmax(np.where(np.isnan(d), np.inf, d)), d.shape)
        place = f" at index {tuple(int(i) for i in at)}" if d.ndim else ""
        lines.append(f"Greatest {name} difference: {d[at]}{place} (up to {allowed} allowed)")
    return "\n".join(lines)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
    _where: str = "",
) -> None:
    """AssertionError unless |actual - expected| <= atol + rtol * |expected| for every element, with equal shapes and types.

    Tensors, numbers, arrays, and sequences and dictionaries of them. The tolerances depend on the type where none are given:
    1.3e-6 and 1e-5 for float32; whole numbers have to be equal.
    """
    if (rtol is None) != (atol is None):
        raise ValueError("assert_close: give both rtol and atol, or neither")
    options: dict[str, Any] = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan, "check_dtype": check_dtype,
               "check_stride": check_stride, "msg": msg}  # fmt: skip
    if isinstance(actual, collections.abc.Mapping) and isinstance(expected, collections.abc.Mapping):
        if actual.keys() != expected.keys():
            _fail(_where, f"The keys differ: {list(actual)} and {list(expected)}", msg)
        for key, value in actual.items():
            assert_close(value, expected[key], **options, _where=f"{_where}[{key!r}]")
        return
    if isinstance(actual, (list, tuple)) and isinstance(expected, (list, tuple)):
        if len(actual) != len(expected):
            _fail(_where, f"The lengths differ: {len(actual)} and {len(expected)}", msg)
        for i, (a, b) in enumerate(zip(actual, expected, strict=True)):
            assert_close(a, b, **options, _where=f"{_where}[{i}]")
        return
    if (actual is None) != (expected is None):
        _fail(_where, f"Expected {expected!r}, got {actual!r}", msg)
    if actual is None:
        return
    if isinstance(actual, Tensor) != isinstance(expected, Tensor) and check_dtype:
        raise TypeError(f"assert_close: cannot compare a {type(actual).__name__} with a {type(expected).__name__}")
    numbers = not isinstance(actual, (Tensor, np.ndarray)) and not isinstance(expected, (Tensor, np.ndarray))
    a, b = (x.detach() if isinstance(x, Tensor) else _core.tensor(np.asarray(x)) for x in (actual, expected))
    if a.shape != b.shape:
        _fail(_where, f"The shapes differ: {tuple(a.shape)} and {tuple(b.shape)}", msg)
    if a.dtype != b.dtype and check_dtype:
        _fail(_where, f"The types differ: {a.dtype} and {b.dtype}", msg)
    if check_stride and a.stride() != b.stride():
        _fail(_where, f"The strides differ: {a.stride()} and {b.stride()}", msg)
    if rtol is None or atol is None:
        found = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, b)]
        found = [(1e-7, 1e-7) if numbers and pair != (0.0, 0.0) else pair for pair in found]
        rtol, atol = max(p[0] for p in found), max(p[1] for p in found)
    if a.dtype != b.dtype:
        both = _core.promote_types(a.dtype, b.dtype)
        a, b = a.to(both), b.to(both)
    if text := _compare(a, b, rtol, atol, equal_nan):
        _fail(_where, text, msg)


def make_tensor(
    *shape: Any,
    dtype: Any,
    device: Any = None,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
) -> Tensor:
    """A tensor of random numbers in [low, high): [-9, 9) for floats, [-9, 10) for integers, [0, 2) for bool.

    `noncontiguous`: every second element of a larger one. `exclude_zero`: zeros become the smallest positive number.
    """
    size = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else list(shape)
    given = [*size[:-1], 2 * size[-1]] if noncontiguous and size else size
    low, high = (-9 if low is None else low), high
    if dtype == _core.bool:
        t = _core.randint(0, 2, given).to(dtype)
    elif str(dtype).split(".")[-1].startswith(("int", "uint")):
        least = 0 if str(dtype).endswith("uint8") and low < 0 else int(low)
        t = _core.randint(least, int(10 if high is None else high), given).to(dtype)
    else:
        top = 9.0 if high is None else high
        t = (_core.rand(*given, dtype=_core.float64) * (top - low) + low).to(dtype)
        if t.is_complex():
            t = t + t.flip(0) * 1j if t.dim() else t
    if noncontiguous and size:
        t = t[..., ::2]
    if exclude_zero:
        t = t.masked_fill(t == 0, 1 if not t.is_floating_point() else finfo(dtype).tiny)
    return t.requires_grad_(requires_grad) if requires_grad else t


__all__ = ["assert_close", "make_tensor"]
