"""Rows of a table by their numbers, one by one or reduced bag by bag."""

from __future__ import annotations

from .. import _core
from .._core import Tensor, operators


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` [n, d] that `input` [..] names: [.., d]. With `max_norm`, rows that are looked up and longer
    than that are shortened in place first. With `scale_grad_by_freq` the gradient of a row is divided by the times it is
    looked up. IndexError for an index outside of [0, n)."""
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    if max_norm is not None:
        before = _core._set_grad_enabled(False)
        try:
            used = input.reshape(-1)
            rows = weight[used]
            length = operators["norm"](rows, norm_type, [1], True)
            weight[used] = operators["where"](length > max_norm, rows * (max_norm / (length + 1e-7)), rows)
        finally:
            _core._set_grad_enabled(before)
    rows = operators["embedding"](input, weight, padding_idx)
    if not scale_grad_by_freq:
        return rows
    times = operators["bincount"](input.reshape(-1), minlength=weight.shape[0])
    share = (1.0 / times[input].to(weight.dtype)).unsqueeze(-1)
    kept = rows.detach()
    return kept + (rows - kept) * share  # the value of `rows`, and a share of its gradient


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of the rows of `weight` [n, d] that bags of indices name: [bags, d]. `input` is [bags, size]
    or flat; then `offsets` says where each bag begins (and with `include_last_offset` where the last one ends). With
    `per_sample_weights`, of the input's shape, rows are multiplied before they are added. `padding_idx` does not count;
    an empty bag gives zeros. Older scripts name the weight first; that order is understood too."""
    if not weight.is_floating_point() and input.is_floating_point():
        input, weight = weight, input
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode must be 'sum', 'mean' or 'max', not {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError(f"embedding_bag: per_sample_weights are for mode 'sum', not {mode!r}")
    if per_sample_weights is not None and per_sample_weights.shape != input.shape:
        raise ValueError(f"embedding_bag: per_sample_weights {tuple(per_sample_weights.shape)} must have the shape of "
                         f"the input, {tuple(input.shape)}")  # fmt: skip
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError("embedding_bag: offsets are for flat input, not for one of 2 dimensions")
        bags, size = input.shape
        bag = operators["arange"](bags).unsqueeze(1).expand(bags, size).reshape(-1)
    elif input.dim() == 1:
        if offsets is None or offsets.dim() != 1:
            raise ValueError("embedding_bag: flat input needs a vector of offsets")
        if offsets.numel() and (int(offsets[0].item()) != 0 or int(offsets[-1].item()) > input.numel()):
            raise ValueError(f"embedding_bag: offsets must begin with 0 and end within the {input.numel()} indices")
        starts = offsets[:-1] if include_last_offset else offsets
        bags = starts.numel()
        bag = (
            operators["searchsorted"](starts, operators["arange"](input.numel(), dtype=starts.dtype), right=True) - 1
        )
    else:
        raise ValueError(f"embedding_bag: expected input of 1 or 2 dimensions, found {tuple(input.shape)}")
    flat = input.reshape(-1)
    factor = None if per_sample_weights is None else per_sample_weights.reshape(-1, 1)
    if padding_idx is not None:
        counted = flat != padding_idx % weight.shape[0]
        flat, bag = flat[counted], bag[counted]
        factor = None if factor is None else factor[counted]
    rows = embedding(flat, weight, None, max_norm, norm_type, scale_grad_by_freq)
    rows = rows if factor is None else rows * factor
    out = operators["zeros"]([bags, weight.shape[1]], dtype=rows.dtype)
    if mode == "max":
        return operators["index_reduce"](out, 0, bag, rows, "amax", include_self=False)
    out = operators["index_add"](out, 0, bag, rows)
    if mode == "mean":
        out = out / operators["bincount"](bag, minlength=bags).clamp(min=1).to(out.dtype).unsqueeze(1)
    return out
