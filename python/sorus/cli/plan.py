"""sorus plan: finds how to run a training step on a cluster."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from . import CommandError, number

EXAMPLES = """examples:
  sorus plan gpt3-175b --cluster dgx-a100 --devices 1024 --batch 1536 --seq 2048
  sorus plan llama3-70b --cluster dgx-h100 --devices 256 --batch 512 --fix tp=8 --fix zero=1
  sorus plan my_model.py:step --cluster my_cluster.toml --devices 16 --batch 64
  sorus plan gpt-1t --cluster dgx-a100 --devices 4096 --batch 3072 --json | jq .step_time_s
  sorus plan --list                                  models and clusters that can be named
  sorus plan gpt3-175b --devices 1024 --batch 1536 --export megatron
"""

DESCRIPTION = """\
Searches data, expert, context, tensor, sequence and pipeline parallelism, schedules, ZeRO, recomputation, micro-batches and offload
together for the fastest step that fits, and says how far it can be from the best. MODEL is a preset or FILE.py:FUNCTION,
a function that returns a sorus.models.Step. Writes the plan (PLAN.json), a page with the timeline (PLAN.html) and a
Chrome trace (PLAN.trace.json)."""

FIX = {"recompute": ["none", "selective", "full"],
       "schedule": ["none", "gpipe", "1f1b", "interleaved", "zero-bubble"]}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a preset, or FILE.py:FUNCTION")
    parser.add_argument("--cluster", default="dgx-a100", help="a preset or a TOML file (dgx-a100)")
    parser.add_argument("--devices", type=number(int, 1, 1 << 20), default=8, metavar="N", help="devices to use (8)")
    parser.add_argument(
        "--batch", type=number(int, 1, 1 << 31), default=64, metavar="N", help="samples of a step (64)"
    )
    parser.add_argument("--seq", type=number(int, 1, 1 << 31), metavar="N", help="tokens of a sample (the model's)")
    parser.add_argument(
        "--memory", type=number(float, 1e-3, 1e6), metavar="GB", help="of a device, in place of the cluster's"
    )
    parser.add_argument("--fix", action="append", default=[], metavar="NAME=VALUE",
                        help="give a dimension: dp, ep, cp, tp, pp, micro_batch, chunks, zero, sp, recompute, schedule, offload")  # fmt: skip
    parser.add_argument(
        "--time-limit", type=number(float, 0), default=0, metavar="S", help="stop searching after S seconds"
    )
    parser.add_argument("--out", default="plan.json", metavar="FILE", help="the plan (plan.json)")
    parser.add_argument("--export", choices=["megatron", "deepspeed", "torchtitan", "devicemesh"],
                        help="print the plan for another program")  # fmt: skip
    parser.add_argument("--no-explain", action="store_true", help="do not work out what would help")
    parser.add_argument("--list", action="store_true", help="list the models and clusters that can be named")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def fixed(options: list[str]) -> dict[str, int]:
    out: dict[str, int] = {}
    for item in ",".join(options).split(",") if options else []:
        name, sign, value = item.partition("=")
        if not sign:
            raise CommandError(f"--fix {item}: expected NAME=VALUE")
        if value in FIX.get(name, []):
            out[name] = FIX[name].index(value)
            continue
        try:
            out[name] = int(value)
        except ValueError:
            known = f"one of {', '.join(FIX[name])}" if name in FIX else "a whole number"
            raise CommandError(f"--fix {name}: expected {known}, found '{value}'") from None
        if out[name] < 0 or (name in FIX and out[name] >= len(FIX[name])):
            raise CommandError(f"--fix {name}: {value} is out of range")
    return out


def load_step(name: str, seq: int | None) -> Any:
    from sorus.models import presets

    if ".py" not in name:
        try:
            return presets.preset(name, seq)
        except KeyError as error:
            raise CommandError(f"{error.args[0]}; or name FILE.py:FUNCTION") from None
    file, _, function = name.partition(":")
    if not Path(file).exists():
        raise CommandError(f"{file}: there is no such file")
    spec = importlib.util.spec_from_file_location("planned_model", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make = getattr(module, function or "step", None)
    if make is None:
        raise CommandError(f"{file}: there is no function '{function or 'step'}'")
    step = make()
    if not isinstance(step, presets.Step):
        raise CommandError(f"{name}: expected a sorus.models.Step, found {type(step).__name__}")
    return step


def traced_batch(batch: int, largest: int) -> int:
    """The batch of the trace, of which micro-batches are parts: the largest product of small factors."""
    size = 1
    while size * 2 <= largest and batch % (size * 2) == 0:
        size *= 2
    return size


def make_plan(model: str, cluster: str = "dgx-a100", devices: int = 8, batch: int = 64, seq: int | None = None,
              fix: dict[str, int] | None = None, **request: Any) -> dict[str, Any]:  # fmt: skip
    """The report of `sorus plan` as a dictionary; `problem` is there if no plan fits."""
    from sorus._core import _planning

    begin = time.perf_counter()
    progress = request.pop("progress", None)
    step = load_step(model, seq)
    traced = step.trace(traced_batch(batch, step.largest_micro_batch))
    trace_s = time.perf_counter() - begin
    asked = {"devices": devices, "batch": batch, "fix": fix or {}} | request
    try:
        report = json.loads(_planning.plan(traced, cluster, json.dumps(asked), progress))
    except KeyError as error:
        raise CommandError(str(error.args[0]).splitlines()[0]) from None
    report["trace_s"] = trace_s
    report["search_s"] += trace_s
    return report


def run(options: argparse.Namespace) -> int:
    if options.list:
        from sorus._core import _planning
        from sorus.models import presets

        print("models:  ", " ".join(presets.preset_names()))
        print("clusters:", " ".join(_planning.preset_clusters()))
        return 0
    if not options.model:
        raise CommandError("name a model; --list shows those there are")
    last = [time.monotonic()]

    def progress(best: float, bound: float, left: int) -> bool:
        if sys.stderr.isatty() and time.monotonic() - last[0] > 0.2:
            last[0] = time.monotonic()
            print(f"\rbest {best:.3g} s, bound {bound:.3g} s, {left} left   ", end="", file=sys.stderr)
        return True

    request: dict[str, Any] = {"time_limit": options.time_limit, "explain": not options.no_explain and not options.json,
                               "timeline": not options.json}  # fmt: skip
    if options.memory:
        request["memory_gb"] = options.memory
    report = make_plan(options.model, options.cluster, options.devices, options.batch, options.seq, fixed(options.fix),
                       progress=progress, **request)  # fmt: skip
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    if "problem" in report:
        if options.json:
            print(json.dumps(report))
            return 1
        message = report["problem"]
        if "would_fit" in report:
            fit = report["would_fit"]
            message += f"\nnearest plan that fits ({fit['change']}): {describe(fit)}, {fit['step_time_s']:.3g} s, {fit['memory_gb']:.1f} GB"
        raise CommandError(message)
    if options.export:
        from .plan_export import export

        print(export(report, options.export))
        return 0
    if options.json:
        print(json.dumps({k: v for k, v in report.items() if k != "timeline"}))
        return 0
    from . import plan_page

    out = Path(options.out)
    out.write_text(json.dumps(report["plan"], indent=1) + "\n")
    out.with_suffix(".html").write_text(plan_page.page(report))
    out.with_suffix(".trace.json").write_text(json.dumps(plan_page.chrome_trace(report)))
    show(report)
    print(f"wrote {out}, {out.with_suffix('.html')}, {out.with_suffix('.trace.json')}")
    return 0


def what_helps(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Changes and how much faster they make a step, the best first."""
    found = sorted(report.get("sensitivity", []), key=lambda s: math.inf if s["gain"] is None else -s["gain"])
    return [(s["what"], "not known: the time limit was up" if s["gain"] is None else f"{100 * s['gain']:.1f}%")
            for s in found]  # fmt: skip


