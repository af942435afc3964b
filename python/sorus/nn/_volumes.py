"""Pooling of volumes [N, C, D, H, W], by that of images: first all planes, then along the depth."""

from __future__ import annotations

import math
from typing import Any

from .._core import Tensor, operators, tensor


def _each(v: Any, dims: int) -> tuple[int, ...]:
    """A number for each dimension, from one or as many."""
    return (v,) * dims if isinstance(v, int) else tuple(v) * (dims if len(v) == 1 else 1)


def _three(v: Any) -> tuple[int, ...]:
    return _each(v, 3)


def _volumes(input: Tensor, who: str) -> tuple[Tensor, bool]:
    """With a batch, and whether one had to be added."""
    if input.dim() not in (4, 5):
        raise RuntimeError(f"{who}: expected 4 or 5 dimensions, got shape {tuple(input.shape)}")
    return (input.unsqueeze(0), True) if input.dim() == 4 else (input, False)


def _by_depth(y: Tensor, pool: Any) -> Tensor:
    """`pool` along the depth of [planes, D, H, W], which it gets as [planes, 1, D, H * W]."""
    n, depth, h, w = y.shape
    y = pool(y.reshape(n, 1, depth, h * w))
    return y.reshape(n, y.shape[2], h, w)


def _restored(y: Tensor, input: Tensor) -> Tensor:
    return y.reshape(*input.shape[:-3], *y.shape[1:])


def _flat(input: Tensor, who: str) -> Tensor:
    _volumes(input, who)
    return input.reshape(math.prod(input.shape[:-3]), *input.shape[-3:])


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of volumes, with its place in the volume if asked for."""
    k, p, d = _three(kernel_size), _three(padding), _three(dilation)
    s = _three(stride) if stride or stride == 0 else k
    x = _flat(input, "max_pool3d")
    n, _, h, w = x.shape
    y, inner = operators["max_pool2d_with_indices"](x, k[1:], s[1:], p[1:], d[1:], ceil_mode)
    depth, rows, cols = y.shape[1:]
    y = y.reshape(n, 1, depth, rows * cols)
    y, outer = operators["max_pool2d_with_indices"](y, [k[0], 1], [s[0], 1], [p[0], 0], [d[0], 1], ceil_mode)
    result = _restored(y.reshape(n, y.shape[2], rows, cols), input)
    if not return_indices:
        return result
    flat = outer.reshape(n, -1)
    places = inner.reshape(n, -1).gather(1, flat) + operators["floor_divide"](flat, rows * cols) * (h * w)
    return result, places.reshape(*result.shape)


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window of volumes."""
    k, p = _three(kernel_size), _three(padding)
    s = _three(stride) if stride or stride == 0 else k
    x, pool = _flat(input, "avg_pool3d"), operators["avg_pool2d"]
    y = pool(x, k[1:], s[1:], p[1:], ceil_mode, True, 1)  # sums
    y = _by_depth(y, lambda t: pool(t, [k[0], 1], [s[0], 1], [p[0], 0], ceil_mode, True, 1))
    divide = operators["div" if y.is_floating_point() or y.is_complex() else "trunc_divide"]
    if divisor_override is not None:
        return _restored(divide(y, divisor_override), input)
    counts: Any = 1
    for i, (size, windows) in enumerate(zip(x.shape[1:], y.shape[1:], strict=True)):
        ends = [(j * s[i] - p[i], min(j * s[i] - p[i] + k[i], size + p[i])) for j in range(windows)]
        if not count_include_pad:
            ends = [(max(a, 0), min(b, size)) for a, b in ends]
        shape = [1, 1, 1]
        shape[i] = windows
        counts = counts * tensor([b - a for a, b in ends], dtype=y.dtype).reshape(shape)
    return _restored(divide(y, counts), input)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """Means of as many windows as asked for (None: as many as there are elements)."""
    x, pool = _flat(input, "adaptive_avg_pool3d"), operators["adaptive_avg_pool2d"]
    d, h, w = (n if n is not None else own for n, own in zip(_three(output_size), x.shape[1:], strict=True))
    y = _by_depth(pool(x, [h, w]), lambda t: pool(t, [d, t.shape[3]]))
    return _restored(y, input)


def max_unpool(dims: int) -> Any:
    """The functions max_unpool1d, 2d and 3d."""

    def call(
        input: Tensor,
        indices: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        k, p = _each(kernel_size, dims), _each(padding, dims)
        s = k if stride is None else _each(stride, dims)
        lead = input.shape[: input.dim() - dims]
        if output_size is None:
            size = [(n - 1) * s[i] - 2 * p[i] + k[i] for i, n in enumerate(input.shape[input.dim() - dims :])]
        else:
            size = list(output_size)[-dims:]
        total = math.prod(size)
        if indices.shape != input.shape:
            raise RuntimeError(
                f"max_unpool{dims}d: input {tuple(input.shape)} and indices {tuple(indices.shape)} differ"
            )
        zero = operators["zeros"]([*lead, total], dtype=input.dtype)
        flat = [*lead, input.numel() // max(1, zero.numel() // total) if total else 0]
        return operators["scatter"](zero, -1, indices.reshape(flat), input.reshape(flat)).reshape([*lead, *size])

    call.__name__ = call.__qualname__ = f"max_unpool{dims}d"
    call.__doc__ = "The elements put back to the places that max-pooling found them at, zeros elsewhere."
    return call
