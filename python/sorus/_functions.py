"""Functions whose kind of result depends on their arguments, which a signature of an operator cannot say: a tensor or
several, a Python truth value, a type. Each is a few calls of operators; those that are methods in PyTorch are methods."""

from __future__ import annotations

import builtins
import math
import string
import weakref
from typing import Any, ClassVar

from . import _core
from ._core import Tensor
from ._core import operators as _op
from ._python import device as as_device

__all__ = [
    "allclose", "atleast_1d", "atleast_2d", "atleast_3d", "bernoulli", "broadcast_shapes", "can_cast", "cartesian_prod", "cdist",
    "combinations", "cross", "dsplit", "einsum", "equal", "finfo", "full", "hsplit", "iinfo", "imag", "is_complex",
    "is_floating_point", "is_nonzero", "is_tensor", "multinomial", "mvlgamma", "nonzero", "norm", "normal", "numel", "quantile", "rand",
    "randint_like", "randn", "randperm", "real", "result_type", "scalar_tensor", "seed", "split", "tensor_split", "tensordot",
    "tril_indices", "triu_indices", "unique", "unique_consecutive", "vsplit", "where", "zero_",
]  # fmt: skip
_LETTERS = string.ascii_letters


def is_tensor(obj: Any) -> bool:
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    return input.is_complex()


