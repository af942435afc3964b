"""Sorus: an AI framework. `import sorus as torch` runs a common PyTorch script.

The functions of this module are the operators of Sorus' registry, made when it is imported: sorus.operators has them
by name, help(sorus.softmax) shows a signature. Subpackages (nn, optim, ...) are loaded when they are first used.
"""

from __future__ import annotations

import builtins as _builtins
import importlib
import math as _math

from . import _copying, _core, _names, _paths
from ._compile import compile
from ._core import (
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
from ._profile import profile
from ._python import device
from .autograd import (
    autocast,
    enable_grad,
    get_autocast_dtype,
    inference_mode,
    is_autocast_enabled,
    no_grad,
    set_grad_enabled,
)
from .serialization import load, save

__version__ = "0.1.0"

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128
inf, nan, pi, e = _math.inf, _math.nan, _math.pi, _math.e
newaxis = None
# Hints where there is one layout: accepted and without effect.
strided, contiguous_format, preserve_format, channels_last, channels_last_3d = (
    f"sorus.{name}"
    for name in ("strided", "contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
)

_paths.install(__name__)
_names.add_second_names(operators, Tensor)
globals().update({name: f for name, f in operators.items() if "." not in name})
from ._arranging import *  # noqa: E402
from ._everyday import *  # noqa: E402
from ._format import set_printoptions  # noqa: E402
from ._functions import *  # noqa: E402
from ._matrices import *  # noqa: E402
from ._placing import *  # noqa: E402
from ._signals import *  # noqa: E402


class layout:
    """The layouts of PyTorch; here there is sorus.strided."""


class memory_format:
    """The memory formats of PyTorch; here there is the contiguous one."""


def typename(obj) -> str:
    """The type of a tensor ("torch.FloatTensor") or of another object."""
    return obj.type() if isinstance(obj, Tensor) else f"{type(obj).__module__}.{type(obj).__qualname__}"


_PRECISIONS = ("highest", "high", "medium")


def set_float32_matmul_precision(precision: str) -> None:
    """How exactly matrix products of float32 are computed, by all threads, eager and compiled.

    "highest", at first: in float32. "high": every number as the sum of two bfloat16, three products of which are added in
    float32; the error is about 2^-16 of the largest term, and infinite numbers may become NaN. "medium": numbers rounded to
    bfloat16 (an error of 2^-8), sums in float32. The last two hold where the processor has tiles for bfloat16 (AMX; `sorus info`);
    elsewhere, and in convolutions and attention, products stay in float32. ValueError for another name.
    """
    if precision not in _PRECISIONS:
        raise ValueError(f"set_float32_matmul_precision: expected 'highest', 'high' or 'medium', not {precision!r}")
    _core._set_float32_precision(_PRECISIONS.index(precision))


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` has set: "highest", "high" or "medium"."""
    return _PRECISIONS[_core._float32_precision()]


def use_deterministic_algorithms(mode: _builtins.bool, *, warn_only: _builtins.bool = False) -> None:
    """Results never depend on threads or timing, so there is nothing to switch."""


# Functions of nn.functional that PyTorch has here too.
_OF_LAYERS = {
    "adaptive_max_pool1d", "alpha_dropout", "batch_norm", "bilinear", "ctc_loss", "dropout", "embedding_bag",
    "feature_alpha_dropout", "instance_norm", "max_pool3d", "pdist", "rrelu",
}  # fmt: skip


def __getattr__(name: str):
    # `sorus.nn` without an import of its own, and functions of the compiled part that have no operator behind them.
    if name == "load_model":  # it needs nn, which is loaded when it is first used
        return importlib.import_module("._import", __name__).load_model
    if name in _OF_LAYERS:
        return getattr(importlib.import_module(".nn.functional", __name__), name)
    if name.endswith("_window") and not name.startswith("_"):
        return getattr(importlib.import_module(".signal.windows", __name__), name)
    if name == "vmap":
        return importlib.import_module(".func", __name__).vmap
    if not name.startswith("_"):
        if hasattr(_core, name):
            return getattr(_core, name)
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module 'sorus' has no attribute {name!r}")
