"""sorus codegen of float models: files and modules, compared with Sorus's own execution on their targets."""

from __future__ import annotations

import os
import pathlib
import shutil
import struct
import subprocess
from typing import Any

import numpy as np
import pytest
from test_codegen import published, usable

import sorus
from sorus import codegen as device
from sorus import nn

MOBILENETS = {"float": "mobilenet_v1_0.25_224.tflite", "quantised": "mobilenet_v2_1.0_224_quant.tflite"}


def checked(model: Any, folder: pathlib.Path, example: Any = None, target: str = "x86", **options: Any) -> dict:
    """The report of a folder that agrees with Sorus."""
    report = device.generate(model, usable(target), "net", folder, example=example)
    facts = device.verify(model, folder, target, "net", example=example, **options)
    assert facts["accepted"], facts
    assert 0 <= facts["largest_difference"] <= facts["tolerance"] == 1e-5
    assert facts["stack_bytes"] < 2048
    return report


def kernels(report: dict) -> list[str]:
    return [layer["kernel"] for layer in report["layers"]]


def photograph(name: str) -> np.ndarray:
    """A picture of 24 bits as [224, 224, 3], means of neighbours between -1 and 1."""
    folder = os.environ.get("SORUS_DATA")
    if not folder or not (path := pathlib.Path(folder) / "images" / f"{name}.bmp").exists():
        pytest.skip("SORUS_DATA names no folder with images/")
    data = path.read_bytes()
    (start,), (width, height) = struct.unpack("<I", data[10:14]), struct.unpack("<ii", data[18:26])
    rows = np.frombuffer(data, np.uint8, offset=start).reshape(height, -1)[::-1, : 3 * width]
    image = rows.reshape(height, width, 3)[:, :, ::-1].astype(np.float32)

    def means(n: int) -> np.ndarray:  # [224, n]: how much of each pixel lies in each of 224 parts
        ends = np.linspace(0, n, 225)
        low, high = ends[:-1, None], ends[1:, None]
        part = np.clip(np.minimum(high, np.arange(1, n + 1)) - np.maximum(low, np.arange(n)), 0, None)
        return part / part.sum(1, keepdims=True)

    small = np.einsum("yh,hwc,xw->yxc", means(height), image, means(width), optimize=True)
    return (small / 127.5 - 1).astype(np.float32)


def label(index: int) -> str:
    names = pathlib.Path(os.environ["SORUS_DATA"]) / "images" / "imagenet_labels.txt"
    return names.read_text().splitlines()[index]


@pytest.mark.parametrize("target", ["x86", "arm64", "arm32"])
def test_mobilenet_of_floats(target: str, tmp_path: pathlib.Path) -> None:
    report = checked(published(MOBILENETS["float"]), tmp_path, target=target, runs=1)
    # Activations, padding and the permutation at the entry are in the convolutions and the mean.
    assert len(report["layers"]) == 15 + 13 + 1 + 1


@pytest.mark.parametrize("target", ["x86", "arm64"])
def test_photographs_are_recognised(target: str, tmp_path: pathlib.Path) -> None:
    """By generated C, in floats and in bytes; a model a quarter as wide is less sure of what it sees."""
    pictures = {"cat": ["cat"], "dragonfly": ["dragonfly"], "grace_hopper": ["military uniform", "suit", "tie"]}
    images = {name: photograph(name) for name in pictures}
    for kind, file in MOBILENETS.items():
        path = published(file)
        device.generate(path, usable(target), "net", tmp_path / kind)
        inputs = b"".join(
            (x if kind == "float" else np.round((x + 1) * 127.5).astype(np.uint8)).tobytes() for x in images.values()
        )
        facts = device.verify(path, tmp_path / kind, target, "net", inputs, outputs=tmp_path / "out.bin")
        assert facts["accepted"] and facts["equal"] == len(pictures)
        scores = np.fromfile(tmp_path / "out.bin", np.float32 if kind == "float" else np.uint8).reshape(
            len(pictures), -1
        )
        for (name, expected), row in zip(pictures.items(), scores, strict=True):
            best = [label(i) for i in np.argsort(-row.astype(np.float32), kind="stable")[:5]]
            assert any(word in text for word in expected for text in best), (kind, name, best)


def test_onnx(tmp_path: pathlib.Path) -> None:
    report = checked(published("mnist.onnx"), tmp_path)
    # The dense layer's weights are in the order of the image: nothing is moved.
    assert kernels(report).count("move") == 0 and len(report["layers"]) == 5


