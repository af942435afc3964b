"""The processes that are measured: one for each framework and mode, all children of the benchmark."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Failure(Exception):
    """A worker that cannot do what it was asked; the message is for the table."""


@dataclass(frozen=True)
class Variant:
    """A framework in one mode, running a program of benchmarks/models."""

    name: str
    module: str
    options: dict = field(default_factory=dict)

    @property
    def framework(self) -> str:
        return self.name.split()[0]


def peers_python() -> Path | None:
    """The Python that has PyTorch and JAX: SORUS_PEERS (it or its environment's folder), or what setup.sh installed."""
    for place in (os.environ.get("SORUS_PEERS"), ROOT / ".peers"):
        for path in (Path(place or "/nonexistent"), Path(place or "/nonexistent") / "bin" / "python"):
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None


def python_of(framework: str) -> Path:
    if framework == "sorus":
        return Path(sys.executable)
    peers = peers_python()
    if peers is None:
        raise Failure("peers are not installed (scripts/setup.sh peers)")
    return peers


def environment(framework: str, settings: dict[str, str]) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_", "PYTHON", "XLA_"))
    }
    kept["FRAMEWORK"] = framework
    kept["OMP_NUM_THREADS"] = str(machine.threads())
    kept["JAX_PLATFORMS"] = "cpu"
    kept["TF_CPP_MIN_LOG_LEVEL"] = "2"
    return {**kept, **settings}


class Worker:
    """A child process. `ask` sends a command and waits for its answer."""

    def __init__(self, variant: Variant, settings: dict[str, str], timeout: float = 900) -> None:
        self.variant, self.timeout = variant, timeout
        if machine.available_bytes() < 3 << 30:
            raise Failure("less than 3 GiB of memory are free")
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        command: list[str | Path] = [
            python_of(variant.framework),
            HERE / "worker.py",
            variant.module,
            json.dumps(variant.options),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment(variant.framework, settings),
        )
        assert self.process.stdin and self.process.stdout
        self.input, self.output = self.process.stdin, self.process.stdout
        try:
            self.ready = self._answer()
        except Failure:
            self.close()
            raise

    def ask(self, command: str, **arguments) -> dict:
        try:
            self.input.write((json.dumps([command, arguments]) + "\n").encode())
            self.input.flush()
        except BrokenPipeError:
            pass  # the answer says what happened
        return self._answer()

    def _answer(self) -> dict:
        ready, _, _ = select.select([self.output], [], [], self.timeout)
        if not ready:
            self.process.kill()
            raise Failure(f"no answer within {self.timeout:.0f} s")
        line = self.output.readline()
        if not line:
            raise Failure(f"ended with {self.process.wait()}: {self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failure(answer["error"].strip().split("\n")[0][:300])
        return answer["ok"]

    def _last_words(self) -> str:
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def close(self) -> None:
        self.input.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error) -> None:
        self.close()
