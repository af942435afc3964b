"""Recomputation: values inside of a checkpointed function are not kept for the backward pass but computed again.

h = checkpoint(block, h, use_reentrant=False)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from .. import _core
from .._core import Tensor
from ..autograd import Function, enable_grad, no_grad
from ..autograd import grad as gradients

__all__ = ["checkpoint", "checkpoint_sequential"]


class _Surroundings:
    """What a function sees beside its arguments: random numbers and autocast."""

    def __init__(self) -> None:
        self.random, self.autocast = _core.get_rng_state(), _core._autocast_dtype()

    def __enter__(self) -> None:
        self._before = _Surroundings()
        self._set()

    def __exit__(self, *error: object) -> None:
        self._before._set()

    def _set(self) -> None:
        _core.set_rng_state(self.random)
        _core._set_autocast_dtype(self.autocast)


def _tensors_outside(function: Callable) -> list[Tensor]:
    """Parameters that `function` reads without getting them as arguments: of the module that it is or is a method of, and
    of modules and tensors in its closure. The backward pass must know them to give them gradients."""
    from ..nn.module import Module

    found: dict[int, Tensor] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Tensor):
            if value.requires_grad:
                found.setdefault(hash(value), value)
        elif isinstance(value, Module):
            for p in value.parameters():
                visit(p)
        elif isinstance(value, (tuple, list)):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            for item in value.values():
                visit(item)
        elif callable(value):
            visit(getattr(value, "__self__", None))
            visit(getattr(value, "func", None))
            visit([*getattr(value, "args", ())] if isinstance(getattr(value, "args", None), tuple) else [])
            for cell in getattr(value, "__closure__", None) or ():
                with contextlib.suppress(ValueError):
                    visit(cell.cell_contents)

    visit(function)
    return list(found.values())


class _Recompute(Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable, surroundings: Any, kwargs: dict, count: int, *tensors_and_args: Any
    ) -> Any:
        ctx.function, ctx.surroundings, ctx.kwargs, ctx.count = function, surroundings, kwargs, count
        ctx.outside, ctx.args = tensors_and_args[:count], tensors_and_args[count:]
        with no_grad():
            return function(*ctx.args, **kwargs)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        args = [a.detach().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in ctx.args]
        with ctx.surroundings, enable_grad():
            outputs = ctx.function(*args, **ctx.kwargs)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        pairs = [
            (o, g)
            for o, g in zip(outputs, grads, strict=True)
            if isinstance(o, Tensor) and o.requires_grad and g is not None
        ]
        everything = [*ctx.outside, *args]
        wanted = [t for t in everything if isinstance(t, Tensor) and t.requires_grad]
        found = iter(
            gradients([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True)
            if pairs
            else [None] * len(wanted)
        )
        return (
            None,
            None,
            None,
            None,
            *(next(found) if isinstance(t, Tensor) and t.requires_grad else None for t in everything),
        )


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    determinism_check: str = "default",
    debug: bool = False,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, whose inner values are computed again in the backward pass, with the same random numbers
    and the same autocast. Parameters of the module that it is (or that its closure holds) get their gradients.

    `use_reentrant`, `determinism_check` and `debug` are accepted for PyTorch's sake and change nothing.
    """
    if not _core.is_grad_enabled():
        return function(*args, **kwargs)
    surroundings = _Surroundings()
    outside = _tensors_outside(function)
    return _Recompute.apply(function, surroundings, kwargs, len(outside), *outside, *args)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A sequence of layers in `segments` parts, each of which is checkpointed."""
    from ..nn import Sequential

    layers = list(functions)
    size = max(1, len(layers) // segments)
    starts = list(range(0, size * min(segments, len(layers)), size))
    for start, end in zip(starts, [*starts[1:], len(layers)], strict=True):
        input = checkpoint(Sequential(*layers[start:end]), input, use_reentrant=use_reentrant, **kwargs)
    return input