class Residual(nn.Module):
    """Normalisation, an addition, two ways that are joined, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.last = nn.Linear(20, 5)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        x = nn.functional.relu(self.norm(self.first(x)))
        y = nn.functional.relu6(x + self.depthwise(x))
        z = nn.functional.hardswish(self.grouped(y))
        both = sorus.cat([nn.functional.max_pool2d(z, 2), nn.functional.avg_pool2d(y, 2)], dim=1)
        return nn.functional.softmax(self.last(both.mean(dim=(2, 3))), dim=-1)


def test_a_module(tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(3)
    model = Residual()
    model.train()
    model(sorus.randn(4, 3, 12, 10))  # gives the normalisation something to fold
    report = checked(model.eval(), tmp_path, sorus.randn(1, 3, 12, 10))
    found = kernels(report)
    assert found.count("line") == 0 and found.count("join") == 1 and found.count("scalar body") == 1
    assert sum("addition" in note for layer in report["layers"] for note in layer["notes"]) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_padding_is_part_of_the_window(channels: int, tmp_path: pathlib.Path) -> None:
    def uneven(x: sorus.Tensor) -> sorus.Tensor:
        x = nn.functional.pad(x.permute(0, 3, 1, 2), (0, 1, 1, 0))
        y = nn.functional.conv2d(x, sorus.ones(channels, channels, 2, 2), stride=2)
        y = nn.functional.max_pool2d(nn.functional.pad(y, (1, 0, 0, 1), value=-float("inf")), 2)
        return y.permute(0, 2, 3, 1)

    assert len(kernels(checked(uneven, tmp_path, sorus.zeros(1, 9, 7, channels)))) == 2


FUNCTIONS = {
    "scale and shift": (lambda x: (x * 3 - 1) / 4, (2, 3, 5)),
    "subtract from": (lambda x: 2 - x, (2, 3)),
    "by channel": (lambda x: x * sorus.arange(1, 4).reshape(3, 1, 1).float(), (1, 3, 4, 5)),
    "broadcast": (lambda x: x * x.mean(dim=(2, 3), keepdim=True).sigmoid(), (2, 3, 4, 5)),
    "normalised rows": (lambda x: nn.functional.layer_norm(x, [6]), (4, 6)),
    "activations": (lambda x: sorus.tanh(x) + nn.functional.gelu(x) + sorus.sigmoid(x), (3, 7)),
    "leaky": (lambda x: nn.functional.leaky_relu(x, 0.1), (5,)),
    "clamps in a row": (lambda x: (x * 4).clamp(-1, 2).clamp(-3, 1), (40,)),
    "permuted": (lambda x: x.permute(0, 2, 1) + 1, (2, 3, 4)),
    "sliced": (lambda x: x[:, 1:, ::2] * 2, (2, 3, 5)),
    "flattened image": (lambda x: nn.functional.max_pool2d(x, 2).flatten(1) * 2, (2, 3, 4, 4)),
    "softmax over channels": (lambda x: nn.functional.softmax(x, dim=1), (2, 3, 4)),
    "padded": (lambda x: nn.functional.pad(x, (1, 2, 0, 1), value=3.0) * 2, (1, 2, 3, 4)),
    "joined rows": (lambda x: sorus.cat([x, x * 2, x[:, :1]], dim=1), (3, 4)),
    "sums of all": (lambda x: x.sum() + x.sum(dim=1), (3, 4)),
    "dilated maximum": (lambda x: nn.functional.max_pool2d(x, 2, stride=1, dilation=2, padding=1), (1, 2, 6, 6)),
    "uneven mean": (lambda x: nn.functional.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False), (1, 2, 6, 7)),
    "the input itself": (lambda x: (x, x.reshape(-1), x + 1), (2, 3)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, tmp_path: pathlib.Path) -> None:
    function, shape = FUNCTIONS[name]
    checked(function, tmp_path, sorus.zeros(*shape), runs=3)


def test_convolutions_of_all_kinds(tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(1)
    for i, (layer, shape) in enumerate(
        [
            (nn.Conv2d(1, 3, (2, 3), stride=(2, 1), padding=(1, 0)), (2, 1, 5, 6)),
            (nn.Conv2d(4, 20, 1), (1, 4, 5, 3)),
            (nn.Conv2d(3, 18, 3, dilation=2, padding=2), (1, 3, 7, 5)),
            (nn.Conv2d(4, 8, 3, groups=4, padding=1), (1, 4, 5, 5)),
            (nn.Conv2d(16, 16, 5, groups=16, stride=2, padding=2), (1, 16, 9, 8)),
            (nn.Conv2d(19, 19, 3, groups=19), (1, 19, 6, 7)),
            (nn.Conv1d(3, 17, 3, padding=1), (2, 3, 9)),
            (nn.Linear(33, 35), (7, 33)),
            (nn.Linear(8, 1), (1, 8)),
        ]
    ):
        checked(nn.Sequential(layer, nn.ReLU()).eval(), tmp_path / str(i), sorus.zeros(*shape), runs=2)


def test_a_module_needs_an_example(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match="expected example=, a tensor or a tuple of tensors like the inputs of ReLU"):
        device.generate(nn.ReLU(), "x86", "net", tmp_path)
    with pytest.raises(TypeError, match="expected a file's path or a module, found int"):
        device.generate(3, "x86", "net", tmp_path)  # type: ignore[arg-type]


def test_operators_without_a_form_are_listed(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NotImplementedError, match=r"(?s)no form for devices:.*running_sum.*sort"):
        device.generate(lambda x: sorus.cumsum(sorus.sort(x)[0], 0), "x86", "net", tmp_path, example=sorus.zeros(3))


def test_verify_finds_a_wrong_float(tmp_path: pathlib.Path) -> None:
    model, example = nn.Linear(4, 2), sorus.zeros(1, 4)
    device.generate(model, usable("x86"), "net", tmp_path, example=example)
    data = tmp_path / "src" / "net_data.h"
    text = data.read_text()
    at = text.index("= {") + 4
    data.write_text(text[:at] + " 99.0f," + text[text.index(",", at) + 1 :])
    facts = device.verify(model, tmp_path, "x86", "net", example=example)
    assert not facts["accepted"] and facts["largest_difference"] > facts["tolerance"]


def test_a_processor_without_the_instructions_gets_an_error_code(tmp_path: pathlib.Path) -> None:
    if not (emulator := shutil.which("qemu-x86_64")):
        pytest.skip("not installed (scripts/setup.sh device): qemu-x86_64")
    device.generate(nn.Linear(16, 4), usable("x86"), "net", tmp_path, example=sorus.zeros(1, 16))
    subprocess.run(["make", "-s", "example"], cwd=tmp_path, check=True)
    for processor, code in (("Nehalem", 4), ("max", 0)):
        assert subprocess.run([emulator, "-cpu", processor, tmp_path / "build" / "example"]).returncode == code


@pytest.mark.parametrize("level", [0, 2])
def test_every_way_of_floats_on_x86(level: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of 8 and of 16, made to be taken; channels that fill no vector, one pixel and many."""
    flags = next((s for s in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("flags")), "")
    if not (wanted := {0: {"avx2"}, 2: {"avx512f"}}[level]) <= set(flags.split()):
        pytest.skip(f"this processor lacks {' or '.join(sorted(wanted))}")

    def conv(inputs: int, outputs: int, kernel: int, groups: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups)

    model = nn.Sequential(
        conv(3, 27, 3), nn.ReLU(), conv(27, 27, 3, groups=27), conv(27, 40, 1), nn.ReLU6(), conv(40, 40, 3, groups=40),
        nn.Flatten(), nn.Linear(40 * 25, 30),
    ).eval()  # fmt: skip
    example = sorus.randn(1, 3, 5, 5)
    device.generate(model, usable("x86"), "net", tmp_path, example=example)
    source = tmp_path / "src" / "net.c"
    text = source.read_text()
    assert text.count("const int level = net_level();") == 1 and "net_FMA16(" in text
    source.write_text(text.replace("const int level = net_level();", f"const int level = {level};"))
    monkeypatch.setattr(shutil, "which", lambda name, which=shutil.which: None if "qemu" in name else which(name))
    facts = device.verify(model, tmp_path, "x86", "net", runs=3, example=example)
    assert facts["accepted"] and facts["largest_difference"] <= 1e-5 and "also_under" not in facts


