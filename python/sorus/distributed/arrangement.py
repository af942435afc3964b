"""How a training step is arranged on a number of ranks: what `--devices`, `--fix` and `--plan` ask for, made whole.

Arrangement.of(devices=4, batch=12)                       data parallel
Arrangement.of(devices=4, batch=12, fix=["pp=2"])         a pipeline of 2 in each of 2 data-parallel ranks
Arrangement.from_plan("plan.json", batch=12)
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .device_mesh import DeviceMesh

PINS = {
    "dp": "ranks that share the batch", "tp": "ranks that share every matrix", "pp": "stages of a pipeline, a rank each",
    "cp": "ranks that share every sequence",
    "zero": "0 to 3: what else is cut among the data-parallel ranks", "micro": "micro-batches of a step",
    "chunks": "stages of a rank", "schedule": "gpipe, 1f1b, interleaved or zero-bubble", "recompute": "0 or 1",
}  # fmt: skip
SCHEDULES = ("gpipe", "1f1b", "interleaved", "zero-bubble")
# Of a plan's axes, and what they are called here.
KINDS = {"data": "dp", "tensor": "tp", "pipeline": "pp", "sequence": "cp", "expert": "ep"}
INNER = ("dp", "ep", "cp", "tp")  # the axes beside the pipeline, the outermost first


def read_pins(texts: list[str]) -> dict[str, Any]:
    """The pins in "dp=2,zero=3" and the like.

    Raises:
        ValueError: a name that is not known, a value that is not one, a name that is given two values.
    """
    pins: dict[str, Any] = {}
    for item in (part.strip() for text in texts for part in text.split(",")):
        name, found, value = item.partition("=")
        if not found or name not in PINS:
            known = ", ".join(f"{k} ({v})" for k, v in PINS.items())
            raise ValueError(f"--fix: {item!r} is not NAME=VALUE with a known name; known are {known}")
        if name == "schedule":
            if value not in SCHEDULES:
                raise ValueError(f"--fix schedule: {value!r} is none of {', '.join(SCHEDULES)}")
            new: Any = value
        else:
            least, most = {"zero": (0, 3), "recompute": (0, 1)}.get(name, (1, 1 << 20))
            if not value.isdigit() or not least <= int(value) <= most:
                raise ValueError(f"--fix {name}: {value!r} is not a whole number from {least} to {most}")
            new = int(value)
        if pins.get(name, new) != new:
            raise ValueError(f"--fix: {name} is both {pins[name]} and {new}")
        pins[name] = new
    return pins


def _near(n: int, fits: Any, limit: int) -> str:
    """The nearest number that fits, as a hint."""
    found = [k for k in range(1, limit + 1) if fits(k)]
    return str(min(found, key=lambda k: (abs(k - n), k))) if found else "none"


@dataclass
class Arrangement:
    dp: int = 1
    tp: int = 1
    pp: int = 1
    cp: int = 1
    ep: int = 1
    zero: int = 0
    micro: int = 1
    chunks: int = 1
    schedule: str = "1f1b"
    recompute: bool = False
    # Of a plan: the order of the axes beside the pipeline; for each stage the parameters that it is the first to read
    # (None: stages of equal time); how parameters lie, by axis (None: the program's own marks).
    order: tuple[str, ...] = ()
    stages: list[list[str]] | None = None
    marks: dict[str, dict[str, str]] | None = None
    axis_of: dict[str, str] = field(default_factory=dict)  # the plan's names of the axes

    @property
    def devices(self) -> int:
        return self.dp * self.tp * self.pp * self.cp * self.ep

    @property
    def shares(self) -> int:
        """Ranks that share the batch."""
        return self.dp * self.ep

    @classmethod
    def of(cls, devices: int, batch: int, fix: list[str] | None = None) -> Arrangement:
        """What is not pinned is chosen: the first of dp, tp and pp that is free takes the ranks that are left; with a number of
        micro-batches pinned, dp as many of them as the batch allows, and the next the others.

        Raises:
            ValueError: which pin or size does not fit, by how much, and what would.
        """
        pins = read_pins(fix or [])
        axes = {name: pins[name] for name in ("dp", "tp", "pp", "cp") if name in pins}
        pinned = math.prod(axes.values())
        shown = " x ".join(f"{k}={v}" for k, v in axes.items())
        free = next((name for name in ("dp", "tp", "pp") if name not in axes), None)
        if devices % pinned or (free is None and pinned != devices):
            more = "" if free is None else f", and {devices} is not a multiple of it"
            near = pinned if free is None else _near(devices, lambda n: n % pinned == 0, 4 * devices + pinned)
            raise ValueError(
                f"{devices} ranks cannot be arranged as {shown}: that makes {pinned}{more}; --devices {near} would do"
            )
        chosen = {free: devices // pinned} if free else {}
        if free == "dp" and "micro" in pins and (other := next((n for n in ("tp", "pp") if n not in axes), None)):
            # As many data-parallel ranks as leave samples for the micro-batches.
            widths = [n for n in range(1, devices // pinned + 1) if devices // pinned % n == 0]
            dp = max((n for n in widths if batch % (n * pins["micro"]) == 0), default=devices // pinned)
            chosen = {"dp": dp, other: devices // pinned // dp}
        a = cls(**{**chosen, **pins})
        a.recompute = bool(a.recompute)
        if "micro" not in pins and a.pp > 1:
            share = batch // a.shares if batch % a.shares == 0 else 0
            wanted = [m for m in range(2, share + 1) if share % m == 0 and (a.chunks == 1 or m % a.pp == 0)]
            a.micro = min(wanted, key=lambda m: (abs(m - 2 * a.pp), m)) if wanted else a.pp
        if a.chunks > 1 and "schedule" not in pins:
            a.schedule = "interleaved"
        a.check(batch)
        return a

    @classmethod
    def from_plan(cls, path: str | Path, batch: int) -> Arrangement:
        """What a plan file says.

        Raises:
            ValueError: it is not a plan, asks for what cannot be run here, or is of another batch.
        """
        from sorus._core import _planning

        return cls.of_plan(json.loads(_planning.read_plan(str(path))), batch, path)

    @classmethod
    def of_plan(cls, plan: dict[str, Any], batch: int, path: str | Path) -> Arrangement:
        """The same of a whole plan in memory, as `sorus plan` writes it; `path` is what errors call it."""
        a = cls(zero=plan["zero"], micro=plan["micro_batches"], chunks=plan["chunks"])
        problems = a._take_mesh(plan["mesh"]) + a._take_stages(plan) + a._take_marks(plan["marks"])
        problems += [f"offload of {name}" for name, asked in plan["offload"].items() if asked]
        if plan["sequence_parallel"]:
            problems.append("sequence parallelism")
        if plan.get("device_of_rank", []) != list(range(len(plan.get("device_of_rank", [])))):
            problems.append("ranks on chosen devices (device_of_rank); give the hosts in that order to mpirun")
        if problems:
            raise ValueError(f"{path}: this command cannot run yet what the plan asks for: {'; '.join(problems)}")
        if plan["global_batch"] != batch:
            raise ValueError(f"{path}: the plan is for a batch of {plan['global_batch']}, this run has {batch}")
        try:
            a.check(batch)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return a

    def _take_mesh(self, mesh: list[dict[str, Any]]) -> list[str]:
        problems = []
        for place, axis in enumerate(mesh):
            name = KINDS.get(axis["kind"])
            if axis["size"] == 1:
                continue
            if name is None:
                problems.append(f"an axis of kind {axis['kind']!r} ({axis['name']})")
            elif getattr(self, name) > 1:
                problems.append(f"a second axis of kind {axis['kind']!r} ({axis['name']})")
            elif name == "pp" and any(other["size"] > 1 for other in mesh[:place]):
                problems.append(f"a pipeline axis ({axis['name']}) that is not the first of the mesh")
            else:
                setattr(self, name, axis["size"])
                self.axis_of[axis["name"]] = name
        self.order = tuple(n for n in self.axis_of.values() if n != "pp")
        return problems

    def _take_stages(self, plan: dict[str, Any]) -> list[str]:
        problems = []
        if plan["schedule"] != "none":
            self.schedule = plan["schedule"]
        if self.schedule not in SCHEDULES:
            problems.append(f"the schedule {self.schedule!r}; known are {', '.join(SCHEDULES)}")
        stages = plan["stages"]
        kinds = {s["recompute"] for s in stages}
        if (
            "selective" in kinds
            or len(kinds) > 1
            or any(s["recompute_layers"] >= 0 for s in stages if kinds != {"none"})
        ):
            problems.append("recomputation of some operators, layers or stages; it is all or none")
        elif kinds == {"full"} and self.micro == 1:
            problems.append("recomputation without micro-batches")
        self.recompute = "full" in kinds
        if len(stages) > 1:
            self.stages = [s.get("parameters", []) for s in stages]
            unnamed = [i for i, names in enumerate(self.stages) if not names]
            if unnamed:
                problems.append(f"stages without 'parameters' ({', '.join(map(str, unnamed))}): where they begin in this "
                                "program cannot be told from positions in the graph of another")  # fmt: skip
            wrong = [i for i, s in enumerate(stages) if s["device"] != i % self.pp]
            if wrong:
                problems.append(
                    f"stage {wrong[0]} on pipeline rank {stages[wrong[0]]['device']}, not {wrong[0] % self.pp}"
                )
        return problems

    def _take_marks(self, marks: list[dict[str, Any]]) -> list[str]:
        problems = []
        self.marks = {}
        for mark in marks:
            if mark["of"] != "parameter":
                problems.append(f"the mark of {mark['of']} {mark['index']}; only parameters can be marked")
                continue
            places = {axis: place for axis, place in mark["on"].items() if place != "R" and axis in self.axis_of}
            for axis, place in places.items():
                if place == "P":
                    problems.append(f"partial sums of the parameter {mark['name']}")
                elif self.axis_of[axis] == "pp":
                    problems.append(f"the parameter {mark['name']} cut along the pipeline")
            self.marks[mark["name"]] = {self.axis_of[axis]: place for axis, place in places.items()}
        return problems

    def check(self, batch: int) -> None:
        """Whether the batch divides.

        Raises:
            ValueError: what does not, and the nearest that does.
        """
        ranks, fits = self.shares, lambda n: batch % (n * self.ep) == 0
        if batch < ranks:
            raise ValueError(
                f"a batch of {batch} is smaller than the {ranks} data-parallel ranks, by {ranks - batch}; the "
                f"nearest that fit: dp={_near(self.dp, fits, self.dp)}, or a batch of {ranks}"
            )
        if batch % ranks and (self.micro > 1 or self.ep > 1):  # else ranks have a sample more or less
            what = "experts on ranks" if self.ep > 1 else "micro-batches"
            raise ValueError(
                f"a batch of {batch} cannot be shared equally by {ranks} data-parallel ranks, as {what} need it; the nearest that fit: "
                f"dp={_near(self.dp, fits, 2 * self.dp)}, or a batch of "
                f"{_near(batch, lambda n: n % ranks == 0, 2 * batch + ranks)}"
            )
        share = batch // ranks
        if share % self.micro:
            raise ValueError(
                f"{share} samples of a rank cannot be cut into {self.micro} micro-batches; the nearest that fit: "
                f"micro={_near(self.micro, lambda n: share % n == 0, share)}"
            )
        if self.pp * self.chunks > 1 and self.micro < 2:
            raise ValueError(
                f"a pipeline of {self.pp * self.chunks} stages needs at least 2 micro-batches, a rank has {share} "
                f"sample{'s' if share > 1 else ''}; give a batch of {2 * ranks} or more"
            )
        if self.zero and self.dp == 1:
            raise ValueError(
                f"zero={self.zero} cuts among data-parallel ranks, but there is only one; pin dp=2 or more"
            )
        if self.recompute and self.schedule == "zero-bubble":
            raise ValueError(
                "recompute contradicts schedule=zero-bubble, which keeps activations for the gradients of weights"
            )
        if self.chunks > 1 and self.schedule != "interleaved":
            raise ValueError(
                f"chunks={self.chunks} contradicts schedule={self.schedule}: only interleaved has several"
            )

    def mesh(self) -> DeviceMesh:
        """The ranks of one stage."""
        there = [n for n in INNER if n in ("dp", "tp") or getattr(self, n) > 1]
        names = (*self.order, *(n for n in there if n not in self.order))
        return DeviceMesh("cpu", tuple(getattr(self, n) for n in names), mesh_dim_names=names)

    def mark(self, model: Any, mesh: DeviceMesh) -> None:
        """Marks the parameters of `model` as the plan says.

        Raises:
            ValueError: a parameter that the model does not have, or that cannot be cut so.
        """
        from .tensor import Replicate, Shard, distribute_tensor

        named = dict(model.named_parameters())
        for name, places in (self.marks or {}).items():
            placements = [
                Shard(int(places[axis][2:-1])) if axis in places else Replicate() for axis in mesh.mesh_dim_names
            ]
            try:
                distribute_tensor(self._find(named, name), mesh, placements)
            except ValueError as error:
                raise ValueError(f"the plan's mark of {name}: {error}") from None

    def options(self, model: Any = None) -> dict[str, Any]:
        """Keyword arguments of `sorus.compile`, beside the mesh; `model` has the parameters that stages are named by.

        Raises:
            ValueError: the plan names a parameter that the model does not have.
        """
        chosen: dict[str, Any] = {"data": ("dp", "ep") if self.ep > 1 else "dp", "context": "cp" if self.cp > 1 else None,
                  "zero": self.zero, "micro_batches": self.micro, "pipeline": self.pp,
                  "schedule": self.schedule, "chunks": self.chunks, "recompute": self.recompute}  # fmt: skip
        if self.stages is not None and model is not None:
            named = dict(model.named_parameters())
            chosen["stages"] = [[self._find(named, name) for name in stage] for stage in self.stages]
        return chosen

    @staticmethod
    def _find(named: dict[str, Any], name: str) -> Any:
        if name not in named:
            raise ValueError(
                f"the plan names the parameter {name!r}, which the model does not have: it is the plan of another "
                f"program; the model begins with {', '.join(list(named)[:3])}"
            )
        return named[name]

    def __str__(self) -> str:
        parts = [
            f"{name} {getattr(self, name)}" for name in ("dp", "ep", "cp", "tp", "pp") if getattr(self, name) > 1
        ]
        text = " x ".join(parts) or "1 rank"
        if self.zero:
            text += f", ZeRO {self.zero}"
        if self.micro > 1:
            text += f", {self.micro} micro-batches"
        if self.pp > 1:
            text += f", {self.schedule}" + (f" of {self.chunks} chunks" if self.chunks > 1 else "")
        return text + (", recomputation" if self.recompute else "")
