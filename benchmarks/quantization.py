"""What integers cost: a small network for MNIST digits, in floats and quantised in the ways that sorus.quantization knows.

    SORUS_DATA=/path .venv/bin/python benchmarks/quantization.py [--epochs 12] [--json FILE]

SORUS_DATA/images has MNIST's 10,000 test images; the first 8,000 of them train the network here, the last 2,000 test it, so the
accuracies are not those of MNIST's own split. Prints the table of docs/quantization.md. Flash is what `sorus codegen` for a
Cortex-M4 writes as constants, few bits packed.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import tempfile
from typing import Any

import numpy as np

import sorus
from sorus import codegen, io, nn, quantization


def network() -> nn.Module:
    """Depthwise-separable convolutions, about 8,000 weights."""

    def block(channels: int, outputs: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        ]  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        *block(16, 32), nn.MaxPool2d(2), *block(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def digits() -> tuple[sorus.Tensor, sorus.Tensor]:
    folder = pathlib.Path(os.environ["SORUS_DATA"]) / "images"
    images = io.load_idx(folder / "t10k-images-idx3-ubyte.gz").numpy()
    labels = io.load_idx(folder / "t10k-labels-idx1-ubyte.gz").numpy()
    return sorus.tensor(images[:, None].astype(np.float32) / 255 - 0.5), sorus.tensor(labels.astype(np.int64))


def train(model: nn.Module, x: sorus.Tensor, labels: sorus.Tensor, epochs: int, lr: float) -> None:
    steps = epochs * (len(x) // 100)
    optimizer = sorus.optim.Adam(model.parameters(), lr=lr)
    schedule = sorus.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = np.random.default_rng(0)

    @sorus.compile
    def step(images: sorus.Tensor, wanted: sorus.Tensor) -> sorus.Tensor:
        loss = nn.functional.cross_entropy(model(images), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    model.train()
    for _ in range(epochs):
        order = random.permutation(len(x))
        for start in range(0, len(order) - 99, 100):
            chosen = sorus.tensor(order[start : start + 100])
            step(x[chosen], labels[chosen])
            schedule.step()
    model.eval()


def flash(small: quantization.QuantizedModel, packed: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "digits.tflite"
        small.save(path)
        return codegen.generate(path, "cortex-m4", "digits", pathlib.Path(folder) / "c", pack_weights=packed)[
            "constant_bytes"
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    sorus.manual_seed(0)
    x, labels = digits()
    learn, test = (x[:8000], labels[:8000]), (x[8000:], labels[8000:])
    model = network()
    train(model, *learn, epochs=options.epochs, lr=4e-3)
    calibration = [learn[0][:256], learn[0][256:512]]
    rows: list[dict[str, Any]] = []

    def add(name: str, small: quantization.QuantizedModel, packed: bool = False) -> None:
        accuracy = small.report["accuracy"]
        if not rows:
            rows.append(
                {
                    "what": "floats",
                    "accuracy": accuracy["before"],
                    "weights": small.report["float_bytes"],
                    "flash": None,
                }
            )
        rows.append({
            "what": name, "accuracy": accuracy["after"], "weights": small.report["bytes"], "flash": flash(small, packed),
        })  # fmt: skip
        print(rows[-1], flush=True)

    def quantized(name: str, packed: bool = False, **how: Any) -> None:
        add(name, quantization.quantize(model, calibration, "mse", evaluation=[test], **how), packed)

    quantized("8 bits, a scale for each channel")
    quantized("8 bits, one scale", per_channel=False)
    quantized("8 bits, one scale, equalised", per_channel=False, equalize=True)
    for bits in (4, 2):
        quantized(f"{bits} bits", packed=True, weight_bits=bits)
        quantized(f"{bits} bits, biases corrected", packed=True, weight_bits=bits, bias_correction=True)
        learning = quantization.prepare_qat(model, calibration, "mse", weight_bits=bits)
        train(learning, *learn, epochs=max(options.epochs // 2, 1), lr=1e-3)
        add(f"{bits} bits, trained with them", learning.convert([test]), packed=True)
    quantized("at most 5,000 bytes: bits by layer", packed=True, flash_budget=5000, bias_correction=True)
    quantized("at most 1 % lost: bits by layer", packed=True, accuracy_budget=0.01)

    print("\n| weights | accuracy | bytes of weights and biases | constants in flash |\n|---|---|---|---|")
    for r in rows:
        constants = f"{r['flash']:,}" if r["flash"] is not None else ""
        print(f"| {r['what']} | {r['accuracy']:.2%} | {r['weights']:,} | {constants} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
