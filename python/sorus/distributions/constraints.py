"""Sets of numbers and vectors: what parameters and values of distributions may be (torch.distributions.constraints).

constraints.positive.check(scale)          # truth values: which of the elements are inside
class Mine(Distribution):
    arg_constraints = {"scale": constraints.positive}
    support = constraints.real
"""

from __future__ import annotations

from typing import Any

from .. import linalg
from .._core import Tensor
from .._core import operators as _op

__all__ = [
    "Constraint", "boolean", "corr_cholesky", "dependent", "dependent_property", "greater_than", "greater_than_eq",
    "half_open_interval", "independent", "integer_interval", "interval", "is_dependent", "less_than", "lower_cholesky",
    "lower_triangular", "multinomial", "nonnegative", "nonnegative_integer", "one_hot", "positive", "positive_definite",
    "positive_integer", "positive_semidefinite", "real", "real_vector", "simplex", "square", "symmetric", "unit_interval",
]  # fmt: skip


class Constraint:
    """`check(value)` says for each event, the last `event_dim` dimensions of the value, whether it is inside."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__}: check")

    def __repr__(self) -> str:
        bounds = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__.lstrip('_')}({bounds})"


class _Dependent(Constraint):
    def check(self, value: Tensor) -> Tensor:
        raise ValueError("what is allowed depends on other parameters: ask the distribution's own constraint")


class dependent_property(property, _Dependent):
    """A constraint that an instance computes from its parameters."""

    def __init__(self, fn: Any = None, *, is_discrete: bool = False, event_dim: int = 0) -> None:
        super().__init__(fn)
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, fn: Any) -> dependent_property:
        return dependent_property(fn, is_discrete=self.is_discrete, event_dim=self.event_dim)


def is_dependent(constraint: Any) -> bool:
    return isinstance(constraint, _Dependent)


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)


class _Real(Constraint):
    def check(self, value: Tensor) -> Tensor:
        return value == value


class greater_than(Constraint):
    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound

    def check(self, value: Tensor) -> Tensor:
        return value > self.lower_bound


class greater_than_eq(greater_than):
    def check(self, value: Tensor) -> Tensor:
        return value >= self.lower_bound


class less_than(Constraint):
    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        return value < self.upper_bound


class interval(Constraint):
    """Both bounds belong to it."""

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class half_open_interval(interval):
    """The upper bound does not belong to it."""

    def check(self, value: Tensor) -> Tensor:
        return (value >= self.lower_bound) & (value < self.upper_bound)


class integer_interval(interval):
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & super().check(value)


class _FromInteger(greater_than):
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & (value >= self.lower_bound)


class independent(Constraint):
    """The last dimensions as one event, all of which has to be inside."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims

    is_discrete: Any = property(lambda self: self.base_constraint.is_discrete)
    event_dim: Any = property(lambda self: self.base_constraint.event_dim + self.reinterpreted_batch_ndims)

    def check(self, value: Tensor) -> Tensor:
        inside = self.base_constraint.check(value)
        if inside.dim() < self.reinterpreted_batch_ndims:
            raise ValueError(f"a value of shape {tuple(value.shape)} has no events of {self.event_dim} dimensions")
        for _ in range(self.reinterpreted_batch_ndims):
            inside = inside.all(-1)
        return inside


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class multinomial(Constraint):
    """Counts that add up to `upper_bound`."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)


class _OneHot(Constraint):
    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _Matrix(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        square = value.dim() >= 2 and value.shape[-1] == value.shape[-2]
        return _op["full"](list(value.shape[:-2]), square)


class _Symmetric(_Matrix):
    def check(self, value: Tensor) -> Tensor:
        inside = super().check(value)
        return _op["isclose"](value, value.mT, atol=1e-6).all(-1).all(-1) if bool(inside.all()) else inside


class _PositiveSemidefinite(_Symmetric):
    def check(self, value: Tensor) -> Tensor:
        inside = super().check(value)
        return (linalg.eigvalsh(value) >= 0).all(-1) if bool(inside.all()) else inside


class _PositiveDefinite(_Symmetric):
    def check(self, value: Tensor) -> Tensor:
        inside = super().check(value)
        return linalg.cholesky_ex(value).info == 0 if bool(inside.all()) else inside


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return (value.tril() == value).all(-1).all(-1)


class _LowerCholesky(_LowerTriangular):
    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(_LowerCholesky):
    def check(self, value: Tensor) -> Tensor:
        # Rows of length 1, as far as sums of their squares are exact.
        allowed = (1e-4 if value.dtype.itemsize <= 4 else 1e-10) * value.shape[-1]
        return super().check(value) & (((value * value).sum(-1).sqrt() - 1).abs() <= allowed).all(-1)


boolean, real, dependent = _Boolean(), _Real(), _Dependent()
positive, nonnegative, unit_interval = greater_than(0.0), greater_than_eq(0.0), interval(0.0, 1.0)
nonnegative_integer, positive_integer = _FromInteger(0), _FromInteger(1)
real_vector, simplex, one_hot = independent(real, 1), _Simplex(), _OneHot()
square, symmetric = _Matrix(), _Symmetric()
positive_semidefinite, positive_definite = _PositiveSemidefinite(), _PositiveDefinite()
lower_triangular, lower_cholesky, corr_cholesky = _LowerTriangular(), _LowerCholesky(), _CorrCholesky()
