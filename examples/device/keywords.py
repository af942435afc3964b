"""Keyword spotting from samples to class: features and network in C, as an image that boots on a Cortex-M4 or M55.

python keywords.py KWS.tflite [--wav FILE ...] [--target cortex-m4] [--out out/device/keywords]

KWS.tflite is MLPerf Tiny's kws_ref_model.tflite (or one with the same inputs). FILE is a second of sound of one channel at
16 kHz; without any, sounds are made up, and what the network says of them means nothing. Everything is compared with the same
features in NumPy and the network in Sorus. Without QEMU and the compiler of the target the C is built for this machine.

The features are those the network was trained with: windows of 480 samples every 320 (Hann), the magnitudes of their spectrum in
40 mel bands from 20 Hz to 4 kHz, logarithm, and the first 10 coefficients of a cosine transform.
"""

from __future__ import annotations

import argparse
import sys
import wave
from pathlib import Path

import numpy as np
import on_board

import sorus
from sorus import codegen

HERE = Path(__file__).resolve().parent
LABELS = ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"]
RATE, SAMPLES, FRAME, STEP, POINTS, BANDS, COEFFICIENTS = 16000, 16000, 480, 320, 512, 40, 10
BINS = 129  # of the spectrum, up to 4 kHz


def mel(hertz: np.ndarray | float) -> np.ndarray:
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def bands() -> tuple[np.ndarray, np.ndarray]:
    """For each bin the band that rises there, and its share; the rest belongs to the band before it."""
    edges = np.linspace(mel(20.0), mel(4000.0), BANDS + 2)
    place = (mel(np.arange(BINS) * RATE / POINTS) - edges[0]) / (edges[1] - edges[0])
    band = np.floor(place).astype(int)
    return band, place - band


def tables() -> str:
    """tables.h for keyword_features.c."""
    n, turn = np.arange(FRAME), 2 * np.pi * np.arange(POINTS // 2) / POINTS
    band, share = bands()
    q, b = np.arange(COEFFICIENTS)[:, None], np.arange(BANDS)
    cosines = 2 * np.cos(np.pi * q * (2 * b + 1) / (2 * BANDS)) / np.sqrt(2 * BANDS)
    floats = {
        "HANN": 0.5 - 0.5 * np.cos(2 * np.pi * n / FRAME),
        "WAVE": np.stack([np.cos(turn), -np.sin(turn)], axis=1).ravel(),
        "MEL_SHARE": share,
        "DCT": cosines.ravel(),
    }
    text = "/* Written by keywords.py. */\n"
    for name, values in floats.items():
        text += f"static const float {name}[{len(values)}] = {{{', '.join(f'{v:.9e}f' for v in values)}}};\n"
    return text + f"static const signed char MEL_BAND[{BINS}] = {{{', '.join(map(str, band))}}};\n"


def features(samples: np.ndarray) -> np.ndarray:
    """[FRAMES, COEFFICIENTS] of a second of int16, in float64."""
    x = np.maximum(samples.astype(np.float64) / max(int(samples.max()), 1), -1)
    frames = np.stack([x[at : at + FRAME] for at in range(0, SAMPLES - FRAME + 1, STEP)])
    size = np.abs(np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)), POINTS))[:, :BINS]
    weight, (band, share) = np.zeros((BINS, BANDS)), bands()
    for k in range(1, BINS):
        if 0 < band[k] <= BANDS:
            weight[k, band[k] - 1] += 1 - share[k]
        if 0 <= band[k] < BANDS:
            weight[k, band[k]] += share[k]
    q, b = np.arange(COEFFICIENTS)[:, None], np.arange(BANDS)
    cosines = 2 * np.cos(np.pi * q * (2 * b + 1) / (2 * BANDS)) / np.sqrt(2 * BANDS)
    return np.log(size @ weight + 1e-6) @ cosines.T


def sounds() -> list[np.ndarray]:
    """Silence, noise, a tone that rises, and pulses through two resonances, as voices are."""
    random, t = np.random.default_rng(0), np.arange(SAMPLES) / RATE
    voice = np.zeros(SAMPLES)
    for hertz, size in ((700, 1.0), (1200, 0.6)):
        voice += size * np.sin(2 * np.pi * hertz * t) * np.exp(-((t * 120) % 1) * 8)
    voice *= np.exp(-(((t - 0.5) / 0.2) ** 2))
    return [np.zeros(SAMPLES, np.int16)] + [
        np.round(8000 * s / np.abs(s).max()).astype(np.int16)
        for s in (random.normal(size=SAMPLES), np.sin(2 * np.pi * (200 * t + 900 * t**2)), voice)
    ]


def read(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: expected 16-bit samples of one channel at {RATE} Hz")
        samples = np.frombuffer(file.readframes(SAMPLES), "<i2")
    return np.pad(samples, (0, SAMPLES - len(samples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--wav", type=Path, action="append", default=[])
    parser.add_argument("--target", default="cortex-m4")
    parser.add_argument("--out", type=Path, default=Path("out/device/keywords"))
    options = parser.parse_args()

    target = on_board.usable(options.target)
    clips = [read(path) for path in options.wav] or sounds()
    codegen.generate(options.model, target, "keywords", options.out / "keywords")
    (options.out / "tables.h").write_text(tables())
    rows = ",\n".join("{" + ", ".join(map(str, clip)) + "}" for clip in clips)
    (options.out / "clips.h").write_text(
        f"#define CLIPS {len(clips)}\nstatic const short clips[CLIPS][{SAMPLES}] = {{{rows}}};\n"
    )
    folder = HERE / "keywords"
    image = on_board.build(
        options.out,
        target,
        [options.out / "keywords"],
        [folder / "main.c", folder / "keyword_features.c"],
        stack_bytes=4096,
    )
    *printed, ram = on_board.run(image, target).splitlines()

    network = sorus.load_model(options.model)
    port = network.inputs[0]
    bad = 0
    for clip, line in zip(clips, printed, strict=True):
        steps = np.floor(features(clip) / port["scale"][0] + 0.5) + port["zero_point"][0]
        wanted = np.clip(steps, -128, 127).astype(np.int8)
        weights = np.arange(wanted.size) % 31 + 1
        expected = network(sorus.tensor(wanted.reshape(port["shape"]))).numpy().ravel().tolist()
        words = line.split()
        scores = list(map(int, words[5:]))
        # The sum tells whether all features are the same; next to the middle of a step, float32 may fall to the other side.
        off = abs(int(words[3]) - int(weights @ wanted.ravel().astype(int)))
        same = scores == expected if off == 0 else int(words[1]) == int(np.argmax(expected))
        bad += not same or off > 31 * 5
        print(f"{LABELS[int(words[1])]:<8} score {(scores[int(words[1])] + 128) / 256:.3f}; features "
              f"{'equal' if off == 0 else 'differ'}, {'as Sorus says' if same else 'NOT as Sorus says'}")  # fmt: skip
    flash, data = on_board.sizes(image, target)
    print(
        f"{target}: {flash:,} bytes of flash ({len(clips) * 2 * SAMPLES:,} of them sounds), {data:,} of data; {ram}"
    )
    if bad:
        sys.exit("the C does not do what Sorus does")


if __name__ == "__main__":
    main()
