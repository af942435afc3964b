"""What calls the hooks of register_full_backward_hook: operators that pass inputs and outputs on unchanged, and see their
gradients on the way back."""

from __future__ import annotations

from typing import Any

from .._core import Tensor
from ..autograd import Function


class _PassOn(Function):
    @staticmethod
    def forward(ctx: Any, seen: Any, *tensors: Tensor) -> tuple:
        ctx.seen = seen
        ctx.set_materialize_grads(False)
        return tuple(t.reshape(t.shape) for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple:
        return (None, *ctx.seen(grads))


class Watched:
    """One call of a module with backward hooks."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._outputs: tuple = ()
        self._inputs: tuple[int, int] | None = None  # how many arguments there are, if a gradient reaches them

    def _hooks(self, grad_input: tuple) -> tuple:
        for hook in list(self._module.__dict__.get("_backward_hooks", {}).values()):
            result = hook(self._module, grad_input, self._outputs)
            if result is not None:
                grad_input = result if isinstance(result, tuple) else (result,)
        return grad_input

    def inputs(self, args: tuple) -> tuple:
        places = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.is_floating_point()]
        self._count = len(args)
        if not any(args[i].requires_grad for i in places):
            return args
        self._inputs = (len(args), len(places))

        def seen(grads: tuple) -> tuple:
            whole: list = [None] * len(args)
            for i, g in zip(places, grads, strict=True):
                whole[i] = g
            whole = list(self._hooks(tuple(whole)))
            return tuple(whole[i] for i in places)

        passed = _PassOn.apply(seen, *(args[i] for i in places))
        new = list(args)
        for i, t in zip(places, passed, strict=True):
            new[i] = t
        return tuple(new)

    def outputs(self, output: Any) -> Any:
        single = isinstance(output, Tensor)
        items = (output,) if single else tuple(output) if isinstance(output, (tuple, list)) else None
        if items is None:  # a structure of the user's: there is no tuple to show
            return output
        places = [i for i, t in enumerate(items) if isinstance(t, Tensor) and t.requires_grad]
        if not places:
            return output

        def seen(grads: tuple) -> tuple:
            whole: list = [None] * len(items)
            for i, g in zip(places, grads, strict=True):
                whole[i] = g
            self._outputs = tuple(whole)
            if self._inputs is None:
                self._hooks((None,) * self._count)
            return grads

        passed = _PassOn.apply(seen, *(items[i] for i in places))
        new = list(items)
        for i, t in zip(places, passed, strict=True):
            new[i] = t
        if single:
            return new[0]
        return type(output)(*new) if hasattr(output, "_fields") else type(output)(new)
