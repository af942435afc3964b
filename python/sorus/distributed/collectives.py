"""Collectives and messages between ranks, with the names, arguments and semantics of torch.distributed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .._core import Tensor
from .groups import _group, _member
from .world import ProcessGroup, ReduceOp, Work


def _call(group, method: str, *args: Any) -> Work | None:
    communicator = _group(group)
    return None if communicator is None else getattr(communicator, method)(*args)


def all_reduce(
    tensor: Tensor, op: str = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False
) -> Work | None:
    """`tensor` of all ranks taken together, in place, at every rank."""
    return _call(group, "all_reduce", tensor, op, async_op)


def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: str = ReduceOp.SUM,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """The same; only rank `dst` has the result."""
    root = _root(group, dst, group_dst, "reduce")
    return None if root is None else _call(group, "reduce", tensor, root, op, async_op)


def _root(group, rank: int | None, group_rank: int | None, what: str) -> int | None:
    communicator = _group(group)
    if communicator is None:
        return None
    if group_rank is not None:
        return group_rank
    return _member(communicator, 0 if rank is None else rank, what)


def broadcast(
    tensor: Tensor,
    src: int | None = None,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """`tensor` of rank `src` at every rank."""
    root = _root(group, src, group_src, "broadcast")
    return None if root is None else _call(group, "broadcast", tensor, root, async_op)


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: ProcessGroup | None = None, async_op: bool = False
) -> Work | None:
    """tensor_list[r] becomes `tensor` of rank r."""
    return _call(group, "all_gather", tensor_list, tensor, async_op)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: ProcessGroup | None = None, async_op: bool = False
) -> Work | None:
    """The inputs of all ranks one behind the other."""
    return _call(group, "all_gather_into", output_tensor, input_tensor, async_op)


def reduce_scatter(
    output: Tensor,
    input_list: list[Tensor],
    op: str = ReduceOp.SUM,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """`output` of rank r becomes input_list[r] of all ranks taken together."""
    return _call(group, "reduce_scatter", output, input_list, op, async_op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: str = ReduceOp.SUM, group: ProcessGroup | None = None, async_op: bool = False
) -> Work | None:
    """The same of one tensor with as many equal parts as ranks."""
    return _call(group, "reduce_scatter_from", output, input, op, async_op)


def all_to_all(
    output_tensor_list: list[Tensor],
    input_tensor_list: list[Tensor],
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """input_tensor_list[r] goes to rank r; output_tensor_list[r] comes from it."""
    return _call(group, "all_to_all", output_tensor_list, input_tensor_list, async_op)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: list[int] | None = None,
    input_split_sizes: list[int] | None = None,
    group: ProcessGroup | None = None,
    async_op: bool = False,
) -> Work | None:
    """The same of tensors that are cut along their first dimension."""
    return _call(group, "all_to_all_single", output, input, output_split_sizes, input_split_sizes, async_op)


def scatter(
    tensor: Tensor,
    scatter_list: list[Tensor] | None = None,
    src: int | None = None,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:
    """`tensor` becomes scatter_list[r] of rank `src`."""
    root = _root(group, src, group_src, "scatter")
    return None if root is None else _call(group, "scatter", tensor, scatter_list, root, async_op)


def gather(
    tensor: Tensor,
    gather_list: list[Tensor] | None = None,
    dst: int | None = None,
    group: ProcessGroup | None = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:
    """gather_list[r] of rank `dst` becomes `tensor` of rank r."""
    root = _root(group, dst, group_dst, "gather")
    return None if root is None else _call(group, "gather", gather_list, tensor, root, async_op)


def barrier(group: ProcessGroup | None = None, async_op: bool = False, device_ids=None) -> Work | None:
    """Returns when all ranks have called it."""
    return _call(group, "barrier", async_op)


def isend(
    tensor: Tensor,
    dst: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> Work | None:
    """Starts to send; `tensor` must stay as it is until `wait`."""
    root = _root(group, dst, group_dst, "isend")
    return None if root is None else _call(group, "isend", tensor, root, tag)


def irecv(
    tensor: Tensor,
    src: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_src: int | None = None,
) -> Work | None:
    root = _root(group, src, group_src, "irecv")
    return None if root is None else _call(group, "irecv", tensor, root, tag)


def send(
    tensor: Tensor,
    dst: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_dst: int | None = None,
) -> None:
    """Sends to the world's rank `dst`; returns when `tensor` may be changed."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(
    tensor: Tensor,
    src: int | None = None,
    group: ProcessGroup | None = None,
    tag: int = 0,
    group_src: int | None = None,
) -> int:
    """Receives from the world's rank `src`, which is returned."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    if src is not None:
        return src
    communicator = _group(group)
    assert communicator is not None
    return communicator.members[group_src or 0]


class P2POp:
    """One message of `batch_isend_irecv`: op is isend or irecv."""

    def __init__(
        self, op: Callable, tensor: Tensor, peer: int | None = None, group=None, tag: int = 0, group_peer=None
    ):
        if op not in (isend, irecv):
            raise ValueError("P2POp: op must be sorus.distributed.isend or sorus.distributed.irecv")
        self.op, self.tensor, self.peer, self.group, self.tag, self.group_peer = (
            op,
            tensor,
            peer,
            group,
            tag,
            group_peer,
        )


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Starts all of them; they may cross."""
    works = [p.op(p.tensor, p.peer, p.group, p.tag, p.group_peer) for p in p2p_op_list]
    return [work for work in works if work is not None]


def monitored_barrier(
    group: ProcessGroup | None = None, timeout: timedelta | None = None, wait_all_ranks: bool = False
) -> None:
    """A barrier; every barrier of Sorus names the rank that did not come."""
    barrier(group)
