"""Starts ranks on this machine, as `sorus run` does, and ends all of them when one fails.

    import sorus
    status = sorus.launch.launch(["train.py", "--steps", "100"], ranks=4)

Every rank is a process with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its environment,
the names that PyTorch's scripts read.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """In the child: the system ends it when the launcher is gone, however that ended."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _how_it_ended(code: int) -> str:
    if code < 0:
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"
    return f"ended with status {code}"


class Launcher:
    """The ranks of one job. `run` starts them and waits; whatever happens, none is left when it returns."""

    def __init__(
        self,
        command: Sequence[str],
        ranks: int,
        *,
        prefix: bool = False,
        threads: int | None = None,
        port: int | None = None,
        grace: float = 5.0,
        environment: dict[str, str] | None = None,
    ) -> None:
        if ranks < 1:
            raise ValueError(f"launch: at least one rank is needed, {ranks} were asked for")
        self.command, self.ranks, self.prefix, self.grace = list(command), ranks, prefix, grace
        cores = len(os.sched_getaffinity(0))
        self.threads = threads or max(1, cores // ranks)
        self.port = port or free_port()
        self.environment = {**os.environ, **(environment or {})}
        self.processes: list[subprocess.Popen] = []
        self.failure: str | None = None
        self._interrupted = 0
        self._readers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._writing = False

    def _start(self, rank: int) -> subprocess.Popen:
        environment = {**self.environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0",
                       "WORLD_SIZE": str(self.ranks), "LOCAL_WORLD_SIZE": str(self.ranks),
                       "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.port),
                       "SORUS_RUN_ID": f"{os.getpid()}-{self.port}"}  # fmt: skip
        environment.setdefault("OMP_NUM_THREADS", str(self.threads))
        # Threads that spin take the cores of the other ranks.
        environment.setdefault("OMP_WAIT_POLICY", "passive")
        # A terminal is handed on, so that progress bars work. Anything else gets the ranks' lines whole, through a pipe
        # of each rank: ranks that share a pipe write into each other's lines.
        streams: dict = {name: subprocess.PIPE for name, target in (("stdout", sys.stdout), ("stderr", sys.stderr))
                         if self.prefix or not target.isatty()}  # fmt: skip
        if "stdout" in streams:
            environment.setdefault("PYTHONUNBUFFERED", "1")
        process = subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL, process_group=0,
                                   preexec_fn=_die_with_parent, **streams)  # fmt: skip
        for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            if source is not None:
                reader = threading.Thread(target=self._copy, args=(rank, source, target), daemon=True)
                reader.start()
                self._readers.append(reader)
        return process

    def _copy(self, rank: int, source: IO[bytes], target: IO[str]) -> None:
        prefix = f"[{rank}] " if self.prefix else ""
        for line in source:
            text = prefix + line.decode(errors="replace")
            with self._lock, contextlib.suppress(OSError, ValueError):
                self._writing = True
                target.write(text if text.endswith("\n") else text + "\n")
                target.flush()
            self._writing = False

    def _finish_copies(self) -> None:
        """All that the ranks have written is passed on. A process that escaped its group may hold a pipe for ever: a
        reader that waits for one is left; a reader that waits for who reads us (`| less`) is not."""
        for reader in self._readers:
            reader.join(timeout=2)
            while reader.is_alive() and self._writing:
                reader.join(timeout=2)

    def _signal(self, number: int) -> None:
        """To all ranks and what they started, if it is still there."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)

    def _on_signal(self, number: int, frame: object) -> None:
        self._interrupted += 1
        if self._interrupted == 1:
            self.failure = f"stopped by {signal.Signals(number).name}"
            self._signal(number)

    def run(self) -> int:
        """The status: 0, or that of the first rank that failed (128 + signal if it was killed), 130 after Ctrl-C."""
        handlers = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            for rank in range(self.ranks):
                self.processes.append(self._start(rank))
            return self._wait()
        finally:
            self._signal(signal.SIGKILL)
            for process in self.processes:
                process.wait()
            self._finish_copies()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _wait(self) -> int:
        status = 0
        deadline: float | None = None
        while True:
            codes = [process.poll() for process in self.processes]
            failed = [(rank, code) for rank, code in enumerate(codes) if code not in (None, 0)]
            if failed and status == 0 and not self._interrupted:
                # Ranks that were ended because another one failed say so by this status; name the other.
                rank, code = next(((r, c) for r, c in failed if c != 70), failed[0])
                status = code if code > 0 else 128 - code
                self.failure = f"rank {rank} (process {self.processes[rank].pid}) {_how_it_ended(code)}"
            if all(code is not None for code in codes):
                return (130 if self._interrupted else status) or 0
            if (failed or self._interrupted) and deadline is None:
                deadline = time.monotonic() + self.grace
            if deadline is not None and (time.monotonic() > deadline or self._interrupted > 1):
                self._signal(signal.SIGTERM)
                end = time.monotonic() + 1
                while time.monotonic() < end and any(process.poll() is None for process in self.processes):
                    time.sleep(0.02)
                return (130 if self._interrupted else status) or 1
            time.sleep(0.02)


def launch(command: Sequence[str], ranks: int, **options) -> int:
    """Runs `command` (a Python script and its arguments) at each rank; returns the status. Options: see Launcher."""
    return Launcher([sys.executable, *command], ranks, **options).run()
