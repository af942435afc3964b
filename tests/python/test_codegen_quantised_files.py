"""Quantised models of other formats on devices: ONNX's two forms, 16-bit activations, MindSpore Lite."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from model_files import MsLite, Onnx, Tflite
from test_codegen import usable

import sorus
from sorus import codegen as device

TARGETS = ["x86", "cortex-m4", "arm64"]


def same_bits(path: pathlib.Path, folder: pathlib.Path, target: str, runs: int = 6) -> dict:
    report = device.generate(path, usable(target), "net", folder)
    facts = device.verify(path, folder, target, "net", runs=runs)
    assert facts["accepted"] and facts["equal"] == runs, facts
    return report


def run(path: pathlib.Path, x: np.ndarray) -> np.ndarray:
    return np.asarray(sorus.load_model(path)(sorus.tensor(x)).detach().numpy())


def windows(x: np.ndarray, kernel: int, stride: int, pad: int, outside: int) -> np.ndarray:
    """[n, h, w, c] as [n, oh, ow, kernel, kernel, c]."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=outside)
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)


# ---- ONNX


class Numbers:
    """A network of bytes: convolution with Relu, depthwise convolution, convolution, rows of a matrix."""

    def __init__(self) -> None:
        r = self.random = np.random.default_rng(3)
        self.weights = [r.integers(-127, 128, s).astype(np.int8) for s in ((8, 3, 3, 3), (8, 1, 3, 3), (5, 8, 1, 1))]
        self.scales = [(r.random(len(w)) * 0.01 + 0.002).astype(np.float32) for w in self.weights]
        self.bias = [r.integers(-3000, 3000, len(w)).astype(np.int32) for w in self.weights]
        self.matrix = r.integers(0, 256, (5 * 4 * 4, 6)).astype(np.uint8)
        self.act = [(np.float32(0.02), 120), (np.float32(0.11), 3), (np.float32(0.6), 110), (np.float32(0.9), 128),
                    (np.float32(4.5), 100)]  # fmt: skip
        self.settings: list[dict[str, Any]] = [
            {"strides": [2, 2], "pads": [1, 1, 1, 1]},
            {"group": 8, "pads": [1, 1, 1, 1]},
            {},
        ]

    def expected(self, x: np.ndarray) -> np.ndarray:
        """As ONNX says: sums of integers, times a float, rounded half to even."""
        v = x.transpose(0, 2, 3, 1).astype(np.int64)
        for i, w in enumerate(self.weights):
            (s, z), (t, y) = self.act[i], self.act[i + 1]
            stride, pad = self.settings[i].get("strides", [1])[0], self.settings[i].get("pads", [0])[0]
            at = windows(v - z, w.shape[2], stride, pad, 0)
            k = w.astype(np.int64).transpose(0, 2, 3, 1)
            sums = np.einsum("nyxijc,oijc->nyxo", at, k) if i != 1 else np.einsum("nyxijc,cij->nyxc", at, k[..., 0])
            factor = s * self.scales[i] / t
            v = np.rint((sums + self.bias[i]).astype(np.float32) * factor) + y
            v = np.clip(v, y if i == 0 else 0, 255).astype(np.int64)
        (s, z), (t, y) = self.act[3:]
        sums = (v.transpose(0, 3, 1, 2).reshape(len(x), -1) - z) @ (self.matrix.astype(np.int64) - 130)
        return np.clip(np.rint(sums.astype(np.float32) * (s * np.float32(0.03) / t)) + y, 0, 255).astype(np.uint8)

    def file(self, qdq: bool, opset: int) -> bytes:
        m = Onnx(opset)

        def scalar(v: Any, kind: Any) -> str:
            return str(m.constant(np.array(v, kind)))

        x = m.input("x", (1, 3, 8, 8), "uint8")
        steps = [(scalar(s, np.float32), scalar(z, np.uint8)) for s, z in self.act]
        for i, w in enumerate(self.weights):
            zeros = m.constant(np.zeros(len(w), np.int8))
            weight, scale, bias = m.constant(w), m.constant(self.scales[i]), m.constant(self.bias[i])
            if qdq:
                on_sums = m.constant(self.scales[i] * self.act[i][0])
                real = m.node("DequantizeLinear", x, *steps[i])
                kernel = m.node("DequantizeLinear", weight, scale, zeros, axis=0)
                x = m.node(
                    "Conv", real, kernel, m.node("DequantizeLinear", bias, on_sums, axis=0), **self.settings[i]
                )
                x = m.node("QuantizeLinear", m.node("Relu", x) if i == 0 else x, *steps[i + 1])
            else:
                x = m.node("QLinearConv", x, *steps[i], weight, scale, zeros, *steps[i + 1], bias, **self.settings[i])
                if i == 0:
                    x = m.node("Max", x, steps[1][1])
        x = m.node("Reshape", x, m.constant(np.array([1, -1])))
        matrix, scale, zero = m.constant(self.matrix), scalar(0.03, np.float32), scalar(130, np.uint8)
        if qdq:
            real = m.node("MatMul", m.node("DequantizeLinear", x, *steps[3]),
                          m.node("DequantizeLinear", matrix, scale, zero))  # fmt: skip
            x = m.node("QuantizeLinear", real, *steps[4])
        else:
            x = m.node("QLinearMatMul", x, *steps[3], matrix, scale, zero, *steps[4])
        m.output(x, (1, 6), "uint8")
        return m.file()


