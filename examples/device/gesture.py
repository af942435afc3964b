"""Gestures from an accelerometer: trained, quantised, and run as C on a Cortex-M4, in one script.

python gesture.py [FOLDER]      writes gesture.tflite and the folder gesture/ with the C, by default into out/device

A window is 64 samples of three axes (50 Hz, in g), made here: gravity in any direction near to upright, noise of the sensor, and
one of five movements. Without the compiler and QEMU of the M4 the C is built for this machine.
"""

import sys
from pathlib import Path

import numpy as np

import sorus
from sorus import codegen, nn, quantization

GESTURES = ["rest", "shake", "circle", "lift", "double tap"]
SAMPLES = 64


def window(gesture: int, random: np.random.Generator) -> np.ndarray:
    """[3, SAMPLES], one movement that begins anywhere in the first quarter."""
    t = np.arange(SAMPLES) / 50
    begin, strength, hertz = random.uniform(0, 0.3), random.uniform(0.4, 1.4), random.uniform(1.8, 3.5)
    moving = 1 / (1 + np.exp(-(t - begin) * 40))
    phase = 2 * np.pi * hertz * (t - begin)

    def bump(at: float, width: float) -> np.ndarray:
        return np.exp(-(((t - begin - at) / width) ** 2))

    x = y = z = np.zeros(SAMPLES)
    if gesture == 1:
        x = np.sin(phase * 1.5) * moving
    elif gesture == 2:
        x, y = np.cos(phase) * moving, np.sin(phase) * moving
    elif gesture == 3:
        z = bump(0.25, 0.12) - bump(0.6, 0.12)
    elif gesture == 4:
        gap = random.uniform(0.2, 0.4)
        z = 1.5 * (bump(0.1, 0.02) + bump(0.1 + gap, 0.02))
    movement = strength * np.stack([x, y, z])
    tilt, turn = random.normal(0, 0.25, 2), random.uniform(-0.4, 0.4)
    gravity = np.array([np.sin(tilt[0]), np.sin(tilt[1]), np.cos(tilt[0]) * np.cos(tilt[1])])
    movement[:2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ movement[:2]
    return movement + gravity[:, None] + random.normal(0, 0.12, (3, SAMPLES))


def windows(count: int, seed: int) -> tuple[sorus.Tensor, sorus.Tensor]:
    """Images [count, 3, SAMPLES, 1] and their classes."""
    random = np.random.default_rng(seed)
    labels = random.integers(len(GESTURES), size=count)
    data = np.stack([window(g, random) for g in labels]).astype(np.float32)
    return sorus.tensor(data[..., None]), sorus.tensor(labels)


class Net(nn.Module):
    """Depthwise-separable convolutions along time, one of them around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(3, 16, (5, 1), stride=(2, 1), padding=(2, 0), bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.block = nn.Sequential(
            nn.Conv2d(16, 16, (5, 1), padding=(2, 0), groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16),
        )  # fmt: skip
        self.pool = nn.MaxPool2d((2, 1))
        self.last = nn.Sequential(
            nn.Conv2d(16, 24, (3, 1), padding=(1, 0)), nn.ReLU(), nn.AvgPool2d((4, 1)), nn.Flatten()
        )
        self.classes = nn.Linear(24 * 4, len(GESTURES))

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        x = self.first(x)
        return self.classes(self.last(self.pool(sorus.relu(x + self.block(x)))))


def train(model: Net, x: sorus.Tensor, labels: sorus.Tensor, epochs: int = 8, batch: int = 64) -> None:
    optimizer = sorus.optim.Adam(model.parameters(), lr=3e-3)
    random = np.random.default_rng(1)
    for epoch in range(epochs):
        order, total = random.permutation(len(x)), 0.0
        for start in range(0, len(order) - batch + 1, batch):
            chosen = sorus.tensor(order[start : start + batch])
            loss = nn.functional.cross_entropy(model(x[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1} loss {total / (len(order) // batch):.4f}", flush=True)


def main(folder: Path) -> None:
    sorus.manual_seed(1)
    x, labels = windows(2048, seed=1)
    test, test_labels = windows(512, seed=2)
    model = Net()
    train(model, x, labels)

    small = quantization.quantize(model, [x[:256]], method="mse", evaluation=[(test, test_labels)])
    print(small.table())
    folder.mkdir(parents=True, exist_ok=True)
    small.save(folder / "gesture.tflite")

    m4 = next(t for t in codegen.targets() if t["name"] == "cortex-m4")
    missing = codegen.verify_tools(m4)
    target = "x86" if missing else "cortex-m4"
    if missing:
        print(f"not installed: {', '.join(missing)}; the C is built for this machine")
    report = codegen.generate(folder / "gesture.tflite", target, "gesture", folder / "gesture")
    facts = codegen.verify(
        folder / "gesture.tflite", folder / "gesture", target, "gesture", small.codes(test[:100]).tobytes()
    )
    instructions = f", {facts['instructions']:,} instructions" if "instructions" in facts else ""
    print(f"{target}: {facts['equal']} of {facts['inferences']} equal to the bit; arena {report['arena_bytes']:,} bytes, "
          f"flash {facts['flash_bytes']:,} bytes, stack {facts['stack_bytes']:,} bytes{instructions}")  # fmt: skip
    if not facts["accepted"]:
        sys.exit("the generated C does not do what Sorus does")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/device"))
