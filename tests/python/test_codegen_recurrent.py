"""Layers that remember, on devices: LSTM and GRU of all formats and of Sorus, variables of TensorFlow Lite."""

from __future__ import annotations

import math
import pathlib
import zlib
from typing import Any

import numpy as np
import pytest
from model_files import Onnx, Tflite
from test_codegen import usable
from test_codegen_float import checked, kernels

import sorus
from sorus import codegen as device
from sorus import nn


def values(t: sorus.Tensor) -> np.ndarray:
    return t.detach().numpy()


# ---- The arithmetic of TensorFlow Lite's int8 LSTM with an int16 cell, written down once more, number by number


def fixed(real: float) -> tuple[int, int]:
    fraction, shift = math.frexp(real)
    return round(fraction * 2**31), shift


def rounded(x: int, bits: int) -> int:
    """x / 2^bits, halves away from zero."""
    return (abs(x) + (1 << bits >> 1) >> bits) * (1 if x >= 0 else -1)


def scaled(x: int, factor: tuple[int, int]) -> int:
    multiplier, shift = factor
    return rounded(rounded((x << max(shift, 0)) * multiplier, 31), max(-shift, 0))


def clip16(v: int) -> int:
    return max(-32768, min(32767, v))


def high(a: int, b: int) -> int:
    return min(rounded(a * b, 15), 32767)


def short(v: int) -> int:
    return rounded(v, 16)


def exponential(a: int, bits: int) -> int:
    if a == 0:
        return 32767
    if bits > 5 and a < -(1 << 20 - bits):
        return 0
    quarter = 1 << 13 - bits
    part = a % quarter - quarter
    x = (part << bits) + 4096
    square = high(x, x)
    cubic = high(rounded(high(square, square), 2) + high(square, x), short(715827883))
    middle = short(1895147668)
    e = clip16(middle + high(middle, x + rounded(cubic + square, 1)))
    for i, factor in enumerate((1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)):
        if (part - a) & quarter << i:
            e = high(e, short(factor))
    return e


def reciprocal(e: int) -> int:
    half = e + 32768 >> 1
    r = short(1515870810) + high(half, short(-1010580540))
    for _ in range(3):
        r += clip16(high(r, 8192 - high(half, r)) << 2)
    return r


def logistic(a: int) -> int:
    up = clip16(reciprocal(exponential(-abs(a), 3)) << 1)
    return 16384 if a == 0 else up if a > 0 else 32767 - up


def tanh(a: int, bits: int) -> int:
    up = clip16((reciprocal(exponential(-abs(a), bits + 1)) - 8192) << 2)
    return 0 if a == 0 else up if a > 0 else -up