class Wide(sorus.nn.Module):
    """A picture of 256x256 in `channels` channels of a quarter of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = sorus.nn.Conv2d(3, channels, 1, stride=2)
        self.second = sorus.nn.Conv2d(channels, 2, 1, stride=4)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        return self.second(sorus.relu(self.first(x)))


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
def test_models_of_megabytes_run_on_boards(target: str, tmp_path: pathlib.Path) -> None:
    """Arena, inputs and outputs of 5 MB: what main.c has of them lay over the stack once, and the program ended in a fault."""
    net, x = Wide(40).eval(), sorus.zeros(1, 3, 256, 256)
    report = device.generate(net, usable(target), "net", tmp_path, example=x)
    assert report["arena_bytes"] > 2_600_000
    facts = device.verify(net, tmp_path, target, "net", runs=1, example=x)
    assert facts["accepted"] and facts["equal"] == 1


def test_a_model_larger_than_the_board_is_an_error_that_says_so(tmp_path: pathlib.Path) -> None:
    net, x = Wide(150).eval(), sorus.zeros(1, 3, 256, 256)
    device.generate(net, usable("cortex-m4"), "net", tmp_path, example=x)
    with pytest.raises(device.VerifyError, match="arena, inputs and outputs do not fit into the memory of the board"):
        device.verify(net, tmp_path, "cortex-m4", "net", runs=1, example=x)
