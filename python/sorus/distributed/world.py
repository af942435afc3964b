"""The world of ranks: how they find each other and part again, with PyTorch's names, arguments and semantics.

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
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .. import _core
from .._core import _comm

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
