"""The planner of Sorus's arenas on memory problems in MiniMalloc's CSV format (id,lower,upper,size[,alignment]).

python benchmarks/memory_planner.py FILE.csv...             # capacity from the name: A.1048576.csv
python benchmarks/memory_planner.py --capacity 12 FILE.csv --output PLACED.csv
python benchmarks/memory_planner.py --least FILE.csv        # the lowest capacity instead of a given one

Lifetimes are half open. The published problems are those of github.com/google/minimalloc, benchmarks/challenging;
`--fetch FOLDER` clones them. Every answer is checked here, buffer by buffer.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

from sorus._core import _planning

COLUMNS = {"id", "lower", "upper", "size", "alignment", "offset"}


def read(path: Path) -> tuple[list[str], list[tuple[int, int, int, int]]]:
    """The ids, and bytes, first time, end and alignment of each buffer."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or [])
        if not {"id", "lower", "upper", "size"} <= columns <= COLUMNS:
            raise SystemExit(
                f"{path}: expected columns id,lower,upper,size[,alignment], found {','.join(sorted(columns))}"
            )
        ids, buffers = [], []
        for row in rows:
            try:
                buffers.append(
                    (int(row["size"]), int(row["lower"]), int(row["upper"]), int(row.get("alignment") or 1))
                )
            except ValueError as e:
                raise SystemExit(f"{path}:{rows.line_num}: {e}") from None
            ids.append(row["id"])
    return ids, buffers


def overlap(buffers: list[tuple[int, int, int, int]], offsets: list[int]) -> bool:
    """Whether two buffers alive at one time share a byte: a sweep over time, apart from the planner's own code."""
    by_start = sorted(range(len(buffers)), key=lambda i: buffers[i][1])
    alive: list[int] = []
    for i in by_start:
        size, first, end, alignment = buffers[i]
        alive = [k for k in alive if buffers[k][2] > first]
        if offsets[i] < 0 or offsets[i] % alignment:
            return True
        if first < end and any(
            offsets[i] < offsets[k] + buffers[k][0] and offsets[k] < offsets[i] + size for k in alive
        ):
            return True
        if first < end:
            alive.append(i)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--capacity", type=int, help="bytes; else the number in the file's name")
    parser.add_argument("--least", action="store_true", help="search for the lowest capacity")
    parser.add_argument("--seconds", type=float, default=60, help="for each problem")
    parser.add_argument("--output", type=Path, help="the problem with offsets, for one file")
    parser.add_argument("--fetch", type=Path, help="clone the published problems into this folder and solve them")
    options = parser.parse_args()
    files = list(options.files)
    if options.fetch:
        if not options.fetch.exists():
            subprocess.run(
                ["git", "clone", "--depth", "1", "https://github.com/google/minimalloc", str(options.fetch)],
                check=True,
            )
        files += sorted((options.fetch / "benchmarks" / "challenging").glob("*.csv"))
    if not files:
        parser.error("no files")
    wrong = 0
    for path in files:
        ids, buffers = read(path)
        capacity = options.capacity
        if capacity is None and not options.least:
            if not path.stem.split(".")[-1].isdigit():
                parser.error(f"{path}: --capacity, or a name such as A.1048576.csv")
            capacity = int(path.stem.split(".")[-1])
        wall, cpu = time.perf_counter(), time.process_time()
        state, offsets, used, bound, steps = _planning.pack_intervals(
            buffers, -1 if options.least else capacity, options.seconds
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if state == "solved" and (overlap(buffers, offsets) or (capacity is not None and used > capacity)):
            state = "WRONG"
        wrong += state not in ("solved", "impossible")
        print(f"{path.name:<20}{len(buffers):>6} buffers  {state:<11} {used:>12} bytes, at least {bound:>12}  "
              f"{steps:>9} steps  {cpu:8.3f} s of processor, {wall:8.3f} s", flush=True)  # fmt: skip
        if options.output and state == "solved":
            with options.output.open("w", newline="") as file:
                out = csv.writer(file)
                out.writerow(["id", "lower", "upper", "size", "offset"])
                for name, (size, first, end, _), offset in zip(ids, buffers, offsets, strict=True):
                    out.writerow([name, first, end, size, offset])
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
