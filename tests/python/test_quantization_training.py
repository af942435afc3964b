"""Training with the rounding of integers: fake_quantize, prepare_qat, and what convert() gives."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from test_quantization import small_net, usable

import sorus
from sorus import codegen, nn, quantization


def test_fake_quantize_is_pytorchs() -> None:
    x = sorus.tensor([-3.0, -0.26, -0.25, 0.1, 0.75, 1.0, 9.0], requires_grad=True)
    y = sorus.fake_quantize_per_tensor_affine(x, 0.5, 1, -2, 4)
    assert y.tolist() == [-1.5, -0.5, 0.0, 0.0, 1.0, 1.0, 1.5]  # halves go to the even integer
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]
    tensors = sorus.fake_quantize_per_tensor_affine(x, sorus.tensor(0.5), sorus.tensor(1), -2, 4)
    assert tensors.tolist() == y.tolist()

    w = sorus.tensor([[1.0, -0.3], [0.2, 5.0]], requires_grad=True)
    z = sorus.fake_quantize_per_channel_affine(w, sorus.tensor([0.25, 2.0]), sorus.tensor([0, 1]), 0, -2, 3)
    assert np.allclose(z.detach().numpy(), [[0.75, -0.25], [0.0, 4.0]])
    (z * z).sum().backward()
    assert np.allclose(w.grad.numpy(), [[0.0, -0.5], [0.0, 8.0]])
    assert sorus.fake_quantize_per_tensor_affine(x.detach().half(), 0.5, 1, -2, 4).dtype == sorus.float16
    with pytest.raises(ValueError, match="quant_min to be at most quant_max, found 4 and -2"):
        sorus.fake_quantize_per_tensor_affine(x, 0.5, 1, 4, -2)
    with pytest.raises(ValueError, match="2 channels of dimension 1"):
        sorus.fake_quantize_per_channel_affine(w, sorus.ones(3), sorus.zeros(3), 1, -2, 3)


def digits(seed: int, count: int) -> tuple[sorus.Tensor, sorus.Tensor]:
    """Noisy strokes in one of four directions."""
    random = np.random.default_rng(seed)
    labels = random.integers(4, size=count)
    images = random.normal(0, 0.6, (count, 1, 8, 8)).astype(np.float32)
    for image, label in zip(images[:, 0], labels, strict=True):
        at = random.integers(1, 7)
        for k in range(8):
            image[[(at, k), (k, at), (k, k), (k, 7 - k)][label]] += 1.5
    return sorus.tensor(images), sorus.tensor(labels)


def classifier() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 4),
    )  # fmt: skip


def train(
    model: nn.Module, x: sorus.Tensor, labels: sorus.Tensor, epochs: int, lr: float, compiled: bool = False
) -> list[float]:
    optimizer, losses = sorus.optim.Adam(model.parameters(), lr=lr), []

    def step(images: sorus.Tensor, wanted: sorus.Tensor) -> sorus.Tensor:
        loss = nn.functional.cross_entropy(model(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    run = sorus.compile(step) if compiled else step
    for _ in range(epochs):
        losses += [run(x[i : i + 64], labels[i : i + 64]).item() for i in range(0, len(x), 64)]
    return losses


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, sorus.Tensor, sorus.Tensor]:
    sorus.manual_seed(0)
    x, labels = digits(1, 512)
    model = classifier()
    train(model, x, labels, 6, 5e-3)
    return model.eval(), x, labels


def right(model: nn.Module, x: sorus.Tensor, labels: sorus.Tensor) -> float:
    return float((model(x).detach().numpy().argmax(1) == labels.numpy()).mean())


def test_training_wins_back_what_two_bits_lose(trained) -> None:
    model, x, labels = trained
    test, wanted = digits(2, 512)
    after = quantization.quantize(model, [x], "mse", weight_bits=2)
    learning = quantization.prepare_qat(model, [x], "mse", weight_bits=2)
    start = right(learning.eval(), test, wanted)
    assert start == right(after, test, wanted)  # nothing was learnt yet, and both are the same integers
    train(learning.train(), x, labels, 6, 2e-3)
    learnt = right(learning.eval(), test, wanted)
    assert learnt > start + 0.03 and learnt > right(model, test, wanted) - 0.1


def test_the_file_is_the_trained_model_to_the_bit(trained, tmp_path: pathlib.Path) -> None:
    model, x, labels = trained
    learning = quantization.prepare_qat(model, [x], weight_bits={"0": 8, "11": 4})
    losses = train(learning.train(), x, labels, 1, 1e-3)
    assert np.isfinite(losses).all()
    small = learning.convert([(x, labels)])
    found = learning.eval()(x).numpy()
    assert np.array_equal(found, small(x).numpy())
    assert small.report["layers"][-1]["weight_bits"] == 4 and small.report["accuracy"]["after"] > 0.8
    small.save(tmp_path / "learnt.tflite")
    assert np.array_equal(sorus.load_model(tmp_path / "learnt.tflite")(sorus.tensor(small.codes(x[:1]))).numpy(),
                          small.integer(sorus.tensor(small.codes(x[:1]))).numpy())  # fmt: skip
    codegen.generate(tmp_path / "learnt.tflite", usable("c"), "learnt", tmp_path / "c")
    facts = codegen.verify(tmp_path / "learnt.tflite", tmp_path / "c", "c", "learnt", small.codes(x[:4]).tobytes())
    assert facts["accepted"] and facts["equal"] == 4


def test_the_grid_in_floats_is_nearly_always_the_integers() -> None:
    model, x = small_net()
    learning = quantization.prepare_qat(model, [x])
    on_grid, integers = learning.train()(x).detach().numpy(), learning.eval()(x).numpy()
    step = learning.convert().report["layers"][-1]["scale"]
    steps = np.abs(on_grid - integers) / step
    assert (steps < 0.5).mean() > 0.7 and steps.max() < 3.5


def test_ranges_can_be_seen_anew(trained) -> None:
    model, x, _ = trained
    learning = quantization.prepare_qat(model, [x])
    with sorus.no_grad():
        for name, p in learning.named_parameters():
            if name.endswith("11_weight"):
                p.mul_(4.0)
    cut_off = learning.eval()(x).numpy()
    learning.calibrate()
    assert np.abs(learning(x).numpy()).max() > 1.5 * np.abs(cut_off).max()


def test_a_compiled_step_learns_the_same(trained) -> None:
    model, x, labels = trained
    losses = [
        train(quantization.prepare_qat(model, [x], weight_bits=4).train(), x, labels, 1, 1e-3, compiled)
        for compiled in (False, True)
    ]
    # A number next to the middle of a step may fall to either side.
    assert np.allclose(losses[0], losses[1], rtol=0.05, atol=0.02)
