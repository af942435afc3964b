"""Measures one line: starts its variants beside each other and lets them run in turns."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import machine
from claims import Samples
from lines import Line
from workers import ROOT, Failure, Variant, Worker, environment, python_of

BUDGET = 30.0
"""Seconds for the first steps of a variant; none is left out, but there may be as few as two."""
HOPELESS = 3.0
"""A variant that needs longer than a round for a step, and that many times the fastest on its side, cannot be the best:
its first steps are its measurement."""
TRAINING_BUDGET = 100.0
"""Seconds for one run of a training line: where a framework needs more, all of them train for fewer steps."""


@dataclass
class Settings:
    rounds: int = 5
    seconds: float = 1.0
    """How long a variant runs in each round, about; one step at least."""
    wait: str = "active"
    """How threads wait: OMP_WAIT_POLICY, "active" leaves the runtimes' own defaults."""
    peers: bool = True
    training_steps: int = 600

    @property
    def environment(self) -> dict[str, str]:
        return {"OMP_WAIT_POLICY": "passive"} if self.wait == "passive" else {}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def variants_of(line: Line, settings: Settings) -> list[Variant]:
    return [v for v in line.variants if settings.peers or v.framework == "sorus"]


def measure(line: Line, settings: Settings) -> dict:
    """A dictionary with "samples" (of each variant, seconds a step), what failed, and what the kind of line adds."""
    return {
        "steps": measure_steps,
        "import": measure_import,
        "compile": measure_compile,
        "training": measure_training,
        "program": measure_program,
    }[line.kind](line, settings)


def start(stack: ExitStack, variants: list[Variant], settings: Settings, failed: dict[str, str], **more: str) -> dict:
    started = {}
    for v in variants:
        try:
            started[v.name] = stack.enter_context(Worker(v, settings.environment | more))
        except Failure as failure:
            failed[v.name] = str(failure)
            say(f"    {v.name}: {failure}")
    return started


def attempt(workers: dict[str, Worker], name: str, failed: dict[str, str], command: str, **arguments) -> dict | None:
    try:
        return workers[name].ask(command, **arguments)
    except Failure as failure:
        failed[name] = str(failure)
        say(f"    {name}: {failure}")
        del workers[name]
        return None


