"""The constructors of the C++ optimizers, with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._core import _optim
from .optimizer import CoreOptimizer


class SGD(CoreOptimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) if asked for.

    Raises ValueError for a negative lr, momentum or weight_decay, and for nesterov without momentum.
    `foreach`, `differentiable` and `fused` are accepted for PyTorch's sake and change nothing.
    """

    def __init__(self, params: Iterable, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: Any = 0, nesterov: bool = False, *, maximize: bool = False, foreach: Any = None,
                 differentiable: bool = False, fused: Any = None) -> None:
        super().__init__(_optim.SGD, params, dict(
            lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov,
            maximize=maximize, foreach=foreach, differentiable=differentiable, fused=fused))


class Adam(CoreOptimizer):
    """Adam (Kingma, Ba 2015); weight_decay is added to the gradient.

    Raises ValueError for a negative lr, eps or weight_decay, and for betas outside [0, 1).
    `foreach`, `capturable`, `differentiable` and `fused` are accepted for PyTorch's sake and change nothing.
    """

    def __init__(self, params: Iterable, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: Any = None, maximize: bool = False,
                 capturable: bool = False, differentiable: bool = False, fused: Any = None) -> None:
        super().__init__(_optim.Adam, params, dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused))


class AdamW(CoreOptimizer):
    """Adam whose weight decay shrinks the parameters themselves (Loshchilov, Hutter 2019). Errors as Adam's."""

    def __init__(self, params: Iterable, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False, foreach: Any = None,
                 capturable: bool = False, differentiable: bool = False, fused: Any = None) -> None:
        super().__init__(_optim.AdamW, params, dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
            foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused))
