"""Collectives of any Python values, which are pickled: for ranks of one program only."""

from __future__ import annotations

import pickle
from typing import Any

from .. import _core
from .._core import Tensor
from .collectives import _root
from .groups import _group, get_rank
from .world import ProcessGroup


def _to_bytes(value: Any) -> Tensor:
    import numpy

    return _core.from_numpy(numpy.frombuffer(bytearray(pickle.dumps(value)), dtype=numpy.uint8))


def _from_bytes(tensor: Tensor) -> Any:
    return pickle.loads(bytes(tensor.numpy()))


def all_gather_object(object_list: list[Any], obj: Any, group: ProcessGroup | None = None) -> None:
    """object_list[r] becomes `obj` of rank r. Values are pickled: use it only among ranks of one program."""
    communicator = _group(group)
    if communicator is None:
        return
    data = _to_bytes(obj)
    lengths = [_core.tensor([0]) for _ in range(communicator.size())]
    communicator.all_gather(lengths, _core.tensor([data.numel()]), False)
    parts = [_core.operators["zeros"](int(n), dtype=_core.uint8) for n in lengths]
    communicator.all_gather(parts, data, False)
    object_list[:] = [_from_bytes(part) for part in parts]


def broadcast_object_list(
    object_list: list[Any],
    src: int | None = None,
    group: ProcessGroup | None = None,
    device=None,
    group_src: int | None = None,
) -> None:
    """The values of rank `src` in `object_list` of every rank."""
    root = _root(group, src, group_src, "broadcast_object_list")
    communicator = _group(group)
    if root is None or communicator is None:
        return
    own = communicator.rank() == root
    data = _to_bytes(object_list) if own else None
    length = _core.tensor([data.numel() if data is not None else 0])
    communicator.broadcast(length, root, False)
    if data is None:
        data = _core.operators["zeros"](int(length), dtype=_core.uint8)
    communicator.broadcast(data, root, False)
    if not own:
        object_list[:] = _from_bytes(data)


def gather_object(
    obj: Any,
    object_gather_list: list[Any] | None = None,
    dst: int | None = None,
    group: ProcessGroup | None = None,
    group_dst: int | None = None,
) -> None:
    root = _root(group, dst, group_dst, "gather_object")
    if root is None:
        return
    everything: list[Any] = []
    all_gather_object(everything, obj, group)
    if get_rank(group) == root and object_gather_list is not None:
        object_gather_list[:] = everything


def scatter_object_list(
    scatter_object_output_list: list[Any],
    scatter_object_input_list: list[Any] | None = None,
    src: int | None = None,
    group: ProcessGroup | None = None,
    group_src: int | None = None,
) -> None:
    root = _root(group, src, group_src, "scatter_object_list")
    if root is None:
        return
    values = list(scatter_object_input_list or [])
    broadcast_object_list(values, group=group, group_src=root)
    scatter_object_output_list[:1] = [values[get_rank(group)]]
