"""The functions of layers under the names of torch.nn.functional: the operators, and those that draw or write."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Tensor, _functional, operators

globals().update({name: f for name, f in operators.items() if "." not in name})

dropout, batch_norm = _functional.dropout, _functional.batch_norm
dropout1d = dropout2d = dropout3d = _functional.dropout_channels
scaled_dot_product_attention, rotary = _functional.scaled_dot_product_attention, _functional.rotary


def _inplace_too(name: str) -> Any:
    """PyTorch's `inplace` argument: the input then holds the result."""
    function = operators[name]

    def call(input: Tensor, *args: Any, inplace: bool = False, **kwargs: Any) -> Tensor:
        if inplace:
            return getattr(input, name + "_")(*args, **kwargs)
        return function(input, *args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    return call


for _name in ("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "silu", "mish", "hardtanh", "hardswish", "hardsigmoid", "threshold"):
    globals()[_name] = _inplace_too(_name)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Rows of zeros with a one at each index: [..] of integers to [.., num_classes]. ValueError if one does not fit."""
    largest = int(tensor.max().item()) if tensor.numel() else -1
    if tensor.numel() and int(tensor.min().item()) < 0:
        raise ValueError("one_hot: indices must not be negative")
    if num_classes < 0:
        num_classes = largest + 1
    if largest >= num_classes:
        raise ValueError(f"one_hot: index {largest} does not fit into {num_classes} classes")
    return (tensor.unsqueeze(-1) == operators["arange"](num_classes)).to(_core.int64)
