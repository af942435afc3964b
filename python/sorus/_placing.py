"""Functions of places: writing and counting where numbers say, and tensors whose memory is laid out by hand."""

from __future__ import annotations

import builtins
import collections
import math
from typing import Any

from . import _core
from ._core import Tensor
from ._core import operators as _op

__all__ = [
    "empty_permuted", "empty_strided", "histogram", "histogramdd", "nonzero_static", "put", "resize_as_", "unravel_index",
]  # fmt: skip

_make: Any = collections.namedtuple
_Histogram = _make("histogram", ["hist", "bin_edges"])
_Histogramdd = _make("histogramdd", ["hist", "bin_edges"])


def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with the elements of `source` written, or added, where `index` says in the flat tensor. RuntimeError for
    another number of indices than of elements, IndexError for an index outside."""
    if index.numel() != source.numel():
        raise RuntimeError(f"put: {index.numel()} indices for {source.numel()} elements")
    n = input.numel()
    place, values = index.reshape(-1), source.reshape(-1)
    if place.numel() and not bool(((place >= -n) & (place < n)).all()):
        raise IndexError(f"put: an index lies outside of the {n} elements of {tuple(input.shape)}")
    place = _op["where"](place < 0, place + n, place)
    write = _op["scatter_add" if accumulate else "scatter"]
    return write(input.reshape(-1), 0, place, values).reshape(input.shape)


def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The places in each dimension of `shape` that positions in the flat tensor stand for. ValueError for one outside."""
    sizes = [shape] if isinstance(shape, int) else [int(n) for n in shape]
    n = math.prod(sizes)
    indices = indices.to(_core.int64)  # of bytes too, which could not count on
    if indices.numel() and not bool(((indices >= -n) & (indices < n)).all()):
        raise ValueError(f"unravel_index: a position lies outside of the {n} elements of {tuple(sizes)}")
    rest = _op["where"](indices < 0, indices + n, indices)
    places = []
    for size in reversed(sizes):
        places.append(rest % size if size else rest)
        rest = _op["floor_divide"](rest, max(size, 1))
    return tuple(reversed(places))


