"""Tensors of a module that are computed from others whenever they are read: what parametrizations, pruning and the norms
of weights have in common.

    compute(layer, "weight", rule)       # from now on layer.weight is rule(layer)

The place of the tensor stays in the C++ object, which forward reads: it is filled before each call and emptied after it,
so that one value serves the whole call. The rule must not hold the module, of which there may be copies.
"""

from __future__ import annotations

from typing import Any

from .._core import Tensor, _nn

Module = _nn.Module
_set = object.__setattr__


def compute(module: Module, name: str, rule: Any) -> None:
    """Makes `rule(module)` the tensor `name`, in the place of a parameter or buffer of that name."""
    if "_computed" not in module.__dict__:
        _set(module, "_computed", {})
        handles = [module.register_forward_pre_hook(_fill), module.register_forward_hook(_empty, always_call=True)]
        _set(module, "_computed_hooks", [("_forward_pre_hooks", handles[0].id), ("_forward_hooks", handles[1].id)])
    module.__dict__["_computed"][name] = rule
    Module._register_buffer(module, name, None, False)
    module.__dict__.pop(name, None)


def stop(module: Module, name: str) -> None:
    """The tensor `name` is no longer computed; its place is free for a parameter."""
    rules = module.__dict__["_computed"]
    del rules[name]
    if not rules:
        for kind, number in module.__dict__.pop("_computed_hooks"):
            module.__dict__[kind].pop(number)
        del module.__dict__["_computed"]


def rule_of(module: Module, name: str) -> Any:
    """What computes the tensor, or None."""
    return module.__dict__.get("_computed", {}).get(name)


def read(module: Module, name: str) -> Tensor:
    """The value within the present call, else a new one."""
    now = module.__dict__.get("_computed_now", {})
    return now[name] if name in now else module.__dict__["_computed"][name](module)


def _fill(module: Module, args: Any) -> None:
    values = {name: rule(module) for name, rule in module.__dict__["_computed"].items()}
    _set(module, "_computed_now", values)
    for name, value in values.items():
        Module._set_tensor(module, name, value)


def _empty(module: Module, args: Any, output: Any) -> None:
    for name in module.__dict__.pop("_computed_now", {}):
        Module._set_tensor(module, name, None)