class IntegerLstm:
    """A layer with random weights: as a file, and step by step."""

    inputs, units, steps, batch = 5, 6, 4, 2

    def __init__(self, cell_bits: int, time_major: bool, clip: float, seed: int = 1) -> None:
        r = np.random.default_rng(seed)
        self.cell_bits, self.time_major, self.clip = cell_bits, time_major, clip
        self.zero_x, self.zero_h, self.scale_x, self.scale_h = -3, 5, np.float32(0.02), np.float32(1 / 128)
        self.scales_w = np.array([0.01, 0.012, 0.009, 0.011], np.float32)
        self.scales_r = np.array([0.008, 0.0095, 0.01, 0.0085], np.float32)
        self.w = r.integers(-127, 128, (4, self.units, self.inputs)).astype(np.int8)
        self.r = r.integers(-127, 128, (4, self.units, self.units)).astype(np.int8)
        self.b = r.integers(-5000, 5000, (4, self.units)).astype(np.int32)
        self.hidden = np.full((self.batch, self.units), self.zero_h)
        self.cell = np.zeros((self.batch, self.units), int)

    def shape(self, last: int) -> tuple[int, ...]:
        sizes = (self.steps, self.batch) if self.time_major else (self.batch, self.steps)
        return (*sizes, last)

    def file(self) -> bytes:
        f = Tflite()
        x = f.tensor("x", self.shape(self.inputs), "int8", self.scale_x, self.zero_x)
        w = [f.constant(f"w{g}", self.w[g], self.scales_w[g]) for g in range(4)]
        r = [f.constant(f"r{g}", self.r[g], self.scales_r[g]) for g in range(4)]
        b = [f.constant(f"b{g}", self.b[g], self.scale_x * self.scales_w[g]) for g in range(4)]
        h = f.tensor("h", self.hidden.shape, "int8", self.scale_h, self.zero_h, variable=True)
        c = f.tensor("c", self.cell.shape, "int16", 2.0 ** (self.cell_bits - 15), 0, variable=True)
        between = [f.tensor(f"m{i}", (1,), "int16", 2.0**-12) for i in range(4)]
        between.append(f.tensor("hidden", (1,), "int8", self.scale_h, self.zero_h))
        y = f.tensor("y", self.shape(self.units), "int8", self.scale_h, self.zero_h)
        options = {0: np.int8(4), 1: np.float32(self.clip), 3: np.bool_(self.time_major)}
        none = [-1]
        f.operator(
            44, [x, *w, *r, *none * 3, *b, *none * 2, h, c, *none * 4], [y], options, kind=71, intermediates=between
        )
        f.graph([x], [y])
        return f.file()

    def run(self, x: np.ndarray) -> np.ndarray:
        if not self.time_major:
            x = x.transpose(1, 0, 2)
        fw = [fixed(float(s * self.scale_x * np.float32(4096))) for s in self.scales_w]
        fr = [fixed(float(s * self.scale_h * np.float32(4096))) for s in self.scales_r]
        fh = fixed(float(np.float32(2.0**-30) / self.scale_h))
        clip = int(min(self.clip * 2 ** (15 - self.cell_bits), 32767))
        out = np.zeros((self.steps, self.batch, self.units), np.int8)
        for t in range(self.steps):
            for b in range(self.batch):
                sums = np.einsum("gui,i->gu", self.w.astype(int), x[t, b].astype(int) - self.zero_x) + self.b
                back = np.einsum("gui,i->gu", self.r.astype(int), self.hidden[b] - self.zero_h)
                for u in range(self.units):
                    i, f, g, o = (
                        clip16(clip16(scaled(int(sums[k, u]), fw[k])) + scaled(int(back[k, u]), fr[k]))
                        for k in range(4)
                    )
                    c = rounded(logistic(f) * int(self.cell[b, u]), 15)
                    c = clip16(c + rounded(logistic(i) * tanh(g, 3), 15 + self.cell_bits))
                    c = max(-clip, min(clip, c)) if clip else c
                    self.cell[b, u] = c
                    y = scaled(logistic(o) * tanh(c, self.cell_bits), fh) + self.zero_h
                    out[t, b, u] = max(-128, min(127, y))
                self.hidden[b] = out[t, b]
        return out if self.time_major else out.transpose(1, 0, 2)


# What the reference kernel of LiteRT 2.3 gives for the three inputs of the test, as a checksum of all bytes.
GOLDEN = {(4, False, 0.0): 2145622152, (3, True, 0.0): 2159080299, (5, False, 3.0): 3302303297, (6, False, 0.0): 648669324,
          (0, True, 0.0): 4280345499}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN)
def test_integer_lstm(case: tuple[int, bool, float], tmp_path: pathlib.Path) -> None:
    layer, path = IntegerLstm(*case), tmp_path / "lstm.tflite"
    path.write_bytes(layer.file())
    model, random = sorus.load_model(path), np.random.default_rng(2)
    xs = [random.integers(-128, 128, layer.shape(layer.inputs)).astype(np.int8) for _ in range(3)]
    expected = [layer.run(x) for x in xs]
    assert zlib.crc32(b"".join(y.tobytes() for y in expected)) == GOLDEN[case]
    for x, y in zip(xs, expected, strict=True):  # the state goes on from run to run
        assert (model(sorus.tensor(x)).numpy() == y).all()
    inputs = b"".join(x.tobytes() for x in xs)
    for target in ("x86", "cortex-m4", "cortex-m55", "arm64", "arm32"):
        folder = tmp_path / target
        report = device.generate(path, usable(target), "lstm", folder)
        assert report["state_bytes"] == 12 + 24 and kernels(report).count("LSTM") == 1
        facts = device.verify(path, folder, target, "lstm", inputs, outputs=tmp_path / "out.bin")
        assert facts["accepted"] and facts["equal"] == 3, facts
        assert (tmp_path / "out.bin").read_bytes() == b"".join(y.tobytes() for y in expected)


