"""DataParallel, which in PyTorch shares a batch among the GPUs of one process."""

from __future__ import annotations

from typing import Any

from ..module import Module


class DataParallel(Module):
    """Wraps a module and calls it: there are no GPUs to share a batch among, as for PyTorch on a machine without any.

    Names of parameters begin with "module.". For several ranks there is DistributedDataParallel.
    """

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list = []
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