def describe(choice: dict[str, Any]) -> str:
    text = f"dp {choice['dp']} x tp {choice['tp']} x pp {choice['pp']}, micro-batch {choice['micro_batch']}"
    if choice["pp"] > 1:
        text += f", {choice['schedule']}" + (f" x{choice['chunks']}" if choice["chunks"] > 1 else "")
    if choice["cp"] > 1:
        text = f"cp {choice['cp']} x {text}"
    if choice["ep"] > 1:
        text = f"ep {choice['ep']} of {text}"
    if choice["zero"]:
        text += f", ZeRO {choice['zero']}"
    if choice["sp"]:
        text += ", sequence parallel"
    if choice["recompute"] != "none":
        text += f", {choice['recompute']} recomputation"
    return text + (", optimizer on the host" if choice["offload"] else "")


def columns(table: Any, *names: str) -> None:
    """Adds columns; '>' puts one to the right."""
    for name in names:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left")


def show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    # In a file or a pipe lines are as long as the tables; rich would take 80 columns and cut names.
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"[bold]{report['model']}[/bold], {report['parameters'] / 1e9:.1f} billion parameters, on "
                  f"{report['devices']} devices of {report['cluster']}, batch {report['batch']}")  # fmt: skip
    console.print(describe(report["choice"]))
    table = Table(box=None, show_header=False)
    table.add_row("step", f"{report['step_time_s']:.4g} s, at least {report['lower_bound_s']:.4g} s for any plan "
                  f"(gap {100 * report['gap']:.1f}%)")  # fmt: skip
    anywhere = report["lower_bound_any_cut_s"]
    if anywhere < report["lower_bound_s"]:
        table.add_row("", f"at least {anywhere:.4g} s if interleaved pipelines could be cut anywhere (gap "
                      f"{100 * (report['step_time_s'] / anywhere - 1):.1f}%): two cuts of each are looked at")  # fmt: skip
    table.add_row("utilization", f"{100 * report['utilization']:.1f}% of the peak, model operations")
    table.add_row("memory", f"{report['memory_gb']:.1f} of {report['device_memory_gb']:.0f} GB on the fullest device")
    table.add_row(
        "search", f"{report['search_s']:.2f} s, {report['space']} combinations, {report['estimated']} estimated"
    )
    for axis in report["plan"]["mesh"]:
        if axis["size"] > 1:
            table.add_row(f"axis {axis['name']}", f"{axis['size']} across the {axis['level']}"
                          + (f", {axis['collective']}" if axis["collective"] else ""))  # fmt: skip
    console.print(table)
    times = Table(title="time of the slowest device", title_justify="left", box=None)
    columns(times, "kind", ">seconds", ">share")
    for kind, seconds in report["time"].items():
        if seconds > 0:
            times.add_row(kind, f"{seconds:.4g}", f"{100 * seconds / report['step_time_s']:.1f}%")
    console.print(times)
    stages = Table(title="memory by stage, GB", title_justify="left", box=None)
    columns(
        stages, "stage", "layers", ">parameters", ">gradients", ">optimizer", ">activations", ">buffers", ">total"
    )
    all_stages = report["plan"]["stages"]
    for i, stage in enumerate(all_stages):
        if 6 <= i < len(all_stages) - 2 and len(all_stages) > 10:
            if i == 6:
                stages.add_row("...")
            continue
        memory = stage["memory_bytes"]
        stages.add_row(str(i), f"{stage['from']} .. {stage['to']}", *(f"{memory[k] / 1e9:.1f}" for k in
                       ("parameters", "gradients", "optimizer", "activations", "buffers", "total")))  # fmt: skip
    console.print(stages)
    if report["families"]:
        others = Table(title="the best of other families", title_justify="left", box=None)
        columns(others, "family", ">slower by", "as")
        for family in report["families"][:10]:
            slower = family["step_time_s"] / report["step_time_s"] - 1
            others.add_row(family["family"], f"{100 * slower:.1f}%", describe(family))
        console.print(others)
    if report.get("sensitivity"):
        helps = Table(title="what would help", title_justify="left", box=None)
        columns(helps, "change", ">faster by")
        for what, gain in what_helps(report):
            helps.add_row(what, gain)
        console.print(helps)
