"""What is asked of a measurement, and how what was measured compares with it. Pure functions of numbers.

A measurement has samples for each variant, one a round, in the order of the rounds. A claim compares the fastest of
some variants with the fastest of some peers; since rounds alternate, their ratio is taken round by round.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

IDLE = 0.03
"""Up to this share of the machine used by other processes, wall time counts; above it CPU time does."""


@dataclass(frozen=True)
class Claim:
    id: str
    title: str
    ours: tuple[str, ...]
    against: tuple[str, ...] = ()
    least: float | None = None
    """The ratio peer / Sorus that is asked for."""
    aim: float | None = None
    at_most: float | None = None
    """What Sorus itself may take at most, in the unit of the measurement."""
    unit: str = "s"
    """"s" or "bytes"."""
    wall_only: bool = False
    """Wall time counts on a busy machine too: for what waits for other processes."""


@dataclass
class Samples:
    wall: list[float]
    cpu: list[float]

    def of(self, basis: str) -> list[float]:
        return self.wall if basis == "wall" else self.cpu


def basis(unit: str, others: float) -> str:
    return "wall" if unit != "s" or others <= IDLE else "cpu"


def best(names: tuple[str, ...], samples: dict[str, Samples], by: str) -> str | None:
    """The variant with the smallest median; None if none of them could be measured."""
    present = [n for n in names if n in samples and samples[n].of(by)]
    return min(present, key=lambda n: median(samples[n].of(by)), default=None)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "low": min(values), "high": max(values)}


def judge(claim: Claim, samples: dict[str, Samples], others: float) -> dict:
    """The row of the table: who was best on both sides, the ratio with its spread, and whether the claim holds.

    "met" is None where something that the claim needs could not be measured.
    """
    by = "wall" if claim.wall_only else basis(claim.unit, others)
    row: dict = {
        "id": claim.id,
        "title": claim.title,
        "unit": claim.unit,
        "least": claim.least,
        "aim": claim.aim,
        "at_most": claim.at_most,
        "basis": by,
        "others": others,
        "met": None,
    }
    ours = best(claim.ours, samples, by)
    if ours is None:
        return row
    row |= {"ours": ours, "wall": spread(samples[ours].wall), "cpu": spread(samples[ours].cpu)}
    verdicts = []
    if claim.at_most is not None:
        verdicts.append(median(samples[ours].of(by)) <= claim.at_most)
    peer = best(claim.against, samples, by)
    if peer is not None:
        ratios = [theirs / mine for theirs, mine in zip(samples[peer].of(by), samples[ours].of(by), strict=False)]
        row |= {
            "peer": peer,
            "peer_wall": spread(samples[peer].wall),
            "peer_cpu": spread(samples[peer].cpu),
            "ratio": spread(ratios),
        }
        if claim.least is not None:
            verdicts.append(row["ratio"]["median"] >= claim.least)
    elif claim.least is not None:
        return row
    row["met"] = all(verdicts) if verdicts else None
    return row


def judge_training(id: str, title: str, curves: dict[str, list[list]], ours: str, peer: str) -> dict:
    """`curves[variant]` has one curve [(step, validation loss), ...] for each seed; seeds start from the same weights.

    The difference between frameworks must lie within what another seed makes of the peer.
    """
    row: dict = {"id": id, "title": title, "unit": "loss", "met": None, "others": 0.0}
    mine, theirs = curves.get(ours), curves.get(peer)
    if not mine or not theirs:
        return row
    final = [[curve[-1][1] for curve in side] for side in (mine, theirs)]
    difference = max(abs(a - b) for a, b in zip(*final, strict=True))
    seeds = max(final[1]) - min(final[1])
    return row | {
        "ours": ours,
        "peer": peer,
        "final": final,
        "difference": difference,
        "seeds": seeds,
        "met": difference <= seeds,
    }
