"""Switches that scripts set for other machines. Sorus has one processor backend, whose results do not vary from run to
run, so `cudnn.deterministic` and the like have nothing to change; `is_available()` says so."""

from __future__ import annotations

import sys
import types


class _Absent(types.ModuleType):
    """A backend that is not there: it can be asked, its switches can be set, and it can be imported."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{__name__}.{name}")
        sys.modules[self.__name__] = self

    enabled = deterministic = benchmark = allow_tf32 = False

    def is_available(self) -> bool:
        return False

    def is_built(self) -> bool:
        return False


cudnn, mps, mkldnn, openmp = (_Absent(name) for name in ("cudnn", "mps", "mkldnn", "openmp"))


class _Cuda(_Absent):
    matmul = _Absent("cuda.matmul")


cuda = _Cuda("cuda")
