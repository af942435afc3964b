"""Process groups and collectives, with PyTorch's names, arguments and semantics.

    import sorus as torch
    import sorus.distributed as dist

    dist.init_process_group()                 # ranks started by `sorus run -n 4 script.py` or mpirun
    t = torch.ones(3) * dist.get_rank()
    dist.all_reduce(t)                        # in place, at every rank
    dist.destroy_process_group()

Backends: "shm" for processes of one machine, "mpi" for those that mpirun started, "threads" for threads of one process
(`run_threads`). Without a name, or with PyTorch's "gloo", it is the one that fits how the ranks were started.
"""

from __future__ import annotations

import atexit
import os
import pickle
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .. import _core
from .._core import Tensor, _comm

ProcessGroup = _comm.ProcessGroup
Work = _comm.Work
DistBackendError = _comm.DistBackendError
default_pg_timeout = timedelta(minutes=30)
HANG_SECONDS = 8.0


class ReduceOp:
    """How elements of several ranks become one."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = "sum", "avg", "product", "min", "max", "band", "bor", "bxor"


class Backend:
    """The names of backends."""

    SHM, THREADS, MPI, GLOO = "shm", "threads", "mpi", "gloo"


class GroupMember:
    """What `new_group` returns to ranks that are not in the group."""

    NON_GROUP_MEMBER = -100


class _Groups:
    WORLD: ProcessGroup | None

    @property  # type: ignore[no-redef]
    def WORLD(self) -> ProcessGroup | None:
        return _comm.group("world") if is_initialized() else None


group = _Groups()
_thread_worlds: dict[str, Any] = {}
_thread_worlds_lock = threading.Lock()


def is_available() -> bool:
    return True


def is_initialized() -> bool:
    return _comm.has_world()


def is_mpi_available() -> bool:
    """Whether Sorus was built with MPI and its library can be loaded here."""
    return not _comm.mpi_problem()


def is_gloo_available() -> bool:
    return False


def is_nccl_available() -> bool:
    return False


def is_torchelastic_launched() -> bool:
    return "SORUS_RUN_ID" in os.environ


def is_launched() -> bool:
    """Whether this process is one of several that `sorus run`, mpirun or Slurm started."""
    return is_torchelastic_launched() or _under_mpi()


def _from_environment(name: str, what: str) -> int:
    text = os.environ.get(name)
    if text is None:
        raise ValueError(
            f"init_process_group: {what} is not given and the environment has no {name}; start the script with "
            f"`sorus run -n 4 script.py` or mpirun, or pass rank= and world_size="
        )
    if not text.lstrip("-").isdigit():
        raise ValueError(f"init_process_group: {name} is {text!r}, expected a number")
    return int(text)


def _meeting_point(init_method: str | None) -> str:
    """A key that all ranks of the job have and no other job."""
    if init_method in (None, "env://"):
        return f"{os.environ.get('MASTER_ADDR', 'localhost')}-{os.environ.get('MASTER_PORT', '29500')}"
    assert init_method is not None
    if init_method.startswith("tcp://"):
        return init_method.removeprefix("tcp://").replace(":", "-")
    if init_method.startswith("file://"):
        import hashlib

        return hashlib.sha256(init_method.encode()).hexdigest()[:32]
    raise ValueError(
        f"init_process_group: init_method {init_method!r}; known are env://, tcp://HOST:PORT and file://PATH"
    )


def _under_mpi() -> bool:
    return "OMPI_COMM_WORLD_SIZE" in os.environ or "PMI_SIZE" in os.environ


def _choose_backend(backend: str | None) -> str:
    name = (backend or "").lower()
    name = name.removeprefix("cpu:").split(",")[0]
    if name in ("", "gloo", "undefined"):
        return "mpi" if _under_mpi() else "shm"
    if name in ("shm", "mpi", "threads"):
        return name
    raise ValueError(f"init_process_group: there is no backend {backend!r}; known are shm, mpi and threads (and gloo, "
                     "for the one of them that fits)")  # fmt: skip


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
    store=None,
    group_name: str = "",
    pg_options=None,
    device_id=None,
) -> None:
    """Joins the world; returns when all ranks have come.

    timeout: of a wait for ranks that are computing (30 minutes). A rank that neither computes nor communicates while
    others wait for it hangs; that ends the job after 8 seconds, or SORUS_HANG_SECONDS (0: never).
    RuntimeError if it is done already; DistBackendError names the ranks that did not come.
    """
    if is_initialized():
        raise RuntimeError("init_process_group: there is a world already; call destroy_process_group first")
    chosen = _choose_backend(backend)
    seconds = (timeout or default_pg_timeout).total_seconds()
    hang = float(os.environ.get("SORUS_HANG_SECONDS", HANG_SECONDS))
    if chosen == "mpi":
        _comm.set_process_world(_comm.join_mpi(timeout=seconds, hang=hang))
        _tell_others_of_errors()
        return
    rank = rank if rank >= 0 else _from_environment("RANK", "the rank")
    world_size = world_size if world_size > 0 else _from_environment("WORLD_SIZE", "the number of ranks")
    key = _meeting_point(init_method)
    if chosen == "threads":
        with _thread_worlds_lock:
            world = _thread_worlds.get(key)
            if world is None:
                world = _thread_worlds[key] = [_comm.ThreadWorld(world_size, seconds, hang), world_size]
            world[1] -= 1
            if world[1] == 0:
                del _thread_worlds[key]
        if world[0].size() != world_size:
            raise ValueError(f"init_process_group: a rank has a world of {world_size}, others of {world[0].size()}")
        _comm.set_thread_world(world[0].join(rank), max(1, _core.get_num_threads() // world_size))
        return
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    if local != world_size:
        raise ValueError(f"init_process_group: {local} of {world_size} ranks are on this machine; ranks of several "
                         "machines need the backend mpi and mpirun")  # fmt: skip
    world = _comm.join_shared_memory(rank=rank, size=world_size, key=key, join_timeout=min(seconds, 300.0),
                                     timeout=seconds, hang=hang, watch=True)  # fmt: skip
    _comm.set_process_world(world)
    _tell_others_of_errors()


def _tell_others_of_errors() -> None:
    """An exception that ends this rank ends the others, with its text; a rank that ends leaves the group."""
    before = sys.excepthook

    def hook(kind, value, trace) -> None:
        before(kind, value, trace)
        if is_initialized() and not isinstance(value, (DistBackendError, KeyboardInterrupt)):
            sys.stderr.flush()
            _comm.group("world").abort(f"{kind.__name__}: {value}")

    sys.excepthook = hook
    atexit.register(destroy_process_group)


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leaves the world (or a group). Others that still wait for this rank get an error."""
    if group is not None and group.group_name != "world":
        _comm.remove_group(group.group_name)
        return
    _comm.set_thread_world(None)
    if is_initialized():
        _comm.set_process_world(None)


