"""Losses and distances that are several operators: connectionist temporal classification, margins of many labels, scores
of a linear layer."""

from __future__ import annotations

import math
from typing import Any

from .. import _core
from .._core import Tensor, operators


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification (Graves 2006): minus the logarithm of the probability of all ways in which
    log_probs [T, N, C] (or [T, C]) may spell the targets, [N, S] or all of them one after the other."""
    single = log_probs.dim() == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    steps, batch, _ = x.shape

    def lengths(v: Any) -> list[int]:
        v = v.tolist() if isinstance(v, Tensor) else v
        return [int(v)] if isinstance(v, (int, float)) else [int(n) for n in v]

    inputs, wanted = lengths(input_lengths), lengths(target_lengths)
    if len(inputs) != batch or len(wanted) != batch:
        raise RuntimeError(f"ctc_loss: {len(inputs)} and {len(wanted)} lengths for a batch of {batch}")
    if any(not 0 <= n <= steps for n in inputs):
        raise RuntimeError(f"ctc_loss: the input lengths {inputs} must be within the {steps} steps")
    rows = targets.tolist() if targets.dim() == 2 else None
    flat = targets.tolist() if rows is None else []
    spelled, at = [], 0
    for i, n in enumerate(wanted):
        spelled.append([int(c) for c in (rows[i][:n] if rows is not None else flat[at : at + n])])
        if len(spelled[-1]) != n:
            raise RuntimeError(f"ctc_loss: target {i} has fewer than {n} elements")
        at += n
    # Blanks around every label; a step may stay, go on, or leave out a blank between two different labels.
    width = 2 * max(wanted, default=0) + 1
    states = [[blank] + [c for label in row for c in (label, blank)] for row in spelled]
    skips = [[s >= 2 and row[s] != blank and row[s] != row[s - 2] for s in range(len(row))] for row in states]
    labels = _core.tensor([row + [blank] * (width - len(row)) for row in states], dtype=_core.int64)
    may_skip = _core.tensor([row + [False] * (width - len(row)) for row in skips])
    never = -1e30 if x.dtype in (_core.float32, _core.float64) else -1e4
    where, logsumexp = operators["where"], operators["logsumexp"]
    start = _core.tensor([[s < min(2, len(row)) for s in range(width)] for row in states])

    def back(alpha: Tensor, by: int) -> Tensor:
        by = min(by, width)
        return operators["cat"]([operators["full"]([batch, by], never, dtype=x.dtype), alpha[:, : width - by]], 1)

    alpha = where(start, x[0].gather(1, labels), never) if steps else operators["full"]([batch, width], never)
    for t in range(1, max(inputs, default=0)):
        ways = operators["stack"]([alpha, back(alpha, 1), where(may_skip, back(alpha, 2), never)])
        later = (logsumexp(ways, [0]) + x[t].gather(1, labels)).clamp(min=never)
        alpha = where(_core.tensor([[t < n] for n in inputs]), later, alpha)
    last = _core.tensor([[max(len(row) - 2, 0), len(row) - 1] for row in states], dtype=_core.int64)
    ends = where(_core.tensor([[len(row) > 1, True] for row in states]), alpha.gather(1, last), never)
    # Without a step only the empty target can be spelled.
    done = _core.tensor([[n > 0] for n in inputs])
    nothing = _core.tensor([[never, never] if wanted[i] else [never, 0.0] for i in range(batch)], dtype=x.dtype)
    loss = -logsumexp(where(done, ends, nothing), [1])
    loss = where(loss > -never / 2, 0.0 if zero_infinity else math.inf, loss)
    if reduction == "mean":
        return (loss / _core.tensor([float(max(n, 1)) for n in wanted], dtype=x.dtype)).mean()
    if reduction not in ("sum", "none"):
        raise ValueError(f"ctc_loss: reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    return loss.sum() if reduction == "sum" else loss.squeeze(0) if single else loss


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows i < j of a matrix."""
    from .._functions import triu_indices

    if input.dim() != 2:
        raise RuntimeError(f"pdist: expected a matrix, got shape {tuple(input.shape)}")
    n = input.shape[0]
    i, j = triu_indices(n, n, 1)
    return operators["norm"](input.index_select(0, i) - input.index_select(0, j), p, [1])


def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The sum of max(0, 1 - (x[label] - x[other])) / classes over labels (up to the first -1) and all other classes."""
    x = input.reshape(1, -1) if input.dim() < 2 else input
    t = target.reshape(1, -1) if target.dim() < 2 else target
    given = (t >= 0).to(_core.int64).cumprod(1)
    place = t.clamp(min=0)
    zero = operators["zeros"](list(x.shape), dtype=_core.int64)
    is_label = zero.scatter_add(1, place, given) > 0
    margin = (1 - x.gather(1, place).unsqueeze(2) + x.unsqueeze(1)).clamp(min=0)
    counted = (given > 0).unsqueeze(2) & ~is_label.unsqueeze(1)
    loss = operators["where"](counted, margin, 0.0).sum([1, 2]) / x.shape[1]
    if reduction == "none":
        return loss.squeeze(0) if input.dim() < 2 else loss
    return loss.mean() if reduction == "mean" else loss.sum()


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """`cross_entropy` of `linear(input, linear_weight, linear_bias)`: input [N, in] or [in], linear_weight [C, in] or
    [C, d1, .., in], whose scores are then [N, C, d1, ..]. NotImplementedError for `options` (losses in chunks)."""
    if options is not None:
        raise NotImplementedError("linear_cross_entropy: options are not there, all scores are computed at once")
    places = linear_weight.shape[:-1]
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    scores = operators["linear"](input, linear_weight.reshape(-1, linear_weight.shape[-1]), bias)
    scores = scores.reshape([*input.shape[:-1], *places])
    ignored = -100 if ignore_index is None else ignore_index
    return operators["cross_entropy"](
        scores, target, weight, ignore_index=ignored, reduction=reduction, label_smoothing=label_smoothing
    )