def numel(input: Tensor) -> int:
    return input.numel()


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero."""
    if input.numel() != 1:
        raise RuntimeError(f"is_nonzero: expected one element, got a tensor of shape {tuple(input.shape)}")
    return bool(input.item())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes and all elements are the same."""
    return input.shape == other.shape and bool(_op["eq"](input, other).all().item())


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether |input - other| <= atol + rtol |other| everywhere."""
    return bool(_op["isclose"](input, other, rtol, atol, equal_nan).all().item())


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; with a condition alone the places where it holds."""
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return _op["where"](condition, input, other)


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The places of all elements that are not zero, one row each; or one tensor for each dimension."""
    if not as_tuple:
        return _op["nonzero"](input)
    return _op["nonzero"](input.reshape(1) if input.dim() == 0 else input).unbind(1)


def _parts(operator: str, input: Tensor, dim: int | None, inverse: bool, counts: bool) -> Any:
    output, inverse_of, count = _op[operator](input, dim)
    asked = [output, *([inverse_of] if inverse else []), *([count] if counts else [])]
    return asked[0] if len(asked) == 1 else tuple(asked)


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The different elements (or slices along `dim`) in ascending order."""
    return _parts("unique_parts", input, dim, return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """Equal neighbours become one."""
    return _parts("unique_consecutive_parts", input, dim, return_inverse, return_counts)


def _shares(q: Any, input: Tensor, name: str) -> Tensor:
    """`q` of a quantile as a tensor of the input's type; RuntimeError for a tensor of another one."""
    if not isinstance(q, Tensor):
        q = _core.tensor(q, dtype=input.dtype)
    if q.dtype is not input.dtype:
        raise RuntimeError(f"{name}: q must have the type of the input, {input.dtype}, not {q.dtype}")
    return q


def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The values below which the shares `q` (in [0, 1]) of the elements lie. NaN if a NaN is among them."""
    q = _shares(q, input, "quantile")
    x, d = (input.reshape(-1), 0) if dim is None else (input, dim % max(input.dim(), 1))
    n = x.shape[d] if x.dim() else 1
    x = x.reshape(1) if x.dim() == 0 else x
    if n == 0:
        raise RuntimeError("quantile: the input has no elements")
    values = x.movedim(d, 0).sort(0).values
    nan = values[-1].isnan()
    place = q.reshape(-1) * (n - 1)
    if interpolation == "nearest":
        place = place.round()
    elif interpolation == "lower":
        place = place.floor()
    elif interpolation == "higher":
        place = place.ceil()
    elif interpolation not in ("linear", "midpoint"):
        raise RuntimeError(f"quantile: unknown interpolation {interpolation!r}")
    low, high = values[place.floor().long()], values[place.ceil().long()]
    weight = (place - place.floor()).reshape([-1] + [1] * (values.dim() - 1))
    if interpolation == "midpoint":
        weight = (weight > 0).to(values.dtype) * 0.5
    y = _op["where"](nan, math.nan, low.lerp(high, weight))
    if keepdim and input.dim():  # a single number has no dimension to keep
        y = y.unsqueeze(d + 1) if dim is not None else y.reshape([-1] + [1] * input.dim())
    return y[0] if q.dim() == 0 else y


def _summed(x: Tensor, dims: list[int]) -> Tensor:
    return x.sum(dims, True, dtype=x.dtype) if dims else x


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums products over dimensions: the last `dims` of a and the first of b, or pairs of lists."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, builtins.int):
        left, right = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, builtins.int) else list(d) for d in dims)
    left, right = [d % a.dim() for d in left], [d % b.dim() for d in right]
    # A size of 1 fits any: the other is summed over that dimension.
    a = _summed(a, [i for i, j in zip(left, right) if b.shape[j] == 1 != a.shape[i]])
    b = _summed(b, [j for i, j in zip(left, right) if a.shape[i] == 1 != b.shape[j]])
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise RuntimeError(f"tensordot: dimensions {left} of {tuple(a.shape)} and {right} of {tuple(b.shape)} differ")
    rows, columns = [d for d in range(a.dim()) if d not in left], [d for d in range(b.dim()) if d not in right]
    shape = [a.shape[d] for d in rows] + [b.shape[d] for d in columns]
    k = math.prod(a.shape[d] for d in left)
    m, n = math.prod(a.shape[d] for d in rows), math.prod(b.shape[d] for d in columns)
    product = a.permute(rows + left).reshape(m, k) @ b.permute(right + columns).reshape(k, n)
    return product.reshape(shape)


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dimension of size 3: `dim`, else the first of that size."""
    shape = broadcast_shapes(input.shape, other.shape)
    a, b = input.expand(shape), other.expand(shape)
    if dim is None:
        dim = next((i for i, n in enumerate(shape) if n == 3), 0)
    if shape[dim] != 3:
        raise RuntimeError(f"cross: dimension {dim} of {tuple(shape)} must be of size 3")
    return a.roll(-1, dim) * b.roll(1, dim) - a.roll(1, dim) * b.roll(-1, dim)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """Distances of all pairs of rows: [.., n, d], [.., m, d] to [.., n, m]."""
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"cdist: rows of {tuple(x1.shape)} and {tuple(x2.shape)} have different lengths")
    return _op["norm"](x1.unsqueeze(-2) - x2.unsqueeze(-3), p, [-1])


