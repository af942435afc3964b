"""The face of a tensor in Python: construction, conversion, indexing, operators, gradients."""

import sys
from subprocess import run

import numpy as np
import pytest

import sorus


def test_from_nested_lists() -> None:
    x = sorus.tensor([[1, 2, 3], [4, 5, 6]])
    assert x.shape == (2, 3) and x.dtype == sorus.int64 and x.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert sorus.tensor([1, 2.5]).dtype == sorus.float32
    assert sorus.tensor([True]).dtype == sorus.bool
    assert sorus.tensor(1 + 2j).dtype == sorus.complex64
    assert sorus.tensor([]).shape == (0,)
    with pytest.raises(ValueError, match="length"):
        sorus.tensor([[1, 2], [3]])
    with pytest.raises(TypeError):
        sorus.tensor("text")


def test_numpy_shares_memory() -> None:
    a = np.arange(6.0).reshape(2, 3)
    x = sorus.from_numpy(a)
    x[0, 1] = 10
    assert a[0, 1] == 10
    a[1, 2] = -1
    assert x[1, 2].item() == -1
    assert np.shares_memory(x.numpy(), a)
    assert sorus.from_numpy(a.T).stride() == (1, 3)
    with pytest.raises(ValueError, match="negative"):
        sorus.from_numpy(a[::-1])


def test_shows_like_pytorch() -> None:
    assert repr(sorus.tensor([[1.0, 2.5], [3, 4]])) == "tensor([[1.0000, 2.5000],\n        [3.0000, 4.0000]])"
    assert repr(sorus.tensor([1, 20])) == "tensor([ 1, 20])"
    assert repr(sorus.tensor(1.5, requires_grad=True)) == "tensor(1.5000, requires_grad=True)"
    assert str(sorus.float32) == "sorus.float32"


def test_python_operators() -> None:
    x = sorus.tensor([1.0, 2.0, 3.0])
    assert (2**x).tolist() == [2, 4, 8]
    assert (1 - x).tolist() == [0, -1, -2]
    assert (x // 2).tolist() == [0, 1, 1]
    assert (x > 1).tolist() == [False, True, True]
    assert (-x @ x).item() == -14
    y = x
    y += 1
    assert x.tolist() == [2, 3, 4] and y is x
    assert x.add_(1).tolist() == [3, 4, 5]
    assert (x == None) is False  # noqa: E711
    with pytest.raises(TypeError):
        x + "text"


def test_arguments() -> None:
    x = sorus.ones(2, 3)
    assert x.view(3, 2).shape == x.view((3, 2)).shape == x.view([3, -1]).shape == (3, 2)
    assert x.sum(0).shape == (3,) and x.sum((0, 1), True).shape == (1, 1)
    assert x.sum(axis=1, keepdims=True).shape == (2, 1)
    found = x.max(1)
    assert found.values.tolist() == [1, 1] and found.indices.tolist() == [0, 0]
    assert [p.shape for p in x.split(2, dim=1)] == [(2, 2), (2, 1)]
    with pytest.raises(TypeError, match=r"view\(input, shape: int\[\]\)"):
        x.view("text")
    with pytest.raises(TypeError, match="softmax"):
        sorus.softmax(x)


def test_basic_indexing() -> None:
    a = np.arange(24).reshape(2, 3, 4)
    x = sorus.from_numpy(a)
    for index in (
        0,
        -1,
        (0, 1),
        (slice(None), 1),
        (..., 2),
        (None, 0),
        (0, ..., None),
        (slice(0, 1), slice(1, 3)),
        (slice(None), slice(None, None, 2), -1),
        ...,
    ):
        assert x[index].tolist() == a[index].tolist(), index
    with pytest.raises(IndexError):
        x[2]
    with pytest.raises(IndexError, match="too many"):
        x[0, 0, 0, 0]
    y = sorus.zeros(3, 3)
    y[1] = sorus.tensor([1.0, 2, 3])
    y[:, 0] += 1
    assert y.tolist() == [[1, 0, 0], [2, 2, 3], [1, 0, 0]]


def test_indexing_by_arrays() -> None:
    a = np.arange(24).reshape(2, 3, 4)
    x = sorus.from_numpy(a)
    rows, columns = [0, 1, 1], [3, 0, -1]
    mask = a % 3 == 0
    for index in (
        (slice(None), [0, 2]),
        (rows, slice(None), columns),
        (slice(None), rows, columns),
        (rows,),
        mask,
        (0, mask[0]),
        (np.array([[0, 1], [1, 0]]), 1),
        (..., [0]),
        (None, rows),
    ):
        assert x[index].tolist() == a[index].tolist(), index
    assert x[sorus.from_numpy(mask)].tolist() == a[mask].tolist()
    with pytest.raises(IndexError, match="out of range"):
        x[[5]]
    y, b = sorus.zeros(3, 4), np.zeros((3, 4))
    for index, value in ((([0, 2], [1, 3]), 5.0), ((slice(None), [0]), 2.0), (b == 0, -1.0)):
        y[index] = value
        b[index] = value
    assert y.tolist() == b.tolist()


def test_gradients_of_indexing() -> None:
    x = sorus.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (x[[0, 0, 2]] * sorus.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.tolist() == [11, 0, 100]
    x.grad = None
    y = x * 1
    y[[1]] = 7.0
    (y * y).sum().backward()
    assert x.grad.tolist() == [2, 0, 6]  # type: ignore[attr-defined]


def test_random_numbers_repeat() -> None:
    sorus.manual_seed(3)
    a = sorus.randn(2, 3)
    sorus.manual_seed(3)
    assert sorus.randn((2, 3)).tolist() == a.tolist() and sorus.randn(2, 3).tolist() != a.tolist()
    drawn = sorus.randint(2, 5, (1000,))
    assert drawn.dtype == sorus.int64 and set(drawn.tolist()) == {2, 3, 4}


def test_gradients() -> None:
    x = sorus.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]
    (g,) = sorus.autograd.grad((x * 3).sum(), x)
    assert g.tolist() == [3, 3] and x.grad.tolist() == [2, 4]
    with sorus.no_grad():
        assert not (x * 2).requires_grad

    @sorus.no_grad()
    def quiet():
        return (x * 2).requires_grad

    assert not quiet() and (x * 2).requires_grad
    x.grad = None
    assert x.grad is None


def test_function_with_its_own_gradient() -> None:
    class Twice(sorus.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * ctx.factor * x, None

    x = sorus.tensor([1.0, 2.0], requires_grad=True)
    y = Twice.apply(x, 10.0)
    assert y.tolist() == [2, 4]
    y.sum().backward()
    assert x.grad.tolist() == [10, 20]


def test_hooks() -> None:
    x = sorus.tensor([1.0], requires_grad=True)
    handle = x.register_hook(lambda g: g * 2)
    (x * 3).sum().backward()
    assert x.grad.tolist() == [6]
    handle.remove()
    (x * 3).sum().backward()
    assert x.grad.tolist() == [9]
    y = x * 5
    y.retain_grad()
    y.register_hook(lambda g: g * 2)  # what is kept comes last, whenever it was asked for
    y.sum().backward()
    assert y.grad.tolist() == [2] and x.grad.tolist() == [19]


def test_errors_name_the_line() -> None:
    with pytest.raises(Exception, match=r"test_tensor\.py"):
        sorus.ones(2, 3) @ sorus.ones(2, 3)


def test_import_is_light() -> None:
    code = "import sys, sorus; print(sorted({'numpy', 'rich', 'matplotlib'} & set(sys.modules)))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
