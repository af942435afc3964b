"""sorus.quantization: ranges, layers, the integer model beside the float one, TensorFlow Lite and the generated C."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from sorus.quantization.calibrate import Histogram, codes, scale_of

import sorus
from sorus import codegen, nn, quantization

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.two = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return sorus.relu(x + self.two(self.norm(self.one(x)).relu()))


def small_net() -> tuple[nn.Module, sorus.Tensor]:
    """Every kind of layer, padding that is not 'SAME', an activation on its own, an image that is flattened."""
    sorus.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 1), Block(16), nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(16), nn.ReLU6(), nn.AvgPool2d(2),
        nn.Dropout(0.2), nn.Flatten(), nn.ReLU(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4),
    )  # fmt: skip
    x = sorus.randn(48, 3, 16, 16)
    for _ in range(10):
        model(x)
    return model.eval(), x


def noise_of(model, small, x) -> float:
    """In dB."""
    wanted, found = model(x).detach().numpy(), small(x).numpy()
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - found) ** 2)))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("method", quantization.METHODS)
def test_integers_are_close_to_floats(method: str, per_channel: bool) -> None:
    model, x = small_net()
    small = quantization.quantize(model, [x[:32], x[32:]], method, per_channel)
    assert noise_of(model, small, x) > (15 if method == "entropy" else 25)
    assert small(x[:5]).shape == model(x[:5]).shape
    assert np.array_equal(small(x).numpy()[:5], small(x[:5]).numpy())
    weights = [w for n, w in small.integer.named_buffers() if n.endswith("_multiplier")]
    assert weights and all((w.numel() > 1) == per_channel for w in weights)


def test_report_says_what_each_layer_loses() -> None:
    model, x = small_net()
    labels = sorus.tensor(model(x).detach().numpy().argmax(1))
    small = quantization.quantize(model, [x], evaluation=[(x, labels)])
    report = json.loads(json.dumps(small.report))
    assert [r["name"] for r in report["layers"]] == [
        "0", "3", "6", "7.one", "7.two", "add_0", "max_pool_0", "conv_5", "avg_pool_0", "flatten_0", "activation_0", "15", "18",
    ]  # fmt: skip
    assert all(r["snr_db"] > 20 and r["low"] <= 0 <= r["high"] for r in report["layers"])
    assert report["accuracy"]["before"] == 1 and report["accuracy"]["after"] > 0.85
    assert report["bytes"] < report["float_bytes"] / 3
    # What the report says of the last layer is what a user sees.
    assert report["layers"][-1]["snr_db"] == pytest.approx(noise_of(model, small, x), abs=0.01)
    assert "7.two" in small.table() and "accuracy" in small.table()


def test_batch_norm_is_folded_only_where_nobody_else_reads() -> None:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            same = y.reshape(y.shape)  # another name, so y must not become the sum of it and something
            return self.norm(same) + y

    model, x = Twice(), sorus.randn(16, 3, 6, 6)
    with sorus.no_grad():
        model.norm.weight.copy_(sorus.tensor([2.0, -1.0, 0.5, 3.0]))
    model(x)
    small = quantization.quantize(model.eval(), [x])
    assert [r["kind"] for r in small.report["layers"]] == ["conv", "conv", "add"]
    assert noise_of(model, small, x) > 30


def test_mean_over_an_image_and_softmax() -> None:
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.classes = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

        def forward(self, x):
            return self.classes(self.conv(x).clamp(min=0).mean((2, 3))).softmax(-1)

    model, x = Mean().eval(), sorus.randn(32, 3, 8, 8)
    small = quantization.quantize(model, [x])
    assert small.integer.outputs[0]["scale"] == [1 / 256] and small.integer.outputs[0]["zero_point"] == [-128]
    assert np.abs(small(x).numpy() - model(x).detach().numpy()).max() < 0.02


@pytest.mark.parametrize("counts", [True, False])
def test_padding_of_means(counts: bool) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=counts)).eval()
    x = sorus.randn(16, 2, 7, 7)
    assert noise_of(model, quantization.quantize(model, [x]), x) > 30


def all_layers(folder: pathlib.Path) -> tuple[quantization.QuantizedModel, np.ndarray]:
    model, x = small_net()
    small = quantization.quantize(nn.Sequential(model, nn.Softmax(-1)), [x])
    small.save(folder / "small.tflite")
    return small, small.codes(x)


def usable(target: str) -> str:
    if missing := codegen.verify_tools(next(t for t in codegen.targets() if t["name"] == target)):
        pytest.skip(f"not installed: {', '.join(missing)}")
    return target


@pytest.mark.parametrize("target", ["x86", "cortex-m4", "cortex-m55"])
def test_generated_c_is_equal_to_the_bit(target: str, tmp_path: pathlib.Path) -> None:
    _, inputs = all_layers(tmp_path)
    codegen.generate(tmp_path / "small.tflite", usable(target), "small", tmp_path / "c")
    facts = codegen.verify(tmp_path / "small.tflite", tmp_path / "c", target, "small", inputs[:8].tobytes())
    assert facts["accepted"] and facts["equal"] == 8
    # Padding by rows and by columns is part of the window after it.
    report = json.loads((tmp_path / "c" / "report.json").read_text())
    assert not any("padding" in layer["kernel"] for layer in report["layers"])


def test_flattened_image_then_elementwise_then_sum(tmp_path: pathlib.Path) -> None:
    """Rows have other channels than the image that they were: C used to be generated out of bounds."""

    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.side, self.last = nn.Conv2d(2, 4, 1), nn.Linear(64, 64), nn.Linear(64, 3)

        def forward(self, x):
            flat = self.conv(x).flatten(1)
            return self.last(self.side(flat.relu()) + self.side(flat))

    x = sorus.randn(8, 2, 4, 4)
    small = quantization.quantize(Joined().eval(), [x])
    small.save(tmp_path / "joined.tflite")
    codegen.generate(tmp_path / "joined.tflite", usable("x86"), "joined", tmp_path / "c")
    assert codegen.verify(tmp_path / "joined.tflite", tmp_path / "c", "x86", "joined", small.codes(x).tobytes())[
        "accepted"
    ]


def test_tensorflow_lite_gives_the_same(tmp_path: pathlib.Path) -> None:
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    small, inputs = all_layers(tmp_path)
    reference = lite.Interpreter(
        str(tmp_path / "small.tflite"), experimental_op_resolver_type=lite.OpResolverType.BUILTIN_REF
    )
    reference.allocate_tensors()
    for x in inputs:
        reference.set_tensor(reference.get_input_details()[0]["index"], x[None])
        reference.invoke()
        found = reference.get_tensor(reference.get_output_details()[0]["index"])
        assert np.array_equal(found, small.integer(sorus.tensor(x[None])).numpy())


def test_all_that_has_no_layer_is_one_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AvgPool2d(4, ceil_mode=True), nn.Softplus())
    with pytest.raises(NotImplementedError, match="gelu") as caught:
        quantization.quantize(model, [sorus.randn(2, 3, 8, 8)])
    assert "with ceil_mode" in str(caught.value) and "softplus" in str(caught.value)
    assert model.training  # as it was
    with pytest.raises(NotImplementedError, match="flattened, which no Linear reads"):
        quantization.quantize(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten()), [sorus.randn(2, 1, 4, 4)])


def test_mistakes() -> None:
    model, x = nn.Linear(3, 2), sorus.randn(4, 3)
    with pytest.raises(ValueError, match="minmax, percentile, entropy, mse, found 'best'"):
        quantization.quantize(model, [x], "best")
    with pytest.raises(ValueError, match="at least one batch"):
        quantization.quantize(model, [])
    with pytest.raises(ValueError, match="finite values"):
        quantization.quantize(model, [x / 0])


def seen(x: np.ndarray) -> Histogram:
    histogram = Histogram()
    for visit in (histogram.widen, histogram.count):
        for part in np.split(x, 2):
            visit(part)
    return histogram


def test_ranges() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=200_000)
    x[7] = 40.0
    histogram = seen(x)
    assert histogram.range("minmax") == (x.min(), 40.0)
    low, high = histogram.range("percentile")
    assert -4.5 < low < -3.5 and 3.5 < high < 4.5  # one in ten thousand lies beyond 3.7

    def error(a: float, b: float) -> float:
        scale, zero = scale_of(a, b)
        return float(np.sum((x - (codes(x, float(scale), zero).astype(float) - zero) * float(scale)) ** 2))

    assert error(*histogram.range("mse")) < error(x.min(), 40.0)
    low, high = histogram.range("entropy")
    assert -5 < low < -2 and 2 < high < 8
    assert seen(np.zeros(10)).range("mse") == (0, 0)
    assert seen(np.abs(x)).range("percentile")[0] == 0


def test_codes_are_rounded_as_the_format_says() -> None:
    assert codes(np.array([0.5, 1.5, -0.5, -1.5, 300, -300]), 1.0, 3).tolist() == [4, 5, 2, 1, 127, -128]
    scale, zero = scale_of(-1.0, 3.0)
    assert zero == -64 and float(scale) == pytest.approx(4 / 255)
    assert scale_of(0.0, 0.0) == (1, 0)


def test_gesture_example(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "device" / "gesture.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 of 100 equal to the bit" in done.stdout
    assert (tmp_path / "gesture" / "include" / "gesture.h").exists()
