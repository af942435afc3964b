"""Python's multiprocessing under PyTorch's name, with `spawn`: tensors are sent as copies."""

from __future__ import annotations

import multiprocessing as _standard
from collections.abc import Callable
from multiprocessing import *  # noqa: F403
from typing import Any


class ProcessRaisedException(Exception):
    """A process of `spawn` ended with an error."""


def _run(fn: Callable, rank: int, args: tuple) -> None:
    fn(rank, *args)


class ProcessContext:
    def __init__(self, processes: list) -> None:
        self.processes = processes

    def pids(self) -> list[int]:
        return [p.pid for p in self.processes]

    def join(self, timeout: float | None = None) -> bool:
        """Waits for all; True if all have ended. ProcessRaisedException, and the others are ended, if one failed."""
        from multiprocessing.connection import wait

        running = {p.sentinel: p for p in self.processes if p.exitcode is None}
        for sentinel in wait(list(running), timeout=timeout):
            running.pop(sentinel).join()
        failed = [(rank, p) for rank, p in enumerate(self.processes) if p.exitcode not in (None, 0)]
        if failed:
            for p in running.values():
                p.terminate()
            rank, process = failed[0]
            raise ProcessRaisedException(f"process {rank} (pid {process.pid}) ended with status {process.exitcode}")
        return not running


def spawn(
    fn: Callable,
    args: tuple = (),
    nprocs: int = 1,
    join: bool = True,
    daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:
    """fn(rank, *args) in `nprocs` new processes; waits for them unless `join` is False, and then returns what waits.

    ProcessRaisedException if one fails; the others are ended.
    """
    context: Any = _standard.get_context(start_method)
    processes = [context.Process(target=_run, args=(fn, rank, args), daemon=daemon) for rank in range(nprocs)]
    for p in processes:
        p.start()
    waiting = ProcessContext(processes)
    if not join:
        return waiting
    while not waiting.join():
        pass
    return None
