"""The constructors of the C++ optimizers, with PyTorch's arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._core import _optim
from .optimizer import CoreOptimizer


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """What a constructor was given beside the parameters, by name."""
    return {name: value for name, value in arguments.items() if name not in ("self", "params", "__class__")}


class SGD(CoreOptimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al. 2013) if asked for.

    Raises ValueError for a negative lr, momentum or weight_decay, and for nesterov without momentum.
    `foreach`, `differentiable` and `fused` are accepted for PyTorch's sake and change nothing.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: Any = None,
        differentiable: bool = False,
        fused: Any = None,
    ) -> None:
        super().__init__(_optim.SGD, params, _settings(locals()))


class Adam(CoreOptimizer):
    """Adam (Kingma, Ba 2015); weight_decay is added to the gradient.

    Raises ValueError for a negative lr, eps or weight_decay, and for betas outside [0, 1).
    `foreach`, `capturable`, `differentiable` and `fused` are accepted for PyTorch's sake and change nothing.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: Any = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: Any = None,
    ) -> None:
        super().__init__(_optim.Adam, params, _settings(locals()))


class AdamW(CoreOptimizer):
    """Adam whose weight decay shrinks the parameters themselves (Loshchilov, Hutter 2019). Errors as Adam's."""

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: Any = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: Any = None,
    ) -> None:
        super().__init__(_optim.AdamW, params, _settings(locals()))


class RMSprop(CoreOptimizer):
    """Gradients divided by the root of their running mean square (Tieleman, Hinton 2012). ValueError for negative settings.

    `foreach`, `capturable` and `differentiable` are accepted for PyTorch's sake and change nothing, here and below.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: Any = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(_optim.RMSprop, params, _settings(locals()))


class Adagrad(CoreOptimizer):
    """Gradients divided by the root of the sum of all squares so far (Duchi, Hazan, Singer 2011)."""

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: Any = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: Any = None,
    ) -> None:
        super().__init__(_optim.Adagrad, params, _settings(locals()))


class Adadelta(CoreOptimizer):
    """The size of a step follows from those before it (Zeiler 2012)."""

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: Any = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(_optim.Adadelta, params, _settings(locals()))


class Adamax(CoreOptimizer):
    """Adam with a running maximum for the second moment (Kingma, Ba 2015)."""

    def __init__(
        self,
        params: Iterable,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: Any = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(_optim.Adamax, params, _settings(locals()))


class NAdam(CoreOptimizer):
    """Adam with Nesterov's momentum (Dozat 2016), whose momentum rises by `momentum_decay`. ValueError as Adam's.

    With `decoupled_weight_decay` the decay shrinks the parameters themselves, as AdamW's; so with RAdam.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: Any = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(_optim.NAdam, params, _settings(locals()))


class RAdam(CoreOptimizer):
    """Adam whose first steps, with few gradients seen, are not adaptive (Liu et al. 2020). ValueError as Adam's."""

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: Any = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(_optim.RAdam, params, _settings(locals()))


class Rprop(CoreOptimizer):
    """Each element has a step of its own, which grows while the sign of its gradient stays (Riedmiller, Braun 1993).

    `etas` are the factors after a change of sign and without, `step_sizes` the limits. ValueError for negative
    settings, and for etas that do not lie below and above 1.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: Any = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(_optim.Rprop, params, _settings(locals()))


class ASGD(CoreOptimizer):
    """Descent with a falling rate (Polyak, Juditsky 1992); `state[p]["ax"]` is the average of a parameter since step t0."""

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: Any = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(_optim.ASGD, params, _settings(locals()))


class Adafactor(CoreOptimizer):
    """Second moments of a matrix as one number for each row and each column (Shazeer, Stern 2018).

    `lr` bounds the size of a step relative to the parameter, `eps` is what squares are at least (None: the machine epsilon of
    the type) and what the parameter's size is, `d` clips steps by their root mean square. ValueError for beta2_decay > 0 and
    d < 1.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: Any = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(_optim.Adafactor, params, _settings(locals()))


class Muon(CoreOptimizer):
    """Momentum whose steps are made orthogonal by `ns_steps` steps of Newton and Schulz in bfloat16 (Jordan et al. 2024).

    For the matrices of hidden layers; give embeddings, heads and vectors to AdamW. `adjust_lr_fn`: None or "original" takes
    lr times sqrt(max(1, rows / columns)), "match_rms_adamw" makes steps as large as AdamW's (Liu et al. 2025). ValueError for a
    parameter that is no matrix.
    """

    def __init__(
        self,
        params: Iterable,
        lr: Any = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(_optim.Muon, params, _settings(locals()))
