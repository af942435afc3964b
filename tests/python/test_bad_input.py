"""What goes wrong in a script names the operator or file, what was expected and found, and the line."""

import os
from pathlib import Path

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
