"""sorus codegen of quantised operators beyond MLPerf Tiny's, and of models with a state, on their targets."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
from test_codegen import usable
from test_codegen_checks import CLANG, STRICT, clang, quiet

import sorus
from sorus import codegen as device

FACTOR = 1 << 30


class Layers:
    """Quantised layers with random weights; all tensors have the zero point 3."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(5)
        self.made: list[tuple] = []
        self.at = 0

    def numbers(self, low: int, high: int, shape: tuple[int, ...], kind: str) -> sorus.Tensor:
        return sorus.tensor(self.random.integers(low, high, shape).astype(kind))

    def again(self) -> None:
        """The next layers are those made before, in order."""
        self.at = 0

    def kept(self, make) -> tuple:
        if self.at == len(self.made):
            self.made.append(make())
        self.at += 1
        return self.made[self.at - 1]

    def conv(self, x: sorus.Tensor, out: int, kernel: int, stride: int = 1) -> sorus.Tensor:
        channels = int(x.shape[3])
        w, b, m, s = self.kept(
            lambda: (
                self.numbers(-128, 128, (out, kernel, kernel, channels), "int8"),
                self.numbers(-2000, 2000, (out,), "int32"),
                self.numbers(1 << 30, (1 << 31) - 1, (out,), "int32"),
                self.numbers(-11, -9, (out,), "int32"),
            )
        )
        p = kernel // 2
        return sorus.quantized_conv2d(x, w, m, s, b, [stride] * 2, [p] * 4, [1, 1], 1, 3, 0, 3, -128, 127)

    def wider(self, x: sorus.Tensor, out: int) -> sorus.Tensor:
        w, b = self.kept(
            lambda: (
                self.numbers(-128, 128, (out, 2, 2, int(x.shape[3])), "int8"),
                self.numbers(-2000, 2000, (out,), "int32"),
            )
        )
        m, s = self.kept(
            lambda: (sorus.tensor(np.full(out, FACTOR, "int32")), sorus.tensor(np.full(out, -8, "int32")))
        )
        size = [2 * int(x.shape[1]), 2 * int(x.shape[2])]
        return sorus.quantized_conv_transpose2d(x, w, m, s, b, [2, 2], [0, 0], size, 3, 0, 3, -128, 127)


class Mobile(sorus.nn.Module):
    """Hard swish, and channels weighed by what the whole image holds."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        n = self.layers
        n.again()
        y = sorus.quantized_hardswish(n.conv(x, 8, 3, 2), 3, 3, 24000, -1, 26000, 2, -128, 127)
        mean = sorus.quantized_sum(y, [1, 2], True, 3, 3, FACTOR // 64, 1, -128, 127)
        gate = sorus.quantized_sigmoid(n.conv(mean, 8, 1), 3, FACTOR, 21, 200, -128, 127)
        y = sorus.quantized_mul(y, gate, 3, -128, 3, FACTOR, -6, -128, 127)
        return sorus.quantized_leaky_relu(n.conv(y, 6, 1), 3, 3, FACTOR, 1, FACTOR, -2, -128, 127)


class Segmentation(sorus.nn.Module):
    """Down, up again, and together with what was there on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: sorus.Tensor) -> tuple:
        n = self.layers
        n.again()
        a = n.conv(x, 5, 3)
        b = n.conv(sorus.quantized_max_pool2d(a, [2, 2], [2, 2], [0] * 4, -128, 127), 6, 3)
        c = sorus.quantized_resize_bilinear(b, [8, 8], False, True)
        y = n.conv(sorus.cat([n.wider(b, 5), a, c], 3), 4, 1)
        return y, sorus.argmax(y, 3).to(sorus.int32)


class Wake(sorus.nn.Module):
    """Filters over time, whose state is kept, and the last two rows of the input before."""

    def __init__(self) -> None:
        super().__init__()
        n = self.layers = Layers()
        self.register_buffer("past", sorus.zeros(1, 12 * 6, dtype=sorus.int16))
        self.register_buffer("rows", n.numbers(-128, 128, (1, 2, 5, 3), "int8"))
        self.feature = n.numbers(-128, 128, (12, 20), "int8")
        self.time = n.numbers(-3000, 3000, (12, 6), "int16")
        self.bias = n.numbers(-900, 900, (6,), "int32")

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        n = self.layers
        n.again()
        whole = sorus.cat([self.rows, x], 1)
        self.rows.copy_(whole[:, -2:])
        y = n.conv(whole, 1, 3)[:, 1:-1].reshape(1, 20)
        y, past = sorus.quantized_svdf(
            y, self.past, self.feature, self.time, self.bias, 2, 3, FACTOR, -4, 3, FACTOR, -12, -128, 127
        )
        self.past.copy_(past)
        return y


