"""An installed tree is enough for a program of someone else's: find_package(Sorus), compile, link, run."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SORUS_BUILD", ROOT / "build"))


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(not (BUILD / "libsorus.so").exists(), reason=f"nothing is built in {BUILD}")
def test_find_package(tmp_path: Path) -> None:
    run("cmake", "--install", BUILD, "--prefix", tmp_path / "prefix")
    run(
        "cmake",
        "-G",
        "Ninja",
        "-S",
        ROOT / "examples" / "cpp-installed",
        "-B",
        tmp_path / "example",
        f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}",
    )
    run("cmake", "--build", tmp_path / "example")
    assert run(tmp_path / "example" / "uses_sorus") == "the second column holds 1 and 4\n"
