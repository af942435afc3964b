from __future__ import annotations

import copy
from typing import Any, SupportsIndex

from .. import _core
from .._core import Tensor


class Parameter(Tensor):
    """A tensor that a Module trains once it is assigned to one of its attributes."""

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True):
        super().__init__(_core.tensor([]) if data is None else data.detach())
        self.requires_grad_(requires_grad)

    def __deepcopy__(self, memo: dict) -> Parameter:
        new = Parameter(self.detach().clone(), self.requires_grad)
        if self.grad is not None:
            new.grad = copy.deepcopy(self.grad, memo)
        memo[id(self)] = new
        return new

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple:
        return Parameter, (Tensor(self.detach()), self.requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that a Module keeps once it is assigned to one of its attributes."""

    def __init__(self, data: Tensor, persistent: bool = True):
        super().__init__(data.detach())
        self.persistent = persistent


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known yet."""

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(_core.operators["empty"]([0], dtype=dtype or _core.get_default_dtype()), requires_grad)
        self._waits = True

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Gives it elements, which are not written."""
        self.data = _core.operators["empty"](list(shape), dtype=dtype or self.dtype)
        self._waits = False