@pytest.mark.parametrize("clip", [0.0, 0.15])
def test_lstm_of_floats(clip: float, tmp_path: pathlib.Path) -> None:
    """Of a .tflite file, whose state goes on."""
    random, f = np.random.default_rng(1), Tflite()
    w, r, b = (random.normal(0, 0.6, s).astype(np.float32) for s in ((4, 5, 3), (4, 5, 5), (4, 5)))
    x = f.tensor("x", (1, 7, 3), "float32")
    parts = [f.constant(f"{n}{g}", a[g]) for n, a in (("w", w), ("r", r)) for g in range(4)]
    biases = [f.constant(f"b{g}", b[g]) for g in range(4)]
    h, c = (f.tensor(n, (1, 5), "float32", variable=True) for n in "hc")
    y = f.tensor("y", (1, 7, 5), "float32")
    options = {0: np.int8(4), 1: np.float32(clip)}
    f.operator(44, [x, *parts, -1, -1, -1, *biases, -1, -1, h, c], [y], options, kind=71)
    f.graph([x], [y])
    path = tmp_path / "lstm.tflite"
    path.write_bytes(f.file())
    model, hidden, cell = sorus.load_model(path), np.zeros(5), np.zeros(5)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    for _ in range(2):
        value, rows = random.normal(0, 1, (1, 7, 3)).astype(np.float32), []
        for t in range(7):
            i, forget, g, o = (w[k] @ value[0, t] + r[k] @ hidden + b[k] for k in range(4))
            cell = sigmoid(forget) * cell + sigmoid(i) * np.tanh(g)
            cell = np.clip(cell, -clip, clip) if clip else cell
            hidden = sigmoid(o) * np.tanh(cell)
            rows.append(hidden)
        assert np.abs(values(model(sorus.tensor(value)))[0] - rows).max() < 1e-6
    assert all(tuple(p.shape) != (1, 5) for p in model.parameters())  # states are no parameters
    report = checked(path, tmp_path / "out", runs=3)
    assert report["state_bytes"] == 40 and "LSTM, float" in kernels(report)


