"""Models that multiply what they have computed, on devices: attention, transformers, and what they are made of."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from model_files import Onnx
from test_codegen_float import checked, kernels

import sorus
from sorus import nn
from sorus.nn import functional as F

CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "product with its transpose": (lambda x: x @ x.transpose(-1, -2), (2, 4, 5)),
    "broadcast product": (lambda x: x @ x[:1].transpose(-1, -2), (3, 2, 4, 5)),
    "constant on the left": (lambda x: sorus.arange(12).reshape(3, 4).float() @ x, (4, 5)),
    "constants by batch": (lambda x: x @ sorus.arange(24).reshape(2, 4, 3).float(), (2, 5, 4)),
    "sum of products": (lambda x: sorus.einsum("bij,bkj->bik", x, x * 2), (2, 3, 4)),
    "attention": (lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1), (1, 2, 5, 4)),
    "causal attention": (lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1, is_causal=True), (2, 2, 5, 4)),
    "attention with a mask": (
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=sorus.ones(5, 5).tril().bool()), (1, 2, 5, 4)),
    "attention of shared heads": (
        lambda x: F.scaled_dot_product_attention(x, x[:, :2], x[:, 2:], enable_gqa=True), (1, 4, 5, 4)),
    "softmax over rows": (lambda x: x.softmax(1), (2, 3, 4, 5)),
    "softmax over the batch": (lambda x: x.softmax(0), (3, 4)),
    "log softmax": (lambda x: x.log_softmax(-1), (2, 6)),
    "largest": (lambda x: x.amax((2, 3), keepdim=True) + x.amin(0), (2, 3, 4, 5)),
    "place of the largest": (lambda x: x.argmax(1).float(), (3, 7)),
    "place of the least of all": (lambda x: x.argmin().float() * 2, (3, 7)),
    "choice": (lambda x: sorus.where(x > 0.25, x, x * 3) + (x < 0).float(), (3, 7)),
    "both conditions": (lambda x: sorus.where((x > -0.5) & (x < 0.5), x, sorus.tensor(2.0)), (3, 7)),
    "normalised": (lambda x: F.normalize(x, dim=1), (3, 7)),
    "transposed convolution": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (1, 4, 5, 4)),
    "transposed convolution in groups": (nn.ConvTranspose2d(4, 6, (3, 2), groups=2, dilation=2), (2, 4, 3, 4)),
    "transposed convolution of a line": (nn.ConvTranspose1d(4, 3, 4, stride=3, padding=1), (1, 4, 6)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators(name: str, tmp_path: pathlib.Path) -> None:
    function, shape = CASES[name]
    sorus.manual_seed(1)
    with sorus.no_grad():
        checked(function, tmp_path, sorus.randn(*shape), runs=2)


@pytest.mark.parametrize("target", ["x86", "cortex-m4", "arm64"])
def test_encoder_layer(target: str, tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(2)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    report = checked(layer, tmp_path, sorus.randn(1, 6, 16), target=target, runs=2)
    assert kernels(report).count("attention, float") == 1


class Tagger(nn.Module):
    """Tokens to classes: look-up, places, two layers of attention, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(40, 16), nn.Parameter(sorus.randn(8, 16) * 0.1)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(16, 4, 24, activation=a) for a in ("gelu", "relu")])
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, tokens: sorus.Tensor) -> sorus.Tensor:
        x = (self.tokens(tokens) + self.places).transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(dim=0)).softmax(-1)


def test_tokens_to_classes(tmp_path: pathlib.Path) -> None:
    sorus.manual_seed(3)
    model, tokens = Tagger().eval(), np.random.default_rng(1).integers(0, 40, (3, 1, 8))
    report = checked(model, tmp_path, sorus.tensor(tokens[0]), inputs=tokens.tobytes())
    assert kernels(report).count("attention, float") == 2 and kernels(report).count("rows at computed places") == 1


def onnx_transformer(path: pathlib.Path, tokens: int = 6, width: int = 8, heads: int = 2) -> None:
    """One block as exporters write it: projections apart, heads by Reshape and Transpose, a mask by Add."""
    r, m = np.random.default_rng(4), Onnx()

    def weight(*sizes: int) -> str:
        return m.constant((r.normal(size=sizes) * 0.4).astype(np.float32))

    def shape(*sizes: int) -> str:
        return m.constant(np.array(sizes, np.int64))

    x = m.input("x", (1, tokens, width))

    def projected(v: str, out: int) -> str:
        return m.node("Add", m.node("MatMul", v, weight(width, out)), weight(out))

    def split(v: str) -> str:
        v = m.node("Reshape", v, shape(1, tokens, heads, width // heads))
        return m.node("Transpose", v, perm=[0, 2, 1, 3])

    normal = m.node("LayerNormalization", x, weight(width), weight(width), axis=-1, epsilon=1e-5)
    q, k, v = (split(projected(normal, width)) for _ in range(3))
    scores = m.node("MatMul", q, m.node("Transpose", k, perm=[0, 1, 3, 2]))
    scores = m.node("Div", scores, m.constant(np.array([np.sqrt(width / heads)], np.float32)))
    mask = np.triu(np.full((tokens, tokens), -1e4, np.float32), 1)[None, None]
    mixed = m.node("MatMul", m.node("Softmax", m.node("Add", scores, m.constant(mask)), axis=-1), v)
    mixed = m.node("Reshape", m.node("Transpose", mixed, perm=[0, 2, 1, 3]), shape(1, tokens, width))
    x = m.node("Add", x, projected(mixed, width))
    # The second normalisation in small steps, as older exporters write it; GELU by Erf.
    mean = m.node("ReduceMean", x, axes=[-1])
    centred = m.node("Sub", x, mean)
    square = m.node("ReduceMean", m.node("Pow", centred, m.constant(np.array([2], np.float32))), axes=[-1])
    root = m.node("Sqrt", m.node("Add", square, m.constant(np.array([1e-5], np.float32))))
    normal = m.node("Add", m.node("Mul", m.node("Div", centred, root), weight(width)), weight(width))
    wide = m.node("Add", m.node("MatMul", normal, weight(width, 2 * width)), weight(2 * width))
    erf = m.node("Erf", m.node("Div", wide, m.constant(np.array([np.sqrt(2)], np.float32))))
    gelu = m.node(
        "Mul",
        m.node("Mul", wide, m.node("Add", erf, m.constant(np.array([1], np.float32)))),
        m.constant(np.array([0.5], np.float32)),
    )
    x = m.node("Add", x, m.node("Add", m.node("MatMul", gelu, weight(2 * width, width)), weight(width)))
    m.output(x, (1, tokens, width))
    path.write_bytes(m.file())


@pytest.mark.parametrize("target", ["x86", "cortex-m55"])
def test_onnx_transformer(target: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "block.onnx"
    onnx_transformer(path)
    report = checked(path, tmp_path / "out", target=target, runs=3)
    assert sum(k.startswith("product of two matrices") for k in kernels(report)) == 2
