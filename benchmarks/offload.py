"""What it costs to train a model whose training state is three times the memory it may use, and how well that is predicted.

python benchmarks/offload.py                     # host memory, then a file in the current folder
python benchmarks/offload.py --json --into host --width 384 --layers 6 --rounds 9

Two copies of one model train in turns on the same batches: one with all it wants, one under a limit of a third of its weights
and moments, as `sorus train gpt --memory-limit` has it. Losses and weights must be equal to the bit. Predicted is said before
the second copy is timed: the seconds of the first, and the bytes that the recorded step must bring in (it is played through
without running) at the speed with which this machine puts out and brings in a few MiB, measured then; by the clock without what
comes in while another step of the graph computes, which takes a core (fewer --threads than cores). `slowdown` is the time of
the second over the first's; each is the quickest of the rounds, by processor time (others may use the machine) and by the clock.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from sorus._core import _machine
from sorus.utils.memory import memory_statistics, set_memory_limit

import sorus
from sorus.models import GPT

VOCABULARY = 512


def trained(options: argparse.Namespace) -> tuple[Callable[[int], float], Any, GPT]:
    """A step that trains on batch i and returns its loss, the compiled function, the model."""
    sorus.manual_seed(0)
    model = GPT(VOCABULARY, options.context, options.layers, options.width // 32, options.width, 0.0)
    optimizer = sorus.optim.AdamW(model.parameters(), lr=1e-3)

    def train(x: sorus.Tensor, y: sorus.Tensor) -> sorus.Tensor:
        loss = model.loss(x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    whole = sorus.compile(train)

    def step(i: int) -> float:
        ids = (sorus.arange(options.batch * (options.context + 1)) * 7919 + i * 31) % VOCABULARY
        ids = ids.reshape(options.batch, options.context + 1)
        return whole(ids[:, :-1], ids[:, 1:]).item()

    return step, whole, model


def seconds_of(step: Callable[[int], float], i: int) -> tuple[float, float, float]:
    """Its loss, processor seconds, seconds of the clock."""
    cpu, clock = time.process_time(), time.perf_counter()
    loss = step(i)
    return loss, time.process_time() - cpu, time.perf_counter() - clock


def compare(options: argparse.Namespace, into: str) -> dict[str, Any]:
    free, _, free_model = trained(options)
    limit = 3 * 4 * free_model.num_parameters() // 3
    set_memory_limit(limit, "." if into == "file" else None)
    try:
        limited, whole, limited_model = trained(options)
    finally:
        set_memory_limit(0)

    def turn(i: int) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        alone = seconds_of(free, i)
        set_memory_limit(limit)
        try:
            return alone, seconds_of(limited, i)
        finally:
            set_memory_limit(0)

    first = [turn(i) for i in range(2)]  # the first compiles
    set_memory_limit(limit)
    held = memory_statistics()  # before the speed is measured, which takes room of its own
    assert held
    rate, report = _machine.host_memory_rate(), whole.report()
    moved, ahead = report["moved_bytes"], report["moved_ahead_bytes"]
    set_memory_limit(0)
    found = [turn(i + 2) for i in range(options.rounds)]
    equal = all(a[0] == b[0] for a, b in first + found) and all(
        bool((a == b).all().item()) for a, b in zip(free_model.parameters(), limited_model.parameters(), strict=True)
    )
    row: dict[str, Any] = {"into": into, "equal": equal, "parameters": free_model.num_parameters(), "limit": limit, "held": held["held"],
                           "peak_resident": held["peak_resident"], "moved_bytes": moved, "moved_ahead_bytes": ahead, "bytes_per_s": rate}  # fmt: skip
    wait = whole.predicted_wait(min(a[2] for a, _ in found), rate)
    for name, place in (("cpu", 1), ("clock", 2)):
        alone, slow = min(a[place] for a, _ in found), min(b[place] for _, b in found)
        predicted = alone + (moved / rate if name == "cpu" else wait)
        row[name] = {"free_s": alone, "limited_s": slow, "predicted_limited_s": predicted, "slowdown": slow / alone,
                     "predicted_slowdown": predicted / alone, "error": predicted / slow - 1}  # fmt: skip
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--into", choices=["host", "file"], help="default: one after the other, each in a process of its own"
    )
    for name, value in (("layers", 6), ("width", 256), ("context", 64), ("batch", 4), ("rounds", 7), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    options = parser.parse_args()
    if not options.into:  # what backs host memory is decided once in a process
        import subprocess

        for into in ("host", "file"):
            subprocess.run([sys.executable, *sys.argv, "--into", into], check=True)
        return
    sorus.set_num_threads(options.threads)
    row = compare(options, options.into)
    if options.json:
        print(json.dumps(row))
        return
    print(f"{row['into']}: {row['parameters'] / 1e6:.2f} million parameters, {row['held'] / 1e6:.0f} MB of tensors, at most {row['limit'] / 1e6:.0f} MB in "
          f"reach; a step brings in {row['moved_bytes'] / 1e6:.0f} MB, {row['moved_ahead_bytes'] / 1e6:.0f} of them ahead, at {row['bytes_per_s'] / 1e9:.2f} GB/s; "
          f"{'equal to the bit' if row['equal'] else 'NOT EQUAL'}")  # fmt: skip
    for name, text in (("cpu", "processor"), ("clock", "clock")):
        r = row[name]
        print(f"  {text:<9} {1e3 * r['free_s']:8.1f} ms, limited {1e3 * r['limited_s']:8.1f} ms; slowdown {r['slowdown']:.2f}, "
              f"predicted {r['predicted_slowdown']:.2f} ({r['error']:+.1%})")  # fmt: skip


if __name__ == "__main__":
    main()
