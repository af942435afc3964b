"""The planner's solver of strategies under a memory limit, on problems in the IOPDDL contest's JSON format.

python benchmarks/strategies.py FILE.json[.gz]... --seconds 60       # seconds of the processor, one thread
python benchmarks/strategies.py FILE.json... --results iopddl_final_results.csv

The problems are those of github.com/google/iopddl, benchmarks/*.json.gz; the costs that the contest's teams reached are
github.com/asplos-contest/2025, misc/iopddl_final_results.csv. Points are as there: the least cost of any team over ours.
The cost and the memory of each answer are computed again here, in whole numbers.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from sorus._core import _planning


def evaluate(problem: dict[str, Any], choice: list[int]) -> tuple[int, int]:
    """Cost and the most memory at one time."""
    nodes, edges = problem["nodes"], problem["edges"]
    cost = sum(costs[k] for costs, k in zip(nodes["costs"], choice, strict=True))
    for (a, b), costs in zip(edges["nodes"], edges["costs"], strict=True):
        cost += costs[choice[a] * len(nodes["costs"][b]) + choice[b]]
    changes: dict[int, int] = {}
    for (begin, end), usages, k in zip(nodes["intervals"], nodes["usages"], choice, strict=True):
        if begin < end:
            changes[begin] = changes.get(begin, 0) + usages[k]
            changes[end] = changes.get(end, 0) - usages[k]
    now = most = 0
    for t in sorted(changes):
        now += changes[t]
        most = max(most, now)
    return cost, most


def least_costs(path: Path) -> dict[str, int]:
    """The least cost that any team reached, by the problem's letter."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    letters = [c for c in rows[0] if c and len(c) == 1]
    return {c: min(int(row[c]) for row in rows if row[c]) for c in letters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument(
        "--seconds", type=float, default=60, help="of the processor, for each problem, without reading"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="the contest's costs, a column a problem")
    options = parser.parse_args()
    best = least_costs(options.results) if options.results else {}
    points = []
    for path in options.files:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        with tempfile.NamedTemporaryFile(suffix=".json") as plain:
            plain.write(text)
            plain.flush()
            choice, fits, _, _, passes, seconds = _planning.solve_contest(plain.name, options.seconds, options.seed)
        problem = json.loads(text)["problem"]
        cost, most = evaluate(problem, choice)
        limit = problem.get("usage_limit")
        fits = fits and (limit is None or most <= limit)
        letter = problem["name"].rsplit("-", 1)[-1]
        line = (
            f"{problem['name']:<24}{len(choice):>7} nodes  {'fits' if fits else 'does not fit':<13}cost {cost:>16,}  "
        )
        line += f"memory {most / limit:.4f} of the limit  " if limit else ""
        line += f"{passes:>6} passes  {seconds:6.1f} s"
        if letter in best:
            points.append(best[letter] / cost if fits and cost else 0.0)
            line += f"  points {points[-1]:.4f}"
        print(line, flush=True)
    if points:
        print(f"mean points {sum(points) / len(points):.4f} of {len(points)} problems")


if __name__ == "__main__":
    main()
