"""Groups of ranks, with the names of torch.distributed."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from typing import Any

from .._core import _comm
from .world import GroupMember, ProcessGroup, is_initialized


def _group(group: ProcessGroup | int | None) -> ProcessGroup | None:
    """The communicator; None for those that are not in the group."""
    if group is None:
        if not is_initialized():
            raise ValueError(
                "Default process group has not been initialized, please make sure to call init_process_group."
            )
        return _comm.group("world")
    return None if isinstance(group, int) else group


def _member(communicator: ProcessGroup, rank: int, what: str) -> int:
    """The number in the group of a rank of the world."""
    if communicator.group_name == "world":
        return rank
    if rank not in communicator.members:
        raise ValueError(
            f"{what}: rank {rank} is not in the group {communicator.group_name!r} of {communicator.members}"
        )
    return communicator.members.index(rank)


def get_rank(group: ProcessGroup | None = None) -> int:
    """This rank in the group; -1 if it is not in it."""
    communicator = _group(group)
    return -1 if communicator is None else communicator.rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    communicator = _group(group)
    return -1 if communicator is None else communicator.size()


def get_backend(group: ProcessGroup | None = None) -> str:
    communicator = _group(group)
    if communicator is None:
        raise ValueError("get_backend: this rank is not in the group")
    return communicator.name()


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    communicator = _group(group)
    return [] if communicator is None else list(communicator.members)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    return group.members[group_rank]


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    return _member(group, global_rank, "get_group_rank")


_group_count = threading.local()


def new_group(
    ranks: list[int] | None = None,
    timeout: timedelta | None = None,
    backend: str | None = None,
    pg_options=None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id=None,
) -> ProcessGroup | int:
    """A group of some ranks; all ranks of the world call it, in the same order."""
    world = _group(None)
    assert world is not None
    _group_count.n = getattr(_group_count, "n", 0) + 1
    name = group_desc or f"group{_group_count.n}"
    made = world.split(sorted(ranks) if ranks is not None else list(range(world.size())), name)
    _comm.add_group(name, made)
    return GroupMember.NON_GROUP_MEMBER if made is None else made


def new_subgroups(
    group_size: int | None = None,
    group: ProcessGroup | None = None,
    timeout=None,
    backend=None,
    pg_options=None,
    group_desc=None,
) -> tuple[Any, list[Any]]:
    """Groups of `group_size` neighbours that cover the world: (the one of this rank, all of them)."""
    size, rank = get_world_size(), get_rank()
    group_size = group_size or int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if size % group_size:
        raise ValueError(f"new_subgroups: {size} ranks cannot be cut into groups of {group_size}")
    groups = [new_group(list(range(first, first + group_size))) for first in range(0, size, group_size)]
    return groups[rank // group_size], groups
