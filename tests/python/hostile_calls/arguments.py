"""Arguments that nobody means to pass, made from a seed: tensors of the wrong rank, size, type and values, numbers out of
every range, things of another kind. A tensor's last (or first) element lies at the border of memory that may not be
touched, so that an operator which reads or writes outside of its input ends the process instead of going on unseen."""

from __future__ import annotations

import ctypes
import mmap
import random
from typing import Any

import numpy as np

import sorus

PAGE = mmap.PAGESIZE
LIBC = ctypes.CDLL(None, use_errno=True)
SHAPES = [
    (),
    (0,),
    (1,),
    (3,),
    (4,),
    (0, 4),
    (4, 0),
    (1, 1),
    (4, 4),
    (2, 3),
    (2, 3, 4),
    (3, 0, 2),
    (4, 4, 4),
    (1, 2, 4, 4),
]
SHAPES += [(2, 4, 5, 5), (1, 1, 3, 3, 3), (1, 1, 1, 1, 1, 1, 1)]
TYPES = (
    [np.float32] * 5 + [np.int64] * 3 + [np.float64, np.float16, np.int32, np.int8, np.uint8, np.bool_, np.complex64]
)
NUMBERS = [-(2**63), -(2**31) - 1, -5, -2, -1, 0, 1, 2, 3, 5, 100, 2**31, 2**40, 2**62, 2**63 - 1, 2**64]
REALS = [0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")]
TEXTS = ["", "mean", "sum", "none", "ij,jk->ik", "a...b->", "sorus", "\0", "é" * 3, "x" * 5000]
OTHERS = [
    None,
    [],
    (),
    {},
    "text",
    3,
    -1,
    2.5,
    1 + 2j,
    True,
    object(),
    [None],
    [[1, 2], [3]],
    b"bytes",
    range(3),
    int,
]


def guarded(values: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy whose memory ends, or begins, at a page that may not be touched."""
    size = -(-max(values.nbytes, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, size + 2 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + PAGE + size):
        if LIBC.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = PAGE + (size - values.nbytes if at_end else 0)
    copy = np.frombuffer(memory, values.dtype, values.size, offset).reshape(values.shape)
    copy[...] = values
    return copy


class Arguments:
    """Draws them; the same seed draws the same."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(self.random.getrandbits(32))

    def tensor(self, shape: tuple[int, ...] | None = None, type: Any = None) -> sorus.Tensor:
        r = self.random
        shape = r.choice(SHAPES) if shape is None else shape
        type = r.choice(TYPES) if type is None else type
        kind = np.dtype(type).kind
        values: Any = self.numbers.normal(size=shape)
        if kind in "iu":
            values = self.numbers.integers(0, r.choice([1, 2, 4, 100]), shape)
        with np.errstate(all="ignore"):
            array = np.asarray(values).astype(type)
        if array.size and r.random() < 0.4:
            place = r.randrange(array.size)
            extreme: Any = {"f": REALS, "c": REALS, "b": [True], "u": [0, 255]}.get(
                kind, [-1, -5, 4, 7, np.iinfo(np.int8).max]
            )
            array.reshape(-1)[place] = r.choice(extreme)
            if kind == "i" and array.dtype.itemsize == 8 and r.random() < 0.5:
                array.reshape(-1)[place] = r.choice([-(2**63), 2**40, 2**62, 2**63 - 1])
        array = guarded(array, r.random() < 0.7)
        layout = r.random()
        if layout < 0.15 and array.ndim > 1:
            array = array.swapaxes(0, -1)
        elif layout < 0.2:
            array = array[..., ::2] if array.ndim else array
        tensor = sorus.from_numpy(array)
        if layout > 0.9:
            tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
        if kind == "f" and r.random() < 0.1:
            tensor = tensor.to(sorus.bfloat16)
        return tensor.requires_grad_() if kind in "fc" and r.random() < 0.4 else tensor

    def numbers_list(self) -> Any:
        r = self.random
        if r.random() < 0.2:
            return r.choice([[2**32, 2**32], [2**62, 4], [-1, -1], [0], [], ["a"], [1.5], [[1]], [1] * 100, (2**64,)])
        small = r.random() < 0.6
        return [r.choice([-1, 0, 1, 2, 3, 4] if small else NUMBERS) for _ in range(r.randrange(5))]

    def any(self) -> Any:
        """Of any kind."""
        r = self.random
        return r.choice([
            self.tensor, self.tensor, self.numbers_list, lambda: r.choice(NUMBERS), lambda: r.choice(REALS),
            lambda: r.choice(TEXTS), lambda: r.choice(OTHERS), lambda: [self.tensor() for _ in range(r.randrange(4))],
            lambda: sorus.float16,
        ])()  # fmt: skip

    def hostile(self, type: str) -> Any:
        """Of the type that a parameter asks for, mostly, and of no use to it."""
        r = self.random
        if r.random() < 0.2:
            return self.any()
        if type.startswith(("Tensor[]", "list")):
            return [self.tensor() for _ in range(r.randrange(5))]
        if type.startswith(("Tensor", "mask")):
            return self.tensor()
        if type.startswith(("int[", "tuple", "float[")):
            return self.numbers_list()
        if type.startswith("bool"):
            return r.choice([True, False])
        if type.startswith("int"):
            return r.choice(NUMBERS)
        if type.startswith(("float", "scalar")):
            return r.choice([*REALS, *NUMBERS])
        if type.startswith("str"):
            return r.choice(TEXTS)
        if type.startswith("dtype"):
            return r.choice([sorus.float32, sorus.int8, sorus.bool, sorus.complex64, sorus.bfloat16])
        return self.any()
