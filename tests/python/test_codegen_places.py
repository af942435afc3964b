"""Operators of .tflite files that look elements up or go between them: against numpy, and in C on devices."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_files import Tflite
from test_codegen_quantised_files import TARGETS, run, same_bits

from sorus import codegen as device

Make = Callable[[], tuple[bytes, Callable[[np.ndarray], np.ndarray], np.ndarray]]


def bilinear(size: tuple[int, int], corners: bool, half: bool) -> Make:
    """uint8: every product and sum is a float, as the format's reference kernel has them."""
    shape = (1, 5, 7, 3)

    def axis(n: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        one = np.float32(1)
        edge = corners and out > 1
        step = np.float32(n - edge) / np.float32(out - edge)
        at = (np.arange(out, dtype=np.float32) + np.float32(half * 0.5)) * step - one * np.float32(half * 0.5)
        low = np.maximum(np.floor(at), 0).astype(int)
        return low, np.minimum(np.ceil(at).astype(int), n - 1), (at - low.astype(np.float32)).astype(np.float32)

    def expected(x: np.ndarray) -> np.ndarray:
        (y0, y1, v), (x0, x1, u) = axis(shape[1], size[0]), axis(shape[2], size[1])
        v, u, one = v[:, None, None], u[:, None], np.float32(1)
        f = x[0].astype(np.float32)
        parts = [f[y0][:, x0] * (one - v) * (one - u), f[y1][:, x0] * v * (one - u), f[y0][:, x1] * (one - v) * u,
                 f[y1][:, x1] * v * u]  # fmt: skip
        total = parts[0] + parts[1] + parts[2] + parts[3] + np.float32(0.5)
        assert total.dtype == np.float32
        return total.astype(np.uint8)[None]

    def make() -> tuple[bytes, Callable[[np.ndarray], np.ndarray], np.ndarray]:
        f = Tflite()
        x = f.tensor("x", shape, "uint8", 0.1, 3)
        to = f.constant("size", np.array(size, np.int32))
        y = f.tensor("y", (1, *size, 3), "uint8", 0.1, 3)
        f.operator(23, [x, to], [y], {2: np.bool_(corners), 3: np.bool_(half)}, kind=15)
        f.graph([x], [y])
        return f.file(), expected, np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)

    return make


