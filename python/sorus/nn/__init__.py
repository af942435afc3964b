"""Layers. They are C++ classes (sorus::nn); a subclass of Module in Python registers what is assigned to it."""

from .._core import Tensor
from .._core._nn import CausalSelfAttention, Dropout, Embedding, LayerNorm, Linear, Module
from . import functional, utils
from .parameter import Parameter


def _setattr(self, name, value):
    if isinstance(value, Parameter):
        self.register_parameter(name, value)
    elif isinstance(value, Module):
        self.register_module(name, value)
    object.__setattr__(self, name, value)


def _call(self, *args, **kwargs):
    return self.forward(*args, **kwargs)


Module.__setattr__ = _setattr
Module.__call__ = _call


class Sequential(Module):
    def __init__(self, *modules):
        super().__init__()
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, input: Tensor) -> Tensor:
        for _, module in self.named_children():
            input = module(input)
        return input


class ModuleList(Module):
    def __init__(self, modules=()):
        super().__init__()
        for module in modules:
            self.append(module)

    def append(self, module):
        setattr(self, str(len(self)), module)
        return self

    def __len__(self):
        return len(self.named_children())

    def __iter__(self):
        return iter([module for _, module in self.named_children()])

    def __getitem__(self, index):
        return list(self)[index]


class ReLU(Module):
    def forward(self, input):
        return functional.relu(input)


class GELU(Module):
    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input):
        return functional.gelu(input, approximate=self.approximate)


class CrossEntropyLoss(Module):
    def forward(self, input, target):
        return functional.cross_entropy(input, target)
