"""Copies and pickles of tensors: the elements go through NumPy, what it has no type for through float32."""

from __future__ import annotations

from typing import Any

from . import _core
from ._core import Tensor


def _rebuild(array: Any, dtype: Any, requires_grad: bool) -> Tensor:
    t = _core.from_numpy(array.copy()).to(dtype)
    return t.requires_grad_(True) if requires_grad else t


def _reduce(self: Tensor, protocol: Any) -> tuple:
    plain = self.detach()
    array = plain.float().numpy() if self.dtype is _core.bfloat16 else plain.numpy()
    return _rebuild, (array, self.dtype, self.requires_grad)


def _deepcopy(self: Tensor, memo: dict) -> Tensor:
    if not self.is_leaf:
        raise RuntimeError("deepcopy: only leaves can be copied with their gradients; use detach() or clone()")
    new = self.detach().clone()
    if self.requires_grad:
        new.requires_grad_(True)
    if self.grad is not None:
        new.grad = self.grad.clone()
    memo[id(self)] = new
    return new


Tensor.__reduce_ex__, Tensor.__deepcopy__ = _reduce, _deepcopy  # type: ignore[method-assign, assignment]
