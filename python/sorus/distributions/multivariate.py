"""Normal distributions of vectors, and mixtures."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _core, linalg
from .._core import Tensor
from .._core import operators as _op
from .._functions import broadcast_shapes
from . import constraints
from .distribution import Categorical, Distribution

__all__ = ["LowRankMultivariateNormal", "MixtureSameFamily", "MultivariateNormal"]


def _solved(lower: Tensor, x: Tensor) -> Tensor:
    """L^-1 x for vectors x [.., n]."""
    shape = broadcast_shapes(lower.shape[:-2], x.shape[:-1])
    lower, x = lower.expand((*shape, *lower.shape[-2:])), x.expand((*shape, x.shape[-1]))
    return linalg.solve_triangular(lower, x.unsqueeze(-1), upper=False).squeeze(-1)


def half_log_det(lower: Tensor) -> Tensor:
    return lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def factor_of(
    of: Distribution, covariance: Tensor | None, precision: Tensor | None, factor: Tensor | None, validate_args: Any
) -> Tensor:
    """The lower factor of a covariance, of which one of three forms is given."""
    who = type(of).__name__
    if sum(m is not None for m in (covariance, precision, factor)) != 1:
        raise ValueError(f"{who}: exactly one of covariance_matrix, precision_matrix and scale_tril is needed")
    given: Any = next(m for m in (covariance, precision, factor) if m is not None)
    if given.dim() < 2:
        raise ValueError(f"{who}: a matrix is needed, found a tensor of shape {tuple(given.shape)}")
    if factor is not None:
        return factor
    if Distribution._default_validate_args if validate_args is None else validate_args:
        name = "covariance_matrix" if covariance is not None else "precision_matrix"
        of._check_parameter(name, given, constraints.positive_definite)
    if covariance is not None:
        return linalg.cholesky(covariance)
    # The inverse of a matrix turned round has the factor wanted, turned round.
    flipped = linalg.cholesky(given.flip([-2, -1])).flip([-2, -1]).mT
    one = _op["eye"](given.shape[-1], dtype=given.dtype).expand(flipped.shape)
    return linalg.solve_triangular(flipped, one, upper=False)


class MultivariateNormal(Distribution):
    """Mean `loc` [.., n], and one of covariance_matrix, precision_matrix and scale_tril (a factor L L^T) [.., n, n]."""

    arg_constraints: ClassVar = {"loc": constraints.real_vector, "scale_tril": constraints.lower_cholesky}
    support: Any = constraints.real_vector
    has_rsample = True
    _names = ("loc", "scale_tril")

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: Any = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("MultivariateNormal: loc needs at least one dimension")
        scale_tril = factor_of(self, covariance_matrix, precision_matrix, scale_tril, validate_args)
        n = loc.shape[-1]
        if tuple(scale_tril.shape[-2:]) != (n, n):
            raise ValueError(
                f"MultivariateNormal: a matrix of {tuple(scale_tril.shape)} does not fit a mean of {n} numbers"
            )
        shape = broadcast_shapes(loc.shape[:-1], scale_tril.shape[:-2])
        self.loc, self.scale_tril = loc.expand((*shape, n)), scale_tril.expand((*shape, n, n))
        super().__init__(shape, (n,), validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)
    covariance_matrix = property(lambda self: self.scale_tril @ self.scale_tril.mT)
    precision_matrix = property(lambda self: linalg.inv(self.covariance_matrix))
    variance = property(lambda self: (self.scale_tril**2).sum(-1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = _core.randn(*self._shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + (self.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        m = (_solved(self.scale_tril, value - self.loc) ** 2).sum(-1)
        return -0.5 * (self.loc.shape[-1] * math.log(2 * math.pi) + m) - half_log_det(self.scale_tril)

    def entropy(self) -> Tensor:
        return 0.5 * self.loc.shape[-1] * (1 + math.log(2 * math.pi)) + half_log_det(self.scale_tril)


class LowRankMultivariateNormal(Distribution):
    """Covariance W W^T + diag(d): cov_factor W [.., n, r], cov_diag d [.., n]."""

    arg_constraints: ClassVar = {"loc": constraints.real_vector, "cov_factor": constraints.independent(constraints.real, 2),
                       "cov_diag": constraints.independent(constraints.positive, 1)}  # fmt: skip
    support: Any = constraints.real_vector
    has_rsample = True
    _names = ("loc", "cov_factor", "cov_diag")

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: Any = None) -> None:
        n = loc.shape[-1]
        if cov_factor.shape[-2] != n or cov_diag.shape[-1] != n:
            raise ValueError(f"LowRankMultivariateNormal: a factor of {tuple(cov_factor.shape)} and a diagonal of "
                             f"{tuple(cov_diag.shape)} do not fit a mean of {n} numbers")  # fmt: skip
        shape = broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        self.loc, self.cov_diag = loc.expand((*shape, n)), cov_diag.expand((*shape, n))
        self.cov_factor = cov_factor.expand((*shape, n, cov_factor.shape[-1]))
        super().__init__(shape, (n,), validate_args=validate_args)

    mean = mode = property(lambda self: self.loc)
    variance = property(lambda self: (self.cov_factor**2).sum(-1) + self.cov_diag)
    covariance_matrix = property(lambda self: self.cov_factor @ self.cov_factor.mT + self.cov_diag.diag_embed())

    def _full(self) -> MultivariateNormal:
        return MultivariateNormal(self.loc, self.covariance_matrix)

    scale_tril = property(lambda self: self._full().scale_tril)
    precision_matrix = property(lambda self: linalg.inv(self.covariance_matrix))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._shape(sample_shape)
        factors = _core.randn(*shape[:-1], self.cov_factor.shape[-1], dtype=self.loc.dtype)
        own = _core.randn(*shape, dtype=self.loc.dtype)
        return self.loc + (self.cov_factor @ factors.unsqueeze(-1)).squeeze(-1) + self.cov_diag.sqrt() * own

    def log_prob(self, value: Tensor) -> Tensor:
        return self._full().log_prob(value)

    def entropy(self) -> Tensor:
        return self._full().entropy()


class MixtureSameFamily(Distribution):
    """One of the distributions along the last batch dimension, by a Categorical."""

    support = property(lambda self: self.component_distribution.support)

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: Any = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError("MixtureSameFamily: the mixture distribution must be a Categorical")
        shape = component_distribution.batch_shape
        if not shape or shape[-1] != mixture_distribution.probs.shape[-1]:
            raise ValueError(f"MixtureSameFamily: {mixture_distribution.probs.shape[-1]} weights for components of "
                             f"shape {tuple(shape)}")  # fmt: skip
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        super().__init__(shape[:-1], component_distribution.event_shape, validate_args=validate_args)

    def _weights(self) -> Tensor:
        p = self.mixture_distribution.probs
        return p.reshape((*p.shape, *[1] * len(self._event_shape)))

    @property
    def mean(self) -> Tensor:
        return (self._weights() * self.component_distribution.mean).sum(-1 - len(self._event_shape))

    @property
    def variance(self) -> Tensor:
        dim, p = -1 - len(self._event_shape), self._weights()
        away = self.component_distribution.mean - self.mean.unsqueeze(dim)
        return (p * self.component_distribution.variance).sum(dim) + (p * away**2).sum(dim)

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.unsqueeze(-1 - len(self._event_shape))
        log = self.component_distribution.log_prob(x)
        return (log + _op["log_softmax"](self.mixture_distribution.logits, -1)).logsumexp([-1])

    def cdf(self, value: Tensor) -> Tensor:
        return (self.component_distribution.cdf(value.unsqueeze(-1)) * self.mixture_distribution.probs).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        before = _core._set_grad_enabled(False)
        try:
            dim, events = len(sample_shape) + len(self._batch_shape), len(self._event_shape)
            which = self.mixture_distribution.sample(sample_shape)
            which = which.expand((*sample_shape, *self._batch_shape))
            all_of = self.component_distribution.sample(sample_shape)
            index = which.reshape((*which.shape, 1, *[1] * events))
            index = index.expand((*which.shape, 1, *self._event_shape))
            return all_of.gather(dim, index).squeeze(dim)
        finally:
            _core._set_grad_enabled(before)
