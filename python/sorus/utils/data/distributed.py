"""The share of a dataset that one rank reads."""

from __future__ import annotations

import math

from ... import _core
from .sampler import Sampler, _permutation


class DistributedSampler(Sampler):
    """Every `num_replicas`-th index, from `rank` on: the ranks of a job read different samples, equally many of them.

    `num_replicas` and `rank` are those of the process group unless given. With `shuffle` the order follows from `seed` and the
    epoch, which set_epoch() tells, and is the same for all ranks. Where the length cannot be shared equally, the first samples
    are read twice, or with `drop_last` the last ones not at all. ValueError for a rank outside of [0, num_replicas); RuntimeError
    if there is no process group to ask.
    """

    def __init__(
        self,
        dataset,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            from ... import distributed

            num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
            rank = distributed.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"DistributedSampler: rank {rank} is not in [0, {num_replicas})")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self):
        n = len(self.dataset)
        generator = _core.Generator().manual_seed(self.seed + self.epoch)
        indices = _permutation(n, generator) if self.shuffle else list(range(n))
        while len(indices) < self.total_size:
            indices += indices[: self.total_size - len(indices)]
        return iter(indices[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Another order with every epoch: to be called before each."""
        self.epoch = epoch
