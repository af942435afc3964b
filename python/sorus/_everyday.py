"""What scripts use beside the operators: tensors changed into views of themselves, draws in place, older constructors."""

from __future__ import annotations

import math
from typing import Any

from . import _core
from ._core import Tensor
from ._core import operators as _op

__all__ = [
    "BoolTensor",
    "ByteTensor",
    "DoubleTensor",
    "FloatTensor",
    "HalfTensor",
    "IntTensor",
    "LongTensor",
    "asarray",
    "binomial",
    "frobenius_norm",
    "frombuffer",
    "is_same_size",
    "is_signed",
    "nuclear_norm",
    "poisson",
    "rsub",
    "vander",
]  # fmt: skip


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False) -> Tensor:  # fmt: skip
    """A tensor of numbers, sequences or arrays; arrays share their memory unless `copy`."""
    y = _core.tensor(obj, dtype=dtype) if copy else _core.as_tensor(obj, dtype=dtype, device=device)
    return y.requires_grad_() if requires_grad else y


def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """The bytes of a buffer as a vector of this type that shares their memory. ValueError if they do not fit."""
    view, size = memoryview(buffer).cast("B"), dtype.itemsize
    if not 0 <= offset < view.nbytes:
        raise ValueError(f"frombuffer: offset {offset} lies outside of {view.nbytes} bytes")
    if count < 0 and (view.nbytes - offset) % size:
        raise ValueError(f"frombuffer: {view.nbytes - offset} bytes are no whole number of elements of {size}")
    count = (view.nbytes - offset) // size if count < 0 else count
    if count < 1 or offset + count * size > view.nbytes:
        raise ValueError(
            f"frombuffer: {count} elements of {size} bytes from offset {offset} on do not fit {view.nbytes}"
        )
    codes: dict[str, Any] = {
        "float64": "d",
        "float32": "f",
        "int64": "q",
        "int32": "i",
        "int16": "h",
        "int8": "b",
        "uint8": "B",
        "bool": "?",
    }
    code = codes.get(str(dtype).removeprefix("sorus."))
    if code is None:
        raise TypeError(f"frombuffer: buffers of {dtype} are not there")
    y = _core.from_numpy(view[offset : offset + count * size].cast(code))
    return y.requires_grad_() if requires_grad else y


def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of the elements of a vector as columns, the highest first unless `increasing`."""
    from .linalg import vander as powers

    if x.dim() != 1:
        raise RuntimeError(f"vander: expected a vector, got shape {tuple(x.shape)}")
    n = x.shape[0] if N is None else N
    y = powers(x, N=n) if n > 1 else _op["ones"]([x.shape[0], n], dtype=x.dtype)
    return y if increasing else y.flip([1])


def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    return other - alpha * input


def is_same_size(input: Tensor, other: Tensor) -> bool:
    return input.shape == other.shape


def is_signed(input: Tensor) -> bool:
    return input.dtype not in (_core.uint8, _core.bool)


def frobenius_norm(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The root of the sum of squares."""
    return _op["norm"](input, 2, dim, keepdim)


def nuclear_norm(input: Tensor, keepdim: bool = False) -> Tensor:
    """The sum of the singular values of a matrix."""
    from .linalg import matrix_norm

    return matrix_norm(input, "nuc", keepdim=keepdim)


def poisson(input: Tensor, generator: Any = None) -> Tensor:
    """Draws from the Poisson distribution of these rates."""
    from .distributions.discrete import poisson as draw

    return draw(input, generator)


def binomial(count: Tensor, prob: Tensor, generator: Any = None) -> Tensor:
    """How many of `count` trials succeed with this probability."""
    from .distributions import Binomial

    return Binomial(count, prob).sample()


# ---- the constructors of older scripts


def _constructor(name: str, dtype: Any) -> Any:
    def make(*args: Any) -> Tensor:
        if len(args) == 1 and not isinstance(args[0], int):
            return _core.tensor(args[0], dtype=dtype)
        return _op["empty"](list(args) if args else [0], dtype=dtype)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"A tensor of {dtype} from sequences, or of the sizes given, which is then not written."
    return make


FloatTensor, DoubleTensor, HalfTensor, LongTensor, IntTensor, ByteTensor, BoolTensor = (
    _constructor(name, dtype)
    for name, dtype in (
        ("FloatTensor", _core.float32), ("DoubleTensor", _core.float64), ("HalfTensor", _core.float16),
        ("LongTensor", _core.int64), ("IntTensor", _core.int32), ("ByteTensor", _core.uint8), ("BoolTensor", _core.bool),
    )
)  # fmt: skip


# ---- methods


def _becomes(name: str) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._become(getattr(self, name)(*args, **kwargs))
        return self

    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"The tensor becomes the view of itself that `{name}` gives."
    return method


for _name in ("as_strided", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze"):
    setattr(Tensor, _name + "_", _becomes(_name))


def _uniform(self: Tensor) -> Tensor:
    return 1 - _core.rand(*self.shape, dtype=_core.float64)


def _cauchy_(self: Tensor, median: float = 0, sigma: float = 1, *, generator: Any = None) -> Tensor:
    return self.copy_(median + sigma * (math.pi * (_uniform(self) - 0.5)).tan())


def _geometric_(self: Tensor, p: float, *, generator: Any = None) -> Tensor:
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_: expected a probability between 0 and 1, found {p}")
    return self.copy_((_uniform(self).log() / math.log1p(-p)).ceil().clamp(min=1))


def _log_normal_(self: Tensor, mean: float = 1, std: float = 2, *, generator: Any = None) -> Tensor:
    if std <= 0:
        raise RuntimeError(f"log_normal_: expected a positive std, found {std}")
    return self.copy_((_core.randn(*self.shape, dtype=_core.float64) * std + mean).exp())


def _apply_(self: Tensor, callable: Any) -> Tensor:
    values = [callable(v) for v in self.flatten().tolist()]
    return self.copy_(_core.tensor(values, dtype=self.dtype).reshape(self.shape))


def _map_(self: Tensor, other: Tensor, callable: Any) -> Tensor:
    pairs = zip(self.flatten().tolist(), other.expand(self.shape).flatten().tolist(), strict=True)
    return self.copy_(_core.tensor([callable(a, b) for a, b in pairs], dtype=self.dtype).reshape(self.shape))


Tensor.cauchy_, Tensor.geometric_, Tensor.log_normal_ = _cauchy_, _geometric_, _log_normal_
Tensor.apply_, Tensor.map_ = _apply_, _map_
for _name in ("is_same_size", "is_signed"):
    setattr(Tensor, _name, globals()[_name])
Tensor.is_cpu = property(lambda self: True)
for _name in ("is_meta", "is_quantized", "is_mps", "is_xpu", "is_nested", "is_mkldnn", "is_sparse_csr"):
    setattr(Tensor, _name, property(lambda self: False))
for _name in ("is_conj", "is_neg", "is_inference"):
    setattr(Tensor, _name, lambda self: False)
