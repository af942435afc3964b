"""Switches that scripts set for other machines. Sorus has one processor backend, whose results do not vary from run to
run, so `cudnn.deterministic` and the like have nothing to change; `is_available()` says so."""

from __future__ import annotations


class _Absent:
    """A backend that is not there: it can be asked and its switches can be set."""

    enabled = deterministic = benchmark = allow_tf32 = False

    def is_available(self) -> bool:
        return False

    def is_built(self) -> bool:
        return False


cudnn, mps = _Absent(), _Absent()


class _Cuda(_Absent):
    matmul = _Absent()


cuda = _Cuda()
