"""Datasets and the loader, with the names of torch.utils.data.

    train = TensorDataset(images, labels)
    loader = DataLoader(train, batch_size=32, shuffle=True, seed=1, num_workers=2)
    for images, labels in loader: ...

Datasets of Sorus are C++ classes: the loader reads them in threads without Python. A subclass of Dataset with __len__
and __getitem__ (or any object that has both) may hold anything; its samples are read by Python, in threads too.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from .. import _core
from .._core._data import Dataset, ImageDataset, Subset, TensorDataset, TextDataset

__all__ = [
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "Subset",
    "TensorDataset",
    "TextDataset",
    "default_collate",
    "random_split",
]


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


def default_collate(samples: list):
    """One batch of many samples: tensors, arrays and numbers are stacked; tuples, lists and dicts are taken apart;
    other things (strings) become lists."""
    first = samples[0]
    if isinstance(first, _core.Tensor):
        return _core._data.stack_samples([[s] for s in samples])[0]
    if isinstance(first, dict):
        return {key: default_collate([s[key] for s in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(s) != len(first) for s in samples):
            raise ValueError(
                f"default_collate: expected samples of {len(first)} parts each, "
                f"found {sorted({len(s) for s in samples})}"
            )
        parts = [default_collate([s[i] for s in samples]) for i in range(len(first))]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    if isinstance(first, (bool, int, float, complex)):
        return _core.tensor(samples, dtype=_core.float64 if isinstance(first, float) else None)
    if hasattr(first, "__array__"):
        import numpy

        return _core.as_tensor(numpy.stack([numpy.asarray(s) for s in samples]))
    return list(samples)


class DataLoader:
    """Batches of a dataset.

    batch_size, shuffle, drop_last, collate_fn are PyTorch's. num_workers are threads that prepare batches ahead,
    prefetch_factor each; the batches do not depend on their number. The order of an epoch is a function of the seed and
    the number of the epoch: `seed`, else one drawn from `generator`, else from the default generator. `sampler` gives
    the order instead: an iterable of indices, read anew for each epoch.

    state_dict() says which batch comes next; a loader of the same dataset and options that loads it goes on there, also
    in the middle of an epoch. An iteration that was left in the middle is not continued by the next one, as in PyTorch,
    unless a state is loaded.
    """

    def __init__(
        self,
        dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler=None,
        num_workers: int = 0,
        collate_fn=None,
        drop_last: bool = False,
        generator=None,
        prefetch_factor: int = 2,
        seed: int | None = None,
        pin_memory: bool = False,
        persistent_workers: bool = False,
    ) -> None:
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: either shuffle or a sampler, not both")
        if num_workers < 0 or prefetch_factor < 1:
            raise ValueError(
                f"DataLoader: num_workers is {num_workers} and prefetch_factor {prefetch_factor}, "
                "expected at least 0 and 1"
            )
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.prefetch_factor, self.sampler = num_workers, prefetch_factor, sampler
        self.collate_fn = collate_fn or default_collate
        if seed is None:
            seed = _seed(generator) if shuffle else 0
        native = (
            collate_fn is None and sampler is None and isinstance(dataset, Dataset) and _core._data.is_native(dataset)
        )
        Loader = _core._data.Loader
        if native:
            self._loader = Loader(dataset, batch_size, shuffle, drop_last, seed, num_workers, prefetch_factor)
        else:
            # The order comes from C++ all the same: it loads numbers of samples, Python the samples.
            n = len(dataset) if sampler is None else len(sampler)
            self._loader = Loader(n, batch_size, shuffle, drop_last, seed)
        self._native = native
        self._fresh = True  # the next iteration goes on where the state says
        self._state: dict | None = None  # of what was handed out, where Python reads ahead

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self):
        state = self.state_dict()
        if state["position"] and not self._fresh:
            self.set_epoch(state["epoch"] + 1)
        self._fresh = False
        return self._native_batches() if self._native else self._python_batches()

    def _native_batches(self):
        while (batch := self._loader.next()) is not None:
            yield batch

    def _index_batches(self):
        order = None if self.sampler is None else list(self.sampler)
        while (batch := self._loader.next()) is not None:
            positions = batch[0].tolist()
            yield positions if order is None else [order[i] for i in positions]

    def _python_batches(self):
        def load(indices):
            return self.collate_fn([self.dataset[i] for i in indices])

        state = self._loader.state()
        if self.num_workers == 0:
            for indices in self._index_batches():
                yield load(indices)
            return
        with ThreadPoolExecutor(self.num_workers) as pool:
            waiting: deque = deque()
            batches = self._index_batches()
            try:
                while True:
                    while len(waiting) < self.num_workers * self.prefetch_factor:
                        indices = next(batches, None)
                        if indices is None:
                            break
                        waiting.append(pool.submit(load, indices))
                    if not waiting:
                        break
                    state = {**state, "position": state["position"] + 1}
                    self._state = state
                    yield waiting.popleft().result()
                self._state = None
            finally:
                for future in waiting:
                    future.cancel()

    def state_dict(self) -> dict:
        """Numbers only: the epoch, the batches of it that were handed out, the seed, and what identifies the loader."""
        return dict(self._state or self._loader.state())

    def load_state_dict(self, state: dict) -> None:
        """ValueError for the state of a loader with another number of samples or another batch size."""
        self._loader.load_state(state)
        self._state, self._fresh = None, True

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch, from its start."""
        self._loader.set_epoch(epoch)
        self._state, self._fresh = None, True
