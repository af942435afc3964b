"""Transposed convolutions as convolutions that make a block of pixels at once (device/passes_transposed.cpp)."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from model_files import Tflite
from test_codegen import usable
from test_codegen_quantised_files import run

import sorus
from sorus import codegen as device
from sorus import nn

# Kernel, stride, whether the result is as large as stride times the input (SAME) and whether it can be unfolded.
SHAPES: dict[str, tuple[tuple[int, int], tuple[int, int], bool, bool]] = {
    "blocks side by side": ((2, 2), (2, 2), True, True),
    "blocks that overlap": ((3, 3), (2, 2), True, True),
    "as many zeros as fit": ((4, 4), (2, 2), True, True),
    "stride 1": ((3, 2), (1, 1), True, True),
    "longer than wide": ((4, 1), (2, 1), True, True),
    "whole windows": ((4, 6), (2, 3), False, True),
    "an odd result": ((3, 3), (2, 2), False, False),
    "too many zeros": ((4, 2), (4, 1), True, True),
    "holes between blocks": ((1, 1), (2, 2), True, False),
}


def model(shape: str, channels: int) -> bytes:
    kernel, stride, same, _ = SHAPES[shape]
    f, r = Tflite(), np.random.default_rng(2)
    h, w, c = 4, 5, 6
    out = [n * s if same else (n - 1) * s + k for n, s, k in zip((h, w), stride, kernel, strict=True)]
    size = f.constant("size", np.array([1, *out, channels], np.int32))
    codes = r.integers(-127, 128, (channels, *kernel, c)).astype(np.int8)
    scales = (r.random(channels) * 0.01 + 0.002).astype(np.float32)
    weight = f.constant("weight", codes, scales, np.zeros(channels))
    bias = f.constant("bias", r.integers(-3000, 3000, channels).astype(np.int32), scales * np.float32(0.05))
    x = f.tensor("x", (1, h, w, c), "int8", 0.05, -9)
    y = f.tensor("y", (1, *out, channels), "int8", 0.09, 5)
    options: dict[int, Any] = {0: np.int8(0 if same else 1), 1: np.int32(stride[1]), 2: np.int32(stride[0])}
    f.operator(67, [size, weight, x, bias], [y], options, kind=49)
    f.graph([x], [y])
    return f.file()


def kernels(report: dict) -> str:
    return " ".join(layer["kernel"] for layer in report["layers"])


@pytest.mark.parametrize("target", ["x86", "arm64", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("channels", [1, 8])
def test_bytes_to_the_bit(target: str, channels: int, tmp_path: pathlib.Path) -> None:
    for shape, (_, _, _, unfolds) in SHAPES.items():
        path = tmp_path / "net.tflite"
        path.write_bytes(model(shape, channels))
        report = device.generate(path, usable(target), "net", tmp_path / "out")
        assert ("transposed" not in kernels(report)) == unfolds, (shape, kernels(report))
        facts = device.verify(path, tmp_path / "out", target, "net", runs=3)
        assert facts["accepted"] and facts["equal"] == 3, (shape, facts)


def test_memory_or_size_ask_for_the_form_that_needs_less(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(model("blocks side by side", 8))
    fast = device.generate(path, "x86", "net", tmp_path / "fast")
    limit = fast["arena_bytes"] - 1
    lean = device.generate(path, "x86", "net", tmp_path / "lean", ram_limit=limit)
    assert "transposed" not in kernels(fast) and "transposed" in kernels(lean)
    assert lean["arena_bytes"] <= limit
    assert "transposed" in kernels(device.generate(path, "x86", "net", tmp_path / "short", optimize="size"))
    x = np.random.default_rng(1).integers(-128, 128, (1, 4, 5, 6)).astype(np.int8)
    assert run(path, x).shape == (1, 8, 10, 8)


@pytest.mark.parametrize("target", ["x86", "arm32", "cortex-m55"])
def test_floats(target: str, tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(0)
    net = nn.Sequential(nn.ConvTranspose2d(5, 12, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(12, 3, 4, 2, 1)).eval()
    x = sorus.randn(1, 5, 4, 3)
    report = device.generate(net, usable(target), "net", tmp_path, example=x)
    assert "transposed" not in kernels(report)
    facts = device.verify(net, tmp_path, target, "net", runs=2, example=x)
    assert facts["accepted"], facts