@pytest.mark.parametrize("qdq", [False, True], ids=["QLinear", "QDQ"])
def test_onnx_is_computed_in_integers(qdq: bool, tmp_path: pathlib.Path) -> None:
    path, numbers = tmp_path / "m.onnx", Numbers()
    path.write_bytes(numbers.file(qdq, 13))
    x = numbers.random.integers(0, 256, (4, 3, 8, 8)).astype(np.uint8)
    expected = numbers.expected(x)
    assert len(np.unique(expected)) > 8
    for i in range(4):
        np.testing.assert_array_equal(run(path, x[i : i + 1]), expected[i : i + 1])


@pytest.mark.parametrize("target", [*TARGETS, "cortex-m55", "arm32", "c"])
def test_onnx_on_devices(target: str, tmp_path: pathlib.Path) -> None:
    for qdq in (False, True):
        path = tmp_path / f"m{qdq}.onnx"
        path.write_bytes(Numbers().file(qdq, 13))
        report = same_bits(path, tmp_path / str(qdq), target)
        # Weights are bytes, and nothing is left of the floats between.
        assert report["constant_bytes"] < 4000, report["constant_bytes"]
        assert sum(layer["macs"] > 0 for layer in report["layers"]) == 4


def test_what_lies_half_way_between_two_bytes(tmp_path: pathlib.Path) -> None:
    """Means and resizing in QDQ form: ties are decided by whole numbers, not by how floats were rounded before."""
    for name, attributes, more in (
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}, []),
        ("GlobalAveragePool", {}, []),
        ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, []),
        ("Resize", {"mode": "linear"}, [np.array([], np.float32), np.array([1, 1, 2, 2], np.float32)]),
    ):
        m = Onnx(13)
        scale, zero = m.constant(np.array(0.013, np.float32)), m.constant(np.array(7, np.int8))
        x = m.input("x", (1, 6, 4, 5), "int8")
        y = m.node(name, m.node("DequantizeLinear", x, scale, zero), *[m.constant(a) for a in more], **attributes)
        shape = {"Resize": (1, 6, 8, 10), "AveragePool": (1, 6, 2, 3), "ReduceMean": (1, 6)}.get(name, (1, 6, 1, 1))
        m.output(m.node("QuantizeLinear", y, scale, zero), shape, "int8")
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(m.file())
        for target in ("x86", "cortex-m4"):
            same_bits(path, tmp_path / f"{name}{target}", target)
        v = np.random.default_rng(1).integers(-128, 128, (1, 6, 4, 5)).astype(np.int8)
        found = run(path, v)
        if name in ("GlobalAveragePool", "ReduceMean"):
            assert (found.ravel() == np.rint(v.astype(np.float64).mean((2, 3)).ravel())).all()


