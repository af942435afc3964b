"""What goes wrong in a script names the operator or file, what was expected and found, and the line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sorus.utils.data import BatchSampler, ConcatDataset, DataLoader, IterableDataset, RandomSampler

import sorus
from sorus import nn


def message_of(call) -> str:
    with pytest.raises(Exception) as caught:
        call()
    return str(caught.value)


def test_the_first_operator_that_makes_a_nan():
    x = sorus.tensor([-1.0, 2.0], requires_grad=True)
    with sorus.autograd.detect_anomaly():
        text = message_of(lambda: (sorus.log(x * 2) * 0.5 + 1).sum().backward())
        assert "the result of log is NaN, its inputs are not" in text
        assert f"{Path(__file__).name}:" in text
        text = message_of(lambda: x * sorus.tensor([1.0, float("nan")]))
        assert "input 1 of mul is NaN already" in text
        zero = sorus.tensor([0.0], requires_grad=True)
        assert "the gradient of sqrt is NaN" in message_of(lambda: (sorus.sqrt(zero) * 0).sum().backward())
    sorus.log(x).sum().backward()  # and nothing outside


@pytest.mark.parametrize("wrap", [lambda f: f, sorus.compile])
@pytest.mark.parametrize(("divide", "name"), [
    (lambda x, y: x // (y - 1), "floor_divide"),
    (lambda x, y: sorus.div(x, y - 1, rounding_mode="trunc"), "trunc_divide"),
    (lambda x, y: (x + 1) % (y - 1), "remainder"),
    (lambda x, y: sorus.fmod(x, y - 1) + 1, "fmod"),
])  # fmt: skip
def test_whole_numbers_are_not_divided_by_zero(wrap, divide, name):
    f = wrap(divide)
    x = sorus.tensor([[1, 2, 3], [4, 5, 6]])
    assert f(x, sorus.tensor([2, -2, 4])).shape == (2, 3)
    with pytest.raises(RuntimeError) as caught:
        f(x, sorus.tensor([2, 1, 4]))
    assert f"{name}(i64[2, 3], i64[3]): ZeroDivisionError: 'other' is 0 at [1]" in str(caught.value)
    assert f"{Path(__file__).name}:" in str(caught.value)
    bytes_ = x.to(sorus.uint8)
    assert "'other' is 0 at [0, 1]" in message_of(lambda: f(bytes_, bytes_ - 1))
    assert f(sorus.empty(0, 3, dtype=sorus.int64), sorus.ones(3, dtype=sorus.int64)).shape == (0, 3)
    assert f(x.float(), sorus.ones(3)).shape == (2, 3)


def test_errors_of_composites_name_what_was_called():
    text = message_of(lambda: sorus.index_select(sorus.ones(2, 3), 1, sorus.tensor([5, 1])))
    assert "index: index 5 is out of range for dimension 1 of size 3, in index_select" in text
    assert f"{Path(__file__).name}:" in text


def test_only_files_are_written(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "expected a file to write, found something else" in message_of(
        lambda: sorus.save({"a": sorus.ones(2)}, pipe)
    )
    assert "expected a file to write, found a folder" in message_of(
        lambda: sorus.save({"a": sorus.ones(2)}, tmp_path)
    )
    assert pipe.is_fifo()


@pytest.mark.parametrize(("content", "message"), [
    (b"", "0 bytes, expected at least 8"),
    (b"hello world" * 10, "claims a header of"),
    (None, "reach outside"),
])  # fmt: skip
def test_checkpoints_that_are_none_or_cut_short(tmp_path: Path, content, message):
    path = tmp_path / "model.pt"
    sorus.save(nn.Linear(3, 3).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    text = message_of(lambda: sorus.load(path))
    assert str(path) in text and message in text


def test_the_state_of_another_optimizer():
    model, other = nn.Linear(2, 2), nn.Linear(2, 3)
    loss = (model(sorus.ones(1, 2)) + other(sorus.ones(1, 2)).sum()).sum()
    loss.backward()
    adam, wide = sorus.optim.Adam(model.parameters()), sorus.optim.Adam(other.parameters())
    adam.step(), wide.step()
    assert "expected" in message_of(lambda: adam.load_state_dict(wide.state_dict()))
    sgd = sorus.optim.SGD(model.parameters(), momentum=0.9)
    assert "momentum_buffer" in message_of(lambda: adam.load_state_dict(sgd.state_dict()))


class Count(IterableDataset):
    def __iter__(self):
        return iter(sorus.arange(5))


def test_errors_are_what_python_and_what_pytorch_call_them(tmp_path):
    matrix = sorus.zeros(2, 3)
    for kind, wrong in [
        (ValueError, lambda: matrix @ matrix),
        (IndexError, lambda: matrix[5]),
        (TypeError, lambda: sorus.nn.functional.embedding(matrix, matrix)),
    ]:
        for caught in (kind, RuntimeError, getattr(sorus.errors, kind.__name__)):
            with pytest.raises(caught):
                wrong()
    with pytest.raises(FileNotFoundError, match="No such file"):
        sorus.load(tmp_path / "missing.pt")
    with pytest.raises(ValueError, match="only an LSTM has a proj_size"):
        sorus.nn.GRU(3, 4, proj_size=2)
    with pytest.raises(ValueError, match="proj_size must be smaller than hidden_size 4"):
        sorus.nn.LSTM(3, 4, proj_size=4)


def test_loaders_of_every_kind():
    assert [b.tolist() for b in DataLoader(Count(), batch_size=2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in DataLoader(Count(), batch_size=2, drop_last=True)] == [[0, 1], [2, 3]]
    assert [b.tolist() for b in DataLoader(range(5), batch_sampler=BatchSampler([4, 2, 0], 2, False))] == [
        [4, 2],
        [0],
    ]
    assert list(DataLoader(range(3), batch_size=None)) == [0, 1, 2]
    assert sorted(b.item() for b in DataLoader(range(9), sampler=RandomSampler(range(9)))) == list(range(9))
    assert ConcatDataset([range(3), range(4)])[4] == 1 and ConcatDataset([range(3), range(4)])[-1] == 3
    assert "shuffle" in message_of(lambda: DataLoader(Count(), shuffle=True))
    assert "excludes" in message_of(lambda: DataLoader(range(3), batch_size=2, batch_sampler=[[0]]))
    assert "index 9 of 7" in message_of(lambda: ConcatDataset([range(3), range(4)])[9])
    assert "__iter__ is not written" in message_of(lambda: list(DataLoader(IterableDataset())))
    assert "cannot say where it stands" in message_of(lambda: DataLoader(Count()).state_dict())


RECURSIVE: list = []
RECURSIVE.append(RECURSIVE)
TENSOR: Any = sorus.Tensor


class NotBegun(nn.Module):
    def __init__(self) -> None:
        self.layer = nn.Linear(1, 1)


@pytest.mark.parametrize(("call", "message"), [
    # Shapes, indices and sizes.
    (lambda: sorus.ones(5).narrow(0, 3, 5), "narrow: 5 elements from 3 on reach beyond dimension 0 of size 5"),
    (lambda: sorus.ones(5).narrow(0, 3, -1), "narrow: -1 elements"),
    (lambda: sorus.ones(5).narrow(0, 6, 0), "narrow: start 6 is out of range"),
    (lambda: sorus.ones(5).split([6, -1]), r"split: the pieces \[6, -1\] do not add up to 5"),
    (lambda: sorus.arange(0, 1e30, 1), "too many steps"),
    (lambda: iter(sorus.tensor(1.0)), "without dimensions has no rows"),
    (lambda: sorus.operators["slice_backward"](sorus.ones(2, 0, 3), [1, 1], 2, 0, 0), "slice_backward: .* is not what"),
    (lambda: sorus.ones(4, 4).index_put([sorus.zeros(1, dtype=sorus.int64)], sorus.ones(2, 1, 4)), "values of shape"),
    (lambda: sorus.ones(4, 4).index_put([sorus.ones(4)], sorus.tensor(1.0)), "indices must be integers, not float32"),
    (lambda: sorus.unique(sorus.tensor(1.0), dim=0), "without dimensions has no dimension 0"),
    (lambda: sorus.searchsorted(sorus.ones(3), sorus.ones(2), sorter=sorus.tensor([0, 1, 9])), "index 9 of sorter"),
    (lambda: sorus.fft.fft(sorus.ones(4), dim=3), "fft: dimension 3 is out of range"),
    (lambda: sorus.linalg.inv(sorus.ones(2, 3)), r"linalg.inv: expected square matrices, got shape \(2, 3\)"),
    (lambda: sorus.signal.windows.hann(2**45), "out of memory"),
    # Numbers and types.
    (lambda: sorus.tensor(RECURSIVE), "nested deeper than 64 times"),
    (lambda: sorus.tensor([1, 2**64]), "an integer does not fit into int64"),
    (lambda: sorus.tensor([300], dtype=sorus.uint8), "tensor: 300 does not fit into uint8"),
    (lambda: sorus.ones(2) & sorus.ones(2), "'bitand' does not exist for floating-point numbers"),
    (lambda: sorus.rand([sorus.ones(2)]), "integer"),
    (lambda: TENSOR.byte(3), "incompatible function arguments"),
    (lambda: TENSOR.normal_(3), "incompatible function arguments"),
    (lambda: sorus.normal(0.0, -1.0, (2,)), "standard deviations must not be negative"),
    (lambda: sorus.bernoulli(sorus.tensor([2.0])), r"probabilities must lie in \[0, 1\]"),
    (lambda: nn.functional.one_hot(sorus.ones(2)), "one_hot: expected integers, got sorus.float32"),
    (lambda: sorus.device("cpux"), "no device 'cpux'"),
    (lambda: nn.functional.embedding(sorus.tensor([0, -1]), sorus.ones(3, 2)), "index -1 is out of range .* of size 3"),
    (lambda: nn.functional.affine_grid(sorus.ones(1, 2, 3), (2, 1, 4, 4)), "do not fit a size of"),
    (lambda: sorus.frombuffer(bytearray(5), dtype=sorus.int16), "no whole number of elements of 2"),
    (lambda: sorus.nextafter(sorus.ones(1).half(), sorus.ones(1).half()), "expected float32, float64 or bfloat16"),
    (lambda: sorus.frexp(sorus.tensor([1])), "frexp: expected floating-point numbers"),
    (lambda: sorus.ones(2, requires_grad=True).unsqueeze_(0), "a leaf that requires gradients cannot be changed"),
    (lambda: sorus.compile(lambda x: x, mode="fastest"), "mode must be one of"),
    # Modules and optimizers.
    (lambda: setattr(nn.Linear(1, 1), "weight", 3), "cannot assign 'int' as parameter 'weight'"),
    (lambda: nn.Sequential(3), "Sequential: '0' is a int, expected a Module"),
    (NotBegun, r"NotBegun.__init__: call super\(\).__init__\(\) before"),
    (lambda: sorus.optim.SGD([{"nothing": 1}], lr=0.1), "a group must be a dictionary with 'params'"),
])  # fmt: skip
def test_what_is_refused_says_why(call, message):
    with pytest.raises((ValueError, TypeError, IndexError, AttributeError, RuntimeError), match=message):
        call()


@pytest.mark.parametrize(
    ("content", "kind"), [(b"PK\x03\x04" + bytes(99), "a zip archive"), (b"\x80\x02}q\x00.", "a pickle")]
)
def test_files_of_torch_save_are_named(tmp_path: Path, content: bytes, kind: str):
    (tmp_path / "model.pt").write_bytes(content)
    text = message_of(lambda: sorus.load(tmp_path / "model.pt"))
    assert text.startswith(f"{tmp_path / 'model.pt'}: {kind}") and "not read" in text


def test_submodules_are_there_without_an_import_of_their_own():
    code = "import sorus as torch; torch.utils.data.DataLoader, torch.optim.lr_scheduler.StepLR, torch.nn.utils.rnn"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_printing():
    assert repr(sorus.zeros(2, 0)) == "tensor([], size=(2, 0))"
    assert repr(sorus.tensor([1 + 2j, 0.5j])) == "tensor([1.+2.0000j, 0.+0.5000j])"
    try:
        sorus.set_printoptions(precision=2, sci_mode=False)
        assert repr(sorus.tensor([1.23456, 1e-5])) == "tensor([1.23, 0.00])"
    finally:
        sorus.set_printoptions(profile="default")
    assert repr(sorus.tensor([1.23456])) == "tensor([1.2346])"
    assert "profile must be one of" in message_of(lambda: sorus.set_printoptions(profile="odd"))


def test_options_and_reports_of_compile():
    layer = nn.Linear(4, 4)
    fast = sorus.compile(layer, mode="reduce-overhead", fullgraph=True)
    fast(sorus.ones(2, 4))
    assert len(fast.recordings()) == 1 and "arena" in fast.memory()
    assert sorus.compile(layer, disable=True) is layer

    @sorus.compile(dynamic=False)
    def twice(x):
        return x * 2

    assert twice(sorus.ones(1)).item() == 2.0
    with sorus.profile() as p:
        twice(sorus.ones(1))
    assert "outside of operators" in str(p)
