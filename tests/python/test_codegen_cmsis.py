"""sorus codegen --cmsis-nn: layers as calls of Arm's library, where CMSIS_NN_PATH names a copy of it."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from sorus.cli import main
from test_codegen import MODELS, model, usable
from test_codegen_integers import FACTOR, Layers

import sorus
from sorus import codegen as device


def library() -> str:
    path = os.environ.get("CMSIS_NN_PATH")
    if not path:
        pytest.skip("CMSIS_NN_PATH names no copy of CMSIS-NN")
    return path


def kernels(report: dict) -> list[str]:
    return [layer["kernel"] for layer in report["layers"]]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55"])
def test_tiny_models_call_it_and_equal_sorus_to_the_bit(name: str, target: str, tmp_path: pathlib.Path) -> None:
    path = model(name)
    report = device.generate(path, usable(target), name, tmp_path, cmsis_nn=library())
    assert all(kernel.startswith("CMSIS-NN: arm_") for kernel in kernels(report))
    facts = device.verify(path, tmp_path, target, name, runs=2, layers=True)
    assert facts["accepted"] and facts["equal"] == 2
    assert min(facts["layer_instructions"]) > 0
    assert facts["stack_bytes"] < 2048


class Mixed(sorus.nn.Module):
    """What the library has and what it has not, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        n = self.layers
        n.again()
        a = sorus.quantized_max_pool2d(n.conv(x, 6, 3), [2, 2], [2, 2], [0] * 4, -128, 127)
        w, b, m, s = n.kept(
            lambda: (
                n.numbers(-128, 128, (12, 3, 3, 1), "int8"),
                n.numbers(-2000, 2000, (12,), "int32"),
                n.numbers(1 << 30, (1 << 31) - 1, (12,), "int32"),
                n.numbers(-9, -7, (12,), "int32"),
            )
        )
        b = sorus.quantized_conv2d(a, w, m, s, b, [1, 1], [1] * 4, [1, 1], 6, 3, 0, 3, -128, 127)
        c = n.conv(b, 12, 1)
        product = sorus.quantized_mul(b, c, 3, 3, 3, FACTOR, -5, -128, 127)
        both = sorus.quantized_add(product, c, 20, 3, FACTOR, 0, 3, FACTOR, -1, 3, FACTOR, -18, -100, 100)
        less = sorus.quantized_sub(both, c, 20, 3, FACTOR, 0, 3, FACTOR, -1, 3, FACTOR, -18, -128, 127)
        w, b, m, s = n.kept(
            lambda: (
                n.numbers(-128, 128, (10, 12 * 9), "int8"),
                n.numbers(-2000, 2000, (10,), "int32"),
                n.numbers(1 << 30, (1 << 31) - 1, (10,), "int32"),
                n.numbers(-11, -9, (10,), "int32"),
            )
        )
        return sorus.quantized_linear(less.reshape(1, 108), w, m, s, b, 3, 0, 3, -128, 127)


@pytest.mark.parametrize("target", ["cortex-m3", "cortex-m4", "cortex-m33", "cortex-m55"])
def test_what_it_cannot_compute_stays_an_own_kernel_and_says_why(target: str, tmp_path: pathlib.Path) -> None:
    x = sorus.tensor(np.zeros((1, 6, 6, 4), "int8"))
    net = Mixed()
    report = device.generate(net, usable(target), "mixed", tmp_path, example=x, cmsis_nn=library())
    assert kernels(report) == [
        "CMSIS-NN: arm_convolve_wrapper_s8",
        "CMSIS-NN: arm_max_pool_s8",
        "CMSIS-NN: arm_depthwise_conv_wrapper_s8",
        "CMSIS-NN: arm_convolve_wrapper_s8",
        "CMSIS-NN: arm_elementwise_mul_s8",
        "CMSIS-NN: arm_elementwise_add_s8",
        "addition, plain",
        "CMSIS-NN: arm_fully_connected_per_channel_s8",
    ]
    assert report["layers"][6]["notes"][-1] == "an own kernel, not CMSIS-NN: a difference"
    facts = device.verify(net, tmp_path, target, "mixed", runs=3, example=x)
    assert facts["accepted"] and facts["equal"] == 3


def test_makefile_and_cmake_build_what_is_called(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "kws"
    report = device.generate(model("kws"), usable("cortex-m4"), "kws", out, cmsis_nn=library())
    sources = report["cmsis_nn"]["sources"]
    assert any(s.endswith("arm_convolve_wrapper_s8.c") for s in sources)
    assert not any(other in s for s in sources for other in ("_f32", "svdf", "lstm"))
    subprocess.run(["make", "-s"], cwd=out, check=True)
    listed = subprocess.run(
        ["arm-none-eabi-nm", "build/libkws.a"], cwd=out, check=True, capture_output=True, text=True
    )
    defined = {line.split()[-1] for line in listed.stdout.splitlines() if " T " in line}
    needed = {line.split()[-1] for line in listed.stdout.splitlines() if " U " in line}
    assert "arm_softmax_s8" in defined
    assert {name for name in needed if name.startswith("arm_")} <= defined
    if shutil.which("cmake") is None:
        return
    command = [
        "cmake",
        "-S",
        str(out),
        "-B",
        str(tmp_path / "b"),
        "-DCMAKE_SYSTEM_NAME=Generic",
        "-DCMAKE_C_COMPILER_WORKS=1",
    ]
    flags = "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"
    subprocess.run(
        [*command, "-DCMAKE_C_COMPILER=arm-none-eabi-gcc", f"-DCMAKE_C_FLAGS={flags}"],
        check=True,
        capture_output=True,
    )
    subprocess.run(["cmake", "--build", tmp_path / "b"], check=True, capture_output=True)
    assert (tmp_path / "b" / "libkws.a").exists()


def test_the_command_takes_it_from_the_environment(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library()
    command = ["codegen", model("ad"), "--name", "ad", "--json"]
    assert main([*command, "--target", "cortex-m4", "--out", str(tmp_path / "m4")]) == 0
    assert main([*command, "--target", "x86", "--out", str(tmp_path / "x86")]) == 0
    capsys.readouterr()
    calls = [json.loads((tmp_path / t / "report.json").read_text()).get("cmsis_nn") for t in ("m4", "x86")]
    assert calls[0] is not None and calls[1] is None


def test_mistakes_are_named(tmp_path: pathlib.Path) -> None:
    path = model("kws")
    with pytest.raises(ValueError, match=r"expected a copy of CMSIS-NN .* found neither in .*nowhere"):
        device.generate(path, "cortex-m4", "kws", tmp_path, cmsis_nn=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="expected a Cortex-M target for --cmsis-nn, found x86"):
        device.generate(path, "x86", "kws", tmp_path, cmsis_nn=tmp_path)
    with pytest.raises(ValueError, match="expected either package or cmsis_nn, found both"):
        device.generate(path, "cortex-m4", "kws", tmp_path, package="arduino", cmsis_nn=tmp_path)
    (tmp_path / "old" / "Include").mkdir(parents=True)
    (tmp_path / "old" / "Source").mkdir()
    (tmp_path / "old" / "Include" / "arm_nnfunctions.h").write_text("")
    with pytest.raises(ValueError, match=r"expected a CMSIS-NN of release 4\.1 or later"):
        device.generate(path, "cortex-m4", "kws", tmp_path, cmsis_nn=tmp_path / "old")