def test_resizing_bytes(tmp_path: pathlib.Path) -> None:
    m = Onnx(13)
    x = m.input("x", (1, 1, 1, 3), "uint8")
    sizes = m.constant(np.array([1, 1, 2, 2], np.float32))
    m.output(m.node("Resize", x, "", sizes, mode="linear"), (1, 1, 2, 6), "uint8")
    path = tmp_path / "m.onnx"
    path.write_bytes(m.file())
    found = run(path, np.array([[[[0, 100, 201]]]], np.uint8))
    assert found[0, 0].tolist() == [[0, 25, 75, 125, 175, 201]] * 2


def test_other_operators_of_onnx_runtime(tmp_path: pathlib.Path) -> None:
    m, r = Onnx(), np.random.default_rng(5)

    def step(s: float, z: int) -> tuple[str, str]:
        return m.constant(np.array(s, np.float32)), m.constant(np.array(z, np.int8))

    x = m.input("x", (1, 4, 6, 6), "int8")
    a, b, c = step(0.05, 3), step(0.08, -5), step(0.004, -128)
    w = r.integers(-127, 128, (4, 4, 1, 1)).astype(np.int8)
    y = m.node("QLinearConv", x, *a, m.constant(w), *step(0.01, 0), *b)
    y = m.node("QLinearAdd", x, *a, y, *b, *b)
    y = m.node("QLinearMul", y, *b, m.node("QLinearSigmoid", y, *b, *c), *c, *a)
    y = m.node("QLinearConcat", *b, m.node("QLinearLeakyRelu", y, *a, *a, alpha=0.1), *a, x, *a, axis=1)
    y = m.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = m.node("Reshape", m.node("QLinearGlobalAveragePool", y, *b, *a), m.constant(np.array([1, 8])))
    g = r.integers(-127, 128, (3, 8)).astype(np.int8)
    bias = m.constant(np.array([5, -900, 77], np.int32))
    y = m.node("QGemm", y, *a, m.constant(g), *step(0.02, 0), bias, *b, transB=1)
    m.output(y, (1, 3), "int8")
    path = tmp_path / "m.onnx"
    path.write_bytes(m.file())
    for target in ("x86", "cortex-m4"):
        same_bits(path, tmp_path / target, target)


# ---- TensorFlow Lite with activations of 16 bits


def sixteen(path: pathlib.Path, wide: bool) -> dict[str, np.ndarray]:
    """Convolution, depthwise convolution, mean and rows of a matrix; `wide`: biases of 64 bits."""
    f, r = Tflite(), np.random.default_rng(7)
    kind, n = ("int64" if wide else "int32"), {}
    n["a"] = r.integers(-127, 128, (6, 3, 3, 4)).astype(np.int8)
    n["b"] = r.integers(-127, 128, (1, 3, 3, 6)).astype(np.int8)
    n["c"] = r.integers(-127, 128, (5, 6)).astype(np.int8)
    n["sa"], n["sb"] = (
        (r.random(6) * 0.01 + 0.005).astype(np.float32),
        (r.random(6) * 0.01 + 0.005).astype(np.float32),
    )
    for name, count in (("ba", 6), ("bb", 6), ("bc", 5)):
        n[name] = r.integers(-(10**6), 10**6, count).astype(kind)
    x = f.tensor("x", (1, 6, 6, 4), "int16", 0.001)
    y, z = f.tensor("y", (1, 3, 3, 6), "int16", 0.002), f.tensor("z", (1, 3, 3, 6), "int16", 0.004)
    mean, out = f.tensor("mean", (1, 6), "int16", 0.003), f.tensor("out", (1, 5), "int16", 0.0005)
    step = {1: np.int32(2), 2: np.int32(2)}
    a = f.constant("a", n["a"], n["sa"], np.zeros(6))
    f.operator(3, [x, a, f.constant("ba", n["ba"], n["sa"], np.zeros(6))], [y], step, kind=1)
    b = f.constant("b", n["b"], n["sb"], np.zeros(6), axis=3)
    options = {1: np.int32(1), 2: np.int32(1), 3: np.int32(1), 4: np.int8(1)}
    f.operator(4, [y, b, f.constant("bb", n["bb"], n["sb"], np.zeros(6))], [z], options, kind=2)
    f.operator(40, [z, f.constant("dims", np.array([1, 2], np.int32))], [mean], kind=27)
    c = f.constant("c", n["c"], 0.02)
    f.operator(9, [mean, c, f.constant("bc", n["bc"], 0.001)], [out], kind=8)
    f.graph([x], [out])
    path.write_bytes(f.file())
    return n


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("wide", [True, False], ids=["bias of 64 bits", "bias of 32 bits"])
def test_activations_of_16_bits(wide: bool, target: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.tflite"
    sixteen(path, wide)
    report = same_bits(path, tmp_path / "out", target)
    assert report["constant_bytes"] < 1200


def test_a_convolution_of_16_bits_is_what_its_numbers_say(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.tflite"
    n = sixteen(path, True)
    x = np.random.default_rng(1).integers(-32768, 32768, (1, 6, 6, 4)).astype(np.int16)

    def stored(sums: np.ndarray, factor: np.ndarray) -> np.ndarray:
        exact = sums * factor
        return np.clip(np.rint(exact), -32768, 32767)

    # SAME with a stride of 2 over 6 places pads one place behind.
    at = windows(np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))), 3, 2, 0, 0).astype(np.int64)
    y = stored(np.einsum("nyxijc,oijc->nyxo", at, n["a"].astype(np.int64)) + n["ba"], n["sa"] * 0.001 / 0.002)
    at = windows(y, 3, 1, 1, 0)
    z = stored(np.einsum("nyxijc,ijc->nyxc", at, n["b"][0].astype(np.int64)) + n["bb"], n["sb"] * 0.002 / 0.004)
    mean = np.rint(np.maximum(z, 0).mean((1, 2)) * 0.004 / 0.003)
    out = stored(mean @ n["c"].astype(np.int64).T + n["bc"], np.array(0.02 * 0.003 / 0.0005))
    # Multipliers of 16 bits are as exact as that.
    assert np.abs(run(path, x).astype(np.float64) - out).max() <= 3 + np.abs(out).max() / 4000