def run_threads(function: Callable[..., Any], ranks: int, *args: Any, timeout: timedelta | None = None) -> list[Any]:
    """Calls function(rank, *args) in one thread for each rank, which have a world of their own; returns the results.

    The first exception ends all ranks and is raised here.
    """
    seconds = (timeout or default_pg_timeout).total_seconds()
    world = _comm.ThreadWorld(ranks, seconds, float(os.environ.get("SORUS_HANG_SECONDS", HANG_SECONDS)))
    share = max(1, _core.get_num_threads() // ranks)
    results: list[Any] = [None] * ranks
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        joined = world.join(rank)
        _comm.set_thread_world(joined, share)
        try:
            results[rank] = function(rank, *args)
        except BaseException as error:
            errors.append(error)
            joined.abort(f"{type(error).__name__}: {error}")
        finally:
            finished.wait()  # others may still look at what this rank did
            _comm.set_thread_world(None)

    finished = threading.Barrier(ranks)
    threads = [threading.Thread(target=run, args=(rank,), name=f"rank {rank}") for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# ---- groups


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


# ---- collectives


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


# ---- any Python value


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


def monitored_barrier(
    group: ProcessGroup | None = None, timeout: timedelta | None = None, wait_all_ranks: bool = False
) -> None:
    """A barrier; every barrier of Sorus names the rank that did not come."""
    barrier(group)
