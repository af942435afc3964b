"""How a training step is arranged on a number of ranks: what `--devices`, `--fix` and `--plan` ask for, made whole.

Arrangement.of(devices=4, batch=12)                       data parallel
Arrangement.of(devices=4, batch=12, fix=["pp=2"])         a pipeline of 2 in each of 2 data-parallel ranks
Arrangement.from_plan("plan.json", batch=12)
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .device_mesh import DeviceMesh

PINS = {
    "dp": "ranks that share the batch", "tp": "ranks that share every matrix", "pp": "stages of a pipeline, a rank each",
    "zero": "0 to 3: what else is cut among the data-parallel ranks", "micro": "micro-batches of a step",
    "chunks": "stages of a rank", "schedule": "gpipe, 1f1b or interleaved", "recompute": "0 or 1",
}  # fmt: skip
SCHEDULES = ("gpipe", "1f1b", "interleaved")


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
    zero: int = 0
    micro: int = 1
    chunks: int = 1
    schedule: str = "1f1b"
    recompute: bool = False

    @property
    def devices(self) -> int:
        return self.dp * self.tp * self.pp

    @classmethod
    def of(cls, devices: int, batch: int, fix: list[str] | None = None) -> Arrangement:
        """What is not pinned is chosen: the first of dp, tp and pp that is free takes the ranks that are left; with a number of
        micro-batches pinned, dp as many of them as the batch allows, and the next the others.

        Raises:
            ValueError: which pin or size does not fit, by how much, and what would.
        """
        pins = read_pins(fix or [])
        axes = {name: pins[name] for name in ("dp", "tp", "pp") if name in pins}
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
            share = batch // a.dp if batch % a.dp == 0 else 0
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
            ValueError: the plan asks for what cannot be run here, or is of another batch.
        """
        with open(path, encoding="utf-8") as f:
            return cls.of_plan(json.load(f), batch, path)

    @classmethod
    def of_plan(cls, plan: dict[str, Any], batch: int, path: str | Path) -> Arrangement:
        """The same of a plan in memory; `path` is what errors call it."""
        kinds = {"data": "dp", "tensor": "tp", "pipeline": "pp"}
        a = cls(zero=plan.get("zero", 0), micro=plan.get("micro_batches", 1), chunks=plan.get("chunks", 1))
        for axis in plan.get("mesh", []):
            if axis["size"] == 1:
                continue
            if axis["kind"] not in kinds:
                raise ValueError(f"{path}: an axis of kind {axis['kind']!r} cannot be run by this command yet")
            setattr(a, kinds[axis["kind"]], axis["size"])
        if plan.get("schedule", "none") != "none":
            a.schedule = plan["schedule"]
        if a.schedule not in SCHEDULES:
            raise ValueError(
                f"{path}: the schedule {a.schedule!r} cannot be run yet; known are {', '.join(SCHEDULES)}"
            )
        stages = plan.get("stages", [])
        a.recompute = a.pp > 1 and any(s.get("recompute", "none") != "none" for s in stages)
        offload = [k for k, v in plan.get("offload", {}).items() if v]
        if offload:
            raise ValueError(f"{path}: offload of {', '.join(offload)} cannot be run yet")
        if plan.get("global_batch", batch) != batch:
            raise ValueError(f"{path}: the plan is for a batch of {plan['global_batch']}, this run has {batch}")
        a.check(batch)
        return a

    def check(self, batch: int) -> None:
        """Whether the batch divides.

        Raises:
            ValueError: what does not, and the nearest that does.
        """
        if batch < self.dp:
            raise ValueError(
                f"a batch of {batch} is smaller than the {self.dp} data-parallel ranks, by {self.dp - batch}; the "
                f"nearest that fit: dp={_near(self.dp, lambda n: batch % n == 0, self.dp)}, or a batch of {self.dp}"
            )
        if batch % self.dp:
            raise ValueError(
                f"a batch of {batch} cannot be shared equally by {self.dp} data-parallel ranks; the nearest that fit: "
                f"dp={_near(self.dp, lambda n: batch % n == 0, 2 * self.dp)}, or a batch of "
                f"{_near(batch, lambda n: n % self.dp == 0, 2 * batch + self.dp)}"
            )
        share = batch // self.dp
        if share % self.micro:
            raise ValueError(
                f"{share} samples of a rank cannot be cut into {self.micro} micro-batches; the nearest that fit: "
                f"micro={_near(self.micro, lambda n: share % n == 0, share)}"
            )
        if self.pp * self.chunks > 1 and self.micro < 2:
            raise ValueError(
                f"a pipeline of {self.pp * self.chunks} stages needs at least 2 micro-batches, a rank has {share} "
                f"sample{'s' if share > 1 else ''}; give a batch of {2 * self.dp} or more"
            )
        if self.zero and self.dp == 1:
            raise ValueError(
                f"zero={self.zero} cuts among data-parallel ranks, but there is only one; pin dp=2 or more"
            )
        if self.chunks > 1 and self.schedule != "interleaved":
            raise ValueError(
                f"chunks={self.chunks} contradicts schedule={self.schedule}: only interleaved has several"
            )

    def mesh(self) -> DeviceMesh:
        """The ranks of one stage."""
        return DeviceMesh("cpu", (self.dp, self.tp), mesh_dim_names=("dp", "tp"))

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `sorus.compile`, beside the mesh."""
        return {"data": "dp", "zero": self.zero, "micro_batches": self.micro, "pipeline": self.pp,
                "schedule": self.schedule, "chunks": self.chunks, "recompute": self.recompute}  # fmt: skip

    def __str__(self) -> str:
        parts = [f"{name} {n}" for name, n in (("dp", self.dp), ("tp", self.tp), ("pp", self.pp)) if n > 1]
        text = " x ".join(parts) or "1 rank"
        if self.zero:
            text += f", ZeRO {self.zero}"
        if self.micro > 1:
            text += f", {self.micro} micro-batches"
        if self.pp > 1:
            text += f", {self.schedule}" + (f" of {self.chunks} chunks" if self.chunks > 1 else "")
        return text + (", recomputation" if self.recompute else "")
