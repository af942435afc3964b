"""More functions that are a few calls of operators: of arranging, integrating, and statistics over rows."""

from __future__ import annotations

import math
from typing import Any

from . import _core
from ._core import Tensor
from ._core import operators as _op

__all__ = [
    "block_diag", "corrcoef", "cov", "cumulative_trapezoid", "diagflat", "diagonal_scatter", "fill", "isreal", "ldexp",
    "logaddexp2", "narrow_copy", "positive", "renorm", "resolve_conj", "resolve_neg", "rot90", "select_scatter", "sgn",
    "slice_scatter", "split_with_sizes", "trapezoid", "trapz", "unsafe_chunk", "unsafe_split", "view_as_complex", "view_as_real",
]  # fmt: skip


def positive(input: Tensor) -> Tensor:
    """The input itself. RuntimeError for bool."""
    if input.dtype is _core.bool:
        raise RuntimeError("positive: there is no sign of a bool tensor")
    return input


def sgn(input: Tensor) -> Tensor:
    """The sign of real numbers, z / |z| of complex ones (0 for 0)."""
    if not input.is_complex():
        return _op["sign"](input)
    size = input.abs()
    return input / _op["where"](size == 0, 1.0, size)


def view_as_real(input: Tensor) -> Tensor:
    """Real and imaginary parts along a new last dimension; in memory of their own. RuntimeError for real numbers."""
    if not input.is_complex():
        raise RuntimeError(f"view_as_real: expected complex numbers, got {input.dtype}")
    return _op["stack"]([_op["real_part"](input), _op["imag_part"](input)], -1)


def view_as_complex(input: Tensor) -> Tensor:
    """Complex numbers of the pairs along the last dimension [.., 2]; in memory of their own.

    Raises: RuntimeError for other types than float32 and float64, and other shapes.
    """
    if input.dtype not in (_core.float32, _core.float64) or input.dim() == 0 or input.shape[-1] != 2:
        kind = f"{input.dtype} of shape {tuple(input.shape)}"
        raise RuntimeError(f"view_as_complex: expected float32 or float64 with a last dimension of 2, got {kind}")
    return _op["complex"](input.select(-1, 0), input.select(-1, 1))


def resolve_conj(input: Tensor) -> Tensor:
    """The input itself: conjugates are always computed."""
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """The input itself: negatives are always computed."""
    return input


def isreal(input: Tensor) -> Tensor:
    """Where the imaginary part is 0."""
    if input.is_complex():
        return _op["imag_part"](input) == 0
    return _op["ones"](list(input.shape), dtype=_core.bool)


def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor like `input` with `value` everywhere."""
    # A selection that never takes the input: so its gradient is 0 and not missing.
    value = value if isinstance(value, Tensor) else _core.tensor(value)
    return _op["where"](_op["ones"](list(input.shape), dtype=_core.bool), value.to(input.dtype), input)


def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other."""
    return input * _op["pow"](2.0, other)


def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other), without overflow."""
    ln2 = 0.6931471805599453
    return _op["logaddexp"](input * ln2, other * ln2) / ln2


def split_with_sizes(input: Tensor, split_sizes: list[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of the given sizes along `dim`, which they must fill."""
    return tuple(input.split(list(split_sizes), dim))


