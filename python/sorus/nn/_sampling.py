"""Images looked up at places that are computed."""

from __future__ import annotations

import itertools
from typing import Any

from .._core import Tensor
from .._core import operators as _op

MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """x folded back into [low, high] as often as it takes."""
    span = high - low
    if span == 0:
        return x * 0
    offset = (x - low).abs()
    rest = offset - (offset / span).floor() * span
    odd = (offset / span).floor() % 2 == 1
    return _op["where"](odd, span - rest, rest) + low


def _inside(x: Tensor, size: int, padding: str, align: bool) -> Tensor:
    if padding == "zeros":
        return x
    if padding == "reflection":
        x = _reflected(x, 0.0, size - 1.0) if align else _reflected(x, -0.5, size - 0.5)
    return x.clamp(0, size - 1)


def _cubic(t: Tensor) -> list[Tensor]:
    """Weights of the four neighbours, at distances t + 1, t, 1 - t and 2 - t (Keys' cubic with a = -0.75)."""
    a = -0.75

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """[N, C, h, w] at the places `grid` [N, H, W, 2], x before y, from -1 to 1: [N, C, H, W]. Volumes alike, with three.

    mode: "bilinear" (of volumes trilinear), "nearest", "bicubic" (images). padding_mode: what lies outside is "zeros", the
    "border", or the image in a mirror. align_corners: -1 and 1 are the middles of the outer pixels, else their outer edges.
    RuntimeError for shapes that do not fit; ValueError for another mode.
    """
    if mode not in MODES or padding_mode not in PADDINGS:
        raise ValueError(
            f"grid_sample: expected mode of {MODES} and padding_mode of {PADDINGS}, got {mode!r}, {padding_mode!r}"
        )
    sizes = list(input.shape[2:])
    rank = len(sizes)
    if rank not in (2, 3) or grid.dim() != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != input.shape[0]:
        raise RuntimeError(f"grid_sample: the grid {tuple(grid.shape)} does not fit the input {tuple(input.shape)}")
    if mode == "bicubic" and rank == 3:
        raise RuntimeError("grid_sample: bicubic is for images, found a volume")
    align = bool(align_corners)
    n, c = input.shape[:2]
    flat = input.reshape(n, c, -1)
    out = [n, *grid.shape[1:-1]]
    places = []  # along each dimension of the input: the grid has them the other way round
    for d, size in enumerate(sizes):
        g = grid[..., rank - 1 - d].reshape(n, -1)
        x = (g + 1) / 2 * (size - 1) if align else ((g + 1) * size - 1) / 2
        places.append(x if mode == "bicubic" else _inside(x, size, padding_mode, align))

    def looked_up(at: list[Tensor]) -> Tensor:
        index, there = None, None
        for x, size in zip(at, sizes, strict=True):
            if mode == "bicubic":
                x = _inside(x, size, padding_mode, align)
            good = (x >= 0) & (x <= size - 1)
            whole = x.clamp(0, size - 1).nan_to_num().long()
            index = whole if index is None else index * size + whole
            there = good if there is None else there & good
        assert index is not None and there is not None
        found = flat.gather(2, index.unsqueeze(1).expand(n, c, index.shape[1]))
        return _op["where"](there.unsqueeze(1), found, 0.0)

    if mode == "nearest":
        return looked_up([x.round() for x in places]).reshape(out[0], c, *out[1:])
    first = [x.floor() for x in places]
    shares = [x - f for x, f in zip(places, first, strict=True)]
    steps, weights = (
        ((-1, 0, 1, 2), [_cubic(t) for t in shares]) if mode == "bicubic" else ((0, 1), [[1 - t, t] for t in shares])
    )
    total = None
    for corner in itertools.product(range(len(steps)), repeat=rank):
        weight = weights[0][corner[0]]
        for d in range(1, rank):
            weight = weight * weights[d][corner[d]]
        part = looked_up([f + steps[k] for f, k in zip(first, corner, strict=True)]) * weight.unsqueeze(1)
        total = part if total is None else total + part
    assert total is not None
    return total.reshape(out[0], c, *out[1:])


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """Where `grid_sample` is to read so that an image (or volume) of `size` [N, C, (D,) H, W] is moved by the matrices
    theta [N, 2, 3] (or [N, 3, 4])."""
    spatial = [int(n) for n in size[2:]]
    d = len(spatial)
    if d not in (2, 3) or tuple(theta.shape) != (size[0], d, d + 1):
        raise ValueError(f"affine_grid: matrices of shape {tuple(theta.shape)} do not fit a size of {tuple(size)}")
    axes = []
    for n in spatial:
        line = _op["linspace"](-1, 1, n, dtype=theta.dtype) if n > 1 else _op["zeros"]([n], dtype=theta.dtype)
        axes.append(line if align_corners else line * ((n - 1) / n))
    # The last dimension is the first coordinate.
    columns = [axes[i].reshape([-1 if j == i else 1 for j in range(d)]).expand(spatial) for i in reversed(range(d))]
    columns.append(_op["ones"](spatial, dtype=theta.dtype))
    places = _op["stack"](columns, -1).reshape(1, -1, d + 1)
    return (places @ theta.transpose(1, 2)).reshape([size[0], *spatial, d])
