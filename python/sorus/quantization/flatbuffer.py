"""Writes FlatBuffers without a schema: tables are dictionaries from field number to value.

NumPy scalars are stored in the table, arrays and bytes as vectors, lists of tables as vectors of tables. A table starts with
the distance back to its vtable, which says where each field is; everything else is reached by distances forward, so parents
are laid out before what they contain.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np


def write(root: dict[int, Any], identifier: bytes) -> bytes:
    """The file whose root is this table. A field that is None is left out."""
    out = bytearray(4) + identifier
    waiting: deque[tuple[int, Any]] = deque([(0, root)])  # where a distance is missing, and to what
    while waiting:
        hole, value = waiting.popleft()
        start = _table(out, value, waiting) if isinstance(value, dict) else _vector(out, value, waiting)
        out[hole : hole + 4] = np.uint32(start - hole).tobytes()
    return bytes(out)


def _align(out: bytearray, size: int, ahead: int = 0) -> None:
    out.extend(bytes(-(len(out) + ahead) % size))


def _table(out: bytearray, fields: dict[int, Any], waiting: deque) -> int:
    fields = {i: v for i, v in sorted(fields.items()) if v is not None}
    body, places = bytearray(4), np.zeros(max(fields, default=-1) + 1, np.uint16)
    children = []
    for field, value in fields.items():
        data = value.tobytes() if isinstance(value, np.generic) else bytes(4)
        _align(body, len(data))
        places[field] = len(body)
        if not isinstance(value, np.generic):
            children.append((len(body), value))
        body += data
    _align(out, 2)
    vtable = len(out)
    out += np.array([4 + places.nbytes, len(body)], np.uint16).tobytes() + places.tobytes()
    _align(out, 8)
    start = len(out)
    body[:4] = np.int32(start - vtable).tobytes()
    out += body
    waiting.extend((start + at, value) for at, value in children)
    return start


def _vector(out: bytearray, value: list | bytes | str | np.ndarray, waiting: deque) -> int:
    if isinstance(value, str):
        value = value.encode()
    _align(out, 16, ahead=4)  # elements are aligned, their number stands before them
    start = len(out)
    out += np.uint32(len(value)).tobytes()
    if isinstance(value, list):
        waiting.extend((len(out) + 4 * i, table) for i, table in enumerate(value))
        out += bytes(4 * len(value))
    else:
        out += (value.tobytes() if isinstance(value, np.ndarray) else value) + b"\0"  # text ends with a zero
    return start
