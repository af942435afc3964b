"""How `sorus train gpt --devices N` comes to its arrangement: the planner's, for this machine.

The planner sees the model's shape and a cluster file measured here, in which a rank has its share of the cores. What
the executor cannot run yet (sequence parallelism, offload, the zero-bubble schedule) is pinned away, so that the plan is
the fastest of those that run; the time it predicts is shown beside the measured one at the end.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from sorus.distributed.arrangement import SCHEDULES, Arrangement, read_pins

from . import CommandError
from .calibrate import machine_toml
from .plan import FIX

AXES = ("dp", "tp", "pp")


def cluster_here(ranks: int, cache: Path) -> str:
    """The cluster file of what this process computes with, cut into `ranks`; measured once and kept in the cache."""
    import sorus
    from sorus._core import _io, _machine

    kept = cache / "machine.json"
    key = f"{_machine.cpu_name()}, {sorus.get_num_threads()} threads, sorus {sorus.__version__}"
    found: dict[str, Any] = {}
    if kept.exists():
        try:
            found = json.loads(kept.read_text())
        except ValueError:  # cut short by another program; measured anew
            found = {}
    if found.get("key") != key:
        from .info import measure

        found = {"key": key} | measure()
        cache.mkdir(parents=True, exist_ok=True)
        _io.write_file(kept, json.dumps(found, indent=1) + "\n")
    return machine_toml(found, ranks)


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
    pins |= {"sp": 0, "offload": 0}
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
    from sorus.models import presets

    from .plan import traced_batch

    alternatives = _pins(fix, devices, settings.batch)
    chosen = given or (len(alternatives) == 1 and math.prod(alternatives[0].get(axis, 1) for axis in AXES) == devices)
    a = arrangement or Arrangement()
    if chosen:
        pins = {axis: getattr(a, axis) for axis in AXES} | {"zero": a.zero, "recompute": 2 if a.recompute else 0}
        pins |= {"schedule": FIX["schedule"].index(a.schedule if a.pp > 1 else "none"), "chunks": a.chunks}
        pins |= {"micro_batch": settings.batch // (a.dp * a.micro), "sp": 0, "offload": 0}
        alternatives = [pins]
    step = presets.decoder("gpt", layers=settings.n_layer, hidden=settings.n_embd, heads=settings.n_head,
                           vocab=vocabulary, context=settings.context, dropout=settings.dropout)  # fmt: skip
    step.dtype = sorus.float32 if settings.dtype == "float32" else sorus.bfloat16
    # Micro-batches are parts of the traced batch: the whole one, unless it is large.
    size = settings.batch if settings.batch <= 64 else traced_batch(settings.batch, step.largest_micro_batch)
    traced = step.trace(size)
    cluster = cluster_here(devices // processes, Path(sorus.data.cache_folder()))
    best: tuple[Arrangement, dict] | None = None
    problem = ""
    for tried in (r for pins in alternatives for r in _runnable(pins)):
        request = {"devices": devices, "batch": settings.batch, "fix": tried, "families": False}
        report = json.loads(_planning.plan(traced, cluster, json.dumps(request), None))
        if "problem" in report:
            problem = report["problem"]
        elif best is None or report["step_time_s"] < best[1]["step_time_s"]:
            try:
                found = a if chosen else Arrangement.of_plan(report["plan"], settings.batch, "plan")
            except ValueError as error:
                problem = str(error)
                continue
            found.recompute = found.recompute or tried["recompute"] > 0
            best = (found, report)
    if best is None:
        if chosen:
            return a, None
        raise CommandError(f"{devices} ranks: {problem}")
    return best
