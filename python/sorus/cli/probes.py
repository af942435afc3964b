"""Short training steps that tell what share of a machine's speeds kernels reach: `sorus calibrate` without a table.

Steps of a few networks and sizes are compiled for one thread and timed in processor time, which other programs disturb
least. Seven constants of the planner's model of a kernel (docs/parallel.md) are fitted to them: the shares of the
measured speed of products and of the measured bandwidth of memory, how much of a product's traffic is not hidden behind its
arithmetic and how much more of a convolution's, what share of products' speed attention reaches, the speed of what is not a
product, and the time of a kernel that does next to nothing. A level of the network has two more, from all-reduces of two sizes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import machine

# name, start, least, most
KERNELS = [("matrix", 0.7, 0.05, 1.0), ("matrix_size", 0.5, 0.0, 16.0), ("composite", 0.3, 0.02, 1.0),
           ("window_size", 4.0, 0.0, 64.0), ("memory", 1.0, 0.3, 3.0),
           ("launch_us", 2.0, 0.0, 50.0), ("vector", 0.16, 0.02, 1.0)]  # fmt: skip
SMALL, LARGE = 1024, 8 << 20  # bytes of the two all-reduces


def steps() -> list[tuple[Any, int]]:
    """The networks as Steps of the planner, with their batch."""
    import sorus
    from sorus.models.presets import EncoderBlock, Step, _conv

    nn = sorus.nn

    def square(model: Any, x: sorus.Tensor) -> sorus.Tensor:
        return model(x).square().mean()

    def encoder(width: int, heads: int, tokens: int, batch: int) -> tuple[Step, int]:
        build = lambda: nn.Sequential(*[EncoderBlock(width, heads) for _ in range(2)])  # noqa: E731
        inputs = lambda b: [([b, tokens, width], sorus.float32)]  # noqa: E731
        return Step(f"encoder {width} x {tokens} x {batch}", build, square, inputs, sorus.float32), batch

    def perceptron(width: int, batch: int) -> tuple[Step, int]:
        build = lambda: nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(width, width), nn.Tanh())])  # noqa: E731
        inputs = lambda b: [([b, width], sorus.float32)]  # noqa: E731
        return Step(f"perceptron {width} x {batch}", build, square, inputs, sorus.float32), batch

    def convolutions(width: int, size: int, batch: int) -> tuple[Step, int]:
        build = lambda: nn.Sequential(*[m for _ in range(3) for m in (_conv(width, width, 3), nn.ReLU())])  # noqa: E731
        inputs = lambda b: [([b, width, size, size], sorus.float32)]  # noqa: E731
        return Step(f"convolutions {width} x {size} x {batch}", build, square, inputs, sorus.float32), batch

    return [encoder(64, 4, 32, 4), encoder(128, 4, 64, 16), encoder(256, 8, 128, 4), encoder(384, 6, 64, 16),
            encoder(64, 4, 256, 4), perceptron(64, 16), perceptron(512, 128), perceptron(1024, 32), convolutions(32, 16, 16), convolutions(64, 32, 4),
            convolutions(256, 4, 8)]  # fmt: skip


def make_step(step: Any, batch: int, arrangement: Any = None) -> tuple[Callable[[], Any], Any]:
    """A function that trains once, and the compiled step: forward, backward, AdamW; on random numbers. On the ranks of the
    arrangement (`sorus.distributed.arrangement`), or one."""
    import sorus

    sorus.manual_seed(0)
    model = step.build()
    optimizer = sorus.optim.AdamW(model.parameters(), lr=1e-4)
    inputs = [
        sorus.randn(*shape) if dtype.is_floating_point else sorus.randint(0, 10, tuple(shape))
        for shape, dtype in step.inputs(batch)
    ]

    def train(*x: sorus.Tensor) -> sorus.Tensor:
        loss = step.loss(model, *x)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    if arrangement is None:
        whole = sorus.compile(train)
    else:
        mesh = arrangement.mesh()
        arrangement.mark(model, mesh)
        whole = sorus.compile(train, mesh=mesh, **arrangement.options(model))
    return (lambda: whole(*inputs)), whole


def seconds_of(f: Callable[[], Any], pace: machine.Pace, least: float = 0.15, parts: int = 5) -> float:
    """Processor seconds of a call over the machine's pace beside it: the middle one of several groups of calls."""
    f()
    f()
    began = time.process_time()
    f()
    calls = max(1, int(least / parts / max(1e-6, time.process_time() - began)))
    found = []
    before = pace()
    for _ in range(parts):
        began = time.process_time()
        for _ in range(calls):
            f()
        seconds = (time.process_time() - began) / calls
        after = pace()
        found.append(seconds / (0.5 * (before + after)))
        before = after
    return statistics.median(found)


def predicted(traced: Any, batch: int, toml: str) -> float:
    """Seconds of a step on one device, by the planner's model."""
    from sorus._core import _planning

    fix = {"micro_batch": batch, "recompute": 0, "offload": 0}
    request = {"devices": 1, "batch": batch, "fix": fix, "families": False}
    return json.loads(_planning.plan(traced, toml, json.dumps(request), None))["step_time_s"]


def measure(report: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)) -> dict[str, Any]:
    """The constants of this machine, and the probes with their measured and predicted seconds."""
    import sorus
    from sorus._core import _machine, _planning

    from .calibrate import fit

    threads = sorus.get_num_threads()
    sorus.set_num_threads(1)
    try:
        found = machine.measure() | {"processor": _machine.cpu_name(), "threads": 1}
        report(
            f"one thread: {found['gemm_float32_gflops']:.0f} GFLOP/s in products, {found['memory_gb_per_s']:.1f} GB/s of memory"
        )
        probes: list[tuple[str, Any, int, float]] = []
        pace = machine.Pace()
        for step, batch in steps():
            run, _ = make_step(step, batch)
            probes.append((step.name, step.trace(batch), batch, seconds_of(run, pace)))
            report(f"{step.name}: {1e3 * probes[-1][3] * pace.least:.3g} ms")
    finally:
        sorus.set_num_threads(threads)

    # All as if measured when the machine was fastest, as its speeds were.
    probes = [(name, traced, batch, ratio * pace.least) for name, traced, batch, ratio in probes]

    def errors(x: np.ndarray) -> np.ndarray:
        constants = {name: float(value) for (name, *_), value in zip(KERNELS, x, strict=True)}
        text = machine.toml(found | {"constants": constants})
        return np.array([np.log(predicted(traced, batch, text) / seconds) for _, traced, batch, seconds in probes])

    x = fit(errors, np.array([c[1] for c in KERNELS], float), 12, KERNELS)
    constants: dict[str, Any] = {name: float(value) for (name, *_), value in zip(KERNELS, x, strict=True)}
    # Of a ring of two: 2 a + S / B.
    small, large = (_planning.measure_all_reduce(2, size)[1] for size in (SMALL, LARGE))
    constants["level"] = {"gb_per_s": (LARGE - SMALL) / max(1e-9, large - small) / 1e9, "latency_us": 1e6 * small / 2}
    off = errors(x)
    return {
        "constants": constants,
        "pace_s": pace.least,
        "fitted_mean_error": float(np.abs(np.expm1(off)).mean()),
        "probes": [
            {"name": name, "measured_s": seconds, "predicted_s": seconds * float(np.exp(e))}
            for (name, _, _, seconds), e in zip(probes, off, strict=True)
        ],
    }
