"""How `sorus train gpt --devices N` comes to its arrangement: the planner's, for this machine.

The planner sees the program that is trained and a cluster file measured here, in which a rank has its share of the cores.
What the executor cannot run yet (sequence parallelism beside tensors, offload) and experts, which the
program does not have, are pinned away, so that the plan is the fastest of those that run. The time it predicts is shown beside the measured one at the end; where they are far
apart, the machine may have been busy when its speeds were measured, so it is measured again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from sorus.distributed.arrangement import SCHEDULES, Arrangement, read_pins

from . import CommandError
from .plan import FIX

AXES = ("dp", "tp", "pp", "cp")


FAR = 1.5  # times as long as predicted, or as short: the speeds of the machine are measured again


def turns(report: dict[str, Any], ranks: int, threads: int) -> float:
    """How much longer a step takes where ranks are more than the threads there are, and take turns.

    The report is that of a thread a rank. A rank's time without the bubble is work, which the threads share; while one rank
    waits in the bubble, others compute.
    """
    step, bubble = report["step_time_s"], report["time"]["bubble"]
    return max(1.0, ranks / threads * (step - bubble) / step) if ranks > threads else 1.0


def _pins(fix: list[str], devices: int, batch: int) -> list[dict[str, int]]:
    """What --fix says, in the planner's words: several, where those cannot say it in one.

    A number of micro-batches is a size of them only once the data-parallel ranks are known.
    """
    given = read_pins(fix)
    pins = {name: int(given[name]) for name in (*AXES, "zero", "chunks") if name in given}
    if "schedule" in given:
        pins["schedule"] = FIX["schedule"].index(given["schedule"])
    if "recompute" in given:
        pins["recompute"] = 2 if given["recompute"] else 0
    pins |= {"sp": 0, "offload": 0, "ep": 1}
    if "micro" not in given:
        return [pins]
    widths = [given["dp"]] if "dp" in given else [n for n in range(1, devices + 1) if devices % n == 0]
    return [
        pins | {"dp": dp, "micro_batch": batch // (dp * given["micro"])}
        for dp in widths
        if batch % (dp * given["micro"]) == 0
    ]


def _runnable(pins: dict[str, int]) -> list[dict[str, int]]:
    """The pins with each schedule and recomputation that the executor has."""
    schedules = [FIX["schedule"].index(s) for s in ("none", *SCHEDULES)]
    found = []
    for schedule in [pins["schedule"]] if "schedule" in pins else schedules:
        for recompute in [pins["recompute"]] if "recompute" in pins else (0, 2):
            if recompute and schedule == 0 and "recompute" not in pins:
                continue  # only stages of a pipeline make activations again
            if recompute and FIX["schedule"][schedule] == "zero-bubble" and "recompute" not in pins:
                continue  # it keeps them for the gradients of weights
            found.append(pins | {"schedule": schedule, "recompute": recompute})
    return found


def plan_here(settings: Any, vocabulary: int, devices: int, fix: list[str], arrangement: Arrangement | None,
              processes: int = 1, given: bool = False) -> tuple[Arrangement, dict | None]:  # fmt: skip
    """The fastest arrangement that runs here, and the planner's report of it.

    Where it is `given`, or the pins leave no choice of axes, it is `arrangement` (None: one device), and the report is None
    if the planner's space has no such plan. A process has its share of the machine already; threads of one share what it
    has.

    Raises:
        CommandError: no plan fits; says what does not and what would.
    """
    import sorus
    from sorus._core import _planning
    from sorus.models import GPT, presets

    from . import machine
    from .plan import traced_batch

    alternatives = _pins(fix, devices, settings.batch)
    chosen = given or (len(alternatives) == 1 and math.prod(alternatives[0].get(axis, 1) for axis in AXES) == devices)
    a = arrangement or Arrangement()
    if a.ep > 1:
        return a, None
    if chosen:
        pins = {axis: getattr(a, axis) for axis in AXES} | {"zero": a.zero, "recompute": 2 if a.recompute else 0}
        pins |= {"schedule": FIX["schedule"].index(a.schedule if a.pp > 1 else "none"), "chunks": a.chunks}
        pins |= {"micro_batch": settings.batch // (a.dp * a.micro), "sp": 0, "offload": 0, "ep": 1}
        alternatives = [pins]
    tokens = [settings.context]
    step = presets.Step(
        "gpt",
        lambda: GPT(
            vocabulary, settings.context, settings.n_layer, settings.n_head, settings.n_embd, settings.dropout
        ),
        lambda model, x, y: model.loss(x, y),
        lambda batch: [([batch, *tokens], sorus.int64)] * 2,
        sorus.float32 if settings.dtype == "float32" else sorus.bfloat16,
    )
    # Micro-batches are parts of the traced batch: the whole one, unless it is large.
    size = settings.batch if settings.batch <= 64 else traced_batch(settings.batch, step.largest_micro_batch)
    traced = step.trace(size)
    found = machine.speeds()
    cluster = machine.toml(found, devices // processes)
    best: tuple[Arrangement, dict] | None = None
    problem = ""
    for tried in (r for pins in alternatives for r in _runnable(pins)):
        request = {"devices": devices, "batch": settings.batch, "fix": tried, "families": False}
        report = json.loads(_planning.plan(traced, cluster, json.dumps(request), None))
        if "problem" in report:
            problem = report["problem"]
            continue
        report["step_time_s"] *= turns(report, devices // processes, found["threads"])
        if best is None or report["step_time_s"] < best[1]["step_time_s"]:
            try:
                made = a if given else Arrangement.of_plan(report["plan"], settings.batch, "plan")
            except ValueError as error:
                problem = str(error)
                continue
            made.recompute = made.recompute or tried["recompute"] > 0
            best = (made, report | {"machine": found})
    if best is None:
        # The planner's ranks have equal shares of the batch; those of the executor may have a sample more or less.
        if chosen or settings.batch % a.shares:
            return a, None
        raise CommandError(f"{devices} ranks: {problem}")
    return best


def measured_again(step_s: float, report: dict[str, Any], plan: Callable[[], dict | None]) -> dict[str, Any] | None:
    """If a step took much longer or shorter than the report says: the report of the same plan for the machine measured again.

    step_s: seconds of a step, measured. plan: makes the report anew.
    """
    from . import machine

    if 1 / FAR < step_s / report["step_time_s"] < FAR:
        return None
    machine.speeds(again=True)
    return plan()
