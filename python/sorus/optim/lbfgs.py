"""Limited-memory BFGS, for problems whose loss is the same function at every call: fits, inverse problems, small networks on
all of their data.

    optimizer = LBFGS([x], line_search_fn="strong_wolfe")
    def closure():
        optimizer.zero_grad()
        loss = f(x)
        loss.backward()
        return loss
    for _ in range(20):
        optimizer.step(closure)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import _core
from .._core import Tensor
from .optimizer import Optimizer

_op = _core.operators


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum().item())


def _largest(a: Tensor) -> float:
    return float(a.abs().max().item()) if a.numel() else 0.0


@dataclass
class _Point:
    """The function along a direction: at `step`, its value, its slope and its whole gradient."""

    step: float
    loss: float
    slope: float
    grad: Tensor


def _cubic_minimum(a: _Point, b: _Point, low: float, high: float) -> float:
    """Where the cubic through both values and slopes is least, within [low, high] (Nocedal, Wright 2006, eq. 3.59)."""
    if a.step > b.step:
        a, b = b, a
    if a.step == b.step:
        return (low + high) / 2
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    bottom = b.slope - a.slope + 2 * d2
    if bottom == 0:
        return (low + high) / 2
    at = b.step - (b.step - a.step) * (b.slope + d2 - d1) / bottom
    return min(max(at, low), high)


def _strong_wolfe(
    probe: Callable[[float], _Point],
    start: _Point,
    first: float,
    longest: float,
    tolerance: float,
    most: int = 25,
    c1: float = 1e-4,
    c2: float = 0.9,
) -> tuple[_Point, int]:
    """A step that lessens the loss by enough and flattens the slope by enough (Nocedal, Wright 2006, algorithms 3.5, 3.6).

    `longest` is the largest component of the direction, so that `tolerance` is of the parameters. Also how many
    probes were made.
    """

    def too_high(p: _Point, than: _Point) -> bool:
        return not p.loss <= start.loss + c1 * p.step * start.slope or p.loss >= than.loss

    def flat(p: _Point) -> bool:
        return abs(p.slope) <= -c2 * start.slope

    before, now, probes = start, probe(first), 1
    bracket = None
    while probes < most:
        if too_high(now, before if before is not start else _Point(0, math.inf, 0, start.grad)):
            bracket = (before, now)
        elif flat(now):
            return now, probes
        elif now.slope >= 0:
            bracket = (before, now)
        if bracket:
            break
        further = _cubic_minimum(before, now, now.step + 0.01 * (now.step - before.step), now.step * 10)
        before, now = now, probe(further)
        probes += 1
    low, high = bracket or (start, now)
    if high.loss < low.loss:
        low, high = high, low
    slow = False
    while probes < most and abs(high.step - low.step) * longest >= tolerance:
        left, right = min(low.step, high.step), max(low.step, high.step)
        at = _cubic_minimum(low, high, left, right)
        margin = 0.1 * (right - left)
        if min(at - left, right - at) < margin:  # twice so near an end, or at it: a tenth further in
            if slow or at <= left or at >= right:
                at = right - margin if abs(at - right) < abs(at - left) else left + margin
                slow = False
            else:
                slow = True
        else:
            slow = False
        now = probe(at)
        probes += 1
        if too_high(now, low):
            high = now
            if high.loss < low.loss:
                low, high = high, low
            continue
        if flat(now):
            return now, probes
        if now.slope * (high.step - low.step) >= 0:
            high = low
        low = now
    return low, probes


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` differences of gradients (Liu, Nocedal 1989).

    `step` needs a closure that computes the loss and its gradients again; it makes up to `max_iter` iterations and
    `max_eval` (default: 5/4 of them) evaluations, and ends before where no gradient is above `tolerance_grad`, or nothing
    changes by `tolerance_change`. Without `line_search_fn="strong_wolfe"` each step is `lr` long, the first one shorter.
    One group of parameters only: ValueError otherwise, as for an unknown line search.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if not lr >= 0:
            raise ValueError(f"LBFGS: lr must not be negative, found {lr}")
        if line_search_fn not in (None, "strong_wolfe"):
            raise ValueError(f"LBFGS: line_search_fn must be None or 'strong_wolfe', found {line_search_fn!r}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)
        if len(self.param_groups) != 1:
            raise ValueError(f"LBFGS: expected one group of parameters, got {len(self.param_groups)}")
        self._params = self.param_groups[0]["params"]

    def _flat_grad(self) -> Tensor:
        parts = [
            _op["zeros_like"](p).reshape(-1) if p.grad is None else p.grad.detach().reshape(-1) for p in self._params
        ]
        return _op["cat"](parts, 0)

    def _move(self, start: list[Tensor], direction: Tensor, step: float) -> None:
        """Parameters to start + step * direction."""
        before = _core._set_grad_enabled(False)
        try:
            offset = 0
            for p, origin in zip(self._params, start, strict=True):
                n = p.numel()
                p.copy_(origin + direction[offset : offset + n].reshape(p.shape) * step)
                offset += n
        finally:
            _core._set_grad_enabled(before)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """The iterations; returns the loss before the first. Raises TypeError without a closure."""
        if closure is None:
            raise TypeError("LBFGS: step needs a closure that computes the loss and its gradients again")
        group, memory = self.param_groups[0], self.state[self._params[0]]

        def evaluate() -> Any:
            before = _core._set_grad_enabled(True)
            try:
                return closure()
            finally:
                _core._set_grad_enabled(before)

        first_loss = evaluate()
        loss, grad, evaluations = float(first_loss), self._flat_grad(), 1
        memory["func_evals"] = memory.get("func_evals", 0) + 1
        if _largest(grad) <= group["tolerance_grad"]:
            return first_loss
        pairs: list[tuple[Tensor, Tensor]] = memory.setdefault("pairs", [])
        for iteration in range(1, group["max_iter"] + 1):
            memory["n_iter"] = memory.get("n_iter", 0) + 1
            if memory["n_iter"] > 1:
                y, s = grad - memory["prev_flat_grad"], memory["d"] * memory["t"]
                if _inner(y, s) > 1e-10:  # curvature that keeps the approximation positive
                    pairs.append((y, s))
                    del pairs[: -group["history_size"]]
            d = self._direction(grad, pairs)
            slope = _inner(grad, d)
            shorten = min(1.0, 1.0 / max(float(grad.abs().sum().item()), 1e-300)) if memory["n_iter"] == 1 else 1.0
            t, loss_before = shorten * group["lr"], loss
            memory["prev_flat_grad"] = grad
            memory["d"] = d
            if slope > -group["tolerance_change"]:
                memory["t"] = 0.0
                break
            start = [p.detach().clone() for p in self._params]
            probes = 0
            if group["line_search_fn"]:

                def probe(step: float, start: list[Tensor] = start, d: Tensor = d) -> _Point:
                    self._move(start, d, step)
                    value = float(evaluate())
                    g = self._flat_grad()
                    return _Point(step, value, _inner(g, d), g)

                end, probes = _strong_wolfe(
                    probe, _Point(0.0, loss, slope, grad), t, _largest(d), group["tolerance_change"]
                )
                t, loss, grad = end.step, end.loss, end.grad
                self._move(start, d, t)
            else:
                self._move(start, d, t)
                if iteration < group["max_iter"]:
                    loss, grad, probes = float(evaluate()), self._flat_grad(), 1
            memory["t"] = t
            evaluations += probes
            memory["func_evals"] += probes
            if evaluations >= group["max_eval"] or _largest(grad) <= group["tolerance_grad"]:
                break
            if _largest(d * t) <= group["tolerance_change"] or abs(loss - loss_before) < group["tolerance_change"]:
                break
        return first_loss

    @staticmethod
    def _direction(grad: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Minus the inverse Hessian times the gradient (Nocedal, Wright 2006, algorithm 7.4)."""
        q, shares = -grad, []
        for y, s in reversed(pairs):
            rho = 1 / _inner(y, s)
            share = rho * _inner(s, q)
            shares.append((rho, share))
            q = q - y * share
        if pairs:
            y, s = pairs[-1]
            q = q * (_inner(y, s) / _inner(y, y))
        for (y, s), (rho, share) in zip(pairs, reversed(shares), strict=True):
            q = q + s * (share - rho * _inner(y, q))
        return q
