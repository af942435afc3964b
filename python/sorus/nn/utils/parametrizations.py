"""Weights of a given norm, of spectral norm one, and orthogonal ones (torch.nn.utils.parametrizations)."""

from __future__ import annotations

from ... import _core, linalg
from ..._core import Tensor, _nn
from ..._core import operators as _op
from ..._functions import finfo
from ..._matrices import geqrf
from ..module import Module
from . import parametrize

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _norm_except(v: Tensor, dim: int) -> Tensor:
    """The norms of the slices along `dim`, or (-1) of the whole."""
    if dim == -1:
        return v.norm()
    return _op["norm"](v, 2, [d for d in range(v.dim()) if d != dim % v.dim()], True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / _norm_except(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return _norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """The weight as a length (original0) times a direction (original1), by slices along `dim` (Salimans, Kingma 2016)."""
    return parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.dim() <= dim < max(weight.dim(), 1):
            raise IndexError(f"spectral_norm: there is no dimension {dim} in a weight of shape {tuple(weight.shape)}")
        if n_power_iterations <= 0:
            raise ValueError(f"spectral_norm: expected at least one power iteration, found {n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = dim % max(weight.dim(), 1), eps, n_power_iterations
        if weight.dim() > 1:
            matrix = self._matrix(weight.detach())
            h, w = matrix.shape
            normalize = _op["normalize"]
            self.register_buffer("_u", normalize(_core.randn(h, dtype=matrix.dtype), dim=0, eps=eps))
            self.register_buffer("_v", normalize(_core.randn(w, dtype=matrix.dtype), dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.dim, 0).flatten(1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        before = _core._set_grad_enabled(False)
        try:
            for _ in range(times):
                self._u.copy_(_op["normalize"](matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(_op["normalize"](matrix.t().mv(self._u), dim=0, eps=self.eps))
        finally:
            _core._set_grad_enabled(before)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() <= 1:
            return _op["normalize"](weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix.detach(), self.n_power_iterations)
        # Copies: the vectors move on with the next call, and backward reads these.
        u, v = self._u.clone(), self._v.clone()
        return weight / (u * matrix.mv(v)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def _direction_dim(module: Module) -> int:
    """The dimension of a weight that counts the layer's outputs."""
    return 1 if isinstance(module, (_nn.ConvTranspose1d, _nn.ConvTranspose2d, _nn.ConvTranspose3d)) else 0


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """The weight divided by its largest singular value, which power iterations follow (Miyato et al. 2018)."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"spectral_norm: module {type(module).__name__} has no parameter or buffer {name!r}")
    if dim is None:
        dim = _direction_dim(module)
    return parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


def _orthogonal_from(x: Tensor) -> Tensor:
    """The Q of x = Q R with a positive diagonal of R."""
    factors, tau = geqrf(x)
    q = linalg.householder_product(factors, tau)
    return q * factors.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    def __init__(self, weight: Tensor, orthogonal_map: str, use_trivialization: bool) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("orthogonal: the householder map is for real weights")
        self.shape, self.orthogonal_map = tuple(weight.shape), orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)
        self.trivial = use_trivialization

    def forward(self, x: Tensor) -> Tensor:
        wide = x.shape[-2] < x.shape[-1]
        x = x.mT if wide else x
        n, k = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            tau = 2.0 / (1.0 + (a * a.conj()).sum(-2))
            q = linalg.householder_product(a, tau) * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
        else:
            x = x.tril()
            if n != k:
                x = _op["cat"]([x, x.new_zeros((*x.shape[:-2], n, n - k))], -1)
            a = x - x.mT.conj()  # its exponential is orthogonal
            if self.orthogonal_map == "matrix_exp":
                q = linalg.matrix_exp(a)
            else:
                one = _op["eye"](n, dtype=a.dtype)
                q = linalg.solve(one - a * 0.5, one + a * 0.5)
            q = q[..., :k] if n != k else q
        if self.trivial and self.base is not None:
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, value: Tensor) -> Tensor:
        if tuple(value.shape) != self.shape:
            raise ValueError(f"orthogonal: expected a matrix of shape {self.shape}, found {tuple(value.shape)}")
        wide = value.shape[-2] < value.shape[-1]
        q = value.mT if wide else value
        n, k = q.shape[-2:]
        if not self.trivial:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    f"orthogonal: {self.orthogonal_map} cannot be inverted with use_trivialization=False"
                )
            factors, tau = geqrf(q)
            diagonal = factors.diagonal(dim1=-2, dim2=-1)
            sign = diagonal.sign() * _op["where"](tau == 0, -1.0, 1.0).to(diagonal.dtype)
            y = factors - diagonal.diag_embed() + sign.diag_embed() if n == k else _with_diagonal(factors, sign)
            return y.mT if wide else y
        if n != k:
            fill = _core.randn(*q.shape[:-2], n, n - k, dtype=q.dtype)
            q = _op["cat"]([q, fill], -1)
        one = _op["eye"](n, dtype=q.dtype)
        exact = bool(((q.mT.conj() @ q - one).abs() < 10 * n * finfo(q.dtype).eps).all())
        self.base = q.clone() if exact else _orthogonal_from(q)
        # The original whose map is the identity.
        return -_op["eye"](*value.shape[-2:], dtype=value.dtype).expand(value.shape).clone()


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    n, k = matrix.shape[-2:]
    change = (diagonal - matrix.diagonal(dim1=-2, dim2=-1)).diag_embed()
    return matrix + _op["pad"](change, [0, 0, 0, n - k])


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """The weight (a matrix, or matrices in the last two dimensions) as an orthogonal one; with fewer columns than rows
    (or the other way round) its columns (rows) are. Maps: "matrix_exp", "cayley", "householder"."""
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"orthogonal: module {type(module).__name__} has no parameter or buffer {name!r}")
    if weight.dim() < 2:
        raise ValueError(f"orthogonal: expected a matrix, found {weight.dim()} dimensions")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(f"orthogonal: the map must be matrix_exp, cayley or householder, not {orthogonal_map!r}")
    step = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, step, unsafe=True)