def test_a_transposed_convolution_of_16_bits(tmp_path: pathlib.Path) -> None:
    f, r = Tflite(), np.random.default_rng(8)
    x, y = f.tensor("x", (1, 3, 4, 5), "int16", 0.001), f.tensor("y", (1, 6, 8, 4), "int16", 0.003)
    scales = (r.random(4) * 0.02 + 0.01).astype(np.float32)
    w = f.constant("w", r.integers(-127, 128, (4, 3, 2, 5)).astype(np.int8), scales, np.zeros(4))
    bias = f.constant("b", r.integers(-(10**6), 10**6, 4).astype(np.int64), scales, np.zeros(4))
    size = f.constant("size", np.array([1, 6, 8, 4], np.int32))
    f.operator(67, [size, w, x, bias], [y], {1: np.int32(2), 2: np.int32(2)}, kind=49)
    f.graph([x], [y])
    path = tmp_path / "m.tflite"
    path.write_bytes(f.file())
    for target in ("x86", "cortex-m4"):
        same_bits(path, tmp_path / target, target)


# ---- TensorFlow Lite: what keyword spotters and dynamic shapes need


def test_filters_over_time_of_bytes(tmp_path: pathlib.Path) -> None:
    """Weights over time and the state in int8, as TensorFlow Lite Micro has them beside int16."""
    f, r = Tflite(), np.random.default_rng(9)
    rank, units, memory, features, zero = 2, 3, 5, 7, 4
    feature = r.integers(-127, 128, (units * rank, features)).astype(np.int8)
    time = r.integers(-127, 128, (units * rank, memory)).astype(np.int8)
    bias = r.integers(-900, 900, units).astype(np.int32)
    x, y = f.tensor("x", (1, features), "int8", 0.05, -3), f.tensor("y", (1, units), "int8", 0.08, 6)
    state = f.tensor("state", (1, units * rank * memory), "int8", 0.1, zero, variable=True)
    inputs = [
        x,
        f.constant("feature", feature, 0.01),
        f.constant("time", time, 0.006),
        f.constant("b", bias, 0.0006),
        state,
    ]
    f.operator(27, inputs, [y], {0: np.int32(rank)}, kind=22)
    f.graph([x], [y])
    path = tmp_path / "m.tflite"
    path.write_bytes(f.file())
    for target in ("x86", "cortex-m4"):
        report = same_bits(path, tmp_path / target, target, runs=12)
        assert report["state_bytes"] == 32  # 30 elements
    model, past = sorus.load_model(path), np.zeros((units * rank, memory))
    for _ in range(8):
        v = r.integers(-128, 128, (1, features)).astype(np.int8)
        fresh = np.clip(
            np.rint(feature.astype(np.int64) @ (v[0].astype(np.int64) + 3) * (0.05 * 0.01 / 0.1)), -128, 127
        )
        past = np.concatenate([past[:, 1:], np.clip(fresh + zero, -128, 127)[:, None] - zero], 1)
        sums = (past * time).sum(1).reshape(units, rank).sum(1) + bias
        expected = np.clip(np.rint(sums * (0.1 * 0.006 / 0.08)) + 6, -128, 127)
        found = np.asarray(model(sorus.tensor(v)).detach().numpy())[0].astype(np.int64)
        # Halves of the newest features go away from zero in the file's arithmetic, to even here.
        assert np.abs(found - expected).max() <= 1


