"""How near the planner's seconds of a step are to the measured ones, on the ranks of this machine.

python benchmarks/predictions.py               # 30 plans of a GPT, a mixture of experts and a ResNet, then the median error
python benchmarks/predictions.py --json        # one object a plan
python benchmarks/predictions.py --only gpt --quick

The machine's constants are measured first (`sorus calibrate`). Each plan is the planner's own for pinned dimensions, and is run as
it says. On a shared machine seconds of the clock tell little, so what is compared is processor time: of all ranks together,
measured, against the planned time of the ranks without what they wait (the bubble). `error` is of these seconds. A core that
another program shares is slower even in processor time, and not always equally; and a virtual machine's own speed changes by the
minute. So there are two more: `at the pace` is the error when the measured seconds are scaled by the machine's pace beside them
to its pace when the constants were measured (`machine.Pace`, a fixed piece of work timed between the rounds), and `beside one
rank` that of the plan's seconds over those of the same model on one rank, which runs in turns with it. Behind stand seconds of
the clock, the quickest step of several rounds. All of it takes less than six minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from sorus.cli import machine, planned, probes
from sorus.distributed.arrangement import Arrangement
from sorus.models.presets import ResNet, Step

import sorus
from sorus import nn
from sorus.models import GPT


class Mixture(nn.Module):
    """Blocks of attention and of experts that all see every token, weighted by a router (soft mixture)."""

    def __init__(self, width: int, heads: int, experts: int, layers: int) -> None:
        super().__init__()
        self.heads, self.layers = heads, layers
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2 * layers)])
        self.qkv = nn.ModuleList([nn.Linear(width, 3 * width) for _ in range(layers)])
        self.proj = nn.ModuleList([nn.Linear(width, width) for _ in range(layers)])
        self.router = nn.ModuleList([nn.Linear(width, experts) for _ in range(layers)])
        parameter = lambda *shape: nn.Parameter(sorus.randn(*shape) * 0.05)  # noqa: E731
        self.up = nn.ParameterList([parameter(experts, width, 2 * width) for _ in range(layers)])
        self.down = nn.ParameterList([parameter(experts, 2 * width, width) for _ in range(layers)])

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        b, t, w = x.shape
        for i in range(self.layers):
            qkv = self.qkv[i](self.norms[2 * i](x)).reshape(b, t, self.heads, 3, w // self.heads)
            q, k, v = (qkv[:, :, :, j].transpose(1, 2) for j in range(3))
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj[i](y.transpose(1, 2).reshape(b, t, w))
            y = self.norms[2 * i + 1](x).reshape(b * t, w)
            gates = nn.functional.softmax(self.router[i](y), -1)
            every = y.unsqueeze(0).expand(self.up[i].shape[0], b * t, w)
            inner = nn.functional.gelu(sorus.bmm(every, self.up[i]), approximate="tanh")
            out = sorus.bmm(inner, self.down[i]) * gates.transpose(0, 1).unsqueeze(-1)
            x = x + out.sum(0).reshape(b, t, w)
        return x


def gpt(layers: int, width: int, heads: int, context: int) -> Step:
    return Step(
        f"gpt {layers} x {width} x {context}",
        lambda: GPT(512, context, layers, heads, width),
        lambda model, x, y: model.loss(x, y),
        lambda b: [([b, context], sorus.int64)] * 2,
        sorus.float32,
    )


def mixture(layers: int, width: int, experts: int, tokens: int) -> Step:
    return Step(
        f"mixture {layers} x {width}, {experts} experts",
        lambda: Mixture(width, 4, experts, layers),
        lambda model, x: model(x).square().mean(),
        lambda b: [([b, tokens, width], sorus.float32)],
        sorus.float32,
    )


def resnet(size: int) -> Step:
    return Step(
        f"resnet 1-1-1-1 x {size}",
        lambda: ResNet([1, 1, 1, 1]),
        lambda model, x, y: nn.functional.cross_entropy(model(x), y),
        lambda b: [([b, 3, size, size], sorus.float32), ([b], sorus.int64)],
        sorus.float32,
    )


PINS = [
    "dp=1",
    "dp=2,zero=0",
    "dp=2,zero=1",
    "dp=2,zero=3",
    "tp=2",
    "pp=2,micro=4",
    "dp=4,zero=0",
    "dp=2,pp=2,micro=2",
]


def cases() -> Iterator[tuple[Step, int, str]]:
    """Step, batch, pins: 30 of them."""
    for step, batch in ((gpt(4, 128, 4, 64), 16), (gpt(2, 256, 8, 128), 8)):
        for pins in PINS:
            yield step, batch, pins
    for pins in PINS:
        yield mixture(2, 128, 4, 64), 8, pins
    for pins in ("dp=1", "dp=2,zero=0", "dp=2,zero=1", "pp=2,micro=4", "dp=4,zero=0", "dp=2,pp=2,micro=2"):
        yield resnet(64), 8, pins


def ranks_of(pins: str) -> int:
    """How many ranks a plan with these pins has."""
    return math.prod(
        int(value) for name, value in (pin.split("=") for pin in pins.split(",")) if name in ("dp", "tp", "pp")
    )


def plan_of(step: Step, batch: int, pins: str, toml: str) -> tuple[Arrangement, dict[str, Any]]:
    """The planner's plan for these dimensions. ValueError if there is none, or it does not run here."""
    from sorus._core import _planning

    given = {name: int(value) for name, value in (pin.split("=") for pin in pins.split(","))}
    ranks = ranks_of(pins)
    micro = given.pop("micro", 1)
    fix = {"dp": 1, "ep": 1, "tp": 1, "pp": 1, "sp": 0, "offload": 0, "recompute": 0, "zero": 0} | given
    fix["micro_batch"] = batch // fix["dp"] // micro
    fix["schedule"] = 2 if fix["pp"] > 1 else 0
    request = {"devices": ranks, "batch": batch, "fix": fix, "families": False}
    report = json.loads(_planning.plan(step.trace(batch), toml, json.dumps(request), None))
    if "problem" in report:
        raise ValueError(report["problem"])
    return Arrangement.of_plan(report["plan"], batch, step.name), report


