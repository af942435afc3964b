"""examples/train_gpt.cpp and .py are the same program: the same losses and the same text, resumed runs included."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SORUS_BUILD", ROOT / "build"))


@pytest.mark.skipif(not (BUILD / "train_gpt").exists(), reason=f"nothing is built in {BUILD}")
def test_cpp_and_python_train_alike(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for source in sorted((ROOT / "python" / "sorus").glob("*.py")):
        (text / source.name).write_text(source.read_text())

    def run(*program: str | Path) -> list[str]:
        def part(steps: int) -> list[str]:
            environment = {**os.environ, "SORUS_CACHE": str(tmp_path / "cache"), "OMP_WAIT_POLICY": "passive"}
            done = subprocess.run([*map(str, program), text, str(steps), tmp_path / ("run-" + Path(program[-1]).name)],
                                  capture_output=True, encoding="utf-8", errors="replace", env=environment)  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        first = part(20)
        assert first[0].startswith("step 10 loss")
        return first + part(40)

    cpp = run(BUILD / "train_gpt")
    python = run(sys.executable, ROOT / "examples" / "train_gpt.py")
    assert cpp == python
    losses = [float(line.split()[-1]) for line in cpp if line.startswith("step ")]
    assert len(losses) == 4 and losses[-1] < losses[0]