class Extremes(sorus.nn.Module):
    """The least weights on the least elements, weights with a zero point, sizes that no vector divides."""

    def __init__(self) -> None:
        super().__init__()
        n = self.layers = Layers()
        self.least = sorus.tensor(np.full((7, 3, 3, 6), -128, "int8"))
        self.skewed = n.numbers(-128, 128, (21, 1, 1, 7), "int8")
        self.depthwise = n.numbers(-128, 128, (21, 3, 3, 1), "int8")

    def conv(
        self, x: sorus.Tensor, w: sorus.Tensor, shift: int, padding: int, groups: int, zero: int
    ) -> sorus.Tensor:
        out = int(w.shape[0])
        m, s = (sorus.tensor(np.full(out, v, "int32")) for v in (FACTOR, shift))
        return sorus.quantized_conv2d(
            x, w, m, s, None, [1, 1], [padding] * 4, [1, 1], groups, -128, zero, 3, -128, 127
        )

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        n = self.layers
        n.again()
        y = n.conv(sorus.quantized_leaky_relu(x, 3, -128, FACTOR, 12, FACTOR, 12, -128, 127), 6, 3)
        y = sorus.quantized_leaky_relu(y, 3, -128, FACTOR, 12, FACTOR, 12, -128, 127)
        y = self.conv(y, self.least, -12, 1, 1, 0)
        return self.conv(self.conv(y, self.skewed, -9, 0, 1, 9), self.depthwise, -9, 1, 21, -7)


CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mobile": (Mobile, (1, 16, 16, 3)),
    "segmentation": (Segmentation, (1, 8, 8, 3)),
    "wake": (Wake, (1, 4, 5, 3)),
    "extremes": (Extremes, (1, 5, 5, 3)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", ["x86", "cortex-m4", "cortex-m55", "arm64", "arm32", "cortex-m0"])
def test_equal_to_the_bit(name: str, target: str, tmp_path: pathlib.Path) -> None:
    module, shape = CASES[name]
    model, example = module(), sorus.zeros(*shape, dtype=sorus.int8)
    report = device.generate(model, usable(target), name, tmp_path, example=example)
    facts = device.verify(model, tmp_path, target, name, runs=4, example=example)
    assert facts["accepted"] and facts["equal"] == 4
    header = (tmp_path / "include" / f"{name}.h").read_text()
    kept = 12 * 6 * 2 + 32 if name == "wake" else 0  # rows are 30 bytes, aligned
    assert report["state_bytes"] == kept
    assert (f"#define {name.upper()}_STATE_BYTES {kept}\n" in header) == (kept > 0)
    assert (f"void {name}_reset(void *arena);" in header) == (kept > 0)
    # Verifying leaves the module's own state as it was.
    assert device.verify(model, tmp_path, target, name, runs=2, example=example)["equal"] == 2


@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_way_of_x86(level: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor takes the best of its ways; here it is made to take each that it has."""
    wanted = [{"avx2"}, {"avx_vnni"}, {"avx512_vnni", "avx512vl"}][level]
    flags = next((s for s in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if s.startswith("flags")), "")
    if not wanted <= set(flags.split()):
        pytest.skip(f"this processor lacks {' or '.join(sorted(wanted))}")
    model, example = Extremes(), sorus.zeros(1, 5, 5, 3, dtype=sorus.int8)
    device.generate(model, usable("x86"), "net", tmp_path, example=example)
    source = tmp_path / "src" / "net.c"
    text = source.read_text()
    assert text.count("const int level = net_level();") == 1
    source.write_text(text.replace("const int level = net_level();", f"const int level = {level};"))
    monkeypatch.setattr(shutil, "which", lambda name, which=shutil.which: None if "qemu" in name else which(name))
    facts = device.verify(model, tmp_path, "x86", "net", runs=4, example=example)
    assert facts["accepted"] and facts["equal"] == 4 and "also_under" not in facts


@pytest.mark.parametrize("name", CASES)
def test_clang_and_its_analyser_have_nothing_to_say(name: str, tmp_path: pathlib.Path) -> None:
    program = clang()
    module, shape = CASES[name]
    for target in ("c", "cortex-m4"):
        device.generate(module(), target, name, tmp_path, example=sorus.zeros(*shape, dtype=sorus.int8))
        command = [program, *CLANG[target], "-Iinclude", f"src/{name}.c"]
        quiet([*command, *STRICT, "-c", "-o", "model.o"], tmp_path)
        quiet([*command, "-std=c99", "--analyze", "-o", "out.plist"], tmp_path)
