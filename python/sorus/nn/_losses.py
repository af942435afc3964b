"""Losses and distances that are several operators: connectionist temporal classification, margins of many labels, scores
of a linear layer."""

from __future__ import annotations

import math
from typing import Any

from .. import _core
from .._core import Tensor, operators


def _numbers(v: Any) -> tuple[Tensor, list[int] | None]:
    """Lengths as a tensor, and as a list unless they are known only when a recorded graph runs."""
    if not isinstance(v, Tensor):
        v = _core.tensor([v] if isinstance(v, int) else [int(n) for n in v], dtype=_core.int64)
        return v, v.tolist()
    v = v.to(_core.int64).reshape(-1)
    return v, None if _core._is_recording() else v.tolist()


def _spelled(targets: Tensor, wanted: Tensor, known: list[int] | None, blank: int, single: bool) -> Tensor:
    """Targets [N, S] or one after the other as rows [N, longest], blanks behind their ends."""
    steps = operators["arange"]
    if targets.dim() == 2 and not single:
        longest = targets.shape[1] if known is None else max(known, default=0)
        if longest > targets.shape[1]:
            raise RuntimeError(f"ctc_loss: a target has {longest} elements, the targets are {tuple(targets.shape)}")
        rows = targets.narrow(1, 0, longest)
    else:
        flat = targets.reshape(-1)
        longest = flat.numel() if known is None else max(known, default=0)
        if known is not None and sum(known) > flat.numel():
            raise RuntimeError(f"ctc_loss: targets of {sum(known)} elements together, there are {flat.numel()}")
        if not flat.numel():
            return operators["full"]([wanted.numel(), 0], blank, dtype=_core.int64)
        first = wanted.cumsum(0) - wanted
        rows = flat[(first.unsqueeze(1) + steps(longest)).clamp(max=flat.numel() - 1)]
    return operators["where"](steps(longest) < wanted.unsqueeze(1), rows.to(_core.int64), blank)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Connectionist temporal classification (Graves 2006): minus the logarithm of the probability of all ways in which
    log_probs [T, N, C] (or [T, C]) may spell the targets, [N, S] or all of them one after the other."""
    if isinstance(reduction, int):  # as torch.ctc_loss has it
        reduction = ("none", "mean", "sum")[reduction]
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"ctc_loss: reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    single = log_probs.dim() == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    steps, batch, _ = x.shape
    (inputs, known_inputs), (wanted, known) = _numbers(input_lengths), _numbers(target_lengths)
    if inputs.numel() != batch or wanted.numel() != batch:
        raise RuntimeError(f"ctc_loss: {inputs.numel()} and {wanted.numel()} lengths for a batch of {batch}")
    if known_inputs is not None and any(not 0 <= n <= steps for n in known_inputs):
        raise RuntimeError(f"ctc_loss: the input lengths {known_inputs} must be within the {steps} steps")
    rows = _spelled(targets, wanted, known, blank, single)
    # Blanks around every label; a step may stay, go on, or leave out a blank between two different labels.
    full, where, cat, logsumexp = (operators[n] for n in ("full", "where", "cat", "logsumexp"))
    blanks = full([batch, rows.shape[1]], blank, dtype=_core.int64)
    labels = operators["stack"]([blanks, rows], 2).reshape(batch, 2 * rows.shape[1])
    labels = cat([labels, full([batch, 1], blank, dtype=_core.int64)], 1)
    width = labels.shape[1]
    before = cat([full([batch, min(2, width)], blank, dtype=_core.int64), labels[:, : max(width - 2, 0)]], 1)
    may_skip = (labels != blank) & (labels != before)
    never = -1e30 if x.dtype in (_core.float32, _core.float64) else -1e4

    def back(alpha: Tensor, by: int) -> Tensor:
        by = min(by, width)
        return cat([full([batch, by], never, dtype=x.dtype), alpha[:, : width - by]], 1)

    may_start = operators["arange"](width) < (2 * wanted + 1).clamp(max=2).unsqueeze(1)
    alpha = where(may_start, x[0].gather(1, labels), never) if steps else full([batch, width], never, dtype=x.dtype)
    inputs, last = inputs.unsqueeze(1), 2 * wanted.unsqueeze(1)
    for t in range(1, steps if known_inputs is None else max(known_inputs, default=0)):
        ways = operators["stack"]([alpha, back(alpha, 1), where(may_skip, back(alpha, 2), never)])
        later = (logsumexp(ways, [0]) + x[t].gather(1, labels)).clamp(min=never)
        alpha = where(inputs > t, later, alpha)
    # The last label or the blank behind it; without a step only the empty target can be spelled.
    label, behind = alpha.gather(1, (last - 1).clamp(min=0)), alpha.gather(1, last)
    nothing = where(last == 0, full([1], 0.0, dtype=x.dtype), never)
    ends = cat([where((last > 0) & (inputs > 0), label, never), where(inputs > 0, behind, nothing)], 1)
    loss = -logsumexp(ends, [1])
    loss = where(loss > -never / 2, 0.0 if zero_infinity else math.inf, loss)
    if reduction == "mean":
        return (loss / wanted.clamp(min=1).to(x.dtype)).mean()
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
