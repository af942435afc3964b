"""Datasets: what has a length and samples, or gives them one after the other."""

from __future__ import annotations

import bisect
import functools
import itertools

from ... import _core
from ..._core._data import Dataset, ImageDataset, Subset, TensorDataset, TextDataset

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "ImageDataset",
    "IterableDataset",
    "Subset",
    "TensorDataset",
    "TextDataset",
    "random_split",
]


def get_worker_info() -> None:
    """None: samples are read by threads of this process, so there is nothing for a dataset to divide."""


def _finish_datasets(cls: type, **options) -> None:
    """Subclasses often do not call Dataset's constructor: it is called after their own, if that did not."""
    super(Dataset, cls).__init_subclass__(**options)  # type: ignore[misc]
    own = cls.__dict__.get("__init__")
    if own is None:
        return

    @functools.wraps(own)
    def init(self, *args, **kwargs):
        own(self, *args, **kwargs)
        if not _core._data.is_constructed(self):
            Dataset.__init__(self)

    cls.__init__ = init  # type: ignore[misc]


Dataset.__init_subclass__ = classmethod(_finish_datasets)  # type: ignore[method-assign, assignment]


class IterableDataset(Dataset):
    """Samples that come one after the other: subclass it with __iter__. A loader takes them in that order."""

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__}: __iter__ is not written")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__}: how many samples there are is not known")

    def __add__(self, other):
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """The samples of several iterable datasets, one dataset after the other."""

    def __init__(self, datasets) -> None:
        super().__init__()
        self.datasets = list(datasets)

    def __iter__(self):
        return itertools.chain.from_iterable(self.datasets)


class ConcatDataset(Dataset):
    """Several datasets as one. ValueError if there are none, or one is iterable only."""

    def __init__(self, datasets) -> None:
        super().__init__()
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: expected at least one dataset")
        for d in self.datasets:
            if isinstance(d, IterableDataset):
                raise ValueError("ConcatDataset: an IterableDataset has no positions; use ChainDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int):
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"ConcatDataset: index {index} of {n} samples")
        index = index + n if index < 0 else index
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class StackDataset(Dataset):
    """Samples of several datasets of one length side by side: a tuple, or a dictionary where they are given by name."""

    def __init__(self, *datasets, **named) -> None:
        super().__init__()
        if bool(datasets) == bool(named):
            raise ValueError("StackDataset: give datasets either by position or by name")
        self.datasets = datasets or named
        lengths = [len(d) for d in (datasets or named.values())]
        if len(set(lengths)) > 1:
            raise ValueError(f"StackDataset: the datasets have {lengths} samples, expected one number")
        self._length = lengths[0]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int):
        if isinstance(self.datasets, dict):
            return {name: d[index] for name, d in self.datasets.items()}
        return tuple(d[index] for d in self.datasets)


class _Wrapped(Dataset):
    """Any object with a length and samples."""

    def __init__(self, samples) -> None:
        super().__init__()
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int):
        return self.samples[index]


def _seed(generator) -> int:
    """A seed drawn from `generator`, or from the default one (which manual_seed sets)."""
    return int(_core.randint(0, 2**52, (1,), generator=generator).item())


def random_split(dataset, lengths, generator=None, seed: int | None = None) -> list[Subset]:
    """Subsets of the given sizes, or shares that add up to 1, drawn at random.

    ValueError if the sizes do not add up to the length of the dataset.
    """
    n = len(dataset)
    lengths = list(lengths)
    if any(isinstance(x, float) for x in lengths) and abs(sum(lengths) - 1) < 1e-6:
        sizes = [int(n * x) for x in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
        lengths = sizes
    if not isinstance(dataset, Dataset):
        dataset = _Wrapped(dataset)
    return _core._data.random_split(dataset, lengths, _seed(generator) if seed is None else seed)