def onnx_recurrent(op: str, directions: int, before: int, path: pathlib.Path) -> Any:
    """A file, and the layer of Sorus with the same weights (none where the reset gate comes before the product)."""
    gates, units, inputs = (4, 4, 3) if op == "LSTM" else (3, 4, 3)
    random = np.random.default_rng(3)
    w, r, b = (random.normal(0, 0.5, s).astype(np.float32) for s in (
        (directions, gates * units, inputs), (directions, gates * units, units), (directions, 2 * gates * units)))  # fmt: skip
    m = Onnx()
    attributes = {"hidden_size": units, "direction": "bidirectional" if directions == 2 else "forward"}
    if op == "GRU":
        attributes["linear_before_reset"] = before
    x = m.input("x", (6, 1, inputs))
    y = m.node(op, x, m.constant(w), m.constant(r), m.constant(b), outputs=3 if op == "LSTM" else 2, **attributes)
    m.output(y[0], (6, directions, 1, units))
    m.output(y[1], (directions, 1, units))
    path.write_bytes(m.file())
    if not before:
        return w[0], r[0], b[0]
    layer = (nn.LSTM if op == "LSTM" else nn.GRU)(inputs, units, bidirectional=directions == 2)
    order = [0, 2, 3, 1] if op == "LSTM" else [1, 0, 2]
    turned = lambda a: np.concatenate([a[g * units : (g + 1) * units] for g in order])  # noqa: E731
    for d in range(directions):
        end = "_l0_reverse" if d else "_l0"
        half = len(b[d]) // 2
        for name, value in (
            ("weight_ih", w[d]),
            ("weight_hh", r[d]),
            ("bias_ih", b[d][:half]),
            ("bias_hh", b[d][half:]),
        ):
            getattr(layer, name + end).data.copy_(sorus.tensor(turned(value)))
    return layer


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("directions", [1, 2])
def test_onnx(op: str, directions: int, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "layer.onnx"
    layer = onnx_recurrent(op, directions, 1, path)
    x = sorus.randn(6, 1, 3)
    y, state = layer(x)
    found = sorus.load_model(path)(x)
    expected = values(y).reshape(6, 1, directions, 4).transpose(0, 2, 1, 3)
    assert np.abs(values(found[0]) - expected).max() < 1e-6
    last = state[0] if op == "LSTM" else state
    assert np.abs(values(found[1]) - values(last)).max() < 1e-6
    report = checked(path, tmp_path / "out", runs=2)
    assert kernels(report).count(f"{op}, float") == directions


def test_gru_that_resets_before_the_product(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "gru.onnx"
    w, r, b = onnx_recurrent("GRU", 1, 0, path)
    x, h = np.random.default_rng(4).normal(0, 1, (6, 1, 3)).astype(np.float32), np.zeros(4, np.float32)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    expected = []
    for t in range(6):
        a = w @ x[t, 0] + b[:12] + b[12:]
        z, reset = sigmoid(a[:4] + r[:4] @ h), sigmoid(a[4:8] + r[4:8] @ h)
        h = (1 - z) * np.tanh(a[8:] + r[8:] @ (reset * h)) + z * h
        expected.append(h)
    found = values(sorus.load_model(path)(sorus.tensor(x))[0])
    assert np.abs(found.reshape(6, 4) - np.array(expected)).max() < 1e-6
    checked(path, tmp_path / "out", runs=2)


class Reader(nn.Module):
    """What a recurrent layer of Sorus is used for: its last state is classified."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 3)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        out, state = self.layer(x)
        hidden = state[0] if isinstance(state, tuple) else state
        return self.head(hidden[-1]) + out.mean(dim=1)[:, :3]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False}])
def test_layers_of_sorus(kind: str, options: dict[str, Any], tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(2)
    layer = getattr(nn, kind)(4, 6, batch_first=True, **options)
    report = checked(Reader(layer, 6).eval(), tmp_path, sorus.randn(1, 5, 4), runs=2)
    sweeps = (2 if len(options) and "bias" not in options else 1) if kind != "RNN" else 0
    assert kernels(report).count(f"{kind}, float") == sweeps


class Streamed(nn.Module):
    """One step at a time; the module keeps the state."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(4, 6)
        self.register_buffer("hidden", sorus.zeros(1, 1, 6))
        self.register_buffer("cell", sorus.zeros(1, 1, 6))

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        out, (hidden, cell) = self.layer(x, (self.hidden, self.cell))
        self.hidden.copy_(hidden)
        self.cell.copy_(cell)
        return out


@pytest.mark.parametrize("target", ["x86", "cortex-m4"])
def test_a_state_that_the_caller_keeps(target: str, tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(3)
    report = checked(Streamed().eval(), tmp_path, sorus.randn(1, 1, 4), target=target, runs=5)
    assert report["state_bytes"] == 2 * 24
    assert "void net_reset(void *arena);" in (tmp_path / "include" / "net.h").read_text()


def test_variables(tmp_path: pathlib.Path) -> None:
    """The last rows of what came before stand in front of what comes: variables with a first value."""
    f = Tflite()

    def handle() -> int:
        h = f.tensor("past", (1,), "resource")
        f.operator(142, [], [h], {1: "past"}, kind=111)
        return h

    x, y = f.tensor("x", (1, 3, 2), "float32"), f.tensor("y", (1, 5, 2), "float32")
    old, new = f.tensor("old", (1, 2, 2), "float32"), f.tensor("new", (1, 2, 2), "float32")
    begin, size = (f.constant(n, np.array(v, np.int32)) for n, v in (("begin", [0, 3, 0]), ("size", [1, 2, 2])))
    f.operator(129, [], [], {0: np.int32(1)}, kind=102)
    past = handle()
    f.operator(143, [past], [old], kind=112)
    f.operator(2, [old, x], [y], {0: np.int32(1)}, kind=10)
    f.operator(65, [y, begin, size], [new], kind=48)
    f.operator(144, [past, new], [], kind=113)
    f.graph([x], [y])
    past = handle()
    f.operator(144, [past, f.constant("first", np.array([[[1, 2], [3, 4]]], np.float32))], [], kind=113)
    f.graph([], [])
    path = tmp_path / "stream.tflite"
    path.write_bytes(f.file())
    model, expected = sorus.load_model(path), np.array([[1, 2], [3, 4]], np.float32)
    for i in range(3):
        x_i = np.arange(6, dtype=np.float32).reshape(1, 3, 2) + 10 * i
        found = values(model(sorus.tensor(x_i)))[0]
        assert (found[:2] == expected).all() and (found[2:] == x_i[0]).all()
        expected = found[3:]
    report = checked(path, tmp_path / "out", runs=3)
    assert report["state_bytes"] == 16


def test_what_an_lstm_may_not_have(tmp_path: pathlib.Path) -> None:
    layer = IntegerLstm(4, False, 0.0)
    path, text = tmp_path / "lstm.tflite", layer.file()
    f = Tflite()
    x, y = f.tensor("x", (1, 2, 3), "float32"), f.tensor("y", (1, 2, 4), "float32")
    w = f.constant("w", np.zeros((4, 3), np.float32))
    f.operator(44, [x, -1, w], [y], {0: np.int8(4)}, kind=71)
    f.graph([x], [y])
    path.write_bytes(f.file())
    with pytest.raises(NotImplementedError, match=r"UNIDIRECTIONAL_SEQUENCE_LSTM.*coupled input and forget gates"):
        sorus.load_model(path)
    damaged, refused = np.random.default_rng(5), 0
    for _ in range(60):
        data = bytearray(text)
        for _ in range(8):
            data[int(damaged.integers(len(data)))] = int(damaged.integers(256))
        path.write_bytes(data)
        try:
            sorus.load_model(path)
        except (OSError, NotImplementedError):
            refused += 1
    assert refused > 10
