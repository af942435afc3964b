"""Activations: layers of one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core import Tensor
from . import functional as F
from .module import Module
from .parameter import Parameter


class _Activation(Module):
    """Calls one function of torch.nn.functional with the attributes named in `shown`."""

    function: Any
    shown: tuple[str, ...] = ()

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, *(getattr(self, name) for name in self.shown))

    def extra_repr(self) -> str:
        text = ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)
        if getattr(self, "inplace", False):
            text += (", " if text else "") + "inplace=True"
        return text


def _define(name: str, function: Any, inplace: bool = False, _doc: str = "", **defaults: Any) -> Any:
    """A class whose constructor takes the attributes in order (those without a default are None here and required)."""
    parameters = ", ".join(f"{k}={v!r}" if v is not None else k for k, v in defaults.items())
    if inplace:
        parameters += (", " if parameters else "") + "inplace=False"
    body = "".join(f"    self.{k} = {k}\n" for k in [*defaults, *(["inplace"] if inplace else [])])
    scope: dict[str, Any] = {"Module": Module}
    exec(f"def __init__(self{', ' + parameters if parameters else ''}):\n    Module.__init__(self)\n{body}", scope)
    return type(
        name,
        (_Activation,),
        {
            "__init__": scope["__init__"],
            "function": staticmethod(function),
            "shown": tuple(defaults),
            "__module__": __name__,
            "__doc__": _doc or (getattr(function, "__doc__", None) or f"{name} of each element."),
        },
    )


ReLU = _define("ReLU", F.relu, inplace=True)
ReLU6 = _define("ReLU6", F.relu6, inplace=True)
LeakyReLU = _define("LeakyReLU", F.leaky_relu, inplace=True, negative_slope=0.01)
ELU = _define("ELU", F.elu, inplace=True, alpha=1.0)
CELU = _define("CELU", F.celu, inplace=True, alpha=1.0)
SELU = _define("SELU", F.selu, inplace=True)
SiLU = _define("SiLU", F.silu, inplace=True)
Mish = _define("Mish", F.mish, inplace=True)
Hardtanh = _define("Hardtanh", F.hardtanh, inplace=True, min_val=-1.0, max_val=1.0)
Hardswish = _define("Hardswish", F.hardswish, inplace=True)
Hardsigmoid = _define("Hardsigmoid", F.hardsigmoid, inplace=True)
Hardshrink = _define("Hardshrink", F.hardshrink, lambd=0.5)
Softshrink = _define("Softshrink", F.softshrink, lambd=0.5)
Hardshrink.extra_repr = Softshrink.extra_repr = lambda self: str(self.lambd)  # as PyTorch shows them
Tanhshrink = _define("Tanhshrink", F.tanhshrink)
Threshold = _define("Threshold", F.threshold, inplace=True, threshold=None, value=None)
Sigmoid = _define("Sigmoid", F.sigmoid)
LogSigmoid = _define("LogSigmoid", F.logsigmoid)
Tanh = _define("Tanh", F.tanh)
Softsign = _define("Softsign", F.softsign)
Softplus = _define("Softplus", F.softplus, beta=1.0, threshold=20.0)
GLU = _define("GLU", F.glu, dim=-1)


class GELU(Module):
    """x * P(X <= x) of a standard normal X; `approximate="tanh"` for GPT-2's form."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class _OverDimension(Module):
    """Softmax and its kin. Without a dimension the choice is PyTorch's old one: 0 for 0, 1 or 3 dimensions, else 1."""

    function: Any

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        dim = self.dim if self.dim is not None else 0 if input.dim() in (0, 1, 3) else 1
        return type(self).function(input, dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_OverDimension):
    function: Callable[..., Any] = staticmethod(F.softmax)


class Softmin(_OverDimension):
    function: Callable[..., Any] = staticmethod(F.softmin)


class LogSoftmax(_OverDimension):
    function: Callable[..., Any] = staticmethod(F.log_softmax)


class Softmax2d(Module):
    """Softmax over the channels of an image."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, -3)


class PReLU(Module):
    """max(0, x) + weight * min(0, x) with one trained weight, or one for each channel."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        from .. import full

        self.num_parameters = num_parameters  # type: ignore[method-assign, assignment]
        self.weight = Parameter(full([num_parameters], init, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"
