"""What all GPTs of the benchmark share, whatever the framework: sizes, initial weights, batches of text. NumPy only."""

import os
import re
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Config:
    layers: int
    heads: int
    width: int
    batch: int
    context: int
    vocabulary: int

    @property
    def tokens(self) -> int:
        return self.batch * self.context

    @property
    def parameters(self) -> int:
        c = self.width
        return self.layers * (12 * c * c + 13 * c) + (self.vocabulary + self.context) * c + 2 * c

    @property
    def step_flops(self) -> float:
        """Products of one training step: forward and two backward, the causal half of attention, the head."""
        linear = self.layers * 12 * self.width**2 + self.vocabulary * self.width
        attention = self.layers * self.context * self.width
        return 6.0 * self.tokens * (linear + attention)

    def step_bytes(self, dtype: str) -> float:
        """What AdamW must move: parameter and two moments read and written, gradient read; for bf16 a copy written."""
        return self.parameters * (28.0 if dtype == "fp32" else 30.0)


PRESETS = {
    "nano": Config(layers=4, heads=4, width=128, batch=12, context=64, vocabulary=65),
    "small": Config(layers=6, heads=6, width=384, batch=8, context=256, vocabulary=65),
    "gpt2": Config(layers=12, heads=12, width=768, batch=1, context=256, vocabulary=50257),
}

adamw = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


def initial_weights(c: Config, seed: int = 0):
    """(name, array) of every parameter, as GPT-2 starts: N(0, 0.02), residual projections divided by sqrt(2 layers)."""
    random = np.random.RandomState(seed)  # its stream is the same in every version of NumPy

    def normal(*shape, std=0.02):
        value = np.empty(shape, np.float32)
        for row in range(
            0, shape[0], 1024
        ):  # in pieces: 124 million doubles would be the peak of the memory measured
            part = value[row : row + 1024]
            part[...] = random.standard_normal(part.shape) * std
        return value

    def norm(name):
        yield f"{name}.weight", np.ones(c.width, np.float32)
        yield f"{name}.bias", np.zeros(c.width, np.float32)

    def linear(name, inputs, outputs, std=0.02):
        yield f"{name}.weight", normal(outputs, inputs, std=std)
        yield f"{name}.bias", np.zeros(outputs, np.float32)

    yield "wte.weight", normal(c.vocabulary, c.width)
    yield "wpe.weight", normal(c.context, c.width)
    residual = 0.02 / (2 * c.layers) ** 0.5
    for i in range(c.layers):
        yield from norm(f"h.{i}.ln_1")
        yield from linear(f"h.{i}.attn.c_attn", c.width, 3 * c.width)
        yield from linear(f"h.{i}.attn.c_proj", c.width, c.width, residual)
        yield from norm(f"h.{i}.ln_2")
        yield from linear(f"h.{i}.mlp.c_fc", c.width, 4 * c.width)
        yield from linear(f"h.{i}.mlp.c_proj", 4 * c.width, c.width, residual)
    yield from norm("ln_f")


class Text:
    """The Python standard library as tokens: its most frequent characters or, for a large vocabulary, words.

    Every tenth file is for validation. The tokens are made once and kept in the folder BENCH_CACHE, or else the
    system's folder for temporary files.
    """

    def __init__(self, vocabulary: int):
        folder = Path(os.environ.get("BENCH_CACHE") or tempfile.gettempdir())
        file = folder / f"sorus-bench-text-{os.getuid()}-{vocabulary}.npz"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}.npz")
            training, validation = self.tokens(vocabulary)
            np.savez(temporary, training=training, validation=validation)
            os.replace(temporary, file)
        with np.load(file) as arrays:
            self.training, self.validation = arrays["training"], arrays["validation"]

    @staticmethod
    def tokens(vocabulary: int, limit: int = 8_000_000):
        pattern = re.compile(r"." if vocabulary < 1000 else r"\w+|[^\S\n]+|\n|[^\w\s]", re.DOTALL)
        parts: tuple[list[str], list[str]] = ([], [])
        size = 0
        for i, path in enumerate(sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))):
            text = path.read_text(encoding="utf-8", errors="ignore")
            parts[i % 10 == 9].extend(pattern.findall(text))
            size += len(text)
            if size > limit:
                break
        counts: dict[str, int] = {}
        for word in parts[0]:
            counts[word] = counts.get(word, 0) + 1
        ranked = sorted(counts, key=lambda w: (-counts[w], w))[: vocabulary - 1]
        ids = {word: i + 1 for i, word in enumerate(ranked)}  # 0 stands for all others
        return tuple(np.array([ids.get(word, 0) for word in part], np.int64) for part in parts)

    def batch(self, step: int, batch: int, context: int, validation: bool = False):
        tokens = self.validation if validation else self.training
        starts = np.random.RandomState(step).randint(0, len(tokens) - context - 1, batch)
        rows = starts[:, None] + np.arange(context + 1)
        window = tokens[rows]
        return np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