def test_shapes_that_a_file_computes(tmp_path: pathlib.Path) -> None:
    """Keras' Flatten with an open batch: SHAPE, STRIDED_SLICE, PACK, RESHAPE."""
    f = Tflite()
    x, y = f.tensor("x", (1, 2, 3), "float32"), f.tensor("y", (1, 6), "float32")
    shape, batch = f.tensor("shape", (3,), "int32"), f.tensor("batch", (), "int32")
    size = f.tensor("size", (2,), "int32")
    f.operator(77, [x], [shape], {0: np.int8(2)}, kind=55)
    one = [f.constant(f"c{i}", np.array([v], np.int32)) for i, v in enumerate((0, 1, 1))]
    f.operator(45, [shape, *one], [batch], {4: np.int32(1)}, kind=32)
    rest = f.constant("rest", np.array(6, np.int32))
    f.operator(83, [batch, rest], [size], {0: np.int32(2), 1: np.int32(0)}, kind=59)
    f.operator(22, [x, size], [y], kind=17)
    f.graph([x], [y])
    path = tmp_path / "m.tflite"
    path.write_bytes(f.file())
    v = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert run(path, v).tolist() == [[0, 1, 2, 3, 4, 5]]


# ---- MindSpore Lite


def mindspore(path: pathlib.Path, last: bool) -> dict[str, np.ndarray]:
    f, r = MsLite(), np.random.default_rng(11)
    n: dict[str, np.ndarray]
    n = {"w": r.integers(-127, 128, (4, 3, 3, 2)).astype(np.int8), "d": r.integers(-127, 128, (4, 3, 3, 1)).astype(np.int8),
         "m": r.integers(-127, 128, (3, 64)).astype(np.int8), "b": r.integers(-2000, 2000, 4).astype(np.int32),
         "c": r.integers(-2000, 2000, 3).astype(np.int32)}  # fmt: skip
    n["s"] = (r.random(4) * 0.02 + 0.01).astype(np.float32)

    def image(name: str, channels: int, scale: float | None, zero: int = 0) -> int:
        shape = (1, 4, 4, channels) if last else (1, channels, 4, 4)
        return f.tensor(name, shape, "float32" if scale is None else "int8", scale, zero)

    def weight(name: str) -> int:
        k = n[name]
        return f.constant(name, k if last else k.transpose(0, 3, 1, 2), n["s"])

    x, q, y = image("x", 2, None), image("q", 2, 0.02, 5), image("y", 4, 0.1, -7)
    z, total, act = image("z", 4, 0.2, 0), image("sum", 4, 0.25, 3), image("act", 4, 0.25 / 16, -100)
    rows = f.tensor("rows", (1, 64), "int8", 0.25 / 16, -100)
    logits, out = f.tensor("logits", (1, 3), "int8", 0.5, 10), f.tensor("out", (1, 3), "float32")
    f.node(113, [x], [q], {0: np.int64(43), 1: np.int64(32)})
    window = {0: np.int32(1 if last else 0), 1: np.array([3, 3], np.int64), 2: np.array([1, 1], np.int64),
              3: np.array([1, 1], np.int64), 4: np.int8(1), 7: np.int64(1)}  # fmt: skip
    bias = f.constant("b", n["b"], n["s"] * 0.02)
    f.node(35, [q, weight("w"), bias], [y], {**window, 10: np.int8(1)})
    f.node(35, [y, weight("d")], [z], {**window, 7: np.int64(4)})
    f.node(5, [y, z], [total], {0: np.int8(0)})
    f.node(2, [total], [act], {0: np.int8(2)})
    f.node(119, [act, f.constant("shape", np.array([1, 64], np.int32))], [rows])
    f.node(67, [rows, f.constant("m", n["m"], 0.01), f.constant("c", n["c"], 0.01 * 0.25 / 16)], [logits],
           {0: np.bool_(True)})  # fmt: skip
    f.node(113, [logits], [out], {0: np.int64(32), 1: np.int64(43)})
    path.write_bytes(f.file([x], [out]))
    return n


