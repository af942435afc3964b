"""sorus codegen: folders that are built, run under QEMU or here, and compared with Sorus's own execution."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import pytest
from sorus.cli import main

from sorus import codegen as device

MODELS = {
    "kws": "kws_ref_model.tflite",
    "vww": "vww_96_int8.tflite",
    "ic": "pretrainedResnet_quant.tflite",
    "ad": "ad01_int8.tflite",
}
# Bytes of the arena, and instructions on cortex-m4 and cortex-m55 in thousands: what a change must not lose.
GOALS = {"kws": (10000, 5200, 1600), "vww": (41152, 10700, 3500), "ic": (34000, 20000, 4600), "ad": (896, 480, 260)}


def model(name: str) -> str:
    folder = os.environ.get("SORUS_DATA")
    if not folder or not (path := pathlib.Path(folder) / "tiny" / MODELS[name]).exists():
        pytest.skip("SORUS_DATA names no folder with tiny/")
    return str(path)


def published(name: str) -> str:
    """A model of data/models, by its file's name."""
    folder = os.environ.get("SORUS_DATA")
    if not folder or not (path := pathlib.Path(folder) / "models" / name).exists():
        pytest.skip(f"SORUS_DATA names no folder with models/{name}")
    return str(path)


def usable(target: str) -> str:
    found = next(t for t in device.targets() if t["name"] == target)
    if missing := device.verify_tools(found):
        pytest.skip(f"not installed (scripts/setup.sh device): {', '.join(missing)}")
    return target


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["x86", "arm64", "arm32", "cortex-m4", "cortex-m55"])
def test_tiny_models_equal_sorus_to_the_bit(name: str, target: str, tmp_path: pathlib.Path) -> None:
    path, out = model(name), tmp_path / name
    report = device.generate(path, usable(target), name, out)
    facts = device.verify(path, out, target, name, runs=2)
    assert facts["accepted"] and facts["equal"] == 2
    assert report["arena_lower_bound"] <= report["arena_bytes"] == facts["arena_bytes"]
    arena, m4, m55 = GOALS[name]
    assert facts["arena_bytes"] <= arena
    assert facts["stack_bytes"] < 2048
    if target == "arm64":
        assert len(facts["also_under"]) == 2  # one processor for each way of multiplying bytes
    if target.startswith("cortex"):
        assert facts["instructions"] <= 1000 * (m4 if target == "cortex-m4" else m55)


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m3", "cortex-m7", "cortex-m33", "arm64", "arm32", "riscv"])
def test_other_targets(target: str, tmp_path: pathlib.Path) -> None:
    path, out = model("kws"), tmp_path / "kws"
    device.generate(path, usable(target), "kws", out, optimize="size")
    assert device.verify(path, out, target, "kws", runs=1)["accepted"]


def test_a_model_of_unsigned_bytes(tmp_path: pathlib.Path) -> None:
    path = published("mobilenet_v2_1.0_224_quant.tflite")
    device.generate(path, usable("x86"), "mobilenet", tmp_path)
    facts = device.verify(path, tmp_path, "x86", "mobilenet", runs=1)
    assert facts["accepted"] and facts["equal"] == 1


def test_folder_has_what_it_promises(tmp_path: pathlib.Path) -> None:
    report = device.generate(model("kws"), "c", "kws", tmp_path)
    for file in (
        "include/kws.h",
        "src/kws.c",
        "CMakeLists.txt",
        "Makefile",
        "report.json",
        "report.html",
        "example/main.c",
    ):
        assert (tmp_path / file).exists(), file
    assert json.loads((tmp_path / "report.json").read_text()) == report
    subprocess.run(["make", "-s", "example"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "build" / "example"], check=True)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<rect") == len(report["buffers"])


def test_ram_limit_takes_less_scratch_and_says_what_is_possible(tmp_path: pathlib.Path) -> None:
    path = model("kws")
    free = device.generate(path, "cortex-m4", "kws", tmp_path)["arena_bytes"]
    tight = device.generate(path, "cortex-m4", "kws", tmp_path, ram_limit=free - 8)["arena_bytes"]
    assert tight < free
    with pytest.raises(ValueError, match="at most 100 bytes, the smallest found needs"):
        device.generate(path, "cortex-m4", "kws", tmp_path, ram_limit=100)


def test_verify_finds_a_wrong_weight(tmp_path: pathlib.Path) -> None:
    path = model("kws")
    device.generate(path, "x86", "kws", tmp_path)
    data = tmp_path / "src" / "kws_data.h"
    text = data.read_text()
    at = text.index("= {") + 4
    data.write_text(text[:at] + " 99," + text[text.index(",", at) + 1 :])
    assert not device.verify(path, tmp_path, "x86", "kws", runs=3)["accepted"]


def test_measured_instructions_are_in_the_report(tmp_path: pathlib.Path) -> None:
    path = model("kws")
    report = device.generate(path, usable("cortex-m4"), "kws", tmp_path)
    facts = device.verify(path, tmp_path, "cortex-m4", "kws", runs=2, layers=True)
    by_layer = facts["layer_instructions"]
    assert len(by_layer) == len(report["layers"]) and min(by_layer) > 0
    assert abs(sum(by_layer) / facts["instructions"] - 1) < 0.02
    device.record(tmp_path, facts)
    found = json.loads((tmp_path / "report.json").read_text())
    assert [layer["measured_instructions"] for layer in found["layers"]] == by_layer
    assert found["measured"]["instructions"] == facts["instructions"]
    page = (tmp_path / "report.html").read_text()
    assert "<th>measured</th>" in page and f"<td>{by_layer[0]:,}</td>" in page


def test_command(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "ad")
    assert main(["codegen", model("ad"), "--target", "x86", "--name", "ad", "--out", out, "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verify"]["accepted"] and found["arena_bytes"] == 768
    assert main(["codegen", "--list-targets", "--json"]) == 0
    assert "cortex-m55" in [t["name"] for t in json.loads(capsys.readouterr().out)]


def test_missing_tools_are_named_with_what_installs_them(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        device.VerifyError, match=r"find arm-none-eabi-gcc, qemu-system-arm .*scripts/setup.sh device"
    ):
        device.verify("x.tflite", tmp_path, "cortex-m4", "x")


def test_mistakes_of_the_user(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codegen", "x.tflite"]) == 2
    assert "expected --target" in capsys.readouterr().err
    path = model("ad")
    assert main(["codegen", path, "--target", "abacus", "--name", "ad", "--out", str(tmp_path)]) == 1
    assert "targets are c, x86" in capsys.readouterr().err
    assert main(["codegen", path, "--target", "c", "--name", "A-D", "--out", str(tmp_path)]) == 1
    assert "C identifier" in capsys.readouterr().err