def measure_steps(line: Line, settings: Settings) -> dict:
    result: dict = {"failed": {}, "losses": {}, "peaks": {}, "profiles": {}}
    failed, samples = result["failed"], {}
    with ExitStack() as stack:
        workers = start(stack, variants_of(line, settings), settings, failed)
        counts, typical, firsts = {}, {}, {}
        for name in list(workers):  # the first steps compile, tune, fill caches
            first = attempt(workers, name, failed, "losses", count=5, budget=BUDGET)
            if first:
                result["losses"][name], firsts[name] = first["losses"], first
                typical[name] = median(first["seconds"][2:] or first["seconds"][1:])
                counts[name] = max(1, round(settings.seconds / typical[name]))
                if counts[name] > 20:  # short steps: the count from a longer look
                    look = attempt(workers, name, failed, "run", count=counts[name] // 4)
                    if look:
                        counts[name] = max(1, round(settings.seconds / (look["wall"] / look["steps"])))
        others = []
        slow = hopeless(typical, settings.seconds)
        for name in slow:
            samples[name] = Samples(firsts[name]["seconds"][-1:], firsts[name]["cpu"][-1:])
        for i in range(settings.rounds):
            for name in list(workers)[:: 1 if i % 2 == 0 else -1]:
                if name in slow:
                    continue
                watch = machine.Watch()
                run = attempt(workers, name, failed, "run", count=counts[name])
                if run:
                    others.append(watch.others(run["cpu"]))
                    s = samples.setdefault(name, Samples([], []))
                    s.wall.append(run["wall"] / run["steps"])
                    s.cpu.append(run["cpu"] / run["steps"])
            say(
                f"    round {i + 1}/{settings.rounds}  "
                + "  ".join(f"{n} {s.wall[-1] * 1e3:.4g} ms" for n, s in samples.items())
            )
        if any(c.unit == "bytes" for c in line.claims):
            for name in list(workers):
                peak = attempt(workers, name, failed, "peak", count=0 if name in slow else 2)
                if peak:
                    result["peaks"][name] = peak["bytes"]
        for name in [n for n in workers if n.startswith("sorus")]:
            profile = attempt(workers, name, failed, "profile", count=min(20, counts[name]))
            if profile:
                result["profiles"][name] = profile
    result["samples"] = samples
    result["others"] = median(others) if others else 0.0
    result["losses_apart"] = apart(result["losses"])
    return result


def hopeless(typical: dict[str, float], seconds: float) -> set[str]:
    """The variants that need more than `seconds` a step and are far from the fastest of their side, Sorus or peers."""
    slow = set()
    for ours in (True, False):
        side = {name: t for name, t in typical.items() if name.startswith("sorus") == ours}
        slow |= {name for name, t in side.items() if t > max(seconds, HOPELESS * min(side.values()))}
    return slow


def apart(losses: dict[str, list[float]]) -> float:
    """The largest relative difference between any two variants' losses of the same step."""
    return max(
        (max(step) / min(step) - 1 for step in zip(*losses.values(), strict=False) if min(step) > 0), default=0.0
    )


def measure_import(line: Line, settings: Settings) -> dict:
    """Time of `import x` in a new process, less that of a process that imports nothing."""
    failed: dict[str, str] = {}
    samples: dict[str, Samples] = {}
    others = []

    def run(framework: str, statement: str) -> tuple[float, float]:
        before, begin = child_cpu(), time.perf_counter()
        watch = machine.Watch()
        done = subprocess.run(
            [python_of(framework), "-c", statement],
            capture_output=True,
            check=False,
            env=environment(framework, settings.environment),
        )
        wall, cpu = time.perf_counter() - begin, child_cpu() - before
        if done.returncode:
            raise Failure(done.stderr.decode(errors="replace").strip().splitlines()[-1])
        others.append(watch.others(cpu))
        return wall, cpu

    for i in range(settings.rounds + 1):
        for v in variants_of(line, settings):
            if v.name in failed:
                continue
            try:
                empty, full = run(v.framework, "pass"), run(v.framework, f"import {v.framework}")
            except Failure as failure:
                failed[v.name] = str(failure)
                continue
            if i:  # the first one reads the files from disk
                s = samples.setdefault(v.name, Samples([], []))
                s.wall.append(max(0.0, full[0] - empty[0]))
                s.cpu.append(max(0.0, full[1] - empty[1]))
    return {"samples": samples, "failed": failed, "others": median(others) if others else 0.0}


def child_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_compile(line: Line, settings: Settings) -> dict:
    """The first step less a later one, in a new process: with an empty cache, then with the cache that it left."""
    failed: dict[str, str] = {}
    samples: dict[str, Samples] = {}
    others = []
    for i in range(settings.rounds):
        for v in variants_of(line, settings):
            if v.name in failed or (v.framework != "sorus" and i >= 2):  # half a minute each
                continue
            with tempfile.TemporaryDirectory() as cache:
                for state in ("cold", "cached"):
                    with ExitStack() as stack:
                        workers = start(
                            stack, [v], settings, failed, SORUS_CACHE=cache, TORCHINDUCTOR_CACHE_DIR=cache
                        )
                        watch, before = machine.Watch(), machine_children_cpu(workers, v.name)
                        steps = attempt(workers, v.name, failed, "losses", count=4) if workers else None
                        if not steps:
                            break
                        used = machine_children_cpu(workers, v.name) - before
                        others.append(watch.others(used))
                        usual = median(steps["seconds"][1:])
                        s = samples.setdefault(f"{v.name} {state}", Samples([], []))
                        s.wall.append(max(0.0, steps["seconds"][0] - usual))
                        s.cpu.append(max(0.0, used - usual * 4 * machine.threads()))
        say(
            f"    round {i + 1}/{settings.rounds}  "
            + "  ".join(f"{n} {s.wall[-1]:.2f} s" for n, s in samples.items())
        )
    return {"samples": samples, "failed": failed, "others": median(others) if others else 0.0}


def machine_children_cpu(workers: dict[str, Worker], name: str) -> float:
    """CPU seconds of a worker and of the compilers that it started and that have ended."""
    if name not in workers:
        return 0.0
    with open(f"/proc/{workers[name].process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(int(v) for v in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def measure_training(line: Line, settings: Settings) -> dict:
    """Training from the same weights on the same batches, for three seeds."""
    failed: dict[str, str] = {}
    curves: dict[str, list] = {}
    steps = settings.training_steps
    for v in variants_of(line, settings):
        with ExitStack() as stack:
            workers = start(stack, [v], settings, failed)
            first = attempt(workers, v.name, failed, "losses", count=4, budget=BUDGET) if workers else None
            if first:
                usual = max(1e-6, median(first["seconds"][1:]))
                steps = min(steps, max(12, int(TRAINING_BUDGET / usual) // 12 * 12))
    if steps < settings.training_steps:
        say(f"    {steps} steps, since {settings.training_steps} would take longer than {TRAINING_BUDGET:.0f} s")
    for seed in range(3):
        for v in variants_of(line, settings):
            if v.name in failed:
                continue
            with ExitStack() as stack:
                seeded = Variant(v.name, v.module, {**v.options, "seed": seed})
                workers = start(stack, [seeded], settings, failed)
                run = (
                    attempt(workers, v.name, failed, "train", count=steps, every=max(1, steps // 12))
                    if workers
                    else None
                )
                if run:
                    curves.setdefault(v.name, []).append(run["curve"])
                    say(f"    seed {seed}  {v.name}: validation loss {run['curve'][-1][1]:.4f} after {steps} steps")
    return {"curves": curves, "failed": failed, "samples": {}, "others": 0.0}


def measure_program(line: Line, settings: Settings) -> dict:
    """Lines of benchmarks/eager: eager_bench in C++ for Sorus, eager_torch.py with the same names for PyTorch."""
    failed: dict[str, str] = {}
    samples: dict[str, Samples] = {}
    others = []
    for i in range(settings.rounds):
        for v in variants_of(line, settings):
            if v.name in failed:
                continue
            before, watch = child_cpu(), machine.Watch()
            try:
                wall, cpu = run_program(v.framework, v.options["name"], settings)
            except Failure as failure:
                failed[v.name] = str(failure)
                say(f"    {v.name}: {failure}")
                continue
            others.append(watch.others(child_cpu() - before))
            s = samples.setdefault(v.name, Samples([], []))
            s.wall.append(wall)
            s.cpu.append(cpu)
        say(
            f"    round {i + 1}/{settings.rounds}  "
            + "  ".join(f"{n} {s.wall[-1] * 1e6:.3f} us" for n, s in samples.items())
        )
    return {"samples": samples, "failed": failed, "others": median(others) if others else 0.0}


def run_program(framework: str, name: str, settings: Settings) -> tuple[float, float]:
    """Seconds of wall and of CPU time that the program prints for its line `name`."""
    if framework == "sorus":
        build = ROOT / "build"
        made = subprocess.run(
            ["cmake", "--build", build, "--target", "eager_bench"], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise Failure(f"eager_bench cannot be built: {(made.stderr or made.stdout).strip().splitlines()[-1]}")
        command: list = [build / "eager_bench", name]
    else:
        command = [python_of(framework), ROOT / "benchmarks" / "eager" / "eager_torch.py", name]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(framework, settings.environment)
    )
    found = re.search(rf"^{re.escape(name)} +([\d.]+) us +\(best [\d.]+, cpu ([\d.]+)\)$", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(
            f"{Path(command[-2]).name} printed no line {name!r}: {words[-1] if words else 'it said nothing'}"
        )
    return float(found[1]) * 1e-6, float(found[2]) * 1e-6


def measure_speeds(settings: Settings) -> dict:
    """The fastest products and memory traffic that any of the frameworks reaches: the denominators of the limits."""
    failed: dict[str, str] = {}
    found: dict[str, dict] = {}
    variants = [Variant("sorus", "", {})] + ([Variant("torch", "", {})] if settings.peers else [])
    with ExitStack() as stack:
        workers = start(stack, variants, settings, failed)
        for name in list(workers):
            speeds = attempt(workers, name, failed, "speeds")
            if speeds:
                found[name] = speeds
    keys = ("fp32", "bf16", "memory")
    return {
        "best": {k: max(s[k] for s in found.values()) for k in keys} if found else {},
        "by": found,
        "failed": failed,
    }
