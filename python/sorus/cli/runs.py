"""Folders of training runs.

out/gpt-nano-1/run.json                  the options it was started with
               tokenizer.json
               loss.csv, loss.png
               checkpoints/step-000001200.safetensors
               model/                    the trained model as a GPT-2 folder, at the end
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import CommandError

DEFAULT_ROOT = Path("out")


def new_folder(preset: str) -> Path:
    """out/gpt-<preset>-<n> with the next number that is free."""
    taken = [int(p.name.rpartition("-")[2]) for p in DEFAULT_ROOT.glob(f"gpt-{preset}-*")
             if p.name.rpartition("-")[2].isdigit()]  # fmt: skip
    return DEFAULT_ROOT / f"gpt-{preset}-{max(taken, default=0) + 1}"


def newest_run() -> Path:
    """The run below out/ whose newest checkpoint is the latest written."""
    found = [(p.stat().st_mtime, p) for p in DEFAULT_ROOT.glob("*/checkpoints/step-*.safetensors")]
    if not found:
        raise CommandError(f"no run below {DEFAULT_ROOT}/; say where it is, or train one: sorus train gpt")
    return max(found)[1].parent.parent


def newest_checkpoint(run: Path) -> Path:
    """The newest whole checkpoint of a run; says so if newer ones are damaged."""
    from rich.console import Console

    from sorus.serialization import CheckpointFolder

    folder = CheckpointFolder(run / "checkpoints")
    path = folder.latest()
    for problem in folder.problems:
        Console(stderr=True).print(f"[yellow]a damaged checkpoint is passed over: {problem}", highlight=False)
    if path is None:
        raise CommandError(f"{run}: no checkpoint in {run / 'checkpoints'}")
    return path


def find_checkpoint(given: str | None) -> Path:
    """The checkpoint that a path means: a file, a run's folder, or (without a path) the newest run."""
    if not given:
        return newest_checkpoint(newest_run())
    path = Path(given)
    if path.is_file():
        return path
    if not path.exists():
        raise CommandError(f"{path}: no such file or folder")
    return newest_checkpoint(path.parent if path.name == "checkpoints" else path)


# What every checkpoint of `sorus train gpt` holds.
FIELDS: dict[str, Any] = {
    "step": int, "seconds": (int, float), "settings": dict, "config": dict, "schedule": dict, "loader": dict, "text": dict,
    "model": dict, "optimizer": dict, "target": dict,
}  # fmt: skip


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The state in a checkpoint of `sorus train gpt`. CommandError for other files, and if a part of it is not there."""
    import sorus

    state = sorus.load(checkpoint)
    if not isinstance(state, dict) or state.get("kind") != "gpt":
        raise CommandError(
            f"{checkpoint}: not a checkpoint of `sorus train gpt`; a GPT-2 model is named by its folder"
        )
    for name, kind in FIELDS.items():
        if not isinstance(state.get(name), kind):
            found = type(state[name]).__name__ if name in state else "nothing"
            wanted = kind.__name__ if isinstance(kind, type) else "number"
            raise CommandError(f"{checkpoint}: damaged: expected a {wanted} as {name!r}, found {found}")
    return state


@contextlib.contextmanager
def reading(checkpoint: Path) -> Iterator[None]:
    """Where parts of a checkpoint are put to use: what does not fit there is the file's fault."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        text = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        raise CommandError(f"{checkpoint}: damaged, or of another version: {text}") from error
    except (ValueError, RuntimeError) as error:
        raise CommandError(f"{checkpoint}: {error}") from error


def run_of(checkpoint: Path) -> Path:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
