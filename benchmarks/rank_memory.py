"""How near the planned memory of a rank is to what it holds when it is fullest.

python benchmarks/rank_memory.py                        # 30 plans of a GPT, a mixture of experts and a ResNet, ranks as threads
mpirun -n 2 python benchmarks/rank_memory.py            # those of them that are for two ranks, as processes; or sorus run -n 2
python benchmarks/rank_memory.py --json --only gpt

The plans are those of `predictions.py`. Planned is what a rank's program says before it runs (`step.rank_memory`), measured
what was given out to the rank and not returned in the fullest moment of a step (`step.measured_memory`), the most of several
steps. Beside them stands the planner's own figure, which knows nothing of the compiled graph: it is made before there is one.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import predictions
from sorus.cli import machine, probes
from sorus.cli.ranks import Ranks
from sorus.models.presets import Step

import sorus

# The plan depends on speeds, and is to be the same at all ranks and in all runs.
SPEEDS = {"gemm_float32_gflops": 100.0, "gemm_bfloat16_gflops": 400.0, "memory_gb_per_s": 20.0, "processor": "", "threads": 1,
          "constants": machine.TYPICAL, "measured": "never", "others": 0.0}  # fmt: skip


def measure(step: Step, batch: int, pins: str, ranks: Ranks, steps: int) -> dict[str, Any]:
    """Bytes of each rank, planned and measured."""
    a, report = predictions.plan_of(step, batch, pins, machine.toml(SPEEDS))
    train, whole = probes.make_step(step, batch, a)
    train()
    here = [ranks.rank] if ranks.size > 1 else list(range(a.devices))
    measured = [0] * len(here)
    for _ in range(steps):
        train()
        measured = [max(most, whole.measured_memory(rank)) for most, rank in zip(measured, here, strict=True)]
    planned = [whole.rank_memory(rank) for rank in here]
    found = [{"planned": p["total"], "measured": m, "by_kind": p} for p, m in zip(planned, measured, strict=True)]
    if ranks.size > 1:
        from sorus import distributed

        all_of: list[Any] = [None] * ranks.size
        distributed.all_gather_object(all_of, found)
        found = [row for rows in all_of for row in rows]
    off = [row["planned"] / row["measured"] - 1 for row in found]
    return {"model": step.name, "plan": str(a), "backend": "processes" if ranks.size > 1 else "threads", "ranks": found,
            "error": max(off, key=abs), "planner_bytes": report["memory_gb"] * 1e9}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--steps", type=int, default=3, help="steps measured")
    options = parser.parse_args()
    ranks = Ranks()
    sorus.set_num_threads(1)
    rows = []
    for step, batch, pins in predictions.cases():
        if not step.name.startswith(options.only) or ranks.size not in (1, predictions.ranks_of(pins)):
            continue
        row = measure(step, batch, pins, ranks, options.steps)
        rows.append(row)
        if not ranks.first:
            continue
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        each = ", ".join(f"{r['measured'] / 1e6:.3f} ({r['planned'] / r['measured'] - 1:+.1%})" for r in row["ranks"])
        print(f"{row['model']:<29}{row['plan']:<39}MB by rank: {each}; planner {row['planner_bytes'] / 1e6:.1f}", flush=True)  # fmt: skip
    if not ranks.first:
        return
    if not rows:
        sys.exit(f"no plan of {options.only or 'these'} is for {ranks.size} ranks")
    off = sorted(abs(row["error"]) for row in rows)
    within = sum(e <= 0.02 for e in off)
    total = {
        "plans": len(rows),
        "within_2_percent": within,
        "median_error": off[len(off) // 2],
        "worst_error": off[-1],
    }
    print(json.dumps(total) if options.json else f"{len(rows)} plans: {within} within 2%, median {total['median_error']:.2%}, "
          f"worst {total['worst_error']:.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
