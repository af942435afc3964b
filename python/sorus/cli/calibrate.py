"""sorus calibrate: the constants of a cluster, from measured steps or from this machine."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from . import CommandError

EXAMPLES = """examples:
  sorus calibrate --out this.toml                         measures this machine and writes it as a cluster; keeps it
                                                          for the plans of sorus train
  sorus calibrate --table steps.csv --out fitted.toml     fits the efficiency of a cluster to measured steps
  sorus calibrate --table steps.csv --source SC21-T1 --leave-one-out --json
"""

DESCRIPTION = """\
Writes a cluster file. Without a table it measures the arithmetic, the memory and the collectives of this machine, times
short training steps, and fits to them what share of these speeds the kernels of a step reach; that takes a minute. With
a table of measured training steps (see sorus simulate) it fits the six constants of [efficiency], which are shares of
printed speeds and the time of a kernel launch, by least absolute relative errors; the error that it tells for models left
out is the one to trust."""

# name in the file, start, least, most
CONSTANTS = [
    ("matrix", 0.73, 0.3, 1.0), ("matrix_size", 0.3, 0.0, 1.0), ("memory", 0.75, 0.4, 1.0), ("network", 0.72, 0.3, 1.0),
    ("launch_us", 6.0, 0.0, 30.0), ("spread", 0.03, 0.0, 0.2),
]  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("--table", metavar="CSV", help="measured training steps to fit to")
    parser.add_argument("--source", action="append", metavar="ID", help="only rows whose source_id begins so")
    parser.add_argument("--cluster", default="dgx-a100", help="where the other numbers come from (dgx-a100)")
    parser.add_argument("--leave-one-out", action="store_true", help="also fit without each model and predict it")
    parser.add_argument("--out", metavar="FILE", help="the cluster file (standard output)")
    parser.add_argument("--json", action="store_true", help="print constants and errors as JSON")
    parser.set_defaults(run=run)


def with_constants(toml: str, x: np.ndarray) -> str:
    for (name, *_), value in zip(CONSTANTS, x, strict=True):
        toml = re.sub(rf"^{name} = .*$", f"{name} = {value:.6g}", toml, flags=re.MULTILINE)
    return toml


def fit(residuals: Callable[..., np.ndarray], x: np.ndarray, rounds: int, constants: list = CONSTANTS) -> np.ndarray:
    """Least absolute residuals within the bounds of the constants: damped Gauss-Newton with weights 1/|r|."""
    low, high = (np.array([c[i] for c in constants], float) for i in (2, 3))
    scale = high - low
    r, damping = residuals(x), 1e-2
    for _ in range(rounds):
        columns = []
        for j in range(len(x)):
            step = 0.02 * scale[j] * (1 if x[j] + 0.02 * scale[j] <= high[j] else -1)
            moved = x.copy()
            moved[j] += step
            columns.append((residuals(moved) - r) / step * scale[j])
        jacobian, weights = np.stack(columns, 1), 1 / np.maximum(np.abs(r), 0.005)
        for _ in range(6):
            # What is at a bound and would leave it stays.
            free = np.ones(len(x), bool)
            for _ in range(len(x)):
                a = jacobian[:, free] * weights[:, None]
                change = np.zeros(len(x))
                change[free] = -np.linalg.solve(jacobian[:, free].T @ a + damping * np.eye(free.sum()) * weights.sum() * 0.01,
                                                a.T @ r) * scale[free]  # fmt: skip
                stuck = free & (((x <= low) & (change < 0)) | ((x >= high) & (change > 0)))
                if not stuck.any():
                    break
                free &= ~stuck
            trial = np.clip(x + change, low, high)
            new = residuals(trial)
            if np.abs(new).sum() < np.abs(r).sum():
                x, r, damping = trial, new, damping / 5
                break
            damping *= 5
        else:
            return x
    return x


def calibrate_table(path: str, sources: list[str] | None, cluster: str, leave_one_out: bool) -> dict:
    from sorus._core import _planning

    from .simulate import parse_row, read_table

    rows = []
    for row in read_table(path)[1]:
        if sources and not any((row.get("source_id") or "").startswith(s) for s in sources):
            continue
        parsed = parse_row(row)
        time = parsed.get("iter_time_s")
        if isinstance(time, (int, float)) and time > 0:
            rows.append((str(parsed.get("model", "")), json.dumps(parsed), math.log(time)))
    if len(rows) < len(CONSTANTS):
        raise CommandError(f"{path}: {len(rows)} rows with seconds are too few to fit {len(CONSTANTS)} constants")
    toml = _planning.cluster_toml(cluster)

    def predict(x: np.ndarray, chosen: list) -> np.ndarray:
        text = with_constants(toml, x)
        found = [json.loads(_planning.simulate_published(row, text)) for _, row, _ in chosen]
        return np.array([math.log(f["iter_time_s"]) - t for f, (_, _, t) in zip(found, chosen, strict=True)])

    usable = [r for r in rows if "note" not in json.loads(_planning.simulate_published(r[1], toml))]
    x = fit(lambda x: predict(x, usable), np.array([c[1] for c in CONSTANTS], float), 12)
    errors = np.abs(np.expm1(predict(x, usable)))
    out = {"constants": {c[0]: float(v) for c, v in zip(CONSTANTS, x, strict=True)}, "rows": len(usable),
           "fitted_mean_error": float(errors.mean()), "toml": with_constants(toml, x)}  # fmt: skip
    if leave_one_out:
        left_errors: list[float] = []
        for model in sorted({m for m, _, _ in usable}):
            rest, left = [r for r in usable if r[0] != model], [r for r in usable if r[0] == model]
            y = fit(lambda x, rest=rest: predict(x, rest), x, 4)
            left_errors += np.abs(np.expm1(predict(y, left))).tolist()
            print(f"without {model}: {100 * np.mean(left_errors[-len(left) :]):.1f}%", file=sys.stderr)
        out["left_out_mean_error"] = float(np.mean(left_errors))
    return out


def calibrate_machine() -> dict:
    """Measures this machine and keeps what was found for the plans of `sorus train`."""
    from . import machine, probes

    found = probes.measure()
    machine.keep_constants(found["constants"])
    return found | {"rows": len(found["probes"]), "toml": machine.toml(machine.speeds())}


def run(options: argparse.Namespace) -> int:
    if options.table:
        found = calibrate_table(options.table, options.source, options.cluster, options.leave_one_out)
    else:
        found = calibrate_machine()
    if options.out:
        Path(options.out).write_text(found["toml"])
    if options.json:
        print(json.dumps(found))
        return 0
    if not options.out:
        print(found["toml"], end="")
    if "rows" in found:
        said = f"{found['rows']} rows, off by {100 * found['fitted_mean_error']:.1f}% on average"
        if "left_out_mean_error" in found:
            said += f"; models left out of the fit by {100 * found['left_out_mean_error']:.1f}%"
        print(said, file=sys.stderr)
    return 0
