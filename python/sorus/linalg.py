"""Linear algebra: the operators whose names start with "linalg."."""

from __future__ import annotations

from typing import Any

from ._core import Tensor, operators

_PREFIX = "linalg."
globals().update({name.removeprefix(_PREFIX): f for name, f in operators.items() if name.startswith(_PREFIX)})


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The norm of vectors, or the Frobenius norm ("fro", or None for two dimensions) of matrices."""
    if isinstance(ord, str):
        if ord != "fro":
            raise NotImplementedError(f"linalg.norm: ord must be a number or 'fro', not {ord!r}")
        ord = None
    elif ord is not None and ((isinstance(dim, (tuple, list)) and len(dim) == 2) or (dim is None and A.dim() == 2)):
        raise NotImplementedError("linalg.norm: of matrices there is the Frobenius norm")
    return operators["linalg.vector_norm"](A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along a dimension of size 3."""
    from ._functions import cross as product

    return product(input, other, dim)
