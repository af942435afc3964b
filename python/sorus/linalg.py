"""Linear algebra, as torch.linalg: made of the operators for batches of matrices (`cholesky_factor`, `solution`,
`svd_parts` and others), and therefore with gradients of any order."""

from __future__ import annotations

import collections
import math
from typing import Any

from . import _core
from ._core import Tensor
from ._core import operators as _op

_PREFIX = "linalg."
globals().update({name.removeprefix(_PREFIX): f for name, f in _op.items() if name.startswith(_PREFIX)})


def __getattr__(name: str) -> Any:  # tells type checkers that names come from the registry
    raise AttributeError(f"module 'sorus.linalg' has no attribute {name!r}")


def _results(kind: str, *fields: str) -> Any:
    """A class of tuples whose parts have names."""
    make: Any = collections.namedtuple
    return make(kind, fields)


_CholeskyEx = _results("cholesky_ex", "L", "info")
_InvEx = _results("inv_ex", "inverse", "info")
_SolveEx = _results("solve_ex", "result", "info")
_Slogdet = _results("slogdet", "sign", "logabsdet")
_QR = _results("qr", "Q", "R")
_Eig = _results("eig", "eigenvalues", "eigenvectors")
_SVD = _results("svd", "U", "S", "Vh")
_LUFactor = _results("lu_factor", "LU", "pivots")
_LUFactorEx = _results("lu_factor_ex", "LU", "pivots", "info")
_LDL = _results("ldl_factor", "LD", "pivots")
_LDLEx = _results("ldl_factor_ex", "LD", "pivots", "info")
_LU = _results("lu", "P", "L", "U")
_Lstsq = _results("lstsq", "solution", "residuals", "rank", "singular_values")


class LinAlgError(RuntimeError):
    """A matrix that is singular, or not positive definite."""


# ---- helpers


def _mt(x: Tensor) -> Tensor:
    return x.transpose(-2, -1)


def _mh(x: Tensor) -> Tensor:
    return _op["adjoint"](x)


def _real(x: Tensor) -> Tensor:
    return _op["real_part"](x) if x.is_complex() else x


def _check(info: Tensor, who: str, what: str) -> None:
    worst = info.reshape(-1)
    if bool((worst != 0).any()):
        at = int(worst.ne(0).to(_core.int64).argmax().item())
        where = f" (batch element {at})" if info.dim() else ""
        raise LinAlgError(f"{who}{where}: {what.format(int(worst[at].item()))}")


