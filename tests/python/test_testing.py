"""sorus.testing: what it takes for close, and what it says of the rest."""

import numpy as np
import pytest
from sorus.testing import assert_close

import sorus

X = sorus.tensor([1.0, 2.0, 3.0])
NAN = sorus.tensor(float("nan"))


@pytest.mark.parametrize(("actual", "expected", "options"), [
    (X, X + 1e-6, {}),
    (X, X.double(), {"check_dtype": False}),
    (X, X + 1, {"rtol": 0, "atol": 2}),
    (X.bfloat16(), (X * 1.01).bfloat16(), {}),
    ([X, {"a": X}], (X, {"a": X}), {}),
    (NAN, NAN, {"equal_nan": True}),
    (sorus.tensor([float("inf")]), sorus.tensor([float("inf")]), {}),
    (1.0, 1.0 + 1e-9, {}),
    (np.ones(2), np.ones(2), {}),
    (None, None, {}),
    (sorus.empty(0), sorus.empty(0), {}),
])  # fmt: skip
def test_close(actual, expected, options):
    assert_close(actual, expected, **options)


@pytest.mark.parametrize(("actual", "expected", "options", "message"), [
    (X, X + sorus.tensor([0, 0.5, 0]), {}, r"Mismatched elements: 1 / 3 \(33.3%\)\n.*difference: 0.5 at index \(1,\)"),
    (X, X.double(), {}, "types differ: sorus.float32 and sorus.float64"),
    (X, X[:2], {}, r"shapes differ: \(3,\) and \(2,\)"),
    ([X, {"a": X}], [X, {"a": X + 1}], {}, r"at \[1\]\['a'\]"),
    ([X], [X, X], {}, "lengths differ"),
    ({"a": X}, {"b": X}, {}, "keys differ"),
    (NAN, NAN, {}, "Scalars are not close"),
    (sorus.tensor([2**62]), sorus.tensor([2**62 + 1]), {}, "Tensors are not equal"),
    (1, 2, {}, "Scalars are not equal"),
    (X, None, {}, "Expected None"),
    (X.reshape(1, 3).T, X.reshape(3, 1).clone().T.contiguous().T, {"check_stride": True, "msg": "own words"}, "own words"),
    (X, X + 1, {"msg": lambda text: "seen: " + text}, "seen: Tensors"),
])  # fmt: skip
def test_not_close(actual, expected, options, message):
    with pytest.raises(AssertionError, match=message):
        assert_close(actual, expected, **options)


def test_what_cannot_be_compared():
    with pytest.raises(TypeError, match="cannot compare a Tensor with a float"):
        assert_close(X, 1.0)
    with pytest.raises(ValueError, match="both rtol and atol"):
        assert_close(X, X, rtol=1e-3)
