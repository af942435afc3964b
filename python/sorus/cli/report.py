"""What a training run shows and writes: progress, CSV, the loss curve, the summary."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

COLUMNS = ("step", "loss", "val_loss", "lr", "tokens_per_s", "seconds")


class Csv:
    """One line a step, flushed at once. A resumed run first drops the lines behind its checkpoint, and a torn one."""

    def __init__(self, path: Path, step: int) -> None:
        from sorus._core import _io

        self.path = path
        kept = []
        if path.exists():
            for line in path.read_text().splitlines(keepends=True)[1:]:
                fields = line.split(",")
                if line.endswith("\n") and len(fields) == len(COLUMNS) and int(fields[0]) <= step:
                    kept.append(line)
        _io.write_file(path, ",".join(COLUMNS) + "\n" + "".join(kept))
        self._file = path.open("a", buffering=1)

    def add(self, step: int, loss: float, val_loss: float | None, lr: float, rate: float, seconds: float) -> None:
        val = "" if val_loss is None else repr(val_loss)
        self._file.write(f"{step},{loss!r},{val},{lr:.6g},{rate:.1f},{seconds:.3f}\n")

    def close(self) -> None:
        self._file.close()

    def rows(self) -> list[dict[str, float | None]]:
        lines = self.path.read_text().splitlines()[1:]
        return [dict(zip(COLUMNS, (float(v) if v else None for v in line.split(",")), strict=True)) for line in lines]


def memory_mb() -> float:
    """What this process holds in memory now."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Silent:
    """Of ranks other than the first."""

    def begin(self, folder, checkpoint) -> None: ...

    def prepared(self, training, text, seconds: float) -> None: ...

    def note(self, text: str) -> None: ...

    def step(self, training, loss, val_loss, spent, done, elapsed) -> None: ...


class Lines(Silent):
    """--json: an object a line, the last one with the summary as well."""

    def step(self, training, loss, val_loss, spent, done, elapsed) -> None:
        entry = {"step": training.step, "loss": loss}
        if val_loss is not None:
            entry["val_loss"] = val_loss
        entry["tokens_per_s"] = round(training.tokens_per_step / spent, 1)
        print(json.dumps(entry), flush=True)

    def end(self, summary: dict, sample: str) -> None:
        print(json.dumps({**summary, "sample": sample}), flush=True)


