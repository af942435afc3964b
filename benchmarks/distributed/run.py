"""Collectives and DistributedDataParallel beside PyTorch over gloo, in turns, ranks of one thread each.

    .venv/bin/python benchmarks/distributed/run.py                     # all lines
    .venv/bin/python benchmarks/distributed/run.py --only all_reduce --rounds 5
    .venv/bin/python benchmarks/distributed/run.py --only ddp-nano --json

PyTorch is that of SORUS_PEERS or .peers (make bench installs it). Times are those of rank 0: of collectives the least over
many repetitions in the best round, of steps the median, by wall time and, in brackets, by the CPU time of its process; other
programs on the machine disturb the first more than the second. Ratios are PyTorch's time over Sorus' in the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))
from sorus.launch import free_port  # noqa: E402

SIZES = [4, 65536, 1 << 20, 64 << 20]
DDP = [
    (preset, dtype, mode)
    for preset in ("nano", "small")
    for dtype in ("fp32", "bf16")
    for mode in ("eager", "compiled")
]


def peer() -> Path:
    for path in (os.environ.get("SORUS_PEERS"), ROOT / ".peers" / "bin" / "python"):
        if path and Path(path).exists():
            return Path(path)
    sys.exit("no PyTorch to compare with: run `make bench` once, or name a Python that has it in SORUS_PEERS")


def measure(framework: str, ranks: int, *arguments: str) -> dict:
    python = sys.executable if framework == "sorus" else str(peer())
    port = str(free_port())
    processes = []
    for rank in range(ranks):
        environment = {**os.environ, "FRAMEWORK": framework, "RANK": str(rank), "WORLD_SIZE": str(ranks),
                       "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                       "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
                       "PYTHONPATH": str(ROOT / "python") if framework == "sorus" else ""}  # fmt: skip
        processes.append(subprocess.Popen([python, str(Path(__file__).with_name("worker.py")), *arguments],
                                          env=environment, stdout=subprocess.PIPE, text=True))  # fmt: skip
    try:
        outputs = [process.communicate(timeout=1200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for line in outputs[0].splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise RuntimeError(f"{framework} {' '.join(arguments)}: no result")


def show(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def all_reduce_lines(ranks: int, rounds: int) -> list[dict]:
    found: dict[str, list[dict]] = {"sorus": [], "torch": []}
    for _ in range(rounds):
        for framework, results in found.items():
            results.append(measure(framework, ranks, "all_reduce", *map(str, SIZES)))
    lines = []
    for size in SIZES:
        best = {f: min(r[str(size)]["least"] for r in results) for f, results in found.items()}
        lines.append({"line": f"all_reduce of {size} bytes, {ranks} ranks", "sorus": best["sorus"], "torch": best["torch"],
                      "ratio": best["torch"] / best["sorus"]})  # fmt: skip
        print(
            f"| {lines[-1]['line']} | {show(best['sorus'])} | {show(best['torch'])} | {lines[-1]['ratio']:.2f}x |",
            flush=True,
        )
    return lines


def ddp_line(preset: str, dtype: str, mode: str, rounds: int, steps: int) -> dict:
    results: dict[str, list[dict]] = {"sorus": [], "torch": []}
    for _ in range(rounds):
        for framework, all_of_it in results.items():
            all_of_it.append(measure(framework, 2, "ddp", preset, dtype, mode, str(steps)))
    a, b = results["sorus"][0]["losses"], results["torch"][0]["losses"]
    apart = max(abs(x - y) / abs(y) for x, y in zip(a, b))
    line = {"line": f"DDP {preset} {dtype} {mode}, 2 x 1 thread", "losses_apart": apart}
    for clock in ("wall", "cpu"):
        ratios = [t[clock] / s[clock] for s, t in zip(results["sorus"], results["torch"])]
        line[f"ratio_{clock}"] = statistics.median(ratios)
        for framework, all_of_it in results.items():
            line[f"{framework}_{clock}"] = statistics.median(r[clock] for r in all_of_it)
    print(f"| {line['line']} | {show(line['sorus_wall'])} ({show(line['sorus_cpu'])}) | {show(line['torch_wall'])} "
          f"({show(line['torch_cpu'])}) | {line['ratio_wall']:.2f}x ({line['ratio_cpu']:.2f}x) |", flush=True)  # fmt: skip
    if apart > (0.02 if dtype == "bf16" else 1e-3):
        sys.exit(f"{line['line']}: the losses of the first steps differ: {a} and {b}")
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="", help="lines whose name contains this: all_reduce-2, ddp-small-bf16-eager, ..."
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print all as JSON, last")
    options = parser.parse_args()
    lines: list[dict] = []
    print("| line | Sorus | PyTorch, gloo | ratio |\n|---|---|---|---|")
    for ranks in (2, 4):
        if options.only in f"all_reduce-{ranks}":
            lines += all_reduce_lines(ranks, options.rounds)
    for preset, dtype, mode in DDP:
        if options.only in f"ddp-{preset}-{dtype}-{mode}":
            lines.append(
                ddp_line(
                    preset, dtype, mode, options.rounds, options.steps if preset == "small" else 5 * options.steps
                )
            )
    if not lines:
        sys.exit(f"no line contains {options.only!r}")
    if options.json:
        print(json.dumps(lines))


if __name__ == "__main__":
    main()
