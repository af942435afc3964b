"""save and load, with PyTorch's names. Tensors that are shards are saved as parts of the whole, replicas once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..._core import Tensor, _comm
from ...serialization import _Packer, _unpack
from .._shards import box_of
from ..groups import _group
from ..world import ProcessGroup, is_initialized


def _plain(value: Any) -> Any:
    """Objects with a state_dict stand for it."""
    if hasattr(value, "state_dict") and not isinstance(value, (dict, Tensor)):
        return _plain(value.state_dict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value) if type(value) in (list, tuple) else [*map(_plain, value)]
    return value


def _path(checkpoint_id: Any, storage: Any, what: str) -> Path:
    if storage is not None:
        raise NotImplementedError(
            f"{what}: readers, writers and planners of PyTorch are not supported; pass checkpoint_id"
        )
    if checkpoint_id is None:
        raise ValueError(f"{what}: checkpoint_id is missing, the path of a folder")
    return Path(os.fspath(checkpoint_id))


def _communicator(process_group: ProcessGroup | None, no_dist: bool) -> ProcessGroup:
    if process_group is None and (no_dist or not is_initialized()):
        return _comm.ThreadWorld(1, 60.0, 0.0).join(0)
    group = _group(process_group)
    if group is None:
        raise ValueError("checkpoint: this rank is not in the process group")
    return group


def save(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: str | os.PathLike | None = None,
    storage_writer=None,
    planner=None,
    process_group: ProcessGroup | None = None,
    no_dist: bool = False,
    use_collectives: bool = True,
) -> None:
    """Writes `state_dict` of all ranks into the folder `checkpoint_id`, which is replaced in one step or not at all.

    state_dict: nested dicts and lists of tensors, shards, numbers, text, and objects with a state_dict. What is no tensor
    is rank 0's. Every rank calls it with the same names.
    ValueError if ranks disagree about a tensor, OSError (at all ranks) if one of them cannot write.
    """
    path = _path(checkpoint_id, storage_writer or planner, "save")
    packer = _Packer()
    tree = packer.pack(_plain(state_dict), ())
    pieces = []
    for name, tensor in packer.tensors.items():
        box = box_of(tensor)
        pieces.append((name, box.local.detach(), box.whole, box.start))
    _comm.save_sharded(_communicator(process_group, no_dist), path, pieces, json.dumps(tree))


def _fill(target: Any, saved: Any, where: str, unpacked: Any) -> Any:
    """`target` with the saved values: tensors in place. `saved` is the tree as stored, `unpacked` without tensors."""
    if isinstance(target, Tensor):
        return target
    if hasattr(target, "load_state_dict") and not isinstance(target, dict):
        state = target.state_dict()
        target.load_state_dict(_fill(state, saved, where, unpacked))
        return target
    if isinstance(target, dict):
        if not isinstance(unpacked, dict):
            raise ValueError(
                f"load: {where or 'the state'} is a dict here and a {type(unpacked).__name__} in the checkpoint"
            )
        for key in target:
            inside = f"{where}.{key}" if where else str(key)
            if key not in unpacked:
                raise KeyError(f"load: the checkpoint has no {inside!r}")
            target[key] = _fill(target[key], None, inside, unpacked[key])
        return target
    if isinstance(target, (list, tuple)) and any(True for _ in _tensors(target)):
        if not isinstance(unpacked, (list, tuple)) or len(unpacked) != len(target):
            raise ValueError(f"load: {where} has {len(target)} items here, another number in the checkpoint")
        items = [_fill(t, None, f"{where}.{i}", u) for i, (t, u) in enumerate(zip(target, unpacked, strict=True))]
        return type(target)(items)
    return unpacked


def _tensors(value: Any):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


class _Names(dict):
    """Stands for the tensors while the rest of a tree is unpacked."""

    def __missing__(self, key: str) -> str:
        return key


def load(
    state_dict: dict[str, Any],
    *,
    checkpoint_id: str | os.PathLike | None = None,
    storage_reader=None,
    planner=None,
    process_group: ProcessGroup | None = None,
    no_dist: bool = False,
) -> None:
    """Fills the tensors of `state_dict` in place, each rank its own boxes, and replaces its other values.

    The number of ranks and the placement may differ from those that saved. KeyError for names that the checkpoint lacks,
    ValueError for other shapes, OSError if it is damaged.
    """
    path = _path(checkpoint_id, storage_reader or planner, "load")
    saved = _comm.ShardedCheckpoint(path)
    packer = _Packer()
    packer.pack(_plain(state_dict), ())
    entries = saved.entries
    boxes = []
    for name, tensor in packer.tensors.items():
        box = box_of(tensor)
        if name not in entries:
            raise KeyError(f"load: {path} has no tensor {name!r}")
        if tuple(entries[name][1]) != box.whole:
            raise ValueError(f"load: {name!r} has the shape {tuple(entries[name][1])} in {path}, {box.whole} here")
        boxes.append((name, box))
    for name, box in boxes:
        saved.read(name, box.start, box.local.detach())
    unpacked = _unpack(json.loads(saved.state), _Names(), os.fspath(path))
    _fill(state_dict, None, "", unpacked)
