"""What scripts ask of torch.cuda before they choose the processor: there are no GPUs."""

from __future__ import annotations

from . import amp


def is_available() -> bool:
    return False


def device_count() -> int:
    return 0


def is_bf16_supported() -> bool:
    return False


def manual_seed(seed: int) -> None:
    """Nothing to seed; as in PyTorch, no error without a GPU."""


manual_seed_all = manual_seed


def empty_cache() -> None:
    """Nothing is cached on a GPU."""


def synchronize(device=None) -> None:
    raise RuntimeError("cuda.synchronize: there is no GPU; ask cuda.is_available() first")