class Times(NamedTuple):
    cpu: float  #: processor seconds of all ranks
    wall: float  #: seconds of the clock
    alone: float  #: processor seconds on one rank, in turns with them
    pace: float  #: processor seconds of all ranks over the machine's pace beside them


def run(step: Step, batch: int, a: Arrangement, rounds: int, pace: machine.Pace) -> Times:
    """Of one step: the least of the rounds, of the pace the middle."""
    train, _ = probes.make_step(step, batch, a if a.devices > 1 or a.micro > 1 else None)
    sorus.set_num_threads(1)
    alone, _ = probes.make_step(step, batch)
    found: dict[Any, list[tuple[float, float]]] = {train: [], alone: []}
    paces = []
    for number in range(rounds + 1):  # the first is not counted
        sorus.set_num_threads(1)
        before = pace()
        for f, threads in ((train, a.devices), (alone, 1)):
            sorus.set_num_threads(threads)  # one a rank
            began, calls = time.perf_counter(), 0
            cpu = time.process_time()
            while calls == 0 or time.perf_counter() - began < 0.1:
                f()
                calls += 1
            if number:
                found[f].append(((time.process_time() - cpu) / calls, (time.perf_counter() - began) / calls))
            if f is train:
                sorus.set_num_threads(1)
                paces.append(0.5 * (before + pace()))
    ratios = [cpu / now for (cpu, _), now in zip(found[train], paces[1:], strict=True)]
    return Times(*(min(column) for column in zip(*found[train], strict=True)), min(c for c, _ in found[alone]),
                 statistics.median(ratios))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    found = probes.measure()
    sorus.set_num_threads(1)
    pace = machine.Pace()
    speeds = machine.measure() | {"processor": "", "threads": 1, "constants": found["constants"]}
    toml = machine.toml(speeds)
    if not options.json:
        print(f"constants {found['constants']}, probes off by {found['fitted_mean_error']:.1%}")
    chosen = [case for case in cases() if case[0].name.startswith(options.only)]
    rows: list[dict[str, Any]] = []
    with machine.Load() as load:
        for number, (step, batch, pins) in enumerate(chosen):
            print(
                f"\r{number + 1} of {len(chosen)}: {step.name}, {pins}        ", end="", file=sys.stderr, flush=True
            )
            a, report = plan_of(step, batch, pins, toml)
            cpu, wall, alone, ratio = run(step, batch, a, 3 if options.quick else 9, pace)
            work = (report["step_time_s"] - report["time"]["bubble"]) * a.devices
            reference = plan_of(step, batch, "dp=1", toml)[1]["step_time_s"]
            row = {"model": step.name, "plan": str(a), "ranks": a.devices, "cpu_s": cpu, "predicted_cpu_s": work,
                   "error": work / cpu - 1, "error_at_pace": work / (ratio * found["pace_s"]) - 1, "one_rank_cpu_s": alone, "predicted_one_rank_s": reference,
                   "error_beside_one_rank": work / reference / (cpu / alone) - 1, "step_s": wall,
                   "predicted_step_s": report["step_time_s"] * planned.turns(report, a.devices, len(machine.cores())),
                   "time_s": report["time"]}  # fmt: skip
            rows.append(row)
            print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                print(f"{step.name:<29}{a!s:<39}{1e3 * cpu:8.2f} ms, predicted {1e3 * work:8.2f} ({row['error']:+6.1%}); at the pace {row['error_at_pace']:+6.1%}; beside one rank "
                      f"{row['error_beside_one_rank']:+6.1%}; clock {1e3 * wall:8.2f}, predicted {1e3 * row['predicted_step_s']:8.2f}", flush=True)  # fmt: skip
    off = {
        name: statistics.median(abs(row[name]) for row in rows)
        for name in ("error", "error_at_pace", "error_beside_one_rank")
    }
    total = {"plans": len(rows), "others": load.others} | {f"median_{name}": value for name, value in off.items()}
    print(json.dumps(total) if options.json else f"{len(rows)} plans: median error {off['error']:.1%}, at the pace {off['error_at_pace']:.1%}, beside one rank "
          f"{off['error_beside_one_rank']:.1%}; others took {load.others:.0%} of the machine")  # fmt: skip


if __name__ == "__main__":
    main()
