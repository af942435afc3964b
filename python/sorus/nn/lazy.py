"""Layers that learn the size of their input from the first one they see.

    net = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    net(images)                        # now the parameters are there

Until then the parameters are `UninitializedParameter`s without elements, which an optimizer may hold already: they become
ordinary tensors in their place. A state that is loaded before says their shapes too.
"""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Tensor, _nn
from .layers import InstanceNorm1d, InstanceNorm2d
from .module import Module
from .parameter import Parameter, UninitializedParameter
from .volumes import InstanceNorm3d


def is_lazy(param: Any) -> bool:
    """Whether it is a parameter that has no shape yet."""
    return isinstance(param, UninitializedParameter) and param._waits


class _Lazy:
    """What comes before a layer whose first argument, `size_name`, is the size of dimension `axis` of its input."""

    size_name = ""
    axis = 1
    dims: tuple[int, ...] = ()  # of inputs with a batch, where inputs without one are taken too
    _layer: Any
    defaults: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        # A first size that groups divide.
        kwargs = {**self.defaults, **kwargs}
        groups = kwargs.get("groups", args[5] if self.size_name == "in_channels" and len(args) > 5 else 1)
        type(self)._layer.__init__(self, groups, *args, **kwargs)
        dtype = kwargs.get("dtype")
        for name, parameter in list(self.named_parameters(recurse=False)):
            setattr(self, name, UninitializedParameter(parameter.requires_grad, dtype=dtype))
        setattr(self, self.size_name, 0)
        self._made_with = (args, kwargs)

    def has_uninitialized_params(self: Any) -> bool:
        return any(map(is_lazy, self.parameters(recurse=False))) or "_made_with" in self.__dict__

    def initialize_parameters(self: Any, input: Tensor) -> None:
        """Makes the parameters for inputs like this one."""
        if "_made_with" not in self.__dict__:
            return
        size = input.shape[self.axis if not self.dims or input.dim() in self.dims else self.axis - 1]
        args, kwargs = self.__dict__.pop("_made_with")
        made = type(self)._layer(size, *args, **kwargs)
        setattr(self, self.size_name, size)
        for name, parameter in made.named_parameters():
            own = getattr(self, name)
            if is_lazy(own):  # and not loaded
                own.data = parameter.detach().to(own.dtype)
                own._waits = False
        for name, buffer in made.named_buffers():
            if (own := getattr(self, name)).shape != buffer.shape:
                self.register_buffer(name, buffer.to(own.dtype))

    def take_shapes(self: Any, state: dict[str, Tensor]) -> None:
        """Makes room for what is about to be loaded under the names of this layer's tensors."""
        if "_made_with" not in self.__dict__:
            return
        for name, given in state.items():
            own: Any = getattr(self, name, None)
            if is_lazy(own) and not is_lazy(given) and given.numel():
                own.materialize(given.shape)
            elif isinstance(own, Tensor) and not isinstance(own, Parameter) and own.dim() == given.dim():
                self.register_buffer(name, _core.operators["zeros"](list(given.shape), dtype=own.dtype))

    def forward(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(input)
        return type(self)._layer.forward(self, input, *args, **kwargs)

    def _get_name(self: Any) -> str:
        return type(self).__name__ if self.has_uninitialized_params() else type(self)._layer.__name__


def _lazy(layer: type[Module], size_name: str, axis: int, dims: tuple[int, ...] = (), **defaults: Any) -> Any:
    name = "Lazy" + layer.__name__
    scope = {"size_name": size_name, "axis": axis, "dims": dims, "_layer": layer, "defaults": defaults, "__module__": __name__,
             "__doc__": f"{layer.__name__} whose {size_name} is that of the first input."}  # fmt: skip
    return type(name, (_Lazy, layer), scope)


# Other defaults than those of the layers that know their size, as in PyTorch.
_NORM = {"affine": True, "track_running_stats": True}

LazyLinear: Any = _lazy(_nn.Linear, "in_features", -1)
LazyConv1d: Any = _lazy(_nn.Conv1d, "in_channels", 1, (3,))
LazyConv2d: Any = _lazy(_nn.Conv2d, "in_channels", 1, (4,))
LazyConv3d: Any = _lazy(_nn.Conv3d, "in_channels", 1, (5,))
LazyConvTranspose1d: Any = _lazy(_nn.ConvTranspose1d, "in_channels", 1, (3,))
LazyConvTranspose2d: Any = _lazy(_nn.ConvTranspose2d, "in_channels", 1, (4,))
LazyConvTranspose3d: Any = _lazy(_nn.ConvTranspose3d, "in_channels", 1, (5,))
LazyBatchNorm1d: Any = _lazy(_nn.BatchNorm1d, "num_features", 1)
LazyBatchNorm2d: Any = _lazy(_nn.BatchNorm2d, "num_features", 1)
LazyBatchNorm3d: Any = _lazy(_nn.BatchNorm3d, "num_features", 1)
LazyInstanceNorm1d: Any = _lazy(InstanceNorm1d, "num_features", 1, (3,), **_NORM)
LazyInstanceNorm2d: Any = _lazy(InstanceNorm2d, "num_features", 1, (4,), **_NORM)
LazyInstanceNorm3d: Any = _lazy(InstanceNorm3d, "num_features", 1, (5,), **_NORM)

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d",
    "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d",
    "LazyLinear", "UninitializedParameter",
]  # fmt: skip