class Screen:
    """A live bar on a terminal, and a line now and then elsewhere."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(highlight=False, soft_wrap=True)
        self.live = self.console.is_terminal
        self.progress: Any = None
        self._shown = 0.0
        self._rate = 0.0  # tokens a second, smoothed
        self._val_loss: float | None = None

    def begin(self, folder, checkpoint) -> None:
        self.console.print(f"run: {folder}" + (f", resumed from {checkpoint}" if checkpoint else ""))
        self.console.print("reading the text ...", end="\r" if self.live else "\n")

    def prepared(self, training, text, seconds: float) -> None:
        from sorus._core import _machine, get_num_threads

        s, corpus = training.settings, text.corpus
        self.console.print(
            f"text: {len(corpus.train)} files to train on ({text.train.shape[0]:,} tokens), "
            f"{len(corpus.validation)} to validate, {corpus.duplicates} duplicates dropped "
            f"({seconds:.1f} s)"
        )
        self.console.print(
            f"model: GPT, {training.model.num_parameters() / 1e6:.2f} million parameters, "
            f"{s.n_layer} layers, {s.n_head} heads, {s.n_embd} wide, vocabulary "
            f"{training.model.config['vocab_size']}, {s.batch} x {s.context} tokens a step"
        )
        self.console.print(f"machine: {_machine.cpu_name()}, {get_num_threads()} threads; {s.dtype}, {s.mode}")
        a = training.arrangement
        if a or training.plan:
            line = f"plan: {a.devices} ranks: {a}" if a else f"plan: 1 rank of {get_num_threads()} threads"
            if training.plan:
                line += (
                    f"; predicted {1e3 * training.plan['step_time_s']:.3g} ms a step, "
                    f"{1e3 * training.plan['memory_gb']:.0f} MB a rank"
                )
            self.console.print(line)

    def note(self, text: str) -> None:
        if self.progress:
            self.progress.update(self._task, note=text, refresh=True)

    def _start(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        # Drawn by hand: a thread that draws would take a core from those that compute.
        self.progress = Progress(
            BarColumn(24 if self.console.width >= 120 else 8), TextColumn("{task.percentage:3.0f}%"), TextColumn("{task.fields[line]}"),
            TextColumn("[dim]{task.fields[note]}"), console=self.console, auto_refresh=False,
        )  # fmt: skip
        self._task = self.progress.add_task("", total=1.0, line="", note="")
        self.progress.start()

    def step(self, training, loss, val_loss, spent, done, elapsed) -> None:
        rate = training.tokens_per_step / spent
        self._rate = rate if not self._rate else 0.95 * self._rate + 0.05 * rate
        self._val_loss = self._val_loss if val_loss is None else val_loss
        now = time.monotonic()
        due = now - self._shown > (0.1 if self.live else 10.0)
        if not due and done < 1 and (self.live or val_loss is None):
            return
        self._shown = now
        left = elapsed * (1 - done) / done if done > 0 else 0.0
        name = "validation" if self.console.width >= 110 or not self.live else "val"
        validation = "" if self._val_loss is None else f"  {name} {self._val_loss:.3f}"
        line = (
            f"step {training.step}  loss {loss:.3f}{validation}  {self._rate:,.0f} tokens/s  "
            f"{_duration(left)} left  {memory_mb():,.0f} MB"
        )
        if not self.live:
            self.console.print(line)
            return
        if self.progress is None:
            self._start()
        self.progress.update(self._task, completed=min(done, 1.0), line=line, note="")
        self.progress.refresh()

    def end(self, summary: dict, sample: str) -> None:
        from rich.table import Table
        from rich.text import Text

        if self.progress:
            self.progress.update(self._task, note="", refresh=True)
            self.progress.stop()
        table = Table(show_header=False, box=None, pad_edge=False)
        validation = "" if summary["val_loss"] is None else f", validation {summary['val_loss']:.4f}"
        table.add_row(
            "steps",
            f"{summary['step']} in {_duration(summary['seconds'])}"
            + ("" if summary["finished"] else ", stopped early"),
        )
        table.add_row("loss", f"{summary['loss']:.4f}{validation}")
        table.add_row("hardware", f"{summary['processor']}; {summary['features']}")
        table.add_row("run with", f"{summary['threads']} threads, {summary['dtype']}, {summary['mode']}")
        table.add_row(
            "speed",
            f"{summary['tokens_per_s']:,.0f} tokens/s = {summary['gflops']:.0f} GFLOP/s, "
            f"{summary['share_of_gemm']:.0%} of this machine's own matrix product in {summary['dtype']} "
            f"({summary['gemm_gflops']:.0f} GFLOP/s)",
        )
        if (predicted := summary.get("predicted_step_s")) and (measured := summary["step_s"]):
            text = f"{1e3 * measured:.3g} ms, {1e3 * predicted:.3g} ms predicted by the plan ({predicted / measured - 1:+.0%})"
            if again := summary["predicted_again_s"]:
                text += (
                    f"; {1e3 * again:.3g} ms with the machine measured again ({summary['machine_measured']}), as the next "
                    "run predicts"
                )
            table.add_row("a step", text)
        if moved := summary["offload"]:
            table.add_row(
                "memory",
                f"{moved['peak_resident'] / 1e6:.0f} MB of tensors in reach, of {moved['held'] / 1e6:.0f} MB; a step moves "
                f"{moved['moved_bytes_a_step'] / 1e6:.0f} MB in {1e3 * moved['measured_s_a_step']:.3g} ms, "
                f"{1e3 * moved['predicted_s_a_step']:.3g} ms predicted",
            )
        if held := summary["rank_memory"]:
            table.add_row(
                "memory",
                f"{held['measured'] / 1e6:.1f} MB of tensors on rank 0, {held['total'] / 1e6:.1f} MB planned "
                f"({held['total'] / held['measured'] - 1:+.1%})",
            )
        table.add_row("checkpoint", summary["checkpoint"])
        table.add_row("model", f"{summary['model']} (a GPT-2 folder)")
        table.add_row("losses", f"{summary['csv']}, {summary['plot']}")
        self.console.print(table)
        self.console.rule("a sample")
        self.console.print(Text(sample))
        self.console.rule()
        self.console.print(
            f"more: sorus generate {summary['run']}      go on: sorus train gpt --resume {summary['run']}"
        )


def _duration(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    return (
        f"{seconds // 60}:{seconds % 60:02} min" if seconds < 3600 else f"{seconds // 3600}:{seconds // 60 % 60:02} h"
    )


def make_display(as_json: bool):
    return Lines() if as_json else Screen()


def plot(rows: list[dict], path: Path, training) -> None:
    """The loss curve as PNG: training (each step and smoothed) and validation over the tokens seen."""
    if not rows:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tokens = [row["step"] * training.tokens_per_step for row in rows]
    losses = [row["loss"] for row in rows]
    smooth, mean = [], losses[0]
    for i, loss in enumerate(losses):
        keep = min(0.98, i / (i + 10))
        mean = keep * mean + (1 - keep) * loss
        smooth.append(mean)
    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=120)
    axes.plot(tokens, losses, color="tab:blue", alpha=0.25, linewidth=0.8)
    axes.plot(tokens, smooth, color="tab:blue", label="training")
    measured = [
        (row["step"] * training.tokens_per_step, row["val_loss"]) for row in rows if row["val_loss"] is not None
    ]
    if measured:
        axes.plot(*zip(*measured, strict=True), color="tab:orange", marker="o", markersize=3, label="validation")
    axes.set(
        xlabel="tokens",
        ylabel="loss (nats a token)",
        title=f"GPT, {training.model.num_parameters() / 1e6:.2f} M parameters",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png")
    pyplot.close(figure)
    os.replace(temporary, path)


def summary(training, folder: Path, checkpoints, csv: Csv, finished: bool) -> dict:
    """What a run was and reached. The speed is the median step's."""
    import sorus
    from sorus._core import _machine

    from .machine import how
    from .planned import measured_again

    rows = csv.rows()
    rates = sorted(row["tokens_per_s"] or 0.0 for row in rows)
    rate = rates[len(rates) // 2] if rates else 0.0
    validated = [row["val_loss"] for row in rows if row["val_loss"] is not None]
    gemm = _machine.measure_gemm_gflops(getattr(sorus, training.settings.dtype))
    offload = training.offloaded()
    gflops = rate * training.flops_per_token() / 1e9
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "neon")
    features = " ".join(f for f in _machine.cpu_features() if f in wanted)
    step_s = training.tokens_per_step / rate if rate else None
    predicted = training.plan and training.plan["step_time_s"] + (offload["predicted_s_a_step"] if offload else 0)
    again = None
    # A run of a few steps is mostly compilation.
    if training.plan_again and predicted and step_s and not offload and len(rows) >= 10:
        again = measured_again(step_s, training.plan, training.plan_again)
    return {
        "step": training.step,
        "loss": rows[-1]["loss"] if rows else None,
        "val_loss": validated[-1] if validated else None,
        "tokens_per_s": rate,
        "step_s": step_s,
        "predicted_step_s": predicted,
        "predicted_again_s": again and again["step_time_s"],
        "rank_memory": training.rank_memory(),
        "machine_measured": how((again or training.plan)["machine"]) if training.plan else None,
        "offload": offload,
        "arrangement": str(training.arrangement) if training.arrangement else None,
        "seconds": round(training.seconds, 1),
        "finished": finished,
        "processor": _machine.cpu_name(),
        "features": features,
        "threads": sorus.get_num_threads(),
        "dtype": training.settings.dtype,
        "mode": training.settings.mode,
        "gflops": round(gflops, 1),
        "gemm_gflops": round(gemm, 1),
        "share_of_gemm": round(gflops / gemm, 3),
        "run": str(folder),
        "checkpoint": str(checkpoints.latest()),
        "csv": str(csv.path),
        "plot": str(folder / "loss.png"),
        "model": str(folder / "model"),
    }
