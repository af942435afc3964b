"""Datasets and the loader, with the names of torch.utils.data.

    train = TensorDataset(images, labels)
    loader = DataLoader(train, batch_size=32, shuffle=True, seed=1, num_workers=2)
    for images, labels in loader: ...

Datasets of Sorus are C++ classes: the loader reads them in threads without Python. A subclass of Dataset with __len__
and __getitem__ (or any object that has both) may hold anything; its samples are read by Python, in threads too.
"""

from __future__ import annotations

from .dataloader import DataLoader, default_collate
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    ImageDataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    TextDataset,
    get_worker_info,
    random_split,
)
from .distributed import DistributedSampler
from .sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "ImageDataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "TextDataset",
    "WeightedRandomSampler",
    "default_collate",
    "get_worker_info",
    "random_split",
]
