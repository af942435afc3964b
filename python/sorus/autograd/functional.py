"""Derivatives of functions of several tensors, in the older form of torch.autograd.functional; see sorus.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import func as _func
from .._core import Tensor, operators
from . import grad


def _variables(inputs: Any) -> tuple[bool, tuple]:
    single = isinstance(inputs, Tensor)
    values = (inputs,) if single else tuple(inputs)
    return single, tuple(v.detach().clone().requires_grad_() for v in values)


def jacobian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """Derivatives of every output by every input, [*output, *input]; tuples where func has or takes several."""
    single, values = (isinstance(inputs, Tensor), (inputs,) if isinstance(inputs, Tensor) else tuple(inputs))
    if not create_graph:
        single, values = _variables(inputs)
    out = func(*values)
    outs = (out,) if isinstance(out, Tensor) else tuple(out)
    table = []
    for o in outs:
        rows = [
            grad(e, values, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True)
            for e in o.reshape(-1)
        ]
        blocks = tuple(
            operators["stack"]([r[i] for r in rows], 0).reshape((*o.shape, *v.shape)) for i, v in enumerate(values)
        )
        table.append(blocks[0] if single else blocks)
    return table[0] if isinstance(out, Tensor) else tuple(table)


def hessian(
    func: Callable,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Second derivatives of a function with one number as result."""
    single = isinstance(inputs, Tensor)

    def first(*values: Tensor) -> Any:
        grads = grad(func(*values), values, create_graph=True, allow_unused=True, materialize_grads=True)
        return grads[0] if single else grads

    return jacobian(first, inputs, create_graph)


def vjp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """func(inputs), and v times its derivatives."""
    single, values = _variables(inputs)
    out = func(*values)
    grads = grad(out, values, v, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    outs = out if create_graph else out.detach() if isinstance(out, Tensor) else tuple(o.detach() for o in out)
    return outs, grads[0] if single else grads


def jvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """func(inputs), and its derivatives times v."""
    values = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    tangents = (
        tuple(operators["ones_like"](x) for x in values) if v is None else (v,) if isinstance(v, Tensor) else tuple(v)
    )
    return _func.jvp(func, values, tangents)


def hvp(func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple:
    """func(inputs), one number, and its second derivatives times v."""
    single, values = _variables(inputs)
    out = func(*values)
    first = grad(out, values, create_graph=True)
    weights = None if v is None else (v,) if isinstance(v, Tensor) else tuple(v)
    second = grad(first, values, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return out.detach(), second[0] if single else second


vhp = hvp  # second derivatives are symmetric
