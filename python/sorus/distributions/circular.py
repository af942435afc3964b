"""The normal distribution's kin on a circle."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _core
from .._core import Tensor
from .._core import operators as _op
from . import constraints
from .distribution import Distribution, _tensors

__all__ = ["VonMises"]

_ROUNDS = 24  # a proposal is taken two times in three, or more often


class VonMises(Distribution):
    """Angles: exp(concentration cos(x - loc)) / (2 pi I0(concentration))."""

    arg_constraints: ClassVar = {"loc": constraints.real, "concentration": constraints.positive}
    support: Any = constraints.real
    _names = ("loc", "concentration")

    def __init__(self, loc: Any, concentration: Any, validate_args: Any = None) -> None:
        self.loc, self.concentration = _tensors(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)

    @property
    def variance(self) -> Tensor:
        """One minus the length of the mean of (cos x, sin x)."""
        return 1 - _op["special.i1e"](self.concentration) / _op["special.i0e"](self.concentration)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        # Best and Fisher 1979: a wrapped Cauchy distribution is cut to size.
        shape, k = self._shape(sample_shape), self.concentration.detach().double()
        tau = 1 + (1 + 4 * k * k).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * k)
        # Where the concentration is small the formula is a difference of equal numbers.
        r = _op["where"](k < 1e-4, 1 / k + k, (1 + rho * rho) / (2 * rho))
        cosine, done = _op["zeros"](list(shape), dtype=_core.float64), _op["zeros"](list(shape), dtype=_core.bool)
        for _ in range(_ROUNDS):
            turn, u = (_core.rand(*shape, dtype=_core.float64) for _ in range(2))
            z = (math.pi * turn).cos()
            f = (1 + r * z) / (r + z)
            c = k * (r - f)
            fits = (c * (2 - c) > u) | ((c / u).log() + 1 - c >= 0)
            cosine = _op["where"](fits & ~done, f, cosine)
            done = done | fits
        side = (_core.rand(*shape, dtype=_core.float64) - 0.5).sign()
        angle = side * cosine.clamp(-1.0, 1.0).acos() + self.loc.detach().double()
        return ((angle + math.pi) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        k = self.concentration
        return k * ((value - self.loc).cos() - 1) - math.log(2 * math.pi) - _op["special.i0e"](k).log()
