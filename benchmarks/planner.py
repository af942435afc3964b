"""How long `sorus plan` searches, and how good what it finds is: seconds of processor time, certified gaps, and plans
beside published ones.

python benchmarks/planner.py                       # four large cases with their limits, then 64 to 65,536 devices
python benchmarks/planner.py --presets             # the certified gap of every preset model on every preset cluster
python benchmarks/planner.py --table steps.csv     # at least as fast as the plan of each published step?
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

from sorus.cli.plan import make_plan

# Model, cluster, devices, batch, seconds that are allowed.
CASES = [
    ("gpt3-175b", "dgx-a100", 1024, 1536, 2), ("gpt-1t", "dgx-a100", 4096, 3072, 5), ("moe-1.2t", "dgx-a100", 2048, 2048, 10),
    ("resnet152-random", "dgx-a100", 256, 4096, 30),
]  # fmt: skip
# Devices and batch that a model is trained with, for the presets.
SIZES = {
    "gpt2": (8, 512), "gpt3-175b": (1024, 1536), "gpt-1t": (2048, 3072), "llama3-8b": (64, 512), "llama3-70b": (512, 1024),
    "llama3-405b": (4096, 2048), "moe-8x7b": (128, 1024), "moe-1.2t": (2048, 2048), "resnet50": (32, 4096),
    "wide-resnet": (32, 2048), "resnet152-random": (256, 4096), "vit-huge": (64, 4096), "dlrm": (16, 16384), "unet": (16, 64),
}  # fmt: skip


def measure(model: str, cluster: str, devices: int, batch: int, **request: Any) -> dict[str, Any]:
    begin = time.process_time()
    report = make_plan(model, cluster, devices, batch, **request)
    found = {"model": model, "cluster": cluster, "devices": devices, "batch": batch,
             "search_cpu_s": time.process_time() - begin}  # fmt: skip
    keep = ("step_time_s", "gap", "memory_gb", "utilization", "space", "estimated", "complete", "problem")
    found |= {k: report[k] for k in keep if k in report}
    return found | ({"summary": report["plan"]["summary"]} if "plan" in report else {})


def searches() -> Iterator[dict[str, Any]]:
    for model, cluster, devices, batch, limit in CASES:
        yield measure(model, cluster, devices, batch) | {"limit_s": limit}
    for i in range(11):
        yield measure("gpt3-175b", "dgx-a100", 64 * 2**i, 128 * 2**i)


def presets() -> Iterator[dict[str, Any]]:
    from sorus._core import _planning

    for cluster in _planning.preset_clusters():
        for model, (devices, batch) in SIZES.items():
            yield measure(model, cluster, devices, batch, families=False)


def published(table: str) -> Iterator[dict[str, Any]]:
    from sorus._core import _planning
    from sorus.cli.simulate import parse_row, read_table

    for number, row in enumerate(read_table(table)[1], 1):
        begin = time.process_time()
        answer = json.loads(_planning.compare_published(json.dumps(parse_row(row)), "", 0.0))
        name = f"{row.get('source_id', '')} {row.get('model', '')} on {row.get('gpus', '')}"
        yield {"row": number, "name": name.strip(), "search_cpu_s": time.process_time() - begin} | answer


def text(r: dict[str, Any]) -> str:
    if "row" in r:
        line = f"{r['row']:>3} {r['name']:<44}{r['search_cpu_s']:7.2f} s  "
        if "note" in r or "problem" in r:
            return line + r.get("note", r.get("problem", ""))
        a, b = r["published"], r["found"]
        over = "" if r["fits"] else f"  (the published one needs {a['mem_gb']:.0f} GiB and does not fit)"
        return line + f"{a['iter_time_s']:8.3f} s, found {b['iter_time_s']:8.3f} s, {a['iter_time_s'] / b['iter_time_s']:.3f}x, " \
                      f"gap {100 * (b['iter_time_s'] / b['lower_bound_s'] - 1):.1f}%: {b['plan']}{over}"  # fmt: skip
    line = f"{r['model']:<17}{r['cluster']:<14}{r['devices']:>6} devices  {r['search_cpu_s']:6.2f} s"
    line += f" of {r['limit_s']}" if "limit_s" in r else ""
    if "problem" in r:
        return f"{line}  {r['problem']}"
    return f"{line}  step {r['step_time_s']:8.3f} s, gap {100 * r['gap']:.2f}%, {r['memory_gb']:5.1f} GB, {r['estimated']} of " \
           f"{r['space']} estimated: {r['summary']}"  # fmt: skip


def summary(results: list[dict[str, Any]]) -> str:
    if results and "row" in results[0]:
        both = [r for r in results if "found" in r]
        slower = [r["row"] for r in both if r["found"]["iter_time_s"] > r["published"]["iter_time_s"] and r["fits"]]
        return (f"{len(both)} of {len(results)} rows are steps that can be expressed and planned; the plan found is slower than "
                f"the published one at {len(slower)}{': rows ' + ', '.join(map(str, slower)) if slower else ''}")  # fmt: skip
    gaps = [r["gap"] for r in results if "gap" in r]
    late = [f"{r['model']} on {r['devices']}" for r in results if r["search_cpu_s"] > r.get("limit_s", 1e9)]
    none = len(results) - len(gaps)
    return (f"gap: median {100 * statistics.median(gaps):.2f}%, largest {100 * max(gaps):.2f}%, of {len(gaps)} plans"
            + (f"; {none} have no plan that fits" if none else "") + (f"; too slow: {', '.join(late)}" if late else ""))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", action="store_true", help="every preset model on every preset cluster")
    parser.add_argument("--table", metavar="CSV", help="published steps, as `sorus simulate` reads them")
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    results = []
    for r in published(options.table) if options.table else presets() if options.presets else searches():
        results.append(r)
        print(json.dumps(r) if options.json else text(r), flush=True)
    if not options.json:
        print(summary(results))


if __name__ == "__main__":
    main()
