"""The machine a benchmark runs on: what it is, and whether anything else was running meanwhile."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path


def _busy_seconds() -> float:
    """CPU seconds that all processes together have used since the machine started."""
    fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class Watch:
    """CPU used by everything but ourselves, as a share of all cores, between two moments.

    watch = Watch()
    ...                            # something that uses `own` CPU seconds
    others = watch.others(own)     # 0.02: other processes used 2% of the machine
    """

    def __init__(self) -> None:
        self.begin, self.busy = time.perf_counter(), _busy_seconds()

    def others(self, own: float) -> float:
        wall = time.perf_counter() - self.begin
        return max(0.0, (_busy_seconds() - self.busy - own) / (wall * (os.cpu_count() or 1)))


def load(seconds: float = 1.0) -> float:
    """Share of the machine's cores that is in use now, while nothing of ours runs."""
    watch = Watch()
    time.sleep(seconds)
    return watch.others(0.0)


def threads() -> int:
    return len(os.sched_getaffinity(0))


def available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 62


def describe() -> dict:
    model, flags = "unknown", ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            model = value.strip()
        elif key.strip() == "flags":
            flags = value
            break
    features = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {f} " in f" {flags} "]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": model,
        "features": features,
        "threads": threads(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
    }


def commit() -> str:
    """The commit that is measured, with "+" if there are changes beside it."""
    root = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        ).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "-uno") else "")
