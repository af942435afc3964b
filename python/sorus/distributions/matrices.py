"""Distributions of matrices: covariances and factors of correlations."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import _core, linalg
from .._core import Tensor
from .._core import operators as _op
from .._functions import broadcast_shapes, mvlgamma
from . import constraints
from .distribution import Distribution, _tensors
from .gamma import Beta, Chi2
from .multivariate import factor_of, half_log_det

__all__ = ["LKJCholesky", "Wishart"]


def _below_diagonal(shape: Any, dtype: Any) -> Tensor:
    return _core.randn(*shape, dtype=dtype).tril(-1)


class Wishart(Distribution):
    """Sums of x x^T over `df` normal vectors x of one covariance: covariance_matrix, precision_matrix or scale_tril."""

    has_rsample = True
    arg_constraints: ClassVar = {"scale_tril": constraints.lower_cholesky}
    support: Any = constraints.positive_definite
    _names = ("df", "scale_tril")

    def __init__(
        self,
        df: Any,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: Any = None,
    ) -> None:
        factor = factor_of(self, covariance_matrix, precision_matrix, scale_tril, validate_args)
        n = factor.shape[-1]
        df = df if isinstance(df, Tensor) else _core.tensor(float(df), dtype=factor.dtype)
        shape = broadcast_shapes(df.shape, factor.shape[:-2])
        self.df, self.scale_tril = df.expand(shape), factor.expand((*shape, n, n))
        super().__init__(shape, (n, n), validate_args=validate_args)
        if self._validate_args:
            self._check_parameter("df", self.df, constraints.greater_than(n - 1))

    covariance_matrix = property(lambda self: self.scale_tril @ self.scale_tril.mT)
    precision_matrix = property(lambda self: linalg.inv(self.covariance_matrix))
    mean = property(lambda self: self._df() * self.covariance_matrix)

    def _df(self) -> Tensor:
        return self.df.unsqueeze(-1).unsqueeze(-1)

    @property
    def mode(self) -> Tensor:
        factor = self._df() - self._event_shape[-1] - 1
        return _op["where"](factor <= 0, math.nan, factor) * self.covariance_matrix

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        d = v.diagonal(dim1=-2, dim2=-1)
        return self._df() * (v**2 + d.unsqueeze(-1) * d.unsqueeze(-2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        # Bartlett 1933: the factor is triangular, with roots of Chi2 on the diagonal and normal numbers below it.
        n = self._event_shape[-1]
        chi2 = Chi2(self.df.unsqueeze(-1) - _op["arange"](n, dtype=self.df.dtype), validate_args=False)
        noise = chi2.rsample(sample_shape).sqrt().diag_embed()
        factor = self.scale_tril @ (noise + _below_diagonal(noise.shape, noise.dtype))
        return factor @ factor.mT

    def log_prob(self, value: Tensor) -> Tensor:
        n, df = self._event_shape[-1], self.df
        trace = linalg.solve(self.covariance_matrix, value).diagonal(dim1=-2, dim2=-1).sum(-1)
        log_det = linalg.slogdet(value).logabsdet
        norm = df * (0.5 * n * math.log(2) + half_log_det(self.scale_tril)) + mvlgamma(df / 2, n)
        return 0.5 * (df - n - 1) * log_det - 0.5 * trace - norm

    def entropy(self) -> Tensor:
        n, df = self._event_shape[-1], self.df
        steps = _op["arange"](n, dtype=df.dtype) / 2
        digammas = (df.unsqueeze(-1) / 2 - steps).digamma().sum(-1)
        inner = (n + 1) * (0.5 * n * math.log(2) + half_log_det(self.scale_tril)) + mvlgamma(df / 2, n)
        return inner - 0.5 * (df - n - 1) * digammas + 0.5 * df * n


class LKJCholesky(Distribution):
    """Cholesky factors L of correlations L L^T, whose density is det(L L^T)^(concentration - 1) (Lewandowski, Kurowicka,
    Joe 2009)."""

    arg_constraints: ClassVar = {"concentration": constraints.positive}
    support: Any = constraints.corr_cholesky
    _names = ("concentration",)

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: Any = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = _tensors(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        # Row by row, the "onion": its part left of the diagonal has a random direction and a length from a Beta.
        place = (_op["arange"](self.dim, dtype=self.concentration.dtype) - 1).clamp(min=0)
        above = (self.concentration + 0.5 * (self.dim - 2)).detach().unsqueeze(-1) - 0.5 * place
        square = (
            Beta((place + 0.5).expand(above.shape), above, validate_args=False).sample(sample_shape).unsqueeze(-1)
        )
        normal = _below_diagonal(self._shape(sample_shape), self.concentration.dtype)
        length = (normal * normal).sum(-1, keepdim=True).sqrt()
        left = square.sqrt() * _op["where"](length > 0, normal / length, 0.0)
        rest = 1 - (left * left).sum(-1)
        return left + rest.clamp(min=1e-38).sqrt().diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        n = self.dim - 1
        power = 2 * (self.concentration - 1).unsqueeze(-1) + _op["arange"](n, dtype=self.concentration.dtype).flip(
            [0]
        )
        log = (power * value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1)
        alpha = self.concentration + 0.5 * n
        norm = 0.5 * n * math.log(math.pi) + mvlgamma(alpha - 0.5, n) - alpha.lgamma() * n
        return log - norm
