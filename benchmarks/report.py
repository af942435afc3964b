"""Tables of results: on the terminal, and the page benchmarks/README.md from all results so far."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lines import all_lines

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "benchmarks" / "README.md"
HEADS = ("line", "Sorus", "best peer", "ratio (spread)", "asked / aim", "holds", "x limit", "others")


def save(path: Path, run: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(run, indent=1))
    os.replace(temporary, path)


def fastest_speeds(about: dict, measured: dict[str, float]) -> dict[str, float]:
    """The fastest speeds of this run and of all earlier results from such a machine: a busy minute lowers no limit."""
    speeds = dict(measured)
    for path in RESULTS.glob("*.json"):
        run = json.loads(path.read_text())
        if all(run["machine"][k] == about[k] for k in ("processor", "threads", "features")):
            for key, value in run["speeds"]["best"].items():
                speeds[key] = max(speeds.get(key, 0.0), value)
    return speeds


def quantity(value: float, unit: str) -> str:
    """0.00123 s -> "1.23 ms"; bytes as MiB; losses as they are."""
    if unit == "bytes":
        return f"{value / 2**20:,.0f} MiB"
    if unit == "loss":
        return f"{value:.4f}"
    for scale, name in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value * 1e6:.3f} us"


def both_times(row: dict, side: str) -> str:
    """Wall time, and CPU time in brackets."""
    wall, cpu = row.get(f"{side}wall"), row.get(f"{side}cpu")
    if not wall or not cpu:
        return "-"
    text = quantity(wall["median"], row["unit"])
    return text if row["unit"] != "s" else f"{text} ({quantity(cpu['median'], 's')})"


def cells(row: dict) -> list[str]:
    if row["unit"] == "loss":
        return training_cells(row)
    asked = [
        f"{row['least']:.3g}x" if row["least"] else "",
        f"<= {quantity(row['at_most'], row['unit'])}" if row["at_most"] else "",
    ]
    asked_text = " ".join(a for a in asked if a) + (f" / {row['aim']:.3g}x" if row["aim"] else "")
    ratio = row.get("ratio")
    counted = " by CPU time" if row["basis"] == "cpu" else ""
    return [
        row["title"],
        f"{both_times(row, '')} {row.get('ours', '').removeprefix('sorus ')}".strip(),
        f"{both_times(row, 'peer_')} {row.get('peer', '')}".strip() if "peer" in row else "-",
        f"{ratio['median']:.2f}x ({ratio['low']:.2f}-{ratio['high']:.2f}){counted}" if ratio else "-",
        asked_text,
        {True: "yes", False: "no", None: "not measured" if asked_text else "-"}[row["met"]],
        f"{row['times_limit']:.2f}" if "times_limit" in row else "-",
        f"{row['others']:.0%}" if row["unit"] == "s" else "-",
    ]


def training_cells(row: dict) -> list[str]:
    if "final" not in row:
        return [row["title"], "-", "-", "-", "", "not measured", "-", "-"]
    mine, theirs = ("; ".join(f"{v:.4f}" for v in side) for side in row["final"])
    return [
        row["title"],
        f"{mine} ({row['ours']})",
        f"{theirs} ({row['peer']})",
        f"largest difference {row['difference']:.4f}",
        f"<= {row['seeds']:.4f}, spread of seeds",
        "yes" if row["met"] else "no",
        "-",
        "-",
    ]


def summary(row: dict) -> str:
    c = cells(row)
    text = f"{c[1]} against {c[2]}: {c[3]}; asked {c[4]}: {c[5]}"
    if row.get("same_numbers") is False:
        text += f"; LOSSES DIFFER by {row['losses_apart']:.1e}"
    return text


def text_table(rows: list[dict]) -> str:
    table = [list(HEADS)] + [cells(row) for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def notes(run: dict) -> str:
    """What the table leaves out: failures, losses that differ, and a profile beside every line that falls short."""
    out, seen = [], set()
    for row in run["rows"]:
        for name, reason in row["failed"].items():
            if (row["line"], name) not in seen:
                out.append(f"{row['line']}: {name} was not measured: {reason}")
                seen.add((row["line"], name))
        if row.get("same_numbers") is False:
            out.append(f"{row['id']}: the losses of the first steps differ by {row['losses_apart']:.1e}")
    out += ["", *profiles(run["rows"])]
    return "\n".join(out)


def profiles(rows: list[dict]) -> list[str]:
    """The profile of each line that falls short."""
    out: list[str] = []
    for row in rows:
        profile = row.get("profile")
        if row["met"] is False and profile:
            out += [
                f"{row['id']} falls short; {row['ours']}, profile of {profile['steps']} steps:",
                "",
                profile["table"],
                "",
            ]
    return out


def newest_rows() -> list[tuple[dict, dict]]:
    """(run, row) of the newest result of each line, in the order of the lines."""
    newest: dict[str, tuple[dict, dict]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        run = json.loads(path.read_text())
        for row in run["rows"]:
            before = newest.get(row["id"])
            if before is None or "ours" in row or "ours" not in before[1]:  # a failure replaces no measurement
                newest[row["id"]] = (run, row)
    order = [claim.id for line in all_lines() for claim in line.claims]
    return [newest[id] for id in order if id in newest]


def seconds_of_lines() -> dict[str, float]:
    """How long each line took when it was measured last."""
    return {row["line"]: row["seconds"] for _, row in newest_rows() if "seconds" in row}


def draw_curves(row: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.4), dpi=90)
    styles = {row["ours"]: ("C0", "-"), row["peer"]: ("C1", "--")}
    for name, curves in row["curves"].items():
        color, style = styles.get(name, ("C2", ":"))
        for i, curve in enumerate(curves):
            axes.plot(*zip(*curve, strict=True), style, color=color, label=name if i == 0 else None, linewidth=1.2)
    axes.set_xlabel("step")
    axes.set_ylabel("validation loss")
    axes.set_title(row["title"], fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def write_page() -> str:
    found = newest_rows()
    if not found:
        return f"no results in {RESULTS.relative_to(ROOT)}: run make bench first"
    PAGE.write_text(page(found))
    for _, row in found:
        if row["unit"] == "loss" and "final" in row:
            draw_curves(row, PAGE.parent / f"{row['id']}.png")
    return f"{PAGE.relative_to(ROOT)}: {len(found)} lines"


INTRODUCTION = """# Sorus beside PyTorch and JAX

