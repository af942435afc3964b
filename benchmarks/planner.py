"""How long `sorus plan` searches as devices grow, in seconds of processor time, and how good what it finds is.

python benchmarks/planner.py            # the curve from 64 to 65,536 devices, then large models
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from sorus.cli.plan import make_plan

CASES = [
    ("gpt3-175b", "dgx-a100", 1024, 1536), ("gpt-1t", "dgx-a100", 4096, 3072), ("moe-1.2t", "dgx-a100", 2048, 2048),
    ("resnet152-random", "dgx-a100", 256, 4096), ("llama3-405b", "dgx-h100", 4096, 2048), ("llama3-70b", "dgx-h100", 512, 1024),
    ("llama3-8b", "dgx-a100", 64, 256), ("vit-huge", "dgx-a100", 64, 4096), ("unet", "dgx-a100", 16, 64), ("dlrm", "dgx-a100", 16, 16384),
]  # fmt: skip


def measure(model: str, cluster: str, devices: int, batch: int) -> dict[str, Any]:
    begin = time.process_time()
    report = make_plan(model, cluster, devices, batch)
    found = {"model": model, "cluster": cluster, "devices": devices, "batch": batch,
             "search_cpu_s": time.process_time() - begin}  # fmt: skip
    keep = ("step_time_s", "gap", "relaxed_bound_s", "memory_gb", "utilization", "space", "estimated", "problem")
    return found | {k: report[k] for k in keep if k in report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a line")
    options = parser.parse_args()
    curve = [("gpt3-175b", "dgx-a100", 64 * 4**i, 64 * 4**i * 2) for i in range(6)]
    for case in curve + CASES:
        r = measure(*case)
        if options.json:
            print(json.dumps(r), flush=True)
        elif "problem" in r:
            print(
                f"{r['model']:<17}{r['devices']:>6} devices  {r['search_cpu_s']:6.2f} s  {r['problem']}", flush=True
            )
        else:
            print(f"{r['model']:<17}{r['devices']:>6} devices  {r['search_cpu_s']:6.2f} s  step {r['step_time_s']:8.3f} s, gap "
                  f"{100 * r['gap']:.1f}%, any cut {100 * (r['step_time_s'] / r['relaxed_bound_s'] - 1):5.1f}%, {r['memory_gb']:5.1f} GB, "
                  f"{r['estimated']} of {r['space']} estimated", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
