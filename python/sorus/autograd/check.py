"""Gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _core
from .._core import Tensor


def gradcheck(
    func: Callable,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **options: Any,
) -> bool:
    """Whether the gradients of `func` agree with central differences of step `eps`, for all inputs that require them.

    Inputs should be float64. RuntimeError (or False, without raise_exception) names the first element that does not.
    The other options of PyTorch's gradcheck are about kinds of tensors that are not here, and change nothing.
    """
    from . import grad

    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires a gradient")

    def outputs(values: tuple) -> list[Tensor]:
        out = func(*values)
        return [
            o for o in ((out,) if isinstance(out, Tensor) else out) if isinstance(o, Tensor) and o.is_floating_point()
        ]

    found = outputs(inputs)
    for k, out in enumerate(found):
        for j in range(out.numel()):
            own = grad(
                out.reshape(-1)[j],
                [inputs[i] for i in checked],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for i, g in zip(checked, own, strict=True):
                x = inputs[i]
                for e in range(x.numel()):
                    sides = []
                    for step in (eps, -eps):
                        moved = x.detach().clone()
                        moved.reshape(-1)[e] += step
                        before = _core._set_grad_enabled(True)
                        try:
                            values = tuple(moved.requires_grad_() if n == i else v for n, v in enumerate(inputs))
                            sides.append(outputs(values)[k].reshape(-1)[j].item())
                        finally:
                            _core._set_grad_enabled(before)
                    want, got = (sides[0] - sides[1]) / (2 * eps), g.reshape(-1)[e].item()
                    if abs(got - want) > atol + rtol * abs(want):
                        if not raise_exception:
                            return False
                        raise RuntimeError(f"gradcheck: the gradient of element {j} of output {k} by element {e} of input {i} "
                                           f"is {got}, finite differences give {want}")  # fmt: skip
    return True


def gradgradcheck(func: Callable, inputs: Any, **options: Any) -> bool:
    """gradcheck of the gradients themselves, weighted by fixed numbers."""
    from . import grad

    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)

    def first(*values: Any) -> tuple:
        out = func(*values)
        outs = (out,) if isinstance(out, Tensor) else out
        total = sum(
            (o * _core.operators["linspace"](0.5, 1.5, o.numel(), dtype=o.dtype).reshape(o.shape)).sum() for o in outs
        )
        wanted = [v for v in values if isinstance(v, Tensor) and v.requires_grad]
        return grad(total, wanted, create_graph=True, allow_unused=True, materialize_grads=True)

    return gradcheck(first, inputs, **options)
