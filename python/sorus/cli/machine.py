"""What this machine reaches: measured when it is quiet enough, kept in the cache with how it was measured, and doubted.

`speeds` are the fastest of several short measurements spread over time. While one runs, the processor time of this process
is compared with the clock, and the busy time of all cores with this process's: what others took is noted, and a
measurement that others disturbed never replaces a faster one. A run whose steps take much longer or shorter than predicted
has them measured again (`cli/planned.py`).

`constants` say what share of these speeds the kernels of a training step reach; `sorus calibrate` fits them to short
steps (`cli/probes.py`). Until then they are TYPICAL.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

QUIET = 0.1  # share of the cores that others may take
AGREE = 0.05  # two quiet measurements this near to each other are enough
ROUNDS, PAUSE = 6, 0.2  # at most so many, seconds between them
SPEEDS = ("gemm_float32_gflops", "gemm_bfloat16_gflops", "memory_gb_per_s")

# Shares of the measured speeds (`vector`: of products in float32, what other kernels reach), and the time of a kernel.
TYPICAL = {"matrix": 0.7, "matrix_size": 0.5, "composite": 0.3, "window_size": 4.0, "memory": 1.0, "launch_us": 2.0,
           "vector": 0.16}  # fmt: skip


def cores() -> set[int]:
    """That this process may use."""
    return os.sched_getaffinity(0)


def core_seconds() -> float:
    """Of all cores of the machine together, spent on anything since it was started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])
    return (sum(map(int, fields[:8])) - idle) / os.sysconf("SC_CLK_TCK")


class Load:
    """What others take of the machine while the block runs: `others`, a share of all cores."""

    def __enter__(self) -> Load:
        self._began = time.perf_counter(), time.process_time(), core_seconds()
        return self

    def __exit__(self, *_: Any) -> None:
        wall, cpu, busy = (now - then for now, then in zip(
            (time.perf_counter(), time.process_time(), core_seconds()), self._began, strict=True))  # fmt: skip
        self.others = max(0.0, busy - cpu) / (wall * (os.cpu_count() or 1))


class Pace:
    """How fast one thread is at this moment: processor seconds of a fixed piece of work, products and memory. A virtual machine's own
    speed changes by the minute, up to threefold; seconds divided by the pace beside them can be compared with others that were
    measured at another time."""

    def __init__(self) -> None:
        import sorus

        self._square, self._long = sorus.ones(192, 192), sorus.ones(1 << 19)
        self.least = float("inf")  #: so far
        self()

    def __call__(self) -> float:
        found = []
        for _ in range(3):
            began = time.process_time()
            for _ in range(8):
                self._square @ self._square
                self._long * 1.5
            found.append(time.process_time() - began)
        self.least = min(self.least, min(found))
        return min(found)


def measure() -> dict[str, Any]:
    """Matrix products in GFLOP/s by type and memory in GB/s of the threads of this process, and how they were measured; takes two to
    eight seconds, the longer the more others disturb."""
    import sorus
    from sorus._core import _machine

    one_of = (
        lambda: _machine.measure_gemm_gflops(sorus.float32),
        lambda: _machine.measure_gemm_gflops(sorus.bfloat16),
        _machine.measure_memory_gbs,
    )
    what = dict(zip(SPEEDS, one_of, strict=True))
    best: dict[str, float] = {}
    quietest, rounds = 1.0, 0
    while rounds < ROUNDS:
        rounds += 1
        with Load() as load:
            found = {name: one() for name, one in what.items()}
        near = bool(best) and all(abs(found[name] / best[name] - 1) < AGREE for name in what)
        best = {name: max(value, best.get(name, 0.0)) for name, value in found.items()}
        quietest = min(quietest, load.others)
        if near and load.others < QUIET:
            break
        time.sleep(PAUSE)
    return best | {"others": round(quietest, 3), "rounds": rounds, "measured": time.strftime("%Y-%m-%dT%H:%M:%S")}


def _key() -> str:
    import sorus
    from sorus._core import _machine

    return f"{_machine.cpu_name()}, {sorus.get_num_threads()} threads, sorus {sorus.__version__}"


def _file() -> Path:
    import sorus

    return Path(sorus.data.cache_folder()) / "machine.json"


def _read() -> dict[str, Any]:
    """What is kept for this processor and number of threads."""
    try:
        kept = json.loads(_file().read_text())
    except (OSError, ValueError):  # none yet, or cut short by another program: measured anew
        return {}
    if not isinstance(kept, dict) or kept.get("key") != _key():
        return {}
    # An earlier version kept less.
    return kept if TYPICAL.keys() <= kept.get("constants", {}).keys() else {}


def _write(found: dict[str, Any]) -> None:
    from sorus._core import _io

    _file().parent.mkdir(parents=True, exist_ok=True)
    _io.write_file(_file(), json.dumps(found, indent=1) + "\n")


def keep_constants(constants: dict[str, float]) -> None:
    """Keeps what `sorus calibrate` has found, beside the speeds."""
    _write(speeds() | {"constants": constants})


def speeds(again: bool = False) -> dict[str, Any]:
    """What `measure` found on this machine, now or before, with the constants. `again`: measures now; what others disturbed does not
    replace what was faster."""
    import sorus
    from sorus._core import _machine

    kept = _read()
    if kept and not again:
        return kept
    found = measure()
    if kept and found["others"] >= QUIET:
        for name in SPEEDS:
            found[name] = max(found[name], kept[name])
    found |= {"key": _key(), "processor": _machine.cpu_name(), "threads": sorus.get_num_threads(),
              "constants": kept.get("constants", TYPICAL)}  # fmt: skip
    _write(found)
    return found


def how(found: dict[str, Any]) -> str:
    """In words, how the speeds were measured."""
    text = f"measured {found['measured'].replace('T', ' ')}"
    if found["others"] >= QUIET:
        text += f" while others took {found['others']:.0%} of the machine"
    return text


def toml(found: dict[str, Any], ranks: int = 1) -> str:
    """The cluster file of a machine from its speeds; each of `ranks` has an equal share of them."""
    threads = found["threads"]
    c = found["constants"]
    memory = sum(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")
    )
    name = f"{threads} threads" if ranks == 1 else f"a rank of {ranks} on {threads} threads"
    share = 1 / max(1, min(ranks, threads))  # ranks beyond the threads take turns: `planned.py`
    level = c.get("level", {"gb_per_s": found["memory_gb_per_s"] / 4 * share, "latency_us": 2})
    return f"""name = "this machine"

[device]
name = "{found["processor"]}, {name}"
memory_gb = {memory * 1024 / 1e9 / ranks:.4g}
memory_gb_per_s = {found["memory_gb_per_s"] * c["memory"] * share:.4g}
tflops = {{ f32 = {found["gemm_float32_gflops"] / 1e3 * share:.4g}, bf16 = {found["gemm_bfloat16_gflops"] / 1e3 * share:.4g} }}
vector_tflops = {found["gemm_float32_gflops"] * c["vector"] / 1e3 * share:.4g}

[efficiency]  # the speeds above are measured, not printed; {how(found)}
matrix = {c["matrix"]:.4g}
matrix_size = {c["matrix_size"]:.4g}
composite = {c["composite"]:.4g}
window_size = {c["window_size"]:.4g}
accumulate = 1
memory = 1
network = 1
launch_us = {c["launch_us"]:.4g}
spread = 0.02

[[level]]
name = "machine"
gb_per_s = {level["gb_per_s"]:.4g}
latency_us = {level["latency_us"]:.4g}
"""
