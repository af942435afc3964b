"""Which box of a whole tensor a rank holds: what checkpoints and norms need to know of a sharded parameter."""

from __future__ import annotations

from typing import Any, NamedTuple

from .._core import Tensor


class Box(NamedTuple):
    """`local` begins at `start` of a tensor of shape `whole`."""

    local: Tensor
    whole: tuple[int, ...]
    start: tuple[int, ...]


class Shard(Tensor):
    """Some rows of a tensor. Computes like any tensor; checkpoints see the whole."""

    whole: tuple[int, ...]
    start: tuple[int, ...]
    group: Any


def shard(local: Tensor, like: Any) -> Shard:
    """`local` as the same box as `like`, of which it has the shape."""
    made = Shard.__new__(Shard)
    Tensor.__init__(made, local)
    made.whole, made.start, made.group = like.whole, like.start, like.group
    return made


def is_shard(value: Any) -> bool:
    return isinstance(value, Tensor) and hasattr(value, "whole") and hasattr(value, "start")


def box_of(value: Tensor) -> Box:
    """The box that a tensor of a state is; a tensor that is no shard is its own whole."""
    if is_shard(value):
        return Box(value, tuple(value.whole), tuple(value.start))  # type: ignore[attr-defined]
    return Box(value, tuple(value.shape), (0,) * value.dim())
