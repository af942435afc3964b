"""The loader: batches of a dataset, prepared ahead by threads."""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from ... import _core
from .dataset import Dataset, IterableDataset, _seed
from .sampler import RandomSampler, SequentialSampler


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


def _as_sample(sample):
    """A sample that is not put into a batch: arrays become tensors."""
    if isinstance(sample, dict):
        return {key: _as_sample(v) for key, v in sample.items()}
    if isinstance(sample, (tuple, list)):
        parts = [_as_sample(v) for v in sample]
        return type(sample)(*parts) if hasattr(sample, "_fields") else type(sample)(parts)
    return _core.as_tensor(sample) if hasattr(sample, "__array__") else sample


class DataLoader:
    """Batches of a dataset.

    batch_size (None: single samples), shuffle, drop_last, collate_fn, batch_sampler are PyTorch's. num_workers are threads that prepare batches ahead,
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
        batch_size: int | None = 1,
        shuffle: bool | None = False,
        sampler=None,
        batch_sampler=None,
        num_workers: int = 0,
        collate_fn=None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor: int | None = 2,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        seed: int | None = None,
    ) -> None:
        # Workers are threads of this process: nothing is pinned, and they start with the state that it has.
        shuffle, prefetch_factor = bool(shuffle), 2 if prefetch_factor is None else prefetch_factor
        self._plain = None  # where indices (or samples) come from Python alone: what yields them
        if isinstance(dataset, IterableDataset) or batch_sampler is not None or batch_size is None:
            self._plain_loader(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last, collate_fn, generator)
            self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
            return
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

    def _plain_loader(
        self, dataset, batch_size, shuffle, sampler, batch_sampler, drop_last, collate_fn, generator
    ) -> None:
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        iterable = isinstance(dataset, IterableDataset)
        if iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError("DataLoader: the order of an IterableDataset is its own: no shuffle and no sampler")
        self.dataset, self.batch_size, self.drop_last, self._native = dataset, batch_size, drop_last, False
        one = batch_size is None and batch_sampler is None
        self.collate_fn = collate_fn or (_as_sample if one else default_collate)
        if iterable:
            self.sampler, self.batch_sampler, self._plain = None, None, dataset
            return
        if sampler is None and batch_sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self._plain = batch_sampler if batch_sampler is not None else sampler

    def _plain_batches(self):
        if isinstance(self.dataset, IterableDataset):
            samples = iter(self.dataset)
            if self.batch_size is None:
                yield from (self.collate_fn(s) for s in samples)
                return
            while batch := list(itertools.islice(samples, self.batch_size)):
                if len(batch) == self.batch_size or not self.drop_last:
                    yield self.collate_fn(batch)
            return
        assert self._plain is not None
        for indices in self._plain:
            one = self.batch_sampler is None
            yield self.collate_fn(self.dataset[indices] if one else [self.dataset[i] for i in indices])

    def __len__(self) -> int:
        if self._plain is None:
            return len(self._loader)
        n = len(self._plain)
        if not isinstance(self.dataset, IterableDataset) or self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self):
        if self._plain is not None:
            return self._plain_batches()
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

    def _check_resumes(self) -> None:
        if self._plain is not None:
            raise RuntimeError("DataLoader: with a batch_sampler, an IterableDataset or single samples the order is not the "
                               "loader's, so it cannot say where it stands")  # fmt: skip

    def state_dict(self) -> dict:
        """Numbers only: the epoch, the batches of it that were handed out, the seed, and what identifies the loader."""
        self._check_resumes()
        return dict(self._state or self._loader.state())

    def load_state_dict(self, state: dict) -> None:
        """ValueError for the state of a loader with another number of samples or another batch size."""
        self._check_resumes()
        self._loader.load_state(state)
        self._state, self._fresh = None, True

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch, from its start."""
        self._check_resumes()
        self._loader.set_epoch(epoch)
        self._state, self._fresh = None, True
