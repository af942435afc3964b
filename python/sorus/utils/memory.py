"""Models that are larger than the memory they may use: tensors in host memory, brought in when a step needs them.

    from sorus.utils.memory import memory_statistics, set_memory_limit

    set_memory_limit(300 << 20)              # before the model is made
    step = sorus.compile(train_step)         # knows what it needs when
    step(x, y)
    print(memory_statistics()["peak_resident"])

The numbers of a program do not change, to the bit.
"""

from __future__ import annotations

import os
import re

from sorus._core import _machine

__all__ = ["memory_statistics", "parse_size", "set_memory_limit"]

_UNITS = {
    "": 1,
    "K": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "KI": 1 << 10,
    "MI": 1 << 20,
    "GI": 1 << 30,
    "TI": 1 << 40,
}


def parse_size(text: str) -> int:
    """The bytes of "300MB", "1.5GiB", "2g".

    Raises:
        ValueError: what stands there is no size.
    """
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)\s*([KMGT]?I?)B?", text.strip().upper())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is no size; expected one like 300MB or 1.5GiB")
    return round(float(found[1]) * _UNITS[found[2]])


def set_memory_limit(bytes: int, folder: str | os.PathLike[str] | None = None) -> None:
    """Keeps tensors of 64 KiB and more that are made from now on in host memory, at most `bytes` of them in reach at a time.

    Compiled functions bring in what each of their steps needs, and put out what is needed last (Belady's rule); with fewer
    threads than cores, while the step before computes. Eager programs put out what was made first. 0 ends the limit for
    tensors made later.

    Args:
        bytes: at least 2**20, or 0.
        folder: where a file backs the host memory, which vanishes with the process; the memory of this machine without.
            The first call decides.

    Raises:
        ValueError: a limit below 2**20 bytes.
        OSError: the file cannot be made.
        RuntimeError: later, by a compiled function with a step that works on more than the limit at once.
    """
    _machine.set_memory_limit(bytes, "" if folder is None else os.fspath(folder))


def memory_statistics() -> dict[str, float] | None:
    """Bytes `limit`, `held` (of tensors in host memory), `resident` (in reach), `peak_resident`, `brought_in` and `put_out`
    since the start, the `seconds` spent on those, and of them the `waited`, in which nothing was computed; None without a limit."""
    return _machine.host_memory()
