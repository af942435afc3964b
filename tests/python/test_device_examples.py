"""examples/device: keywords from samples to class, anomalies within 1 KB of RAM; on this machine and as images under QEMU."""

from __future__ import annotations

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from sorus import codegen

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "device"


def run(script: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def usable(target: str) -> str:
    if missing := codegen.verify_tools(next(t for t in codegen.targets() if t["name"] == target)):
        pytest.skip(f"not installed (scripts/setup.sh device): {', '.join(missing)}")
    return target


@pytest.mark.parametrize("target", ["x86", "cortex-m4", "cortex-m55"])
def test_keywords_from_samples_to_class(target: str, tmp_path: pathlib.Path) -> None:
    data = os.environ.get("SORUS_DATA")
    if not data or not (model := pathlib.Path(data) / "tiny" / "kws_ref_model.tflite").exists():
        pytest.skip("SORUS_DATA names no folder with tiny/")
    printed = run("keywords.py", model, "--target", usable(target), "--out", tmp_path)
    lines = printed.splitlines()
    assert len(lines) == 5 and all("features equal, as Sorus says" in line for line in lines[:4])
    assert lines[1].startswith("silence")  # the noise: to the network silence is a background without words
    assert lines[4].startswith(f"{target}: ")


@pytest.mark.parametrize("target", ["x86", "cortex-m4"])
def test_anomalies_within_a_kilobyte(target: str, tmp_path: pathlib.Path) -> None:
    printed = run("anomaly.py", "--target", usable(target), "--out", tmp_path)
    called = re.search(r"([\d.]+)% of healthy records are called unusual, ([\d.]+)% of faulty", printed)
    assert called and float(called[1]) < 5 and float(called[2]) > 95
    assert "errors equal Sorus" in printed
    if target != "x86":
        used = re.search(r"ram (\d+)", printed)
        assert used and 0 < int(used[1]) < 1024


def test_an_image_that_does_not_fit_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    on_board = importlib.import_module("on_board")

    (tmp_path / "main.c").write_text(
        '#include "board.h"\nchar big[900];\nint main(void) { put_text(big); return 0; }\n'
    )
    sources = [tmp_path / "main.c"]
    with pytest.raises(subprocess.CalledProcessError):
        on_board.build(tmp_path, usable("cortex-m4"), [], sources, ram_bytes=1024, stack_bytes=384)
    image = on_board.build(tmp_path, "cortex-m4", [], sources, ram_bytes=2048)
    assert on_board.run(image, "cortex-m4") == ""