def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of `nonzero`; rows of `fill_value` where there are fewer."""
    rows = _op["nonzero"](input)[:size]
    return _op["pad"](rows, [0, 0, 0, size - rows.shape[0]], value=fill_value)


# ---- histograms


def _edges(x: Tensor, bins: Any, span: Any) -> Tensor:
    """The borders of bins: those given, or of equal width between two numbers or the extremes of x."""
    if isinstance(bins, Tensor):
        return bins
    if bins < 1:
        raise RuntimeError(f"histogram: expected at least one bin, found {bins}")
    if span is not None:
        low, high = (float(v) for v in span)
    else:
        low, high = (float(x.min().item()), float(x.max().item())) if x.numel() else (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise RuntimeError(f"histogram: bins from {low} to {high} are not possible")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return _op["linspace"](low, high, bins + 1, dtype=x.dtype)


def _counted(x: Tensor, edges: list[Tensor], weight: Tensor | None, density: bool) -> Tensor:
    """How many rows of x [n, d] lie in each bin; the last bin of a dimension has both its borders."""
    sizes = [e.shape[0] - 1 for e in edges]
    flat, inside = _op["zeros"]([x.shape[0]], dtype=_core.int64), _op["ones"]([x.shape[0]], dtype=_core.bool)
    for d, e in enumerate(edges):
        column = x[:, d].contiguous()
        bin = _op["searchsorted"](e, column, right=True) - 1
        bin = _op["where"](column == e[-1], sizes[d] - 1, bin)
        inside = inside & (column >= e[0]) & (column <= e[-1])
        flat = flat * sizes[d] + bin
    count = _op["ones"]([x.shape[0]], dtype=x.dtype) if weight is None else weight.reshape(-1)
    hist = _op["scatter_add"](_op["zeros"]([math.prod(sizes)], dtype=x.dtype), 0, flat[inside], count[inside])
    hist = hist.reshape(sizes)
    if density:
        volume = _op["ones"]([], dtype=x.dtype)
        for e in edges:
            volume = volume.unsqueeze(-1) * (e[1:] - e[:-1])
        hist = hist / (hist.sum() * volume)
    return hist


def histogram(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """How many elements lie in each bin, and the borders of the bins. `bins`: how many of equal width between the two
    numbers `range` (by default the extremes of the input), or a vector of borders in ascending order. With `weight`
    elements count that much each; with `density` the integral over all bins is 1."""
    x = input.reshape(-1)
    edges = _edges(x, bins, range)
    return _Histogram(_counted(x.unsqueeze(1), [edges], weight, density), edges)


def histogramdd(
    input: Tensor, bins: Any, *, range: Any = None, weight: Tensor | None = None, density: bool = False
) -> Any:
    """`histogram` of points [.., d] in d dimensions: `bins` holds a number or borders for each, or is one number for
    all; `range` holds the lowest and highest coordinates, two numbers for each dimension."""
    d = input.shape[-1]
    x = input.reshape(-1, d)
    bins = [bins] * d if isinstance(bins, int) else list(bins)
    if len(bins) != d:
        raise RuntimeError(f"histogramdd: bins for {len(bins)} dimensions, the points have {d}")
    spans = [None] * d if range is None else [range[2 * i : 2 * i + 2] for i in builtins.range(d)]
    edges = [_edges(x[:, i], bins[i], spans[i]) for i in builtins.range(d)]
    return _Histogramdd(_counted(x, edges, weight, density), tuple(edges))


# ---- memory by hand


def empty_strided(size: Any, stride: Any, *, dtype: Any = None, requires_grad: bool = False, **hints: Any) -> Tensor:
    """A tensor with these strides over memory that is not written."""
    reach = 0 if 0 in size else 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    y = _op["empty"]([reach], dtype=dtype).as_strided(list(size), list(stride))
    return y.detach().requires_grad_() if requires_grad else y


def empty_permuted(size: Any, physical_layout: Any, **options: Any) -> Tensor:
    """A tensor over memory that is not written, whose dimensions lie in it in the given order, the outermost first."""
    order = [int(d) for d in physical_layout]
    if sorted(order) != list(builtins.range(len(size))):
        raise RuntimeError(f"empty_permuted: {order} is no order of {len(size)} dimensions")
    strides, step = [0] * len(order), 1
    for d in reversed(order):
        strides[d] = step
        step *= max(size[d], 1)
    return empty_strided(size, strides, **options)


def _resize(self: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """The tensor in another shape, in place: its first elements are kept, others are not written. What showed its
    memory before does so no longer."""
    shape = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else [int(n) for n in sizes]
    if self.requires_grad:
        raise RuntimeError("resize_: a tensor that requires gradients cannot be resized")
    old, new = self.detach().reshape(-1), _op["empty"]([math.prod(shape)], dtype=self.dtype)
    kept = min(old.numel(), new.numel())
    new[:kept].copy_(old[:kept])
    self.data = new.reshape(shape)
    return self


def resize_as_(input: Tensor, other: Tensor, *, memory_format: Any = None) -> Tensor:
    """`Tensor.resize_` to the shape of another tensor."""
    return _resize(input, list(other.shape))


# ---- methods


def _in_place(name: str) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.copy_(getattr(self, name)(*args, **kwargs))

    method.__name__ = method.__qualname__ = f"{name}_"
    return method


Tensor.polygamma = lambda self, n: _op["polygamma"](n, self)
for _name in ("ldexp", "mvlgamma", "polygamma", "put", "renorm", "sgn"):
    setattr(Tensor, _name + "_", _in_place(_name))
for _name in ("histogram", "nonzero_static", "put", "resize_as_"):
    setattr(Tensor, _name, globals()[_name])
Tensor.resize_ = _resize
Tensor.new_empty_strided = lambda self, size, stride, *, dtype=None, **options: empty_strided(
    size, stride, dtype=dtype or self.dtype, **options)  # fmt: skip
