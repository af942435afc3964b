"""Sorus: an AI framework. `import sorus as torch` runs a common PyTorch script.

The functions of this module are the operators of Sorus' registry, made when it is imported: sorus.operators has them
by name, help(sorus.softmax) shows a signature. Subpackages (nn, optim, ...) are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import math as _math

from . import _core
from ._core import (  # noqa: F401
    Size,
    Tensor,
    as_tensor,
    bfloat16,
    bool,
    complex64,
    complex128,
    dtype,
    float16,
    float32,
    float64,
    from_numpy,
    get_default_dtype,
    get_num_threads,
    int8,
    int16,
    int32,
    int64,
    is_grad_enabled,
    operators,
    promote_types,
    set_default_dtype,
    set_num_threads,
    tensor,
    uint8,
)
from ._python import device  # noqa: F401
from . import _copying  # noqa: F401, E402  (gives Tensor its methods)
from ._compile import compile  # noqa: F401, A004
from ._profile import profile  # noqa: F401
from .autograd import (  # noqa: F401
    autocast,
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
)
from .serialization import load, save  # noqa: F401

__version__ = "0.1.0"

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e
newaxis = None
strided = contiguous_format = preserve_format = None

globals().update({name: f for name, f in operators.items() if "." not in name})


def is_tensor(obj) -> bool:
    return isinstance(obj, Tensor)


def is_floating_point(input: Tensor) -> bool:
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:
    return input.is_complex()


def numel(input: Tensor) -> int:
    return input.numel()


def __getattr__(name: str):
    # `sorus.nn` without an import of its own, and functions of the compiled part that have no operator behind them.
    if name == "load_model":  # it needs nn, which is loaded when it is first used
        return importlib.import_module("._import", __name__).load_model
    if not name.startswith("_"):
        if hasattr(_core, name):
            return getattr(_core, name)
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module 'sorus' has no attribute {name!r}")