def _batched(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the batch that they broadcast to, and of one type."""
    from ._functions import broadcast_shapes

    batch = tuple(broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    return a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])


def _square(A: Tensor, who: str) -> None:
    if A.dim() < 2 or A.shape[-1] != A.shape[-2]:
        raise RuntimeError(f"{who}: expected square matrices, got shape {tuple(A.shape)}")


def _columns(A: Tensor, B: Tensor) -> tuple[Tensor, bool]:
    """The right side of A X = B as matrices, and whether it was vectors."""
    vector = B.dim() == 1 or (A.dim() - 1 == B.dim() and B.shape == A.shape[:-1])
    return (B.unsqueeze(-1), True) if vector else (B, False)


def _of_triangle(A: Tensor, upper: bool) -> Tensor:
    """A Hermitian matrix as one triangle (the lower one if not `upper`) says. Gradients are those of a Hermitian
    matrix, shared by both triangles."""
    a = A.detach()
    part = _mh(a.triu()) if upper else a.tril()
    low = part.tril(-1)
    d = part.diagonal(0, -2, -1)
    d = _op["diag_embed"](_real(d).to(a.dtype))
    return A + (low + _mh(low) + d - a)


def _epsilon(dtype: Any) -> float:
    return 2.0**-52 if dtype in (_core.float64, _core.complex128) else 2.0**-23


def _relative(A: Tensor, atol: float | None) -> float:
    """The relative tolerance of singular values where none is given: none beside an absolute one."""
    return 0.0 if atol is not None and atol > 0 else _epsilon(A.dtype) * max(A.shape[-2:])


def _tolerance(A: Tensor, s: Tensor, atol: Any, rtol: Any) -> Tensor:
    """What counts as 0 among the singular values s of A, for batches of tolerances too."""
    if rtol is None:
        rtol = _op["where"](atol > 0, 0.0, _relative(A, None)) if isinstance(atol, Tensor) else _relative(A, atol)
    atol = 0.0 if atol is None else atol
    top = s.amax(-1) if s.shape[-1] else _op["zeros"](list(s.shape[:-1]), dtype=s.dtype)
    relative = top * rtol
    return _op["maximum"](
        relative, atol if isinstance(atol, Tensor) else _core.tensor(atol, dtype=s.dtype)
    ).unsqueeze(-1)


# ---- factorisations


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """The Cholesky factor, and 0 or the order of the first leading minor that is not positive."""
    factor, info = _op["cholesky_factor"](_of_triangle(A, upper))
    if check_errors:
        _check(info, "linalg.cholesky", "the leading minor of order {} is not positive")
    return _CholeskyEx(_mh(factor) if upper else factor, info)


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """The lower L with L L^H = A (or U with U^H U = A) of a positive definite matrix; LinAlgError for others."""
    return cholesky_ex(A, upper=upper, check_errors=True).L


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> Any:
    """L and U in one matrix, the rows that were exchanged (from 1), and 0 or the place of the first pivot that is 0."""
    if not pivot:
        raise NotImplementedError("linalg.lu_factor: pivot=False is not there")
    factors, _, pivots, info = _op["lu_factors"](A)
    if check_errors:
        _check(info, "linalg.lu_factor", "pivot {} is 0")
    return _LUFactorEx(factors, pivots, info)


def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:
    """L and U in one matrix, and the rows that were exchanged, counted from 1 as LAPACK does."""
    return _LUFactor(*lu_factor_ex(A, pivot=pivot)[:2])


def _unpacked(factors: Tensor) -> tuple[Tensor, Tensor]:
    m, n = factors.shape[-2:]
    k = min(m, n)
    lower = factors[..., :, :k].tril(-1) + _op["eye"](m, k, dtype=factors.dtype)
    return lower, factors[..., :k, :].triu()


def _permutation(pivots: Tensor, m: int) -> Tensor:
    """The order of the rows that exchanges one after the other lead to."""
    order = _op["arange"](m).expand(*pivots.shape[:-1], m).clone()
    for k in range(pivots.shape[-1]):
        other = (pivots[..., k : k + 1] - 1).to(_core.int64)
        here, there = order[..., k : k + 1].clone(), order.gather(-1, other)
        order = order.scatter(-1, other, here)
        order[..., k : k + 1] = there
    return order


def _row_order(order: Tensor, dtype: Any) -> Tensor:
    """P with P @ x = x in the old order of rows: A = P L U."""
    m = order.shape[-1]
    return _mt((order.unsqueeze(-1) == _op["arange"](m)).to(dtype))


def lu(A: Tensor, *, pivot: bool = True) -> Any:
    """P, L, U with P L U = A."""
    if not pivot:
        raise NotImplementedError("linalg.lu: pivot=False is not there")
    factors, order, _, _ = _op["lu_factors"](A)
    return _LU(_row_order(order, A.dtype), *_unpacked(factors))


def lu_solve(LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """X with A X = B (X A = B if not `left`), for what `lu_factor` made of A, or of its adjoint."""
    if not left:
        return _mh(lu_solve(LU, pivots, _mh(B), adjoint=not adjoint))
    lower, upper = _unpacked(LU)
    p = _row_order(_permutation(pivots, LU.shape[-1]), LU.dtype)
    if adjoint:  # (P L U)^H X = B
        y = solve_triangular(_mh(upper), B, upper=False)
        return p @ solve_triangular(_mh(lower), y, upper=True, unitriangular=True)
    y = solve_triangular(lower, _mt(p) @ B, upper=False, unitriangular=True)
    return solve_triangular(upper, y, upper=True)


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> Any:
    """L and D of a symmetric (or Hermitian) matrix in one, LAPACK's pivots, and 0 or the first place where D is 0, from 1."""
    _square(A, "linalg.ldl_factor")
    factors, pivots, info = _op["ldl_factors"](A.detach(), hermitian=hermitian)
    if check_errors:
        _check(info, "linalg.ldl_factor", "block {} of D is 0")
    return _LDLEx(factors, pivots, info)


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> Any:
    """The same without `info`; not for gradients."""
    return _LDL(*ldl_factor_ex(A, hermitian=hermitian)[:2])


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """X with A X = B, for what `ldl_factor` has made of A."""
    LD, B = _batched(LD, B)
    return _op["ldl_solution"](LD, pivots.expand(LD.shape[:-1]), B, hermitian=hermitian)


def qr(A: Tensor, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and a triangle R, Q R = A. mode "complete": Q is square; "r": only R."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"linalg.qr: mode must be 'reduced', 'complete' or 'r', not {mode!r}")
    q, r = _op["qr_factors"](A, mode == "complete")
    return _QR(_op["empty"]([0], dtype=A.dtype) if mode == "r" else q, r)


def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Ascending eigenvalues and the eigenvectors of a Hermitian matrix, of which one triangle is read."""
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"linalg.eigh: UPLO must be 'L' or 'U', not {UPLO!r}")
    return _Eig(*_op["eigh_parts"](_of_triangle(A, UPLO.upper() == "U")))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The ascending eigenvalues of a Hermitian matrix."""
    return eigh(A, UPLO).eigenvalues


def eig(A: Tensor) -> Any:
    """Eigenvalues and eigenvectors of any square matrix, complex and in no order."""
    return _Eig(*_op["eig_parts"](A))


def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of any square matrix, complex and in no order."""
    return eig(A).eigenvalues


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """U diag(S) Vh = A with S descending; U and Vh are square, or (full_matrices=False) as long as S."""
    return _SVD(*_op["svd_parts"](A, full_matrices))


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values, descending."""
    return _op["svd_parts"](A)[1]


# ---- solutions


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """The solution, and 0 or the place of the first pivot that is 0."""
    b, vector = _columns(A, B)
    a, b = _batched(A if left else _mt(A), b if left else _mt(b))
    x, info = _op["solution"](a, b)
    if check_errors:
        _check(info, "linalg.solve", "the matrix is singular, pivot {} is 0")
    x = x if left else _mt(x)
    return _SolveEx(x.squeeze(-1) if vector else x, info)


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (X A = B if not `left`). LinAlgError if A is singular."""
    return solve_ex(A, B, left=left, check_errors=True).result


def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """The inverse, and 0 or the place of the first pivot that is 0."""
    _square(A, "linalg.inv")
    one = _op["eye"](A.shape[-1], dtype=A.dtype).expand(*A.shape)
    x, info = _op["solution"](A, one)
    if check_errors:
        _check(info, "linalg.inv", "the matrix is singular, pivot {} is 0")
    return _InvEx(x, info)


def inv(A: Tensor) -> Tensor:
    """The inverse. LinAlgError if A is singular."""
    return inv_ex(A, check_errors=True).inverse


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with A X = B (X A = B if not `left`) for a triangular A, whose other triangle is not read."""
    if not left:
        return _mt(solve_triangular(_mt(A), _mt(B), upper=not upper, unitriangular=unitriangular))
    return _op["triangular_solution"](*_batched(A, B), upper, unitriangular)


def det(A: Tensor) -> Tensor:
    """The determinant."""
    return _op["determinant"](A)


def slogdet(A: Tensor) -> Any:
    """The sign (of complex matrices: a number of size one) of the determinant, and the logarithm of its size."""
    return _Slogdet(*_op["log_determinant"](A))


def pinv(A: Tensor, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * the largest) count as 0."""
    m, n = A.shape[-2:]
    if m == 0 or n == 0:
        return _mt(A).clone()
    rtol = rcond if rtol is None else rtol
    if hermitian:
        A = _of_triangle(A, False)
    if isinstance(atol, Tensor) or isinstance(rtol, Tensor):  # one for each matrix
        batch = list(A.shape[:-2])

        def each(v: Any) -> list[float]:
            t = v.detach() if isinstance(v, Tensor) else _core.tensor(float(v or 0))
            return _op["expand"](t.to(_core.float64), batch).reshape(-1).tolist()

        atols, rtols = each(atol), each(rtol)
        if rtol is None:
            rtols = [_relative(A, t) for t in atols]
        parts = [
            _op["pseudo_inverse"](a, *t) for a, *t in zip(A.reshape(-1, m, n).unbind(), atols, rtols, strict=True)
        ]
        return _op["stack"](parts).reshape(*batch, n, m) if parts else _op["pseudo_inverse"](A)
    if rtol is None:
        rtol = _relative(A, atol)
    return _op["pseudo_inverse"](A, atol or 0.0, rtol)


def lstsq(A: Tensor, B: Tensor, rcond: Any = None, *, driver: str | None = None) -> Any:
    """X with the least |A X - B|: the solution, and what LAPACK's driver of that name gives beside it (by default
    "gelsy": the rank)."""
    driver = driver or "gelsy"
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(f"linalg.lstsq: driver must be 'gels', 'gelsy', 'gelsd' or 'gelss', not {driver!r}")
    b, vector = _columns(A, B)
    a, b = _batched(A, b)
    m, n = a.shape[-2:]
    x = pinv(a, rcond) @ b
    sizes = svdvals(a.detach())
    rank = (sizes > _tolerance(a, sizes, None, rcond)).sum(-1)
    none = _op["empty"]([0], dtype=_real(A.detach()).dtype)
    residuals = values = none
    if driver != "gelsy" and m > n and bool((rank == n).all()):
        residuals = (a @ x - b).abs().square().sum(-2)
        residuals = residuals.squeeze(-1) if vector else residuals
    if driver in ("gelsd", "gelss"):
        values = sizes
    if driver == "gels":
        rank = _op["empty"]([0], dtype=_core.int64)
    return _Lstsq(x.squeeze(-1) if vector else x, residuals, rank, values)


# ---- norms


def _largest(sizes: Tensor) -> Tensor:
    return sizes.amax(-1) if sizes.shape[-1] else sizes.sum(-1)  # of nothing: 0


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Norms of matrices: "fro", "nuc", 1, 2, inf and their negatives."""
    if dtype is not None:
        A = A.to(dtype)
    rows, cols = (d % A.dim() for d in dim)
    if rows == cols:
        raise RuntimeError(f"linalg.matrix_norm: the two dimensions must differ, both are {dim[0]}")
    if ord == "fro":
        return _op["linalg.vector_norm"](A, 2, [rows, cols], keepdim)
    x = A.movedim((rows, cols), (-2, -1))
    if ord == "nuc":
        y = svdvals(x).sum(-1)
    elif abs(ord) == 2:
        s = svdvals(x)
        y = _largest(s) if ord > 0 else s.amin(-1)
    elif abs(ord) in (1, math.inf):
        sums = x.abs().sum(-2 if abs(ord) == 1 else -1)
        y = _largest(sums) if ord > 0 else sums.amin(-1)
    else:
        raise RuntimeError(
            f"linalg.matrix_norm: ord must be 'fro', 'nuc', 1, 2, inf or a negative of these, not {ord}"
        )
    if keepdim:
        for d in sorted((rows, cols)):
            y = y.unsqueeze(d)
    return y


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors (`dim` is a number, or `ord` is None), or of matrices."""
    pair = isinstance(dim, (tuple, list)) and len(dim) == 2
    if ord is not None and (isinstance(ord, str) or pair or (dim is None and A.dim() == 2)):
        if dim is None and A.dim() != 2:
            raise RuntimeError(f"linalg.norm: expected a matrix for ord {ord!r}, got {A.dim()} dimensions")
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if ord is not None and dim is None and A.dim() != 1:
        raise RuntimeError(f"linalg.norm: expected 1 or 2 dimensions if ord is given without dim, got {A.dim()}")
    return _op["linalg.vector_norm"](A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number: the largest singular value over the smallest, or |A| |A^-1| in another norm."""
    if p in (None, 2, -2):
        s = svdvals(A)
        return s[..., 0] / s[..., -1] if p != -2 else s[..., -1] / s[..., 0]
    inverse, info = inv_ex(A)
    y = matrix_norm(A, p) * matrix_norm(inverse, p)
    return _op["where"](info == 0, y, math.inf)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """How many singular values are above max(atol, rtol * the largest)."""
    if tol is not None:
        atol, rtol = tol, 0.0
    s = eigvalsh(A).abs() if hermitian else svdvals(A)
    return (s > _tolerance(A, s, atol, rtol)).sum(-1)


# ---- products


def matrix_power(A: Tensor, n: int) -> Tensor:
    """A @ A @ .. n times; of the inverse if n is negative."""
    if n < 0:
        return matrix_power(inv(A), -n)
    result, square = None, A
    while n:
        if n % 2:
            result = square if result is None else result @ square
        n //= 2
        square = square @ square if n else square
    # The power 0 depends on the matrix too, if only with the gradient 0.
    return _op["eye"](A.shape[-1], dtype=A.dtype) + A[..., :0].sum(-1, True) if result is None else result


_MOST_HALVINGS = 16


def matrix_exp(A: Tensor) -> Tensor:
    """The exponential of a square matrix, by its series after as many halvings as make it small."""
    if A.numel() == 0:
        return A.clone()
    if A.dtype in (_core.float16, _core.bfloat16):
        return matrix_exp(A.to(_core.float32)).to(A.dtype)
    largest = A.detach().abs().sum(-1).amax()
    if _core._is_recording():  # the graph serves any size: it has all the squares, and takes as many as are needed
        halvings = (largest.clamp(min=1e-30).log2().ceil() + 1).clamp(min=0, max=_MOST_HALVINGS)
        x, squares = A * _op["exp2"](-halvings), _MOST_HALVINGS
    else:
        size = float(largest.item())
        squares = max(0, math.ceil(math.log2(size)) + 1) if 0 < size < math.inf else 0
        x, halvings = A / 2.0**squares, None
    one = _op["eye"](A.shape[-1], dtype=A.dtype)
    y = one
    for k in range(14, 0, -1):  # Horner: 1 + x (1 + x/2 (1 + x/3 (..)))
        y = one + (x @ y) / k if y is not one else one + x / k
    for i in range(squares):
        y = y @ y if halvings is None else _op["where"](halvings > i, y @ y, y)
    return y


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product of matrices, batches of them, or vectors."""
    return _op["matmul"](input, other)


def multi_dot(tensors: Any) -> Tensor:
    """The product of several matrices (the first and the last may be vectors) in the cheapest order."""
    parts = list(tensors)
    if len(parts) < 2:
        raise RuntimeError(f"linalg.multi_dot: expected at least two tensors, got {len(parts)}")
    row, column = parts[0].dim() == 1, parts[-1].dim() == 1
    if row:
        parts[0] = parts[0].unsqueeze(0)
    if column:
        parts[-1] = parts[-1].unsqueeze(-1)
    sizes = [p.shape[0] for p in parts] + [parts[-1].shape[1]]
    best: dict = {(i, i): (0, parts[i]) for i in range(len(parts))}
    split: dict = {}
    for length in range(1, len(parts)):
        for i in range(len(parts) - length):
            j = i + length
            cost, split[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
            best[i, j] = (cost, None)

    def product(i: int, j: int) -> Tensor:
        return parts[i] if i == j else product(i, split[i, j]) @ product(split[i, j] + 1, j)

    y = product(0, len(parts) - 1)
    y = y.squeeze(-1) if column else y
    return y.squeeze(0) if row else y


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """The sums of conj(x) y along a dimension."""
    return (_op["conj"](x) * y).sum(dim)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along a dimension of size 3."""
    from ._functions import cross as product

    return product(input, other, dim)


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """A view of diagonals, by default of the last two dimensions."""
    return A.diagonal(offset, dim1, dim2)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of the elements, a row each."""
    x = x.reshape(1) if x.dim() == 0 else x
    n = x.shape[-1] if N is None else N
    if n < 2:
        raise RuntimeError(f"linalg.vander: N must be greater than 1, it is {n}")
    if not x.is_floating_point() and not x.is_complex():
        x = x.to(_core.int64)
    one = _op["ones"]([*x.shape, 1], dtype=x.dtype)
    return _op["cat"]([one, _op["cumprod"](x.unsqueeze(-1).expand(*x.shape, n - 1), -1)], -1)


def _reflected(A: Tensor, tau: Tensor, C: Tensor, adjoint: bool = False) -> Tensor:
    """Q C or Q^H C for the product Q of the reflections that A and tau describe."""
    m, count = A.shape[-2], tau.shape[-1]
    for k in range(count) if adjoint else range(count - 1, -1, -1):
        below, one = ((test(_op["arange"](m), k)).to(A.dtype) for test in (_op["gt"], _op["eq"]))
        v = (A[..., :, k] * below + one).unsqueeze(-1)
        t = tau[..., k : k + 1].unsqueeze(-1)
        C = C - (_op["conj"](t) if adjoint else t) * (v @ (_mh(v) @ C))
    return C


def householder_product(A: Tensor, tau: Tensor) -> Tensor:
    """The first columns of the product of the reflections 1 - tau v v^H, v below the diagonal of a column of A."""
    return _reflected(A, tau, _op["eye"](*A.shape[-2:], dtype=A.dtype) + A[..., :0].sum(-1, True))


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of `tensordot(A, .., ind)`."""
    first, rest = A.shape[:ind], A.shape[ind:]
    if ind < 1 or math.prod(first) != math.prod(rest):
        raise RuntimeError(f"linalg.tensorinv: {tuple(A.shape)} split at {ind} is not square")
    return inv(A.reshape(math.prod(first), -1)).reshape(*rest, *first)


def tensorsolve(A: Tensor, B: Tensor, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.dim()) = B; `dims` of A are moved to the end first."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.dim() - len(dims), A.dim())))
    shape = A.shape[B.dim() :]
    if math.prod(shape) != B.numel():
        raise RuntimeError(f"linalg.tensorsolve: {tuple(A.shape)} does not fit {tuple(B.shape)}")
    return solve(A.reshape(B.numel(), -1), B.reshape(-1)).reshape(*shape)
