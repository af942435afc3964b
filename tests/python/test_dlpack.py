"""DLPack: memory is shared, with its types and strides, and lives as long as anyone shows it."""

import gc

import numpy as np
import pytest

import sorus

TYPES = [
    "float64",
    "float32",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize("name", TYPES)
def test_memory_is_shared_both_ways(name):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(name)
    shown = sorus.from_dlpack(array.T)
    assert shown.dtype == getattr(sorus, name)
    assert shown.tolist() == array.T.tolist()
    assert shown.stride() == (1, 3)
    array[0, 0] = 1
    assert shown[0, 0].item() == 1
    back = np.from_dlpack(shown)
    back[2, 1] = 0
    assert array[1, 2] == 0
    assert back.dtype == array.dtype and back.strides == array.T.strides


def test_bfloat16_and_views_go_through_a_capsule():
    t = sorus.tensor([1.5, 2.5, 3.5], dtype=sorus.bfloat16)
    shown = sorus.from_dlpack(t[1:].__dlpack__())
    assert shown.dtype == sorus.bfloat16
    shown[0] = 7
    assert t.tolist() == [1.5, 7.0, 3.5]
    assert t.__dlpack_device__() == (1, 0)


def test_the_memory_outlives_its_first_owner():
    shown = sorus.from_dlpack(np.ones(100_000))
    array = np.from_dlpack(sorus.ones(100_000))
    gc.collect()
    assert shown.sum().item() == array.sum() == 100_000
    assert sorus.from_dlpack(np.zeros((0, 3))).shape == (0, 3)


def test_what_cannot_be_shared_is_named():
    with pytest.raises(TypeError, match="expected an object with __dlpack__, found list"):
        sorus.from_dlpack([1.0])
    with pytest.raises(RuntimeError, match=r"requires gradients; use detach"):
        np.from_dlpack(sorus.ones(2, requires_grad=True))
    with pytest.raises(ValueError, match="negative strides"):
        sorus.from_dlpack(np.ones(3)[::-1])
    locked = np.ones(3)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        sorus.from_dlpack(locked)
    with pytest.raises(ValueError, match="found device 2"):

        class Elsewhere:
            def __dlpack__(self):
                raise AssertionError("not asked for")

            def __dlpack_device__(self):
                return (2, 0)

        sorus.from_dlpack(Elsewhere())