def unsafe_split(input: Tensor, split_size: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """As `split`; the parts may be written in place without the others' noticing."""
    return tuple(part.clone() for part in input.split(split_size, dim))


def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """As `chunk`; the parts may be written in place without the others' noticing."""
    return tuple(part.clone() for part in input.chunk(chunks, dim))


def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """As `narrow`, with memory of its own."""
    return input.narrow(dim, start, length).clone()


def _replaced(input: Tensor, src: Tensor, part: Any, name: str) -> Tensor:
    """`input` with a part of it replaced by `src`; `part` takes the view out of a tensor."""
    out = input.clone()
    place = part(out)
    if tuple(place.shape) != tuple(src.shape):
        raise RuntimeError(f"{name}: the part has the shape {tuple(place.shape)}, src {tuple(src.shape)}")
    place.copy_(src)
    return out


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """`input` with `src` at one index of `dim`."""
    return _replaced(input, src, lambda x: x.select(dim, index), "select_scatter")


def slice_scatter(input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
                  step: int = 1) -> Tensor:  # fmt: skip
    """`input` with `src` at start:end:step of `dim`."""

    def part(x: Tensor) -> Tensor:
        return x[(slice(None),) * (dim % x.dim()) + (slice(start, end, step),)]

    return _replaced(input, src, part, "slice_scatter")


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """`input` with `src` on a diagonal."""
    return _replaced(input, src, lambda x: x.diagonal(offset, dim1, dim2), "diagonal_scatter")


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of `input` on a diagonal."""
    return _op["diag"](input.reshape(-1), offset)


def block_diag(*tensors: Tensor) -> Tensor:
    """The matrix with the given ones (numbers, vectors, matrices) along its diagonal."""
    parts = [t.reshape(1, -1) if t.dim() < 2 else t for t in tensors]
    width = sum(p.shape[1] for p in parts)
    rows, before = [], 0
    for p in parts:
        if p.dim() != 2:
            raise RuntimeError(f"block_diag: expected at most 2 dimensions, got {p.dim()}")
        rows.append(_op["pad"](p, (before, width - before - p.shape[1])))
        before += p.shape[1]
    return _op["cat"](rows, 0)


def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """Turned k times by 90 degrees, from the first to the second of `dims`."""
    a, b = (d % input.dim() for d in dims)
    if a == b:
        raise RuntimeError(f"rot90: expected two different dimensions, got {tuple(dims)}")
    turns = k % 4
    if turns == 1:
        return _op["flip"](input, [b]).transpose(a, b)
    if turns == 2:
        return _op["flip"](input, [a, b])
    return _op["flip"](input, [a]).transpose(a, b) if turns == 3 else input.clone()


def _pairs(t: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """What stands before and after each interval."""
    intervals = max(t.shape[dim] - 1, 0)
    return t.narrow(dim, 0, intervals), t.narrow(dim, t.shape[dim] - intervals, intervals)


def _twice_trapezoids(y: Tensor, x: Tensor | None, dx: Any, dim: int) -> Tensor:
    """Twice the area above each interval; integers wrap around before they are halved."""
    before, after = _pairs(y, dim)
    if x is None:
        return (before + after) * dx
    if x.dim() == 1:
        width = (x[1:] - x[:-1]).reshape([-1 if d == dim % y.dim() else 1 for d in range(y.dim())])
    else:
        left, right = _pairs(x, dim)
        width = right - left
    return (before + after) * width


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral along `dim` by the trapezoidal rule, at the places x or at equal distances dx."""
    if x is None and y.shape[dim] > 0 and not y.is_floating_point() and not y.is_complex():
        ends = y.select(dim, 0) + y.select(dim, y.shape[dim] - 1)
        return (y.sum(dim) - ends * 0.5) * dx
    return _twice_trapezoids(y, x, dx, dim).sum(dim) / 2


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integrals from the beginning to every place but the first, along `dim`."""
    if x is None:
        return _twice_trapezoids(y, None, dx / 2, dim).cumsum(dim)
    return _twice_trapezoids(y, x, dx, dim).cumsum(dim) / 2


trapz = trapezoid


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """Each slice along `dim` shortened to a p-norm of at most maxnorm."""
    others = [d for d in range(input.dim()) if d != dim % input.dim()]
    length = _op["norm"](input, p, others, True)
    return input * _op["where"](length > maxnorm, maxnorm / (length + 1e-7), 1.0)


def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of rows (variables) over columns (observations), weighed by frequencies and by importance."""
    if input.dim() > 2:
        raise RuntimeError(f"cov: expected at most two dimensions, got {input.dim()}")
    x = input.reshape(1, -1) if input.dim() < 2 else input
    if not x.is_floating_point() and not x.is_complex():
        x = x.to(_core.get_default_dtype())
    weights = [w for w in (fweights, aweights) if w is not None]
    if not weights:
        total: Any = x.shape[1]
        x = x - x.mean(1, True)
        product = x @ _op["conj"](x).transpose(0, 1)
        spread: Any = max(total - correction, 0)
    else:
        w = math.prod(weights[1:], start=weights[0])
        total = w.sum()
        x = x - (x * w).sum(1, True) / total
        product = (x * w) @ _op["conj"](x).transpose(0, 1)
        squares = total if aweights is None else (w * aweights).sum() / total
        spread = total - correction * (1 if aweights is None else squares)
        spread = _op["relu"](spread) if isinstance(spread, Tensor) else max(spread, 0)
    out = product / spread
    return out.reshape(()) if out.numel() == 1 else out


def corrcoef(input: Tensor) -> Tensor:
    """Pearson's correlations of rows."""
    c = cov(input)
    if c.dim() == 0:
        return c / c
    deviation = c.diagonal().sqrt()
    return c / deviation.unsqueeze(1) / deviation.unsqueeze(0)


for _name in __all__:
    if _name not in ("block_diag", "trapezoid", "trapz", "cumulative_trapezoid"):
        setattr(Tensor, _name, globals()[_name])
