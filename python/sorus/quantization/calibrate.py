"""From what values were seen to the range that their integers cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

METHODS = ("minmax", "percentile", "entropy", "mse")
BINS, STEPS, LEVELS = 2048, 40, 256
PERCENTILE = 99.99


class Histogram:
    """What was seen of one value. First `widen` with all batches, then `count` with all of them."""

    def __init__(self) -> None:
        self.low, self.high = 0.0, 0.0  # 0 has to have an integer of its own, so it is always in the range
        self.counts = np.zeros(BINS)

    def widen(self, x: np.ndarray) -> None:
        if not np.isfinite(x).all():
            raise ValueError("quantize: expected finite values during calibration, found infinite ones or NaN")
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def count(self, x: np.ndarray) -> None:
        if self.high > self.low:
            self.counts += np.histogram(x, BINS, (self.low, self.high))[0]

    def range(self, method: str) -> tuple[float, float]:
        """Lower and upper end of what the integers should cover."""
        if method == "minmax" or not self.counts.any():
            return self.low, self.high
        if method == "percentile":
            share = np.cumsum(self.counts) / self.counts.sum()
            edges = np.linspace(self.low, self.high, BINS + 1)
            below, above = 1 - PERCENTILE / 100, PERCENTILE / 100
            first, last = int(np.searchsorted(share, below)), int(np.searchsorted(share, above))
            return min(0.0, edges[first]), max(0.0, edges[min(last + 1, BINS)])
        return self.search(self.divergence if method == "entropy" else self.squared_error)

    def search(self, cost: Callable[[float, float], float]) -> tuple[float, float]:
        """The cheapest of ranges whose ends are parts of what was seen."""
        parts = np.arange(1, STEPS + 1) / STEPS
        lows = self.low * parts if self.low < 0 else np.zeros(1)
        highs = self.high * parts if self.high > 0 else np.zeros(1)
        return min(((float(a), float(b)) for a in lows for b in highs), key=lambda r: cost(*r))

    def centres(self) -> np.ndarray:
        return self.low + (np.arange(BINS) + 0.5) * ((self.high - self.low) / BINS)

    def squared_error(self, low: float, high: float) -> float:
        x, step = self.centres(), (high - low) / (LEVELS - 1)
        nearest = np.clip(np.rint((x - low) / step), 0, LEVELS - 1) * step + low
        return float(self.counts @ (x - nearest) ** 2)

    def divergence(self, low: float, high: float) -> float:
        """Kullback and Leibler's, from what was seen (cut off at the ends) to the same with one number for each integer."""
        x = self.centres()
        kept = (x >= low) & (x <= high)
        inner = self.counts[kept]
        if not inner.any():
            return float("inf")
        seen = inner.copy()
        seen[0] += self.counts[x < low].sum()
        seen[-1] += self.counts[x > high].sum()
        level = np.rint((x[kept] - low) / (high - low) * (LEVELS - 1)).astype(int)
        filled = inner > 0
        share = np.bincount(level, inner, LEVELS) / np.maximum(np.bincount(level, filled, LEVELS), 1)
        flat = np.where(filled, share[level], 0)
        p, q = seen / seen.sum(), flat / flat.sum()
        there = p > 0
        return float(np.sum(p[there] * np.log(p[there] / np.maximum(q[there], 1e-9))))


Scale = tuple[np.float32, int]  # of a value: its scale and zero point


def scale_of(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero point of int8 for a range that contains 0."""
    scale = np.float32((high - low) / (LEVELS - 1))
    if not scale > np.finfo(np.float32).tiny:
        return np.float32(1), 0
    return scale, int(np.clip(np.rint(-128 - low / float(scale)), -128, 127))


def codes(x: np.ndarray, scale: float | np.float32, zero_point: int) -> np.ndarray:
    """int8 of real numbers, rounded half away from zero."""
    steps = np.asarray(x, np.float64) / float(scale)
    nearest = np.trunc(steps + np.copysign(0.5, steps))
    return np.clip(nearest + zero_point, -128, 127).astype(np.int8)
