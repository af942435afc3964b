"""Norms of weights in the older way, in which the parts are parameters of the module itself: `weight_g` and `weight_v`, or
`weight_orig`. The newer way is nn.utils.parametrizations."""

from __future__ import annotations

from ..._core import Tensor
from .. import _computed
from ..module import Module
from ..parameter import Parameter
from .parametrizations import _direction_dim, _norm_except, _SpectralNorm

__all__ = ["remove_spectral_norm", "remove_weight_norm", "spectral_norm", "weight_norm"]


class _WeightNorm:
    def __init__(self, name: str, dim: int | None) -> None:
        self.name, self.dim = name, -1 if dim is None else dim

    def __call__(self, module: Module) -> Tensor:
        g, v = getattr(module, self.name + "_g"), getattr(module, self.name + "_v")
        return v * (g / _norm_except(v, self.dim))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """The parameter as its norm by slices along `dim` (`name`_g) times a direction (`name`_v). RuntimeError if it is
    so already."""
    if _computed.rule_of(module, name) is not None:
        raise RuntimeError(f"weight_norm: {name!r} is computed already")
    weight, rule = getattr(module, name), _WeightNorm(name, dim)
    _computed.compute(module, name, rule)
    module.register_parameter(name + "_g", Parameter(_norm_except(weight.detach(), rule.dim)))
    module.register_parameter(name + "_v", Parameter(weight.detach()))
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """The product is the parameter again. ValueError where there is no weight_norm."""
    return _removed(module, name, _WeightNorm, (name + "_g", name + "_v"), "weight_norm")


class _Spectral:
    """The step of the parametrization on the buffers of the module."""

    def __init__(self, name: str, step: _SpectralNorm) -> None:
        self.name, self.step = name, step

    def __call__(self, module: Module) -> Tensor:
        self.step._u, self.step._v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        self.step.train(module.training)
        return self.step(getattr(module, self.name + "_orig"))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """The parameter divided by its largest singular value; what is trained is `name`_orig."""
    if _computed.rule_of(module, name) is not None:
        raise RuntimeError(f"spectral_norm: {name!r} is computed already")
    weight = getattr(module, name)
    step = _SpectralNorm(weight, n_power_iterations, _direction_dim(module) if dim is None else dim, eps)
    _computed.compute(module, name, _Spectral(name, step))
    module.register_parameter(name + "_orig", Parameter(weight.detach()))
    if weight.dim() > 1:
        module.register_buffer(name + "_u", step._u)
        module.register_buffer(name + "_v", step._v)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """The quotient is the parameter again. ValueError where there is no spectral_norm."""
    return _removed(module, name, _Spectral, (name + "_orig", name + "_u", name + "_v"), "spectral_norm")


def _removed(module: Module, name: str, kind: type, parts: tuple[str, ...], what: str) -> Module:
    if not isinstance(_computed.rule_of(module, name), kind):
        raise ValueError(f"{what} of {name!r} not found in {type(module).__name__}")
    training = module.training
    module.training = False  # the value as it is: no power iteration more
    try:
        value = getattr(module, name).detach().clone()
    finally:
        module.training = training
    _computed.stop(module, name)
    for part in parts:
        if hasattr(module, part):
            delattr(module, part)
    module.register_parameter(name, Parameter(value))
    return module
