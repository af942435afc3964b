#!/usr/bin/env python3
"""Measures Sorus beside PyTorch and JAX: the same models, data, first weights and arithmetic, in turns.

Each line runs in rounds that alternate between the frameworks; the table shows medians with their spread, and the ratio
of the best peer to Sorus, taken round by round. CPU time stands beside wall time, and counts instead of it when other
processes use more than 3% of the machine. Results are appended to benchmarks/results/*.json.

examples:
  make bench                              everything, half an hour; --list says how long each line took
  make bench ARGS=--quick                 the short lines with 3 rounds, below 5 minutes
  make bench ARGS="--only gpt2"           the lines with gpt2 in their name
  make bench ARGS="--only mlp --rounds 9"
  .venv/bin/python benchmarks/run.py --table     writes benchmarks/README.md from the results so far
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time

import machine
import report
from claims import Samples, judge, judge_training
from lines import Line, all_lines, chosen
from measure import Settings, measure, measure_speeds, say
from workers import peers_python


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="benchmarks/run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="lines whose name contains it; may be repeated"
    )
    p.add_argument("--rounds", type=int, metavar="N", help="rounds of each line (5; 3 with --quick)")
    p.add_argument(
        "--seconds", type=float, default=1.0, metavar="S", help="how long a variant runs in a round, about (1)"
    )
    p.add_argument("--quick", action="store_true", help="leave out the lines that take minutes")
    p.add_argument(
        "--wait",
        choices=("auto", "active", "passive"),
        default="auto",
        help="how threads wait for work; auto: passive if the machine is busy, else the runtimes' defaults",
    )
    p.add_argument("--training-steps", type=int, default=600, metavar="N", help="length of the training lines (600)")
    p.add_argument("--without-peers", action="store_true", help="measure Sorus alone")
    p.add_argument("--json", action="store_true", help="print one JSON object a row instead of the table")
    p.add_argument("--list", action="store_true", help="print the lines, with the seconds each took last, and end")
    p.add_argument("--table", action="store_true", help="write benchmarks/README.md from the results so far and end")
    options = p.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        p.error(f"--rounds must be at least 1, not {options.rounds}")
    if options.seconds <= 0:
        p.error(f"--seconds must be positive, not {options.seconds}")
    options.rounds = options.rounds or (3 if options.quick else 5)
    return options


def rows_of(line: Line, result: dict, speeds: dict[str, float], threads: int) -> list[dict]:
    """One row for each claim on the line, with all that is kept about it."""
    rows = []
    for claim in line.claims:
        if line.kind == "training":
            row = judge_training(claim.id, claim.title, result["curves"], claim.ours[0], claim.against[0])
            row["curves"] = result["curves"]
        elif claim.unit == "bytes":
            peaks = {name: Samples([float(b)], [float(b)]) for name, b in result["peaks"].items()}
            row = judge(claim, peaks, 0.0)
        else:
            row = judge(claim, result["samples"], result["others"])
            row["samples"] = {name: {"wall": s.wall, "cpu": s.cpu} for name, s in result["samples"].items()}
            row["profile"] = result.get("profiles", {}).get(row.get("ours"))
            if line.limit and speeds and "ours" in row:
                row["limit"] = line.limit(speeds)
                took = row[row["basis"]]["median"] / (threads if row["basis"] == "cpu" else 1)
                row["times_limit"] = took / row["limit"]
            if line.same_losses and len(result["losses"]) > 1:
                row["losses_apart"] = result["losses_apart"]
                row["same_numbers"] = result["losses_apart"] <= line.same_losses
        rows.append({"line": line.id, "failed": result["failed"], **row})
    return rows


def main() -> int:
    options = parse()
    if options.list:
        took = report.seconds_of_lines()
        for line in all_lines():
            usual = f"{took[line.id]:5.0f} s" if line.id in took else "      -"
            print(f"{line.id:24} {usual}  ", ", ".join(c.title for c in line.claims))
        return 0
    if options.table:
        print(report.write_page())
        return 0
    try:
        lines = chosen(options.only, options.quick)
    except ValueError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    if not options.without_peers and peers_python() is None:
        print(
            "run.py: the peers are not installed: run scripts/setup.sh peers, name the Python that has PyTorch and JAX "
            "in SORUS_PEERS, or measure Sorus alone with --without-peers",
            file=sys.stderr,
        )
        return 2
    import sorus

    busy = machine.load()
    wait = options.wait if options.wait != "auto" else ("passive" if busy > 0.05 else "active")
    settings = Settings(options.rounds, options.seconds, wait, not options.without_peers, options.training_steps)
    about = machine.describe()
    say(
        f"{about['processor']}, {about['threads']} threads, {' '.join(about['features'])}; other processes use {busy:.0%} "
        f"of it: threads wait {wait}ly" + ("" if busy <= 0.05 else ", CPU time counts where it stays so")
    )
    begin = time.perf_counter()
    speeds = measure_speeds(settings) if any(line.limit for line in lines) else {"best": {}, "by": {}, "failed": {}}
    if speeds["best"]:
        speeds["best"] = report.fastest_speeds(about, speeds["best"])
        say(
            "fastest here: "
            + ", ".join(f"{k} {v:.0f} {'GB/s' if k == 'memory' else 'GFLOP/s'}" for k, v in speeds["best"].items())
        )
    run = {
        "when": datetime.datetime.now().isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": about,
        "busy": busy,
        "wait": wait,
        "rounds": options.rounds,
        "speeds": speeds,
        "sorus": sorus.__version__,
        "python": platform.python_version(),
        "rows": [],
    }
    path = report.RESULTS / (run["when"].replace(":", "") + ".json")
    interrupted = False
    failures: dict[str, str] = {}
    for line in lines:
        say(f"{line.id}:")
        started = time.perf_counter()
        try:
            result = measure(line, settings)
        except KeyboardInterrupt:
            interrupted = True
            break
        except Exception as error:  # the other lines are still wanted
            failures[line.id] = f"{type(error).__name__}: {error}"
            say(f"    not measured: {failures[line.id]}")
            continue
        took = time.perf_counter() - started
        rows = [row | {"seconds": took} for row in rows_of(line, result, speeds["best"], about["threads"])]
        run["rows"] += rows
        report.save(path, run)  # after each line, so that nothing is lost
        for row in rows:
            if options.json:
                print(json.dumps({k: v for k, v in row.items() if k not in ("profile", "curves")}), flush=True)
            else:
                say("    " + report.summary(row))
    if not options.json and run["rows"]:
        print(report.text_table(run["rows"]))
        print(report.notes(run))
    say(f"{time.perf_counter() - begin:.0f} s; results in {path.relative_to(report.ROOT)}")
    return 130 if interrupted else 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
