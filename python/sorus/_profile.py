"""sorus.profile: where the time of a piece of program goes, by operator and by source line."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

from . import _core


@dataclasses.dataclass
class Event:
    """One operator call, kernel or fused loop."""

    name: str
    kind: str
    """"eager", or in compiled graphs "kernel" and "loop"; of collectives "exchange" where the rank waits for all of it,
    "start" and "wait" where it goes on meanwhile, and "beside" for what runs meanwhile."""
    operands: str
    line: str | None
    """The line of the program that asked for it."""
    begin: float
    """Seconds since the profile began."""
    seconds: float
    flops: float
    """Floating-point operations it needs at least; 0 where unknown."""
    bytes: float
    """Bytes it has to move at least; 0 where unknown."""
    lane: int = 0
    """The thread, 0 for the first that did something: ranks may be threads."""


@dataclasses.dataclass
class Row:
    """Events that are alike."""

    name: str
    kind: str
    detail: str
    calls: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0


class profile:
    """Records what runs inside a `with` block.

    with sorus.profile() as p:
        step(x, y)
    print(p.table())                       # by operator
    print(p.table(by="line"))              # by source line
    p.export_chrome_trace("trace.json")    # chrome://tracing or ui.perfetto.dev
    """

    def __enter__(self) -> profile:
        self._profile = _core._Profile()
        return self

    def __exit__(self, *error: object) -> None:
        self._profile.stop()

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self._profile.seconds

    def events(self) -> list[Event]:
        return [Event(*e) for e in self._profile.events()]

    @property
    def exposed_communication(self) -> float:
        """Seconds in which ranks waited for what they exchange and did nothing else, of all lanes together."""
        return sum(e.seconds for e in self.events() if e.kind in ("exchange", "wait"))

    def rows(self, by: str = "operator") -> list[Row]:
        """Events summed by "operator", by "call" (operator and operand types) or by "line", longest first."""
        if by not in ("operator", "call", "line"):
            raise ValueError(f'profile: by is "operator", "call" or "line", not {by!r}')
        rows: dict[Any, Row] = {}
        for e in self.events():
            key = (e.line,) if by == "line" else (e.name, e.kind) + ((e.operands,) if by == "call" else ())
            if key not in rows:
                name = (e.line or "(no line)") if by == "line" else e.name
                rows[key] = Row(name, "" if by == "line" else e.kind, e.operands if by == "call" else "")
            r = rows[key]
            r.calls += 1
            r.seconds += e.seconds
            r.flops += e.flops
            r.bytes += e.bytes
        return sorted(rows.values(), key=lambda r: -r.seconds)

    def table(self, by: str = "operator", limit: int = 30) -> str:
        """The rows as text: calls, milliseconds, share of the recording, GFLOP/s and GB/s reached."""
        rows = self.rows(by)
        lanes = {e.lane for e in self.events() if e.kind != "beside"}
        total = self.seconds * max(1, len(lanes))
        out = [f"{'calls':>7} {'ms':>10} {'share':>6} {'GFLOP/s':>8} {'GB/s':>7}  {by}"]
        for r in rows[:limit]:
            rate = max(r.seconds, 1e-12) * 1e9
            name = f"{r.name}  ({r.kind})" if r.kind else r.name
            if r.detail:
                name += f"  {r.detail}"
            out.append(
                f"{r.calls:7d} {r.seconds * 1e3:10.3f} {r.seconds / total:6.1%} {r.flops / rate:8.1f} "
                f"{r.bytes / rate:7.1f}  {name}"
            )
        rest = rows[limit:]
        if rest:
            seconds = sum(r.seconds for r in rest)
            out.append(
                f"{sum(r.calls for r in rest):7d} {seconds * 1e3:10.3f} {seconds / total:6.1%} {'':8} {'':7}  "
                f"({len(rest)} more)"
            )
        outside = total - sum(r.seconds for r in rows if r.kind != "beside")
        out.append(f"{'':7} {outside * 1e3:10.3f} {outside / total:6.1%} {'':8} {'':7}  outside of operators")
        out.append(f"{'':7} {total * 1e3:10.3f}")
        return "\n".join(out)

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str | os.PathLike) -> None:
        pathlib.Path(path).write_text(self._profile.chrome_trace())
