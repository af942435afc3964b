"""Datasets, the loader, tokenizers and corpora from Python."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from sorus.utils.data import (
    DataLoader,
    Dataset,
    StackDataset,
    Subset,
    TensorDataset,
    TextDataset,
    default_collate,
    random_split,
)

import sorus
from sorus.data import MNIST, ByteLevelBPE, ByteTokenizer, CharTokenizer, gather_corpus, load_text, load_tokenizer


class Squares(Dataset):
    """A dataset in Python whose samples are not tensors."""

    def __init__(self, n: int, slow: float = 0) -> None:
        super().__init__()
        self.n, self.slow = n, slow

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict:
        if self.slow:
            time.sleep(self.slow * (i % 3))
        return {"x": float(i), "name": f"n{i}", "pair": (np.array([i, i * i]), i)}


def counting(n: int) -> TensorDataset:
    return TensorDataset(sorus.arange(n), sorus.arange(2 * n).reshape(n, 2))


def numbers(loader: DataLoader) -> list[list[int]]:
    return [batch[0].tolist() if isinstance(batch, list) else batch["pair"][1].tolist() for batch in loader]


def test_tensor_dataset_and_batches() -> None:
    data = counting(5)
    assert len(data) == 5
    assert data[-1][1].tolist() == [8, 9]
    with pytest.raises(IndexError, match="sample 5 of 5"):
        data[5]
    loader = DataLoader(data, batch_size=2)
    assert len(loader) == 3
    assert numbers(loader) == [[0, 1], [2, 3], [4]]
    assert len(DataLoader(data, batch_size=2, drop_last=True)) == 2
    with pytest.raises(ValueError, match=r"\[5\] and \[4\]"):
        TensorDataset(sorus.arange(5), sorus.arange(4))
    with pytest.raises(TypeError, match="expected a Tensor"):
        TensorDataset([1, 2])


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_epoch_depends_on_the_seed_and_not_on_workers(python: bool, workers: int) -> None:
    def epochs(seed: int, workers: int) -> list:
        data = Squares(23, slow=0.0005) if python else counting(23)
        loader = DataLoader(data, batch_size=4, shuffle=True, seed=seed, num_workers=workers)
        return [numbers(loader), numbers(loader)]

    first, second = epochs(1, workers)
    assert sorted(i for batch in first for i in batch) == list(range(23))
    assert first != second
    assert [first, second] == epochs(1, 0)
    assert first != epochs(2, 0)[0]


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_resumes_in_the_middle_of_an_epoch(python: bool, workers: int) -> None:
    def loader(seed: int) -> DataLoader:
        data = Squares(30) if python else counting(30)
        return DataLoader(data, batch_size=4, shuffle=True, seed=seed, num_workers=workers)

    one = loader(7)
    numbers(one)
    batches = iter(one)
    for _ in range(3):
        next(batches)
    state = one.state_dict()
    assert state["epoch"] == 1 and state["position"] == 3
    rest = [b[0].tolist() if not python else b["pair"][1].tolist() for b in batches]
    after = numbers(one)
    assert len(rest) == 5

    two = loader(0)  # the state brings its own seed
    two.load_state_dict(state)
    assert two.state_dict() == state
    assert numbers(two) == rest
    assert numbers(two) == after
    with pytest.raises(ValueError, match="30 samples in batches of 4, this one has 30 in batches of 5"):
        DataLoader(counting(30), batch_size=5).load_state_dict(state)
    with pytest.raises(ValueError, match="expected the number 'position'"):
        two.load_state_dict({"epoch": 1})


def test_an_iteration_that_was_left_starts_a_new_epoch() -> None:
    loader = DataLoader(counting(6), batch_size=2)
    next(iter(loader))
    assert numbers(loader) == [[0, 1], [2, 3], [4, 5]]
    assert loader.state_dict()["epoch"] == 2


def test_collate() -> None:
    batch = next(iter(DataLoader(Squares(4), batch_size=3)))
    assert batch["name"] == ["n0", "n1", "n2"]
    assert batch["x"].dtype == sorus.float64
    assert batch["pair"][0].tolist() == [[0, 0], [1, 1], [2, 4]]
    assert [len(b) for b in DataLoader(Squares(4), batch_size=3, collate_fn=list)] == [3, 1]
    assert numbers(DataLoader(counting(4), batch_size=2, collate_fn=lambda s: [sorus.stack([x for x, _ in s])])) == [
        [0, 1], [2, 3]]  # fmt: skip
    assert [b.tolist() for b in DataLoader([3, 1, 2], batch_size=2)] == [[3, 1], [2]]
    assert numbers(DataLoader(counting(4), batch_size=2, sampler=[3, 0, 1])) == [[3, 0], [1]]
    with pytest.raises(ValueError, match="samples of 2 parts"):
        default_collate([(1, 2), (1, 2, 3)])
    with pytest.raises(ValueError, match="either shuffle or a sampler"):
        DataLoader(counting(3), shuffle=True, sampler=[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_of_samples_arrive(workers: int) -> None:
    class Broken(Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int):
            raise KeyError(f"sample {i} is broken")

    with pytest.raises(KeyError, match="sample 0 is broken"):
        next(iter(DataLoader(Broken(), num_workers=workers)))

    class Unfinished(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="must define __len__"):
        DataLoader(Unfinished())


def test_subsets_and_splits() -> None:
    some = Subset(counting(10), [7, 3])
    assert len(some) == 2 and some[1][0].item() == 3
    python = Subset(Squares(10), [7, 3])
    assert python[0]["name"] == "n7"
    assert [b["name"] for b in DataLoader(python, batch_size=2)] == [["n7", "n3"]]
    with pytest.raises(IndexError):
        Subset(counting(10), [10])
    a, b = random_split(counting(10), [7, 3], seed=1)
    assert sorted(a.indices + b.indices) == list(range(10))
    g = sorus.Generator()
    g.manual_seed(3)
    c = random_split(range(10), [0.5, 0.5], generator=g)
    assert [len(x) for x in c] == [5, 5]
    assert sorted(c[0][i] for i in range(5)) == sorted(c[0].indices)
    with pytest.raises(ValueError, match="add up to 11"):
        random_split(counting(10), [7, 4], seed=1)


@pytest.mark.filterwarnings("error")
def test_a_dataset_need_not_call_the_constructor_of_its_base() -> None:
    class Plain(Dataset):
        def __init__(self, n: int) -> None:
            self.n = n

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, i: int) -> int:
            return i

    assert [batch.tolist() for batch in DataLoader(Plain(3), batch_size=2, num_workers=1)] == [[0, 1], [2]]


def test_text_dataset() -> None:
    text = TextDataset(sorus.arange(10), context=3)
    x, y = text[2]
    assert x.tolist() == [6, 7, 8] and y.tolist() == [7, 8, 9] and x.dtype == sorus.int64
    with pytest.raises(ValueError, match="too few"):
        TextDataset(sorus.arange(3), context=3)


def test_tokenizers(tmp_path: Path) -> None:
    text = "hello world, hello tokens\n" * 20 + "größe 漢字 😀"
    bpe = ByteLevelBPE.train([text], vocab_size=300, special_tokens=["<|endoftext|>"])
    for tokenizer in (bpe, ByteTokenizer(), CharTokenizer(text)):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(sorus.tensor(ids)) == text
        assert tokenizer.encode_to_tensor(text).tolist() == ids
        tokenizer.save(tmp_path / "tokenizer.json")
        assert load_tokenizer(tmp_path / "tokenizer.json").encode(text) == ids
    assert bpe.token_to_id("<|endoftext|>") == 0
    assert bpe.decode_bytes(ByteTokenizer().encode("ö")[:0]) == b""
    assert ByteTokenizer().decode_bytes(ByteTokenizer().encode("ö")[:1]) == b"\xc3"
    with pytest.raises(IndexError):
        bpe.decode([10**6])
    with pytest.raises(TypeError, match="expected text"):
        bpe.encode(3)
    with pytest.raises(OSError, match=r"none\.json"):
        load_tokenizer(tmp_path / "none.json")


def test_corpus_and_its_cache(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.py").write_text(f"def f{i}(x):\n    return x + {i}\n" * 10)
    (folder / "copy.py").write_text((folder / "0.py").read_text())
    (folder / "binary.txt").write_bytes(b"a\0b")
    corpus = gather_corpus([folder])
    assert corpus.duplicates == 1 and corpus.binary == 1
    assert len(corpus.train) + len(corpus.validation) == 12 and corpus.validation
    assert "def f" in corpus.train[0].text

    first = load_text([folder], vocab_size=280, cache_folder=tmp_path / "cache")
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    again = load_text([folder], vocab_size=280, cache_folder=tmp_path / "cache")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == kept
    assert again.train.tolist() == first.train.tolist()
    decoded = first.tokenizer.decode(first.train)
    assert decoded.count("<|endoftext|>") == len(first.corpus.train)
    assert decoded.startswith(first.corpus.train[0].text)
    (folder / "0.py").write_text("x = 1\n" * 30)  # its copy still counts, and its own new text
    assert load_text([folder], vocab_size=280, cache_folder=tmp_path / "cache").train.shape != first.train.shape
    with pytest.raises(OSError, match="no such file or folder"):
        load_text([tmp_path / "none"])


@pytest.mark.skipif("SORUS_DATA" not in os.environ, reason="SORUS_DATA is not set")
def test_mnist() -> None:
    digits = MNIST(Path(os.environ["SORUS_DATA"]) / "images", train=False, mean=[0.1307], std=[0.3081])
    assert len(digits) == 10_000
    images, labels = next(iter(DataLoader(digits, batch_size=64, shuffle=True, seed=1, num_workers=2)))
    assert images.shape == (64, 1, 28, 28) and labels.shape == (64,)
    assert abs(images.mean().item()) < 0.1


def test_datasets_side_by_side():
    x, y = TensorDataset(sorus.arange(6).reshape(3, 2)), sorus.arange(3)
    assert len(StackDataset(x, y)) == 3 and StackDataset(x, y)[1][1].item() == 1
    batch = next(iter(DataLoader(StackDataset(image=y * 2, label=y), batch_size=3)))
    assert batch["image"].tolist() == [0, 2, 4] and batch["label"].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"\[3, 2\] samples"):
        StackDataset(y, y[:2])
    with pytest.raises(ValueError, match="by position or by name"):
        StackDataset()
