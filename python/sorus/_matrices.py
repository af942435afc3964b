"""The older names of linear algebra, functions of the module and methods, beside those of sorus.linalg."""

from __future__ import annotations

import math
from typing import Any

from . import linalg as _linalg
from ._core import Tensor
from ._core import operators as _op

__all__ = [
    "chain_matmul", "cholesky", "cholesky_inverse", "cholesky_solve", "det", "geqrf", "inverse", "logdet", "lu", "lu_solve",
    "lu_unpack", "matrix_exp", "matrix_power", "orgqr", "ormqr", "pca_lowrank", "pinverse", "qr", "slogdet", "svd", "svd_lowrank",
    "triangular_solve",
]  # fmt: skip

_results = _linalg._results
_QR = _results("qr", "Q", "R")
_SVD = _results("svd", "U", "S", "V")
_Triangular = _results("triangular_solve", "solution", "cloned_coefficient")
_Reflections = _results("geqrf", "a", "tau")
_Unpacked = _results("lu_unpack", "P", "L", "U")

matrix_exp, matrix_power, slogdet = _linalg.matrix_exp, _linalg.matrix_power, _linalg.slogdet
det, inverse, orgqr = _linalg.det, _linalg.inv, _linalg.householder_product


def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """linalg.cholesky."""
    return _linalg.cholesky(input, upper=upper)


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, for the Cholesky factor of A."""
    lower = _op["adjoint"](L) if upper else L
    y = _linalg.solve_triangular(lower, B, upper=False)
    return _linalg.solve_triangular(_op["adjoint"](lower), y, upper=True)


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, for the Cholesky factor of A."""
    return cholesky_solve(_op["eye"](L.shape[-1], dtype=L.dtype), L.triu() if upper else L.tril(), upper)


def logdet(A: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN if it is negative."""
    sign, size = _linalg.slogdet(A)
    return sign.log() + size if A.is_complex() else _op["where"](sign < 0, math.nan, size)


def qr(input: Tensor, some: bool = True) -> Any:
    """linalg.qr, complete if not `some`."""
    return _QR(*_linalg.qr(input, "reduced" if some else "complete"))


def geqrf(input: Tensor) -> Any:
    """The QR decomposition as LAPACK has it: R on and above the diagonal of one matrix, below it the reflections whose
    product is Q (`ormqr`, `linalg.householder_product`), and their factors tau."""
    a, taus = input.detach(), []
    m, n = a.shape[-2:]
    row = _op["arange"](m)
    for k in range(min(m, n)):
        x = a[..., :, k]
        below = x * (row > k)
        rest, alpha = below.abs().square().sum(-1), x[..., k]
        real = _linalg._real(alpha)
        size = (alpha.abs().square() + rest).sqrt()
        beta = _op["where"](real < 0, size, -size).to(a.dtype)
        # A column that is 0 below a real number on the diagonal is left alone.
        done = (rest == 0) & (alpha == real)
        tau = _op["where"](done, 0.0, (beta - alpha) / _op["where"](done, 1.0, beta))
        v = below / _op["where"](done, 1.0, alpha - beta).unsqueeze(-1) + (row == k)
        later = a - _op["conj"](tau).unsqueeze(-1).unsqueeze(-1) * (
            v.unsqueeze(-1) @ (_op["conj"](v).unsqueeze(-2) @ a)
        )
        column = _op["arange"](n)
        kept = v * (row > k) + _op["where"](done, alpha, beta).unsqueeze(-1) * (row == k) + x * (row < k)
        a = _op["where"](column > k, later, _op["where"](column == k, kept.unsqueeze(-1), a))
        taus.append(tau)
    return _Reflections(a, _op["stack"](taus, -1) if taus else _op["empty"]([*a.shape[:-2], 0], dtype=a.dtype))


def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q other (other Q if not `left`) for the product Q of the reflections of `geqrf`, or (`transpose`) its adjoint."""
    if left:
        return _linalg._reflected(input, tau, other, transpose)
    adjoint = _op["adjoint"]
    return adjoint(_linalg._reflected(input, tau, adjoint(other), not transpose))


def lu(A: Tensor, pivot: bool = True, get_infos: bool = False) -> Any:
    """linalg.lu_factor, with its info if asked for."""
    factors, pivots, info = _linalg.lu_factor_ex(A, pivot=pivot)
    return (factors, pivots, info) if get_infos else (factors, pivots)


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """U, S and V (not its adjoint); zeros for U and V if not compute_uv."""
    u, s, vh = _linalg.svd(input, not some)
    if not compute_uv:
        m, n = input.shape[-2:]
        batch = list(input.shape[:-2])
        return _SVD(_op["zeros"]([*batch, m, m], dtype=u.dtype), s, _op["zeros"]([*batch, n, n], dtype=u.dtype))
    return _SVD(u, s, _op["adjoint"](vh))


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """linalg.pinv with a relative tolerance."""
    return _linalg.pinv(input, rcond)


def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """X with A X = b for a triangular A (or its transpose), and a copy of A."""
    if transpose:
        x = _linalg.solve_triangular(A.transpose(-2, -1), b, upper=not upper, unitriangular=unitriangular)
    else:
        x = _linalg.solve_triangular(A, b, upper=upper, unitriangular=unitriangular)
    return _Triangular(x, A.clone())


def lu_solve(b: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """linalg.lu_solve."""
    return _linalg.lu_solve(LU_data, LU_pivots, b)


def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> Any:
    """P, L, U of what `linalg.lu_factor` returns; empty tensors for what is not asked for."""
    none = _op["empty"]([0], dtype=LU_data.dtype)
    p = none
    if unpack_pivots:
        p = _linalg._row_order(_linalg._permutation(LU_pivots, LU_data.shape[-2]), LU_data.dtype)
    return _Unpacked(p, *(_linalg._unpacked(LU_data) if unpack_data else (none, none)))


def chain_matmul(*matrices: Tensor) -> Tensor:
    """linalg.multi_dot."""
    return _linalg.multi_dot(matrices) if len(matrices) > 1 else matrices[0]


def svd_lowrank(A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None) -> Any:
    """The first q singular values and vectors of A (or of A - M), from a random basis (Halko, Martinsson, Tropp 2011)."""
    x = A if M is None else A - M
    m, n = x.shape[-2:]
    q, rounds = 6 if q is None else q, 2 if niter is None else niter
    if not 0 <= q <= min(m, n):
        raise ValueError(f"svd_lowrank: q must be between 0 and the smaller size of {tuple(x.shape)}, not {q}")
    if m < n:
        u, s, v = svd_lowrank(x.mH, q, niter)
        return _SVD(v, s, u)
    from . import randn

    basis = _linalg.qr(x @ randn(n, q, dtype=x.dtype)).Q
    for _ in range(rounds):
        basis = _linalg.qr(x @ _linalg.qr(x.mH @ basis).Q).Q
    u, s, vh = _linalg.svd(basis.mH @ x, full_matrices=False)
    return _SVD(basis @ u, s, vh.mH)


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """svd_lowrank of the rows less their mean (with `center`): V's columns are the principal directions."""
    q = min(6, *A.shape[-2:]) if q is None else q
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


for _name in __all__:
    if _name not in ("chain_matmul", "lu_unpack", "pca_lowrank", "svd_lowrank"):
        setattr(Tensor, _name, globals()[_name])
