"""Training steps that `sorus plan` knows by name, of any size: they are traced without memory.

    step = preset("gpt3-175b", seq=2048)      # a Step: how to trace it for a batch
    traced = step.trace(batch=8)

A Python file can define its own: a function that returns a Step.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sorus

DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"layers": 12, "hidden": 768, "heads": 12, "vocab": 50304, "context": 1024},
    "gpt3-175b": {"layers": 96, "hidden": 12288, "heads": 96, "vocab": 51200, "context": 2048},
    "gpt-1t": {"layers": 128, "hidden": 25600, "heads": 160, "vocab": 51200, "context": 2048},
    "llama3-8b": {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 128256,
                  "context": 8192},
    "llama3-70b": {"layers": 80, "hidden": 8192, "heads": 64, "kv_heads": 8, "ffn": 28672, "vocab": 128256,
                   "context": 8192},
    "llama3-405b": {"layers": 126, "hidden": 16384, "heads": 128, "kv_heads": 8, "ffn": 53248, "vocab": 128256,
                    "context": 8192},
    "moe-8x7b": {"layers": 32, "hidden": 4096, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 32000,
                 "context": 4096, "experts": 8, "top_k": 2},
    "moe-1.2t": {"layers": 64, "hidden": 8192, "heads": 64, "ffn": 16384, "vocab": 51200, "context": 2048,
                 "experts": 64, "top_k": 2},
}  # fmt: skip


@contextlib.contextmanager
def meta() -> Iterator[None]:
    """Tensors made inside have a shape and a type but no memory, so that models of any size can be built."""
    from sorus._core import _planning

    scope = _planning.Meta()
    scope.enter()
    try:
        yield
    finally:
        scope.exit()


@dataclass
class Step:
    """One training step of a one-device program.

    build: makes the module; called inside of `meta()`.
    loss: (module, *inputs) -> a tensor of one element.
    inputs: batch -> list of (shape, dtype), dimension 0 being the batch.
    """

    name: str
    build: Callable[[], Any]
    loss: Callable[..., sorus.Tensor]
    inputs: Callable[[int], list[tuple[list[int], Any]]]
    dtype: Any = None
    largest_micro_batch: int = 16
    settings: dict[str, Any] | None = field(default=None)

    def trace(self, batch: int) -> Any:
        from sorus._core import _planning

        dtype = self.dtype or sorus.bfloat16
        if self.settings is not None:
            return _planning.trace_decoder(self.name, self.settings, batch, dtype)
        before = sorus.get_default_dtype()
        sorus.set_default_dtype(dtype)
        try:
            with meta():
                module = self.build()
            parameters, buffers = list(module.named_parameters()), list(module.named_buffers())
            return _planning.trace(
                self.name, self.inputs(batch), parameters, buffers, lambda *x: self.loss(module, *x)
            )
        finally:
            sorus.set_default_dtype(before)


def decoder(name: str, **settings: Any) -> Step:
    """A language model by its shape; see `sorus/models/decoder.h` for the settings."""
    if settings.get("ffn") and "gated" not in settings and name.startswith(("llama", "moe-8x7b")):
        settings |= {"gated": True, "rms": True, "rotary": True, "tied": False, "bias": False}
    return Step(name, lambda: None, lambda: sorus.zeros(()), lambda batch: [], settings=settings)


def _classifier(name: str, build: Callable[[], Any], size: int, dtype: Any = None) -> Step:
    def loss(module: Any, images: sorus.Tensor, labels: sorus.Tensor) -> sorus.Tensor:
        return sorus.nn.functional.cross_entropy(module(images), labels)

    dtype = dtype or sorus.float32
    return Step(name, build, loss, lambda batch: [([batch, 3, size, size], dtype), ([batch], sorus.int64)], dtype, 64)


def _conv(i: int, o: int, kernel: int, stride: int = 1) -> Any:
    nn = sorus.nn
    return nn.Sequential(nn.Conv2d(i, o, kernel, stride=stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(o))


class Bottleneck(sorus.nn.Module):
    """1x1, 3x3, 1x1 convolutions around a residual (He et al. 2016)."""

    def __init__(self, i: int, width: int, o: int, stride: int):
        super().__init__()
        self.a, self.b, self.c = _conv(i, width, 1), _conv(width, width, 3, stride), _conv(width, o, 1)
        self.skip = _conv(i, o, 1, stride) if stride > 1 or i != o else None

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        y = self.c(sorus.relu(self.b(sorus.relu(self.a(x)))))
        return sorus.relu(y + (x if self.skip is None else self.skip(x)))


class ResNet(sorus.nn.Module):
    """Residual network of bottlenecks; `widths` may give every block its own inner width."""

    def __init__(self, blocks: list[int], factor: int = 1, widths: list[int] | None = None):
        super().__init__()
        nn = sorus.nn
        self.stem = _conv(3, 64, 7, 2)
        layers, channels, number = [], 64, 0
        for stage, count in enumerate(blocks):
            for i in range(count):
                width = widths[number] if widths else 64 * factor * 2**stage
                out = 256 * 2**stage
                layers.append(Bottleneck(channels, width, out, 2 if i == 0 and stage > 0 else 1))
                channels, number = out, number + 1
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(channels, 1000)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        x = sorus.nn.functional.max_pool2d(sorus.relu(self.stem(x)), 3, stride=2, padding=1)
        return self.head(self.layers(x).mean((2, 3)))


class VisionTransformer(sorus.nn.Module):
    """Patches and a transformer encoder (Dosovitskiy et al. 2021)."""

    def __init__(self, layers: int = 32, width: int = 1280, heads: int = 16, patch: int = 14, size: int = 224):
        super().__init__()
        nn = sorus.nn
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(sorus.empty((size // patch) ** 2, width))
        self.layers = nn.ModuleList([EncoderBlock(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 1000)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


class EncoderBlock(sorus.nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        nn = sorus.nn
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        b, t, w = x.shape
        qkv = self.qkv(self.norm_1(x)).reshape(b, t, self.heads, 3, w // self.heads)
        q, k, v = (qkv[:, :, :, i].transpose(1, 2) for i in range(3))
        y = sorus.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, w))
        return x + self.down(sorus.nn.functional.gelu(self.up(self.norm_2(x))))


class DLRM(sorus.nn.Module):
    """Embedding tables beside two perceptrons (Naumov et al. 2019)."""

    def __init__(self, tables: int = 26, rows: int = 4_000_000, width: int = 128):
        super().__init__()
        nn = sorus.nn
        self.tables = nn.ModuleList([nn.Embedding(rows, width) for _ in range(tables)])
        self.bottom = nn.Sequential(
            nn.Linear(13, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, width)
        )
        self.top = nn.Sequential(nn.Linear(width * (tables + 1), 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(),
                                 nn.Linear(512, 1))  # fmt: skip

    def forward(self, dense: sorus.Tensor, sparse: sorus.Tensor) -> sorus.Tensor:
        found = [table(sparse[:, i]) for i, table in enumerate(self.tables)]
        return self.top(sorus.cat([self.bottom(dense), *found], 1)).squeeze(1)


class UNet(sorus.nn.Module):
    """Down and up again with connections across (Ronneberger et al. 2015)."""

    def __init__(self, width: int = 64, depth: int = 4, classes: int = 2):
        super().__init__()
        nn = sorus.nn
        pair = lambda i, o: nn.Sequential(_conv(i, o, 3), nn.ReLU(), _conv(o, o, 3), nn.ReLU())  # noqa: E731
        widths = [width * 2**i for i in range(depth + 1)]
        self.down = nn.ModuleList([pair(i, o) for i, o in zip([3, *widths], widths, strict=False)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(o, i, 2, stride=2) for i, o in itertools.pairwise(widths)])
        self.join = nn.ModuleList([pair(2 * w, w) for w in widths[:-1]])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: sorus.Tensor) -> sorus.Tensor:
        kept = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else sorus.nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for i in reversed(range(len(self.up))):
            x = self.join[i](sorus.cat([kept[i], self.up[i](x)], 1))
        return self.head(x)


def _random_widths(count: int) -> list[int]:
    """Reproducible, and no two alike: a network in which nothing repeats."""
    state = 12345
    seen: list[int] = []
    while len(seen) < count:
        state = (1103515245 * state + 12345) % 2**31
        width = 64 + 8 * (state >> 8) % 512
        if width not in seen:
            seen.append(width)
    return seen


def _unet_loss(module: Any, images: sorus.Tensor, labels: sorus.Tensor) -> sorus.Tensor:
    return sorus.nn.functional.cross_entropy(module(images), labels)


def _dlrm_loss(module: Any, dense: sorus.Tensor, sparse: sorus.Tensor, clicks: sorus.Tensor) -> sorus.Tensor:
    return sorus.nn.functional.binary_cross_entropy_with_logits(module(dense, sparse), clicks)


OTHERS: dict[str, Callable[[], Step]] = {
    "resnet50": lambda: _classifier("resnet50", lambda: ResNet([3, 4, 6, 3]), 224),
    "wide-resnet": lambda: _classifier("wide-resnet", lambda: ResNet([3, 4, 6, 3], factor=8), 224),
    "resnet152-random": lambda: _classifier(
        "resnet152-random", lambda: ResNet([3, 8, 36, 3], widths=_random_widths(50)), 224
    ),
    "vit-huge": lambda: _classifier("vit-huge", VisionTransformer, 224),
    "dlrm": lambda: Step(
        "dlrm", DLRM, _dlrm_loss,
        lambda b: [([b, 13], sorus.float32), ([b, 26], sorus.int64), ([b], sorus.float32)], sorus.float32, 4096,
    ),
    "unet": lambda: Step(
        "unet", UNet, _unet_loss,
        lambda b: [([b, 3, 512, 512], sorus.float32), ([b, 512, 512], sorus.int64)], sorus.float32, 16,
    ),
}  # fmt: skip


def preset_names() -> list[str]:
    return [*DECODERS, *OTHERS]


def preset(name: str, seq: int | None = None) -> Step:
    """The step of that name; `seq` replaces the length of the text. KeyError with the names there are."""
    if name in DECODERS:
        return decoder(name, **(DECODERS[name] | ({"context": seq} if seq else {})))
    if name in OTHERS:
        return OTHERS[name]()
    raise KeyError(f"there is no preset model '{name}'; there are {', '.join(preset_names())}")
