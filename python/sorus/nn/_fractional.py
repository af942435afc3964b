"""Fractional maximum pooling (Graham 2015): windows of one size whose distances are drawn, so that sizes shrink by factors
that are not whole numbers."""

from __future__ import annotations

import math
from typing import Any

from .. import _core
from .._core import Tensor, operators
from ._volumes import _each


def _starts(draws: Tensor, size: int, windows: int, window: int) -> Tensor:
    """Where the windows along one dimension begin: draws [N, C] in [0, 1) to [N, C, windows]."""
    last = size - window
    if windows == 1:
        return operators["full"]([*draws.shape, 1], last, dtype=_core.int64)
    step = last / (windows - 1)
    u = draws.unsqueeze(-1)
    starts = ((u + operators["arange"](windows - 1)) * step).to(_core.int64) - (u * step).to(_core.int64)
    return operators["cat"]([starts, operators["full_like"](starts[..., :1], last)], -1)


def fractional_max_pool(spatial: int) -> Any:
    """F.fractional_max_pool2d or 3d."""
    name = f"fractional_max_pool{spatial}d"
    # The order in which PyTorch draws for the dimensions.
    drawn = (1, 0) if spatial == 2 else (0, 1, 2)

    def call(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        if input.dim() not in (spatial + 1, spatial + 2):
            raise RuntimeError(
                f"{name}: expected {spatial + 1} or {spatial + 2} dimensions, got {tuple(input.shape)}"
            )
        sizes = input.shape[-spatial:]
        if output_size is None:
            if output_ratio is None:
                raise ValueError(f"{name}: give either output_size or output_ratio")
            ratios = (
                _each(output_ratio, spatial) if not isinstance(output_ratio, float) else (output_ratio,) * spatial
            )
            if not all(0 < r < 1 for r in ratios):
                raise ValueError(f"{name}: output_ratio must lie between 0 and 1, not {output_ratio}")
            output_size = [int(n * r) for n, r in zip(sizes, ratios)]
        windows, kernel = _each(output_size, spatial), _each(kernel_size, spatial)
        for n, o, k in zip(sizes, windows, kernel):
            if k < 1 or o < 1 or o + k - 1 > n:
                raise RuntimeError(f"{name}: {o} windows of {k} do not fit a size of {n}")
        x = input.unsqueeze(0) if input.dim() == spatial + 1 else input
        batch, channels = x.shape[:2]
        draws = _random_samples
        if draws is None:
            draws = _core.rand(batch, channels, spatial, dtype=input.dtype)
        if tuple(draws.shape) != (batch, channels, spatial):
            raise RuntimeError(
                f"{name}: expected draws of shape {(batch, channels, spatial)}, got {tuple(draws.shape)}"
            )
        # The places of all windows' elements in the flat plane: [N, C, *windows, *kernel].
        places: Any = 0
        for d in range(spatial):
            rows = _starts(draws[..., drawn[d]], sizes[d], windows[d], kernel[d]).unsqueeze(-1)
            rows = rows + operators["arange"](kernel[d])
            shape = [1] * (2 * spatial)
            shape[d], shape[spatial + d] = windows[d], kernel[d]
            places = places * sizes[d] + rows.reshape(batch, channels, *shape)
        places = places.reshape(batch, channels, math.prod(windows), math.prod(kernel))
        flat = x.reshape(batch, channels, math.prod(sizes))
        taken = flat.gather(2, places.reshape(batch, channels, places.shape[2] * places.shape[3])).reshape(
            places.shape
        )
        best = taken.max(-1)
        values = best.values.reshape(*input.shape[:-spatial], *windows)
        if not return_indices:
            return values
        return values, places.gather(3, best.indices.unsqueeze(-1)).reshape(values.shape)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = (
        "Maxima of windows of `kernel_size` whose distances are drawn (Graham 2015), with their places if asked for; "
        "`_random_samples` [N, C, dimensions] are the draws, in [0, 1).\n\nRaises: ValueError without a size or ratio, "
        "RuntimeError for windows that do not fit."
    )
    return call
