"""Tensors of a module as functions of other parameters (torch.nn.utils.parametrize).

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).T

    register_parametrization(layer, "weight", Symmetric())      # layer.weight is symmetric from now on
    layer.parametrizations.weight.original                      # what is trained

Several parametrizations of a tensor are applied one after the other. One with a method `right_inverse(tensor)` says which
original gives a tensor; it is needed where the tensor is assigned, and where a tensor comes from several originals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ... import _core
from ..._core import Tensor
from .. import _computed
from ..containers import ModuleDict, ModuleList
from ..module import Module
from ..parameter import Parameter

_cache: dict[tuple[int, str], Tensor] | None = None


class _Rule:
    """The tensor `name` of a module, from its list of parametrizations."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Module) -> Tensor:
        if _cache is None:
            return module.parametrizations[self.name]()
        key = (id(module), self.name)
        if key not in _cache:
            _cache[key] = module.parametrizations[self.name]()
        return _cache[key]

    def assign(self, module: Module, value: Tensor) -> None:
        module.parametrizations[self.name].right_inverse(value)


class ParametrizationList(ModuleList):  # type: ignore[valid-type, misc]
    """The parametrizations of one tensor in order, with the original (or `original0`, `original1`, ..)."""

    def __init__(self, modules: Any, original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        new: Any = original
        before = _core._set_grad_enabled(False)
        try:
            for step in reversed(list(self)):
                if hasattr(step, "right_inverse"):
                    new = step.right_inverse(new)
        finally:
            _core._set_grad_enabled(before)
        self.is_tensor = isinstance(new, Tensor)
        if self.is_tensor:
            self._place("original", original, new)
        else:
            self.ntensors = len(new)
            for i, part in enumerate(new):
                self._place(f"original{i}", original, part)

    def _place(self, name: str, like: Tensor, value: Tensor) -> None:
        if isinstance(like, Parameter):
            self.register_parameter(name, Parameter(value.detach(), like.requires_grad))
        else:
            self.register_buffer(name, value)

    def right_inverse(self, value: Tensor) -> None:
        """Makes the originals those that give `value`. RuntimeError for a parametrization that cannot be inverted."""
        before = _core._set_grad_enabled(False)
        try:
            new: Any = value
            for step in reversed(list(self)):
                if not hasattr(step, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(step).__name__} has no right_inverse; its tensor cannot be assigned"
                    )
                new = step.right_inverse(new)
            parts = [("original", new)] if self.is_tensor else [(f"original{i}", p) for i, p in enumerate(new)]
            for name, part in parts:
                own = getattr(self, name)
                if own.shape != part.shape:
                    own.data = part
                else:
                    own.copy_(part)
        finally:
            _core._set_grad_enabled(before)

    def forward(self) -> Tensor:
        steps = list(self)
        if self.is_tensor:
            x = steps[0](self.original)
        else:
            x = steps[0](*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for step in steps[1:]:
            x = step(x)
        return x


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Within it, each parametrized tensor is computed once."""
    global _cache
    outer = _cache
    _cache = {} if outer is None else outer
    try:
        yield
    finally:
        _cache = outer


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether the tensor (or any tensor) of the module is computed by parametrizations."""
    lists = module.__dict__.get("parametrizations") or dict(Module._children(module)).get("parametrizations")
    if not isinstance(lists, ModuleDict):
        return False
    return len(lists) > 0 if tensor_name is None else tensor_name in lists


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Computes the parameter or buffer `tensor_name` by `parametrization`, after those that it has already. Unless
    `unsafe`, shape and type must stay what they are. Returns the module."""
    if is_parametrized(module, tensor_name):
        steps = module.parametrizations[tensor_name]
        old = getattr(module, tensor_name)
        if not unsafe:
            _check(parametrization, old, parametrization(old), tensor_name)
        if hasattr(parametrization, "right_inverse"):
            value = parametrization.right_inverse(old)
            steps.right_inverse(value)
        steps.append(parametrization)
        return module
    if tensor_name not in {name for name, *_ in Module._tensors(module)}:
        raise ValueError(f"module {type(module).__name__} has no parameter or buffer {tensor_name!r}")
    original = getattr(module, tensor_name)
    steps = ParametrizationList([parametrization], original, unsafe)
    if not unsafe:
        before = _core._set_grad_enabled(False)
        try:
            _check(parametrization, original, steps(), tensor_name)
        finally:
            _core._set_grad_enabled(before)
    if not is_parametrized(module):
        module.parametrizations = ModuleDict()
    _computed.compute(module, tensor_name, _Rule(tensor_name))
    module.parametrizations[tensor_name] = steps
    return module


def _check(parametrization: Module, before: Tensor, after: Any, name: str) -> None:
    who = type(parametrization).__name__
    if not isinstance(after, Tensor):
        raise ValueError(f"parametrization {who} must return a tensor, not {type(after).__name__}")
    if after.dtype is not before.dtype or after.shape != before.shape:
        raise ValueError(f"parametrization {who} makes {name!r}, {before.dtype} of shape {tuple(before.shape)}, to "
                         f"{after.dtype} of shape {tuple(after.shape)}; say unsafe=True if that is meant")  # fmt: skip


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """The tensor is a parameter or buffer again: with its present value, or (leave_parametrized=False) the original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"module {type(module).__name__} has no parametrization of {tensor_name!r}")
    steps = module.parametrizations[tensor_name]
    if not steps.is_tensor and not leave_parametrized:
        raise ValueError(f"{tensor_name!r} comes from several originals, of which none can be left")
    original = steps.original if steps.is_tensor else steps.original0
    before = _core._set_grad_enabled(False)
    try:
        value = getattr(module, tensor_name).detach().clone() if leave_parametrized else original.detach()
    finally:
        _core._set_grad_enabled(before)
    _computed.stop(module, tensor_name)
    if isinstance(original, Parameter):
        # The parameter that an optimizer may hold goes on, where there is one of the same shape.
        if steps.is_tensor and original.shape == value.shape:
            original.data = value
        else:
            original = Parameter(value, original.requires_grad)
        module.register_parameter(tensor_name, original)
    else:
        module.register_buffer(tensor_name, value)
    del module.parametrizations[tensor_name]
    if len(module.parametrizations) == 0:
        del module.parametrizations
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of the module."""
    return type(module)
