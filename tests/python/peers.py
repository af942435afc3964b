"""Runs the same functions under PyTorch and under Sorus.

A file of cases holds functions `case_name(torch)` that return a dictionary (or nested lists) of tensors. The peer's
numbers come from one run of the whole file by another Python that has PyTorch: SORUS_PEERS, or the one that `make bench`
installs into .peers. Without it the tests that need it are skipped, visibly.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def peer_python() -> str | None:
    for path in (os.environ.get("SORUS_PEERS"), ROOT / ".peers" / "bin" / "python"):
        if path and Path(path).exists():
            return str(path)
    return None


def load_cases(file: Path) -> dict:
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # cases share what they are made of
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: f for name, f in vars(module).items() if name.startswith("case_")}


def flatten(value, prefix: str = "") -> dict[str, np.ndarray]:
    if isinstance(value, dict):
        return {
            k: v
            for name, item in value.items()
            for k, v in flatten(item, f"{prefix}.{name}" if prefix else str(name)).items()
        }
    if isinstance(value, (list, tuple)):
        return flatten(dict(enumerate(value)), prefix)
    if value is None:
        return {}
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    return {prefix: np.array(value)}


@functools.cache
def peer_results(file: Path) -> dict[str, dict[str, np.ndarray]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results.npz"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        subprocess.run([str(peer_python()), __file__, str(file), str(out)], check=True, env=environment)
        results: dict[str, dict[str, np.ndarray]] = {}
        with np.load(out) as arrays:
            for key in arrays.files:
                case, _, name = key.partition("/")
                results.setdefault(case, {})[name] = arrays[key]
    return results


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], rtol: float, atol: float) -> list[str]:
    """What is missing, unexpected or different, a line each."""
    problems = [f"missing: {k}" for k in theirs if k not in ours]
    problems += [f"unexpected: {k}" for k in ours if k not in theirs]
    for key in theirs.keys() & ours.keys():
        expected, found = theirs[key], ours[key]
        if expected.dtype.kind == "U":
            if str(expected) != str(found):
                problems.append(f"{key}: expected\n{expected}\nfound\n{found}")
        elif expected.shape != found.shape:
            problems.append(f"{key}: expected shape {expected.shape}, found {found.shape}")
        elif not np.allclose(found, expected, rtol=rtol, atol=atol, equal_nan=True):
            problems.append(f"{key}: differs by {np.abs(found - expected).max()}")
    return sorted(problems)


def main(file: str, out: str) -> None:
    import torch

    torch.manual_seed(0)
    arrays = {}
    for name, case in load_cases(Path(file)).items():
        for key, value in flatten(case(torch)).items():
            arrays[f"{name}/{key}"] = value
    np.savez(out, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