@pytest.mark.parametrize("last", [True, False], ids=["NHWC", "NCHW"])
def test_mindspore_lite_of_bytes(last: bool, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.ms"
    n = mindspore(path, last)
    x = np.random.default_rng(2).normal(0, 1, (1, 4, 4, 2)).astype(np.float32)
    found = run(path, x if last else x.transpose(0, 3, 1, 2))

    def stored(v: np.ndarray, scale: float, zero: int) -> np.ndarray:
        q = np.clip(np.rint(v / scale) + zero, -128, 127)
        return (q - zero) * scale

    q = stored(x, 0.02, 5)
    real = n["w"] * n["s"][:, None, None, None]
    y = np.einsum("nyxijc,oijc->nyxo", windows(q, 3, 1, 1, 0), real) + n["b"] * n["s"] * 0.02
    y = stored(np.maximum(y, 0), 0.1, -7)
    z = np.einsum("nyxijc,cij->nyxc", windows(y, 3, 1, 1, 0), n["d"][..., 0] * n["s"][:, None, None])
    act = stored(1 / (1 + np.exp(-stored(y + stored(z, 0.2, 0), 0.25, 3))), 0.25 / 16, -100)
    rows = (act if last else act.transpose(0, 3, 1, 2)).reshape(1, 64)
    expected = stored(rows @ (n["m"].T * 0.01) + n["c"] * 0.01 * 0.25 / 16, 0.5, 10)
    # Steps of the result are 0.5; an element that lies between two of them may fall to either.
    assert np.abs(found - expected).max() <= 1.0, (found, expected)
    assert np.abs(expected).max() > 2


@pytest.mark.parametrize("target", TARGETS)
def test_mindspore_lite_of_bytes_on_devices(target: str, tmp_path: pathlib.Path) -> None:
    for last in (True, False):
        path = tmp_path / f"m{last}.ms"
        mindspore(path, last)
        report = same_bits(path, tmp_path / str(last), target)
        assert sum(layer["macs"] > 0 for layer in report["layers"]) == 3
        assert report["constant_bytes"] < 2500, report["constant_bytes"]


def test_versions_of_mindspore_lite(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "m.ms"
    for version in ("MindSpore Lite 1.1.0", "MindSpore Lite 1.10.0", "MindSpore Lite 2.3.0"):
        f = MsLite(version)
        x, y = f.tensor("x", (1, 4), "float32"), f.tensor("y", (1, 4), "float32")
        f.node(2, [x], [y], {0: np.int8(1)})
        path.write_bytes(f.file([x], [y]))
        assert run(path, np.array([[-1, 2, -3, 4]], np.float32)).tolist() == [[0, 2, 0, 4]]
    f.version = "MindSpore Lite 1.0.1"
    for mark in (b"\0\0\0\0", b"MSL0", b"MSL1", b"MSL3"):
        path.write_bytes(f.file([x], [y], mark))
        with pytest.raises(OSError, match=r"written by 'MindSpore Lite 1\.0\.1'") as caught:
            sorus.load_model(path)
        assert mark.strip(b"\0").decode() in str(caught.value)
