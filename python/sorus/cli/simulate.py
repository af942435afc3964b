"""sorus simulate: predicts published training steps, or the step of a plan."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

from . import CommandError

EXAMPLES = """examples:
  sorus simulate --table steps.csv --out predicted.csv     adds predictions to a table of published steps
  sorus simulate --table steps.csv --cluster my.toml       with the efficiency of a calibrated cluster
  sorus simulate --table steps.csv --json                  a summary of the errors for machines
"""

DESCRIPTION = """\
Predicts seconds and memory of training steps of language models. The table is CSV with columns such as model, layers,
hidden, heads, ffn, seq_len, vocab, global_batch, micro_batch, gpus, tp, pp, dp, interleave_v, zero_stage, recompute,
seq_parallel, precision, device; missing ones get a default, which the column 'note' tells. It is written again with the
columns predicted_iter_time_s, predicted_mem_gb_per_gpu (2^30 bytes) and note; a row that cannot be expressed gets
empty predictions and the reason."""

ADDED = ("predicted_iter_time_s", "predicted_mem_gb_per_gpu", "note")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--table", required=True, metavar="CSV", help="published training steps")
    parser.add_argument("--out", metavar="CSV", help="where the table with predictions goes (standard output)")
    parser.add_argument("--cluster", metavar="FILE", help="a cluster whose [efficiency] is used for all devices")
    parser.add_argument("--json", action="store_true", help="print the mean errors as JSON instead of text")
    parser.set_defaults(run=run)


def parse_row(row: dict[str, str]) -> dict[str, object]:
    """Columns as numbers where they are finite ones; empty ones are left out."""
    out: dict[str, object] = {}
    for key, text in row.items():
        if key is None or text is None or not text.strip():
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            out[key] = int(value) if value.is_integer() and abs(value) < 2**53 else value
        else:
            out[key] = text.strip()
    return out


def predict(row: dict[str, str], cluster: str = "") -> dict[str, Any]:
    """The answer for one row: iter_time_s, mem_gb, parts, defaults; or note."""
    from sorus._core import _planning

    return json.loads(_planning.simulate_published(json.dumps(parse_row(row)), cluster))


def read_table(path: str) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path}: not a CSV file: {error}") from None
    if not columns:
        raise CommandError(f"{path}: there is no header line")
    return columns, rows


def error_of(row: dict[str, str], column: str, predicted: object) -> float | None:
    try:
        measured = float(row.get(column) or "")
    except ValueError:
        return None
    return abs(predicted / measured - 1) if isinstance(predicted, (int, float)) and measured > 0 else None


def run(options: argparse.Namespace) -> int:
    columns, rows = read_table(options.table)
    cluster = Path(options.cluster).read_text() if options.cluster else ""
    time_errors: list[float] = []
    memory_errors: list[float] = []
    failed = 0
    live = sys.stderr.isatty() and len(rows) > 200
    for i, row in enumerate(rows):
        found = predict(row, cluster)
        time, memory = found.get("iter_time_s"), found.get("mem_gb")
        row["predicted_iter_time_s"] = f"{time:.6g}" if isinstance(time, float) else ""
        row["predicted_mem_gb_per_gpu"] = f"{memory:.6g}" if isinstance(memory, float) else ""
        row["note"] = str(found.get("note") or "assumed: " + "; ".join(map(str, found.get("defaults", []))))
        failed += time is None
        for errors, column, value in ((time_errors, "iter_time_s", time), (memory_errors, "mem_gb_per_gpu", memory)):
            error = error_of(row, column, value)
            if error is not None:
                errors.append(error)
        if live and i % 50 == 0:
            print(f"\r{i}/{len(rows)} rows", end="", file=sys.stderr)
    if live:
        print("\r", end="", file=sys.stderr)
    columns += [c for c in ADDED if c not in columns]
    with contextlib.ExitStack() as opened:
        target = opened.enter_context(open(options.out, "w", newline="", encoding="utf-8")) if options.out else None
        if target or not options.json:
            writer = csv.DictWriter(target or sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    summary: dict[str, Any] = {
        "rows": len(rows), "not_expressed": failed,
        "time_rows": len(time_errors), "time_mean_error": sum(time_errors) / len(time_errors) if time_errors else None,
        "memory_rows": len(memory_errors),
        "memory_mean_error": sum(memory_errors) / len(memory_errors) if memory_errors else None,
    }  # fmt: skip
    if options.json:
        print(json.dumps(summary))
        return 0
    said = f"{len(rows)} rows, {failed} not expressed"
    if time_errors:
        said += f"; seconds off by {100 * summary['time_mean_error']:.1f}% on average over {len(time_errors)} rows"
    if memory_errors:
        said += f"; memory by {100 * summary['memory_mean_error']:.1f}% over {len(memory_errors)}"
    print(said, file=sys.stderr)
    return 0
