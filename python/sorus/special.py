"""Special functions, as torch.special: operators under these names, and a few that are made of several."""

from __future__ import annotations

import math
from typing import Any

from . import _core
from ._core import Tensor
from ._core import operators as _op

_PREFIX = "special."
_OPERATORS = {
    name: name
    for name in ("digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "log1p", "log_softmax", "logit", "logsumexp",
                 "polygamma", "round", "sinc", "softmax", "xlogy")
} | {"expit": "sigmoid", "gammainc": "igamma", "gammaincc": "igammac", "gammaln": "lgamma", "modified_bessel_i0": "i0",
     "modified_bessel_i1": "special.i1", "psi": "digamma"}  # fmt: skip
globals().update({name.removeprefix(_PREFIX): f for name, f in _op.items() if name.startswith(_PREFIX)})
globals().update({name: _op[operator] for name, operator in _OPERATORS.items()})


def __getattr__(name: str) -> Any:  # tells type checkers that names come from the registry
    raise AttributeError(f"module 'sorus.special' has no attribute {name!r}")


def _floating(x: Any) -> Any:
    return x.to(_core.get_default_dtype()) if isinstance(x, Tensor) and not x.is_floating_point() else x


def entr(input: Tensor) -> Tensor:
    """-x log(x); 0 at 0 and minus infinity below."""
    x = _floating(input)
    positive = x > 0
    y = -x * _op["where"](positive, x, 1.0).log()
    return _op["where"](positive | x.isnan(), y, _op["where"](x == 0, x * 0.0, -math.inf))


def xlog1py(input: Any, other: Any) -> Tensor:
    """x log(1 + y), 0 where x is 0 and y is a number."""
    x, y = _floating(input), _floating(other)
    if not isinstance(y, Tensor):
        y = _core.tensor(float(y), dtype=x.dtype)
    if not isinstance(x, Tensor):
        x = _core.tensor(float(x), dtype=y.dtype)
    plain = (x != 0) | y.isnan()
    return _op["where"](plain, x * _op["where"](plain, y, 0.0).log1p(), 0.0)


def multigammaln(input: Tensor, p: int) -> Tensor:
    """The logarithm of the gamma function of p variables, for numbers above (p - 1) / 2."""
    if p < 1:
        raise RuntimeError(f"multigammaln: p must be positive, it is {p}")
    x = _floating(input)
    y = x.lgamma()
    for i in range(1, p):
        y = y + (x - i / 2).lgamma()
    return y + p * (p - 1) / 4 * math.log(math.pi)