Written by `benchmarks/run.py --table` from the results of `make bench`; `make bench ARGS=--help` tells how to repeat a
line. Kernels alone are in [kernels/](kernels/README.md), planning in [planning.md](planning.md).

All frameworks run the same model from the same first weights on the same fresh batches; the losses of their first steps
are compared. They run in turns, as children of one process. Times are medians over the rounds, of wall time and, in
brackets, of CPU time over all threads. The ratio is the best peer's time over Sorus' time in the same round: median, and
lowest and highest. It is taken from wall time while other processes used at most 3% of the machine (column *others*),
from CPU time otherwise, and says so. *x limit* is the time over what the arithmetic and the optimizer's memory traffic
alone would take at the fastest speeds that any of the frameworks reaches on this machine. PyTorch's AdamW is its fused
one; `torch compiled` compiles the model, `sorus compiled` the whole step, in which gradients are temporaries since the
script drops them after each step. A line that falls short stays, with a profile.

A variant
that needs more than a second a step, and three times what the fastest of its side needs, runs its first steps only.

The models are plain scripts with PyTorch's names ([models/gpt.py](models/gpt.py), [models/mlp.py](models/mlp.py)) that
run under either module.
"""


def page(found: list[tuple[dict, dict]]) -> str:
    heads = (*HEADS, "made by")
    lines = [INTRODUCTION, "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for run, row in found:
        made = f'`make bench ARGS="--only {row["line"]} --rounds {run["rounds"]}"`'
        took = f" ({row['seconds']:.0f} s)" if "seconds" in row else ""
        lines.append("| " + " | ".join([*cells(row), made + took]) + " |")
    there = {row["id"] for _, row in found}
    for line in all_lines():
        for claim in line.claims:
            if claim.id not in there:
                made = f'`make bench ARGS="--only {line.id}"`'
                lines.append(f"| {claim.title} | " + "- | " * 4 + f"not measured | - | - | {made} |")
    lines += ["", "Measured on:", ""]
    runs = {run["when"]: run for run, _ in found}
    for when, run in runs.items():
        m, best = run["machine"], run["speeds"]["best"]
        speed = (
            "; " + ", ".join(f"{k} {v:.0f} {'GB/s' if k == 'memory' else 'GFLOP/s'}" for k, v in best.items())
            if best
            else ""
        )
        versions = ", ".join(f"{k} {v['version']}" for k, v in run["speeds"]["by"].items())
        lines.append(
            f"- {when}: commit {run['commit']}, {m['processor']}, {m['threads']} threads, {' '.join(m['features'])}"
            f"{speed}; threads wait {run['wait']}ly; {versions or 'sorus ' + run['sorus']}"
        )
    drawn = [row for _, row in found if row["unit"] == "loss" and "final" in row]
    if drawn:
        lines += [
            "",
            "## Training",
            "",
            "Three seeds; for each, both start from the same weights and see the same batches.",
            "",
        ]
        lines += [f"![{row['title']}]({row['id']}.png)" for row in drawn]
    failed = sorted({f"{row['line']}: {name}: {why}" for _, row in found for name, why in row["failed"].items()})
    if failed:
        lines += ["", "## Not measured", "", *(f"- {f}" for f in failed)]
    short = profiles([row for _, row in found])
    if short:
        lines += ["", "## Profiles of the lines that fall short", "", "```", *short[:-1], "```"]
    return "\n".join(lines) + "\n"