def joined() -> tuple[bytes, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """uint8 with three scales: one that is the result's, one that has to be brought to it, and a constant."""
    f = Tflite()
    x = f.tensor("x", (1, 3, 4), "uint8", 0.05, 120)
    a = f.tensor("a", (1, 3, 4), "uint8", 0.05, 120)
    k = f.constant("k", np.arange(0, 240, 20, dtype=np.uint8).reshape(1, 3, 4), 0.013, 7)
    y = f.tensor("y", (1, 3, 12), "uint8", 0.0371, 99)
    f.operator(19, [x], [a])  # RELU
    f.operator(2, [x, a, k], [y], {0: np.int32(2)}, kind=10)
    f.graph([x], [y])
    k_codes = np.arange(0, 240, 20).reshape(1, 3, 4)

    def expected(v: np.ndarray) -> np.ndarray:
        def to_y(codes: np.ndarray, scale: float, zero: int) -> np.ndarray:
            ratio = np.float32(scale) * (np.float32(1) / np.float32(0.0371))
            real = codes.astype(np.float32) * ratio + np.float32(-zero) * ratio
            return np.clip(np.trunc(real + np.copysign(0.5, real)) + 99, 0, 255)

        relu = np.maximum(v, 120)
        parts = [to_y(v, 0.05, 120), to_y(relu, 0.05, 120), to_y(k_codes, 0.013, 7)]
        return np.concatenate(parts, 2).astype(np.uint8)

    return f.file(), expected, np.random.default_rng(5).integers(0, 256, (1, 3, 4)).astype(np.uint8)


def gathered_at() -> tuple[bytes, Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """GATHER_ND at computed places: where each channel is largest."""
    f = Tflite()
    x = f.tensor("x", (6, 5), "int8", 0.1, 4)
    zero = f.constant("zero", np.array(0, np.int32))
    where, column = f.tensor("where", (5,), "int32"), f.constant("column", np.arange(5, dtype=np.int32))
    places = f.tensor("places", (5, 2), "int32")
    y, rows = f.tensor("y", (5,), "int8", 0.1, 4), f.tensor("rows", (5, 5), "int8", 0.1, 4)
    up = f.tensor("up", (5, 1), "int32")
    f.operator(56, [x, zero], [where], {0: np.int8(2)}, kind=40)
    f.operator(83, [where, column], [places], {0: np.int32(2), 1: np.int32(1)}, kind=59)
    f.operator(107, [x, places], [y], kind=0)
    shape = f.constant("shape", np.array([5, 1], np.int32))
    f.operator(22, [where, shape], [up], kind=17)
    f.operator(107, [x, up], [rows], kind=0)
    f.graph([x], [y, rows])

    def expected(v: np.ndarray) -> np.ndarray:
        at = v.argmax(0)
        return np.concatenate([v[at, np.arange(5)], v[at].ravel()])

    return f.file(), expected, np.random.default_rng(6).permutation(30).reshape(6, 5).astype(np.int8)


def function(code: int, of: Callable[[np.ndarray], np.ndarray], zero: int) -> Make:
    """A function of one byte."""

    def make() -> tuple[bytes, Callable[[np.ndarray], np.ndarray], np.ndarray]:
        f = Tflite()
        x = f.tensor("x", (1, 256), "int8", 0.03, -5)
        y = f.tensor("y", (1, 256), "int8", 0.0211, zero)
        f.operator(code, [x], [y], kind=0)
        f.graph([x], [y])

        def expected(v: np.ndarray) -> np.ndarray:
            real = of((v.astype(np.float64) + 5) * float(np.float32(0.03))) / float(np.float32(0.0211))
            assert np.abs(real - np.floor(real) - 0.5).min() > 1e-4  # no tie that hangs on the last bit
            return np.clip(np.floor(real + 0.5) + zero, -128, 127).astype(np.int8)

        return f.file(), expected, np.arange(-128, 128).astype(np.int8)[None]

    return make


def erf(x: np.ndarray) -> np.ndarray:
    import math

    return np.vectorize(math.erf)(x)


MODELS: dict[str, Make] = {
    "bilinear, thirds": bilinear((9, 12), False, False),
    "bilinear, half pixels": bilinear((12, 5), False, True),
    "bilinear, corners": bilinear((8, 11), True, False),
    "bilinear, quarters": bilinear((20, 28), False, False),
    "bilinear, one row": bilinear((1, 3), True, False),
    "joined": joined,
    "gathered": gathered_at,
    "exp": function(47, np.exp, -128),
    "elu": function(111, lambda x: np.where(x < 0, np.expm1(x), x), -10),
    "gelu": function(150, lambda x: x * (1 + erf(x / np.sqrt(2))) / 2, -12),
}


@pytest.mark.parametrize("name", MODELS)
def test_to_the_bit(name: str, tmp_path: pathlib.Path) -> None:
    data, expected, x = MODELS[name]()
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    given: Any = run(path, x) if name != "gathered" else results(path, x)
    np.testing.assert_array_equal(np.asarray(given).ravel(), expected(x).ravel())
    for target in TARGETS if name in ("gathered", "joined", "bilinear, thirds") else ["x86"]:
        same_bits(path, tmp_path / target, target)


def results(path: pathlib.Path, x: np.ndarray) -> np.ndarray:
    import sorus

    return np.concatenate([np.asarray(t.numpy()).ravel() for t in sorus.load_model(path)(sorus.tensor(x))])


def sparse(shape: tuple[int, ...], fill: Callable[[np.ndarray], dict], values: list[float]) -> bytes:
    """A constant that is stored without its zeros, made dense, times the input."""
    f = Tflite()
    x = f.tensor("x", shape, "float32")
    s = f.constant("s", np.array(values, np.float32))
    f.tensors[s][0] = np.array(shape, np.int32)
    f.tensors[s][6] = fill(np.array(shape))
    d, y = f.tensor("d", shape, "float32"), f.tensor("y", shape, "float32")
    f.operator(124, [s], [d], kind=0)
    f.operator(18, [x, d], [y], kind=21)
    f.graph([x], [y])
    return f.file()


def level(size: int) -> dict:
    return {0: np.int8(0), 1: np.int32(size)}


def listed(segments: list[int], indices: list[int]) -> dict:
    # Unions of vectors: of int32 (1), of uint8 (3).
    return {0: np.int8(1), 2: np.uint8(1), 3: {0: np.array(segments, np.int32)}, 4: np.uint8(3),
            5: {0: np.array(indices, np.uint8)}}  # fmt: skip


def test_sparse_constants(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "net.tflite"
    x = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    rows = {0: np.array([0, 1], np.int32), 2: [level(4), listed([0, 1, 1, 3, 4], [2, 0, 3, 1])]}
    path.write_bytes(sparse((4, 4), lambda _: rows, [5, 6, 7, 8]))
    dense = np.zeros((4, 4), np.float32)
    dense[0, 2], dense[2, 0], dense[2, 3], dense[3, 1] = 5, 6, 7, 8
    np.testing.assert_array_equal(run(path, x), x * dense)
    assert device.verify(path, *generated(path, tmp_path))["accepted"]
    # Blocks of 2 x 2, columns of blocks first.
    blocks = {0: np.array([1, 0, 2, 3], np.int32), 1: np.array([0, 1], np.int32),
              2: [level(2), listed([0, 1, 2], [1, 0]), level(2), level(2)]}  # fmt: skip
    path.write_bytes(sparse((4, 4), lambda _: blocks, [1, 2, 3, 4, 5, 6, 7, 8]))
    dense = np.zeros((4, 4), np.float32)
    dense[2:, :2], dense[:2, 2:] = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    np.testing.assert_array_equal(run(path, x), x * dense)


def generated(path: pathlib.Path, folder: pathlib.Path) -> tuple[pathlib.Path, str, str]:
    device.generate(path, "x86", "net", folder / "out")
    return folder / "out", "x86", "net"


@pytest.mark.parametrize(
    "said, rows",
    [
        ("an index outside", {0: np.array([0, 1], np.int32), 2: [level(4), listed([0, 1, 1, 3, 4], [2, 0, 4, 1])]}),
        ("fewer elements", {0: np.array([0, 1], np.int32), 2: [level(4), listed([0, 2, 2, 4, 5], [0, 2, 0, 3, 1])]}),
        ("fewer segments", {0: np.array([0, 1], np.int32), 2: [level(4), listed([0, 1, 1, 3], [2, 0, 3, 1])]}),
        ("do not cover", {0: np.array([0, 1], np.int32), 2: [level(3), listed([0, 1, 1, 3], [2, 0, 3, 1])]}),
        ("do not fit", {0: np.array([0], np.int32), 2: [level(4)]}),
    ],
)
def test_sparse_constants_that_are_damaged(said: str, rows: dict, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sparse((4, 4), lambda _: rows, [5, 6, 7, 8]))
    with pytest.raises(Exception, match=f"sparse tensor 's' of shape .*{said}"):
        run(path, np.ones((4, 4), np.float32))
