"""Norms of gradients, also of those that lie in rows at several ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ... import _core
from ..._core import Tensor
from ..._core._nn_utils import clip_grad_norm_ as _clip
from ..._core._nn_utils import get_total_norm as get_total_norm


def _norm_over_ranks(parameters: list[Tensor], norm_type: float) -> Tensor:
    """Each group of ranks adds up what its members hold; tensors that are no shards count once."""
    parts: dict[Any, list[Tensor]] = {}
    for p in parameters:
        if p.grad is not None:
            parts.setdefault(getattr(p, "group", None), []).append(p.grad)
    largest = norm_type == math.inf
    total = _core.tensor(0.0)
    for group, grads in parts.items():
        part = (
            get_total_norm([g for g in grads if g.numel()], norm_type)
            if any(g.numel() for g in grads)
            else _core.tensor(0.0)
        )
        part = part.float() if largest else part.float() ** norm_type
        if group is not None:
            group.all_reduce(part, "max" if largest else "sum", False)
        total = _core.operators["maximum"](total, part) if largest else total + part
    return total if largest else total ** (1.0 / norm_type)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales all gradients together, in place, so that their norm is at most `max_norm`; returns the norm before.

    Of parameters that fully_shard cut, the norm is that of the whole gradients; all ranks call it.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    if not any(getattr(p, "group", None) is not None for p in parameters):
        return _clip(parameters, max_norm, norm_type, error_if_nonfinite)
    from ...autograd import no_grad

    with no_grad():
        total = _norm_over_ranks(parameters, float(norm_type))
        if error_if_nonfinite and not math.isfinite(float(total)):
            raise RuntimeError(f"clip_grad_norm_: the norm of order {norm_type} is {float(total)}")
        factor = min(1.0, max_norm / (float(total) + 1e-6))
        for p in parameters:
            if p.grad is not None:
                p.grad.mul_(factor)
    return total
