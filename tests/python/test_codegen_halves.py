"""Functions of int16 activations by tables: as TensorFlow Lite's reference kernels have them, and on devices."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from model_files import Tflite
from test_codegen_quantised_files import TARGETS, run, same_bits

import sorus

LOGISTIC, SOFTMAX, TANH = 14, 25, 28
# What LiteRT 2.3 gives with its reference kernels, for these numbers.
PLACES = [-32768, -23768, -12768, -2767, -768, 0, 1, 232, 3253, 12232, 27233, 32767]
KNOWN: list[tuple[int, float, list[int]]] = [
    (LOGISTIC, 0.0021, [1, 1, 1, 98, 5446, 16384, 16401, 20298, 32732, 32767, 32767, 32767]),
    (LOGISTIC, 1 / 4096, [11, 98, 1389, 11051, 14852, 16384, 16386, 16848, 22569, 31193, 32726, 32757]),
    (TANH, 1 / 8192, [-32746, -32571, -29989, -10664, -3063, 0, 5, 928, 12370, 29619, 32683, 32746]),
    (TANH, 0.0021, [-32767, -32767, -32767, -32767, -30263, 0, 69, 14811, 32767, 32767, 32767, 32767]),
]
ROWS = [[100, -300, 2000, 1999, 0, -32768], [32767, 30000, 31000, -5, 32767, 12]]
SHARES = [[2056, 1378, 13744, 13729, 1860, 1], [14669, 922, 2506, 1, 14669, 1]]


def file(path: pathlib.Path, code: int, shape: tuple[int, ...], scale: float, **more: Any) -> pathlib.Path:
    f = Tflite()
    x = f.tensor("x", shape, "int16", scale, more.get("zero", 0))
    y = f.tensor("y", shape, more.get("kind", "int16"), more.get("result", 1 / 32768))
    options, kind = ({0: np.float32(1)}, 9) if code == SOFTMAX else ({}, 1)
    f.operator(code, [x], [y], options, kind=kind)
    f.graph([x], [y])
    path.write_bytes(f.file())
    return path


@pytest.mark.parametrize(("code", "scale", "expected"), KNOWN)
def test_curves_are_those_of_tensorflow_lite(
    code: int, scale: float, expected: list[int], tmp_path: pathlib.Path
) -> None:
    path = file(tmp_path / "m.tflite", code, (1, 12), scale)
    assert run(path, np.array([PLACES], np.int16))[0].tolist() == expected


@pytest.mark.parametrize("code", [LOGISTIC, TANH])
@pytest.mark.parametrize("scale", [1 / 32768, 1 / 8192, 0.00031, 1 / 2048])
def test_curves_are_close_to_what_they_stand_for(code: int, scale: float, tmp_path: pathlib.Path) -> None:
    path = file(tmp_path / "m.tflite", code, (1, 65536), scale)
    x = np.arange(-32768, 32768).astype(np.int16)[None]
    real = x * float(np.float32(scale))
    exact = np.tanh(real) if code == TANH else 1 / (1 + np.exp(-real))
    # Tables and factors have 16 bits.
    assert np.abs(run(path, x) - exact * 32768).max() < 6


def test_softmax_is_that_of_tensorflow_lite(tmp_path: pathlib.Path) -> None:
    path = file(tmp_path / "m.tflite", SOFTMAX, (2, 6), 0.001)
    assert run(path, np.array(ROWS, np.int16)).tolist() == SHARES


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("code", [LOGISTIC, TANH, SOFTMAX])
@pytest.mark.parametrize("scale", [1 / 4096, 0.0011])
def test_on_devices(code: int, scale: float, target: str, tmp_path: pathlib.Path) -> None:
    path = file(tmp_path / "m.tflite", code, (9, 31), scale)
    same_bits(path, tmp_path / "out", target)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"zero": 3}, "zero points 3 and 0"),
        ({"result": 1 / 256}, "the scale of the result is 0.00390625"),
        ({"kind": "int8"}, "from int16 to "),
    ],
)
def test_what_the_format_does_not_have_is_refused(more: dict[str, Any], said: str, tmp_path: pathlib.Path) -> None:
    path = file(tmp_path / "m.tflite", LOGISTIC, (1, 4), 0.001, **more)
    with pytest.raises((OSError, NotImplementedError), match=said):
        sorus.load_model(path)
