"""sorus.quantization beyond plain int8: equalisation, bias correction, few bits, budgets, signals, groups, several inputs."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from sorus.quantization.equalize import equalize
from sorus.quantization.recorded import layers_of
from test_quantization import noise_of, small_net, usable

import sorus
from sorus import codegen, nn, quantization


class Signals(nn.Module):
    """A signal of three channels beside a row of features: strides, groups, both kinds of pooling, a join."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(3, 8, 5, stride=2, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(8, 8, 3, padding=1, groups=8), nn.Conv1d(8, 12, 3, padding="same", groups=4), nn.LeakyReLU(0.1),
            nn.AvgPool1d(2),
        )  # fmt: skip
        self.side, self.last = nn.Linear(5, 4), nn.Linear(16, 3)

    def forward(self, x: sorus.Tensor, y: sorus.Tensor) -> sorus.Tensor:
        return self.last(sorus.cat([self.body(x).mean(-1), sorus.tanh(self.side(y))], 1))


class Gated(nn.Module):
    """A factor for each channel, computed from the image itself; groups; a difference; smooth activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        y = nn.functional.silu(self.conv(x))
        gate = self.up(self.down(y.mean((2, 3))).relu()).sigmoid()
        z = nn.functional.hardswish(self.grouped(y)) * gate.unsqueeze(-1).unsqueeze(-1)
        return sorus.cat([z - y, y], 1)


def check_c(
    small: quantization.QuantizedModel, inputs: np.ndarray, folder: pathlib.Path, target: str = "c", **options
) -> dict:
    """Generated C gives what the model does, to the bit."""
    small.save(folder / "small.tflite")
    codegen.generate(folder / "small.tflite", usable(target), "small", folder / "c", **options)
    facts = codegen.verify(folder / "small.tflite", folder / "c", target, "small", inputs[:4].tobytes())
    assert facts["accepted"] and facts["equal"] == 4
    return facts


def test_signals_and_several_inputs(tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(0)
    model, x = Signals().eval(), (sorus.randn(32, 3, 32), sorus.randn(32, 5))
    small = quantization.quantize(model, [x], "mse")
    wanted, found = model(*x).detach().numpy(), small(*x).numpy()
    assert found.shape == wanted.shape and np.sum((wanted - found) ** 2) < 0.005 * np.sum(wanted**2)
    assert small.codes(*x).shape == (32, 3 * 32 + 5)
    check_c(small, small.codes(*x), tmp_path)
    with pytest.raises(TypeError, match="2 inputs, found 1"):
        small(x[0])


def test_a_signal_comes_out_as_one() -> None:
    model, x = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU()).eval(), sorus.randn(8, 2, 16)
    small = quantization.quantize(model, [x])
    assert small(x).shape == (8, 4, 16) and noise_of(model, small, x) > 30


def test_gates_groups_and_smooth_activations(tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(0)
    model, x = Gated().eval(), sorus.randn(16, 3, 8, 8)
    small = quantization.quantize(model, [x])
    kinds = [r["kind"] for r in small.report["layers"]]
    assert {"mul", "sigmoid", "hardswish", "sub", "cat"} <= set(kinds)
    assert noise_of(model, small, x) > 25
    check_c(small, small.codes(x), tmp_path)


def uneven(seed: int = 0) -> tuple[nn.Module, sorus.Tensor]:
    """A network whose channels have sizes from 1/30 to 30, which the next layer evens out: the same function for floats."""
    sorus.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(),
        nn.Conv2d(16, 12, 1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 16, 5),
    )  # fmt: skip
    sizes = sorus.tensor(np.geomspace(1 / 30, 30, 16).astype(np.float32)[np.random.default_rng(1).permutation(16)])
    with sorus.no_grad():
        model[0].weight.mul_(sizes.reshape(-1, 1, 1, 1)), model[0].bias.mul_(sizes)
        model[2].weight.mul_((1 / sizes).reshape(-1, 1, 1, 1))
    return model.eval(), sorus.randn(32, 3, 8, 8)


def test_equalisation_keeps_the_function_and_helps_one_scale_for_all() -> None:
    model, x = uneven()
    plan = layers_of(model, [(3, 8, 8)])
    before = plan.run([x])[plan.output].numpy()
    assert equalize(plan) == 3
    assert np.allclose(plan.run([x])[plan.output].numpy(), before, rtol=1e-4, atol=1e-5)
    ends = [np.abs(w).reshape(len(w), -1).max(1) for layer in plan.layers[:2] if (w := layer.weight) is not None]
    assert ends[0].max() / ends[0].min() < 10
    plain, even = (
        noise_of(model, quantization.quantize(model, [x], per_channel=False, equalize=e), x) for e in (False, True)
    )
    assert even > plain + 6


def test_equalisation_stops_at_what_has_an_end_of_its_own() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1))
    assert equalize(layers_of(model, [(2, 4, 4)])) == 0


def test_bias_correction_takes_up_the_mean_error() -> None:
    model, x = small_net()
    wanted = model(x).detach().numpy()

    def shift(**options) -> float:
        return float(
            np.abs((quantization.quantize(model, [x], weight_bits=4, **options)(x).numpy() - wanted).mean(0)).max()
        )

    assert shift(bias_correction=True) < 0.5 * shift()


@pytest.mark.parametrize("bits", [4, 2])
def test_few_bits_are_packed_and_unpacked(bits: int, tmp_path: pathlib.Path) -> None:
    model, x = small_net()
    small, plain = (quantization.quantize(model, [x], weight_bits=b) for b in (bits, 8))
    weights = [w.numpy() for n, w in small.integer.named_buffers() if n.endswith("/weight")]
    assert weights and all(np.abs(w.astype(int)).max() <= 2 ** (bits - 1) - 1 for w in weights)
    assert small.report["bytes"] < plain.report["bytes"] * (0.65 if bits == 4 else 0.5)
    assert all(r["weight_bits"] in (bits, None) for r in small.report["layers"])
    for target in ("c", "cortex-m4"):
        flash = []
        for packed in (False, True):
            (folder := tmp_path / f"{target}{packed}").mkdir()
            flash.append(check_c(small, small.codes(x), folder, target, pack_weights=packed)["flash_bytes"])
        assert flash[1] < flash[0] - 1000
    layers = json.loads((folder / "c" / "report.json").read_text())["layers"]
    assert any(f"of {bits} bits" in layer["kernel"] for layer in layers)


def test_nothing_to_pack_is_an_error(tmp_path: pathlib.Path) -> None:
    model, x = small_net()
    quantization.quantize(model, [x]).save(tmp_path / "wide.tflite")
    with pytest.raises(ValueError, match="fit into 4 or 2 bits for --pack-weights, found none"):
        codegen.generate(tmp_path / "wide.tflite", "c", "wide", tmp_path / "c", pack_weights=True)


def test_budgets_choose_the_bits() -> None:
    model, x = small_net()
    labels = sorus.tensor(model(x).detach().numpy().argmax(1))
    whole = quantization.quantize(model, [x]).report["bytes"]
    noise = []
    for budget in (whole, whole * 3 // 4, whole // 2):
        small = quantization.quantize(model, [x], flash_budget=budget)
        assert small.report["bytes"] <= budget
        noise.append(noise_of(model, small, x))
    assert noise[0] > noise[1] > noise[2]
    # With as many bytes, all layers alike are worse than those that were chosen.
    alike = quantization.quantize(model, [x], weight_bits=4)
    chosen = quantization.quantize(model, [x], flash_budget=alike.report["bytes"])
    assert noise_of(model, chosen, x) >= noise_of(model, alike, x)

    small = quantization.quantize(model, [x], evaluation=[(x, labels)], accuracy_budget=0.1)
    assert small.report["accuracy"]["after"] >= 0.9 and small.report["bytes"] < whole
    with pytest.raises(ValueError, match="flash_budget to be at least"):
        quantization.quantize(model, [x], flash_budget=100)
    with pytest.raises(ValueError, match="accuracy of at least"):
        quantization.quantize(model, [x], evaluation=[(x, labels)], accuracy_budget=-0.5)


def test_bits_by_layer_and_mistakes() -> None:
    model, x = small_net()
    small = quantization.quantize(model, [x], weight_bits={"15": 4, "18": 2})
    assert [r["weight_bits"] for r in small.report["layers"] if r["weight_bits"]][-2:] == [4, 2]
    assert " 2 " in small.table()
    with pytest.raises(ValueError, match=r"layers among .*, found 99"):
        quantization.quantize(model, [x], weight_bits={"99": 4})
    with pytest.raises(ValueError, match="weight_bits of 8, 4, 2, found 3"):
        quantization.quantize(model, [x], weight_bits=3)
    for wrong in (
        {"flash_budget": 1, "accuracy_budget": 0.1},
        {"flash_budget": 1, "weight_bits": 4},
        {"accuracy_budget": 0.1},
    ):
        with pytest.raises(ValueError, match="expected"):
            quantization.quantize(model, [x], **wrong)