def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, out: Any = None, dtype: Any = None
) -> Tensor:
    """The p-norm of all elements or over some dimensions, or ("fro", "nuc") the norm of matrices."""
    if p == "nuc":
        from .linalg import matrix_norm

        if dim is None and input.dim() != 2:
            raise RuntimeError(f"norm: expected a matrix for p='nuc', got {input.dim()} dimensions")
        y = matrix_norm(input, p, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    else:
        y = _op["norm"](input, p, dim, keepdim, dtype=dtype)
    return y if out is None else out.copy_(y)


def mvlgamma(input: Tensor, p: int) -> Tensor:
    """special.multigammaln."""
    from .special import multigammaln

    return multigammaln(input, p)


def zero_(input: Tensor) -> Tensor:
    """Zeros written into the tensor."""
    return input.zero_()


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products by letters, "ij,jk->ik", then the tensors; or each tensor with a list of numbers for its dimensions
    behind it, and at the end the list of the result's."""
    if not isinstance(equation, str):
        given = (equation, *operands)
        operands, terms, result = given[: len(given) // 2 * 2 : 2], given[1::2], given[len(given) // 2 * 2 :]
        for term in (*terms, *result):
            if not isinstance(term, (list, tuple)) or not all(i is ... or 0 <= i < 52 for i in term):
                raise ValueError(
                    f"einsum: expected a list of numbers below 52 (or ...) behind each tensor, got {term!r}"
                )
        named = ["".join("..." if i is ... else _LETTERS[i] for i in term) for term in (*terms, *result)]
        equation = "->".join([",".join(named[: len(terms)]), *named[len(terms) :]])
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    return _op["einsum"](equation, list(operands))


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that tensors of these shapes meet in."""
    result: list[int] = []
    for shape in shapes:
        s = [shape] if isinstance(shape, builtins.int) else list(shape)
        result, s = [1] * (len(s) - len(result)) + result, [1] * (len(result) - len(s)) + s
        for i, (x, y) in enumerate(zip(result, s, strict=True)):
            if x != y and 1 not in (x, y):
                raise RuntimeError(f"broadcast_shapes: {', '.join(str(tuple(v)) for v in shapes)} do not broadcast")
            result[i] = y if x == 1 else x
    return _core.Size(result)


def split(tensor: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of pieces along `dim`: of one size, the last may be smaller, or of the sizes in a list."""
    sizes = split_size_or_sections
    if not isinstance(sizes, (tuple, list)):
        return _op["split"](tensor, [sizes], dim)
    if sum(sizes) != tensor.shape[dim] or min(sizes, default=0) < 0:
        raise RuntimeError(f"split: the pieces {list(sizes)} do not add up to {tensor.shape[dim]}, "
                           f"dimension {dim} of {tuple(tensor.shape)}")  # fmt: skip
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(_op["slice"](tensor, dim, end - n, end) for n, end in zip(sizes, ends, strict=True))


def _split_along(name: str, least: int, dim_of: Any) -> Any:
    def function(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.dim() < least:
            raise RuntimeError(f"{name}: expected at least {least} dimensions, got {tuple(input.shape)}")
        return tensor_split(input, indices_or_sections, dim_of(input))

    function.__name__ = function.__qualname__ = name
    return function


def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of nearly equal pieces along `dim`, or of those between the given places."""
    given = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    if isinstance(given, builtins.int):
        n, extra = divmod(input.shape[dim], given)
        given = [(n + 1) * min(i, extra) + n * max(i - extra, 0) for i in range(1, given)]
    return _op["tensor_split"](input, list(given), dim)


hsplit = _split_along("hsplit", 1, lambda t: 0 if t.dim() == 1 else 1)
vsplit = _split_along("vsplit", 2, lambda t: 0)
dsplit = _split_along("dsplit", 3, lambda t: 2)


def _at_least(rank: int, tensors: tuple) -> Any:
    def one(t: Tensor) -> Tensor:
        if rank == 3 and t.dim() == 2:
            return t.unsqueeze(-1)
        if rank == 3 and t.dim() == 1:
            return t.reshape(1, -1, 1)
        return t.reshape([1] * (rank - t.dim()) + list(t.shape)) if t.dim() < rank else t

    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return one(tensors[0])
    return tuple(one(t) for t in (tensors[0] if len(tensors) == 1 else tensors))


def atleast_1d(*tensors: Any) -> Any:
    return _at_least(1, tensors)


def atleast_2d(*tensors: Any) -> Any:
    return _at_least(2, tensors)


def atleast_3d(*tensors: Any) -> Any:
    return _at_least(3, tensors)


def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All tuples with one element of each vector, one row each."""
    if len(tensors) == 1:
        return tensors[0]
    return _op["stack"]([t.reshape(-1) for t in _op["meshgrid"](list(tensors))], -1)


def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All selections of r elements of a vector, one row each."""
    import itertools

    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(choose(range(input.numel()), r))
    return input[_core.tensor(rows, dtype=_core.int64).reshape(len(rows), r)]


def _triangle(keep: Any, row: int, col: int, offset: int, dtype: Any) -> Tensor:
    i, j = _op["arange"](row).unsqueeze(1), _op["arange"](col)
    return _op["nonzero"](keep(j - i, offset)).t().contiguous().to(dtype or _core.int64)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None
) -> Tensor:
    """The places on and below a diagonal, [2, n]."""
    return _triangle(_op["le"], row, col, offset, dtype)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None, layout: Any = None
) -> Tensor:
    """The places on and above a diagonal, [2, n]."""
    return _triangle(_op["ge"], row, col, offset, dtype)


def full(size: Any, fill_value: Any, **options: Any) -> Tensor:
    """A tensor of one value; `fill_value` may be a tensor of one element."""
    value = fill_value.item() if isinstance(fill_value, Tensor) and not fill_value.requires_grad else fill_value
    return _op["full"](size, value, **options)


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    return _core.tensor(s, dtype=dtype or _core.get_default_dtype(), requires_grad=requires_grad)


def real(input: Tensor) -> Tensor:
    """The real part."""
    return _op["real_part"](input) if input.is_complex() else input


def imag(input: Tensor) -> Tensor:
    """The imaginary part."""
    if not input.is_complex():
        raise RuntimeError(f"imag: expected a complex tensor, got {input.dtype}")
    return _op["imag_part"](input)


# ---- types


def result_type(a: Any, b: Any) -> Any:
    """The type in which two tensors or numbers meet."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a = _core.tensor(a)
    return _op["add"](*(x.detach() if isinstance(x, Tensor) else x for x in (a, b))).dtype


def can_cast(from_: Any, to: Any) -> bool:
    """Whether a type may become another without leaving its kind: complex, floating, integer, bool."""
    kind = {_core.bool: 0, _core.uint8: 1, _core.int8: 1, _core.int16: 1, _core.int32: 1, _core.int64: 1,
            _core.complex64: 3, _core.complex128: 3}  # fmt: skip
    return kind.get(from_, 2) <= kind.get(to, 2)


class finfo:
    """Limits of a floating type, as torch.finfo: bits, eps, max, min, tiny (smallest_normal), resolution, dtype."""

    _LIMITS: ClassVar = {"float64": (64, 2.0**-52, 1.7976931348623157e308, 2.0**-1022, 1e-15),
               "float32": (32, 2.0**-23, 3.4028234663852886e38, 2.0**-126, 1e-6),
               "float16": (16, 2.0**-10, 65504.0, 2.0**-14, 1e-3),
               "bfloat16": (16, 2.0**-7, 3.3895313892515355e38, 2.0**-126, 1e-2)}  # fmt: skip

    def __init__(self, type: Any = None) -> None:
        name = str(type or _core.get_default_dtype()).split(".")[-1]
        name = {"complex64": "float32", "complex128": "float64"}.get(name, name)
        if name not in self._LIMITS:
            raise TypeError(f"finfo: expected a floating type, got {type}; iinfo is for integers")
        self.bits, self.eps, self.max, self.tiny, self.resolution = self._LIMITS[name]
        self.min, self.smallest_normal, self.dtype = -self.max, self.tiny, name

    def __repr__(self) -> str:
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
                f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})")  # fmt: skip


class iinfo:
    """Limits of an integer type, as torch.iinfo: bits, max, min, dtype."""

    def __init__(self, type: Any) -> None:
        name = str(type).split(".")[-1]
        bits = {"uint8": 8, "int8": 8, "int16": 16, "int32": 32, "int64": 64}.get(name)
        if bits is None:
            raise TypeError(f"iinfo: expected an integer type, got {type}; finfo is for floating types")
        self.bits, self.dtype = bits, name
        self.max = 255 if name == "uint8" else 2 ** (bits - 1) - 1
        self.min = 0 if name == "uint8" else -(2 ** (bits - 1))

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


# ---- draws


def _drawn(draw: Any) -> Any:
    def function(
        *size: Any, device: Any = None, layout: Any = None, pin_memory: Any = None, out: Any = None, **options: Any
    ) -> Tensor:
        if device is not None:
            as_device(device)
        y = draw(*size, **options)
        return y if out is None else out.copy_(y)

    function.__name__ = function.__qualname__ = draw.__name__
    function.__doc__ = draw.__doc__
    return function


rand, randn = _drawn(_core.rand), _drawn(_core.randn)


def randperm(
    n: int, *, generator: Any = None, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The numbers below n in random order."""
    return _op["argsort"](_core.rand(n, dtype=_core.float64, generator=generator)).to(dtype or _core.int64)


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, dtype: Any = None, device: Any = None
) -> Tensor:
    low, high = (0, low) if high is None else (low, high)
    return _core.randint(low, high, tuple(input.shape), dtype=dtype or input.dtype)


def _lies_in(x: Any, low: float, high: float) -> bool:
    """Whether a number, or all elements of a tensor, lie in [low, high]. While a graph is recorded a tensor's are not known:
    then they pass."""
    if not isinstance(x, Tensor):
        return low <= x <= high
    return x.numel() == 0 or _core._is_recording() or bool(x.min() >= low and x.max() <= high)


def bernoulli(input: Tensor, p: float | None = None, *, generator: Any = None) -> Tensor:
    """Ones with the probabilities that `input` holds (or with probability p), else zeros."""
    chance = input if p is None else p
    if not _lies_in(chance, 0, 1):
        raise RuntimeError("bernoulli: probabilities must lie in [0, 1]")
    return (_core.rand(*input.shape, dtype=_core.float64, generator=generator) < chance).to(input.dtype)


def normal(mean: Any, std: Any = 1.0, size: Any = None, *, generator: Any = None, dtype: Any = None, device: Any = None,
           requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Normal numbers with the given means and standard deviations, tensors or numbers (then `size` is the shape)."""
    shapes = [x.shape for x in (mean, std) if isinstance(x, Tensor)]
    shape = broadcast_shapes(*shapes) if shapes else tuple(size)
    if not _lies_in(std, 0, math.inf):
        raise RuntimeError("normal: standard deviations must not be negative")
    y = _core.randn(*shape, dtype=dtype, generator=generator) * std + mean
    return y.requires_grad_() if requires_grad else y


def multinomial(input: Tensor, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    """Indices drawn by the weights in each row (at least 0, not all 0)."""
    if input.dim() not in (1, 2):
        raise RuntimeError(f"multinomial: expected weights of 1 or 2 dimensions, got {tuple(input.shape)}")
    weights = input.detach().double()
    if not bool(((weights >= 0) & weights.isfinite()).all()) or bool((weights.sum(-1) <= 0).any()):
        raise RuntimeError("multinomial: the weights must be finite, not negative, and not all zero")
    if replacement:
        ends = weights.cumsum(-1)
        draws = _core.rand(*weights.shape[:-1], num_samples, dtype=_core.float64, generator=generator)
        found = _op["searchsorted"](ends, (draws * ends[..., -1:]).contiguous(), right=True)
        return found.clamp(max=weights.shape[-1] - 1)
    if num_samples > weights.shape[-1] or bool(((weights > 0).sum(-1) < num_samples).any()):
        raise RuntimeError(
            f"multinomial: there are fewer than {num_samples} weights above zero to draw without replacement"
        )
    # The largest of -E / w, E exponential, is each element with a probability in proportion to its weight.
    noise = -(1 - _core.rand(*weights.shape, dtype=_core.float64, generator=generator)).log()
    keys = _op["where"](weights > 0, noise / weights, math.inf)
    return _op["topk"](keys, num_samples, -1, largest=False).indices


def seed() -> int:
    """Seeds the default generator with a number of the machine's randomness, and returns it."""
    import secrets

    number = secrets.randbits(63)
    _core.manual_seed(number)
    return number


# ---- methods


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    names = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
             "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128"}  # fmt: skip
    if dtype is None:
        own = str(self.dtype).split(".")[-1]
        return "torch." + next(k for k, v in names.items() if v == own) + "Tensor"
    if isinstance(dtype, str):
        short = dtype.split(".")[-1].removesuffix("Tensor")
        if short not in names:
            raise ValueError(f"type: there is no type {dtype!r}")
        dtype = getattr(_core, names[short])
    return self.to(dtype)


def _draw_into(draw: Any) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        before = _core._set_grad_enabled(False)
        try:
            return self.copy_(draw(self, *args, **kwargs))
        finally:
            _core._set_grad_enabled(before)

    return method


def _uniform(t: Tensor, generator: Any) -> Tensor:
    return _core.rand(*t.shape, dtype=_core.float64, generator=generator)


def _random(t: Tensor, low: int = 0, high: int | None = None, *, generator: Any = None) -> Tensor:
    if high is None:
        low, high = 0, low or (2**24 if t.is_floating_point() else 2 if t.dtype is _core.bool else iinfo(t.dtype).max)
    return _core.randint(low, high, tuple(t.shape), generator=generator)


Tensor.type, Tensor.split, Tensor.where = _type, split, lambda self, condition, other: where(condition, self, other)
Tensor.unique, Tensor.unique_consecutive, Tensor.quantile = unique, unique_consecutive, quantile
Tensor.norm, Tensor.mvlgamma = norm, mvlgamma
Tensor.nonzero, Tensor.allclose, Tensor.equal, Tensor.cross = nonzero, allclose, equal, cross
Tensor.tensor_split, Tensor.hsplit, Tensor.vsplit, Tensor.dsplit = tensor_split, hsplit, vsplit, dsplit
Tensor.bernoulli, Tensor.multinomial, Tensor.is_nonzero = bernoulli, multinomial, is_nonzero
Tensor.bernoulli_ = _draw_into(lambda t, p=0.5, *, generator=None: _uniform(t, generator) < p)
Tensor.exponential_ = _draw_into(lambda t, lambd=1.0, *, generator=None: -(1 - _uniform(t, generator)).log() / lambd)
Tensor.random_ = _draw_into(_random)
Tensor.new_tensor = lambda self, data, *, dtype=None, device=None, requires_grad=False: _core.tensor(
    data, dtype=dtype or self.dtype, requires_grad=requires_grad)  # fmt: skip
Tensor.get_device = lambda self: -1
Tensor.is_pinned, Tensor.pin_memory, Tensor.is_sparse = lambda self: False, lambda self: self, False
Tensor.is_shared, Tensor.share_memory_ = lambda self: False, lambda self: self
Tensor.real, Tensor.imag = property(real), property(imag)
Tensor.H = property(lambda self: _op["adjoint"](self))
Tensor.mH = property(lambda self: _op["adjoint"](self))
Tensor.layout = "strided"
Tensor.names = property(lambda self: (None,) * self.dim())


def _cuda(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """There is no GPU: RuntimeError."""
    raise RuntimeError("cuda: there is no GPU; ask sorus.cuda.is_available() first")


def _retain_grad(self: Tensor) -> None:
    """Keeps the gradient of a result in its `.grad`, as leaves do. RuntimeError if there will be none."""
    if not self.requires_grad:
        raise RuntimeError("retain_grad: the tensor does not require gradients")
    if self.is_leaf or self.__dict__.get("_retains"):
        return
    self.__dict__["_retains"], own = True, weakref.ref(self)

    def keep(grad: Tensor) -> None:
        tensor = own()
        if tensor is not None:
            tensor.grad = grad if tensor.grad is None else tensor.grad + grad

    self._register_last_hook(keep)  # it sees what other hooks have made of the gradient, whenever they were added


Tensor.cuda, Tensor.retain_grad = _cuda, _retain_grad
Tensor.retains_grad = property(lambda self: bool(self.__dict__.get("_retains")))


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Writes a number along the main diagonal."""
    if wrap:
        raise NotImplementedError("fill_diagonal_: wrap=True is not there")
    self.diagonal().fill_(fill_value)
    return self


Tensor.fill_diagonal_ = fill_diagonal_
Tensor.__lshift__, Tensor.__rshift__ = _op["bitwise_left_shift"], _op["bitwise_right_shift"]  # type: ignore[method-assign]
