"""Anomaly detection within 1 KB of RAM: an autoencoder for a machine's vibration, trained, quantised, and run as C on a Cortex-M4.

python anomaly.py [--target cortex-m4] [--out out/device/anomaly]

The vibration is made here: a shaft of any speed within a range with its harmonics, noise, and for what is not healthy a bearing's
tone, a loose mount (noise in bursts) or a broken blade (a harmonic too strong). The autoencoder sees healthy records only. All of
the program's data and stack lie in 1,024 bytes: the linker gives it no more. Without QEMU and the compiler the C runs on this machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import on_board

import sorus
from sorus import codegen, nn, quantization

HERE = Path(__file__).resolve().parent
SAMPLES, WINDOWS, BANDS, RATE, RAM = 64, 8, 16, 1000, 1024
# A window, and twice the cosines of the bands' angles, in 2^-14: what main.c computes with.
HANN = np.round((0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(SAMPLES) + 0.5) / SAMPLES)) * 2**14).astype(np.int64)
COSINES = np.round(2 * np.cos(np.pi * (np.arange(BANDS) + 0.5) / BANDS) * 2**14).astype(np.int64)


def record(fault: int, random: np.random.Generator) -> np.ndarray:
    """[WINDOWS * SAMPLES] of int16; fault 0 is a healthy machine."""
    t = np.arange(WINDOWS * SAMPLES) / RATE + random.uniform(0, 1)
    speed, load = random.uniform(44, 50), random.uniform(0.8, 1.2)
    strong = 3.0 if fault == 3 else 1.0
    x = load * (
        np.sin(2 * np.pi * speed * t)
        + 0.4 * strong * np.sin(4 * np.pi * speed * t + 1)
        + 0.2 * np.sin(6 * np.pi * speed * t)
    )
    x += random.normal(0, 0.05, len(t))
    if fault == 1:
        x += 0.25 * np.sin(2 * np.pi * random.uniform(300, 400) * t)
    elif fault == 2:
        x += random.normal(0, 0.4, len(t)) * (np.sin(2 * np.pi * speed * t) > 0.7)
    return np.round(x * 4000).astype(np.int16)


def records(count: int, faulty: bool, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.stack([record(int(random.integers(1, 4)) if faulty else 0, random) for _ in range(count)])


def bands(x: np.ndarray) -> np.ndarray:
    """[n, BANDS] of [n, WINDOWS * SAMPLES], in the integers of main.c."""
    x = (x.reshape(len(x), WINDOWS, SAMPLES) * HANN) >> 14
    one, two = np.zeros((2, len(x), WINDOWS, BANDS), np.int64)
    for i in range(SAMPLES):
        one, two = x[:, :, i, None] + ((COSINES * one) >> 14) - two, one
    power = (one * one + two * two - ((COSINES * one) >> 14) * two).sum(axis=1) + 16
    bits = sum((power >> k > 15).astype(np.int64) for k in range(60))
    return np.minimum(4 * bits + (power >> bits) // 2 - 96, 127)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Linear(BANDS, 12), nn.Linear(12, 4)
        self.up, self.last = nn.Linear(4, 12), nn.Linear(12, BANDS)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        return self.last(self.up(self.middle(self.down(x).relu()).relu()).relu())


def train(model: nn.Module, x: sorus.Tensor) -> None:
    optimizer = sorus.optim.Adam(model.parameters(), lr=4e-3)
    random = np.random.default_rng(0)
    for _ in range(30):
        order = random.permutation(len(x))
        for start in range(0, len(order) - 63, 64):
            batch = x[sorus.tensor(order[start : start + 64])]
            loss = nn.functional.mse_loss(model(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"loss {loss.item():.4f}")


def errors(
    small: quantization.QuantizedModel, found: np.ndarray, mean: int, to_code: int, from_code: int
) -> np.ndarray:
    """What main.c prints for these bands, in its integers."""
    source, result = small.integer.inputs[0], small.integer.outputs[0]
    codes = np.clip((((found - mean) * to_code + 32768) >> 16) + source["zero_point"][0], -128, 127).astype(np.int8)
    back = small.integer(sorus.tensor(codes)).numpy().astype(np.int64)
    off = 256 * (found - mean) - (back - result["zero_point"][0]) * from_code
    return (np.trunc(off / 16).astype(np.int64) ** 2).sum(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cortex-m4")
    parser.add_argument("--out", type=Path, default=Path("out/device/anomaly"))
    options = parser.parse_args()

    sorus.manual_seed(0)
    healthy = bands(records(2048, False, 1))
    mean = round(float(healthy.mean()))
    x = sorus.tensor(((healthy - mean) / 16).astype(np.float32))
    model = Autoencoder()
    train(model, x)
    # All that can come: faulty records are far from the healthy ones, and must not be cut off before they are seen.
    everything = sorus.tensor(
        np.linspace(-128 - mean, 127 - mean, 256).repeat(BANDS).reshape(-1, BANDS).astype(np.float32) / 16
    )
    small = quantization.quantize(model.eval(), [x, everything])
    to_code = round(65536 / (16 * small.integer.inputs[0]["scale"][0]))
    from_code = round(256 * 16 * small.integer.outputs[0]["scale"][0])
    numbers = mean, to_code, from_code

    limit = int(np.quantile(errors(small, healthy, *numbers), 0.99))
    good, bad = (errors(small, bands(records(512, faulty, 2 + faulty)), *numbers) for faulty in (False, True))
    print(
        f"limit {limit}: {(good > limit).mean():.1%} of healthy records are called unusual, {(bad > limit).mean():.1%} of faulty ones"
    )

    target = on_board.usable(options.target)
    options.out.mkdir(parents=True, exist_ok=True)
    small.save(options.out / "anomaly.tflite")
    codegen.generate(options.out / "anomaly.tflite", target, "anomaly", options.out / "anomaly", optimize="size")
    shown = np.concatenate([records(20, False, 5), records(20, True, 6)])
    rows = ",\n".join("{" + ", ".join(map(str, row)) + "}" for row in shown)
    (options.out / "records.h").write_text(
        f"#include <stdint.h>\n#define RECORDS {len(shown)}\n#define MEAN ({mean})\n#define TO_CODE {to_code}\n"
        f"#define FROM_CODE {from_code}\n#define LIMIT {limit}\n"
        f"static const int16_t HANN[{SAMPLES}] = {{{', '.join(map(str, HANN))}}};\n"
        f"static const int32_t COSINES[{BANDS}] = {{{', '.join(map(str, COSINES))}}};\n"
        f"static const int16_t records[RECORDS][{WINDOWS * SAMPLES}] = {{{rows}}};\n"
    )
    image = on_board.build(
        options.out, target, [options.out / "anomaly"], [HERE / "anomaly" / "main.c"], ram_bytes=RAM, stack_bytes=384
    )
    *printed, ram = on_board.run(image, target).splitlines()
    found = [int(line.split()[1]) for line in printed]
    equal = found == errors(small, bands(shown), *numbers).tolist()
    flash, data = on_board.sizes(image, target)
    unusual = [line.startswith("unusual") for line in printed]
    print(f"of 20 healthy and 20 faulty records {sum(unusual[:20])} and {sum(unusual[20:])} are called unusual")
    print(f"{target}: {flash - shown.nbytes:,} bytes of flash beside the records, {data} of data; {ram}, errors "
          f"{'equal Sorus' if equal else 'DIFFER from Sorus'}")  # fmt: skip
    if not equal:
        sys.exit("the C does not do what Sorus does")


if __name__ == "__main__":
    main()
