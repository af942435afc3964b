"""DistributedDataParallel: every rank computes the gradients of its part of a batch, and all get their average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..._core import _comm
from ..module import Module


class DistributedDataParallel(Module):
    """Wraps a module, the same at every rank, so that backward() leaves averaged gradients.

        dist.init_process_group()
        model = nn.parallel.DistributedDataParallel(Net())
        loss = loss_of(model(mine), labels)
        loss.backward()                      # gradients are reduced in buckets while this runs
        optimizer.step()                     # the same at every rank

    Parameters and buffers of rank 0 go to all ranks at the start; buffers again before each forward pass in training.

    bucket_cap_mb: size of a bucket (25; the first is at most 1). find_unused_parameters: parameters that take no part in
    a loss count as zero; else they are an error at the end of backward. gradient_as_bucket_view: .grad shows the bucket's
    memory, which saves a copy. device_ids and output_device are for PyTorch's scripts and must be None.

    ValueError if the ranks' parameters differ in number, shape or type.
    """

    def __init__(
        self,
        module: Module,
        device_ids=None,
        output_device=None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        init_sync: bool = True,
        process_group=None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params=None,
        param_to_hook_all_reduce=None,
        mixed_precision=None,
        device_mesh=None,
        skip_all_reduce_unused_params: bool = False,
        bucket_cap_mb_list=None,
    ) -> None:
        from ...distributed import _group

        super().__init__()
        if device_ids or output_device is not None:
            raise ValueError(
                "DistributedDataParallel: device_ids and output_device must be None, there are only CPUs"
            )
        self.module = module
        self.broadcast_buffers = broadcast_buffers
        self.find_unused_parameters = find_unused_parameters
        if process_group is None and device_mesh is not None:
            process_group = device_mesh.get_group()
        group = _group(process_group)
        if group is None:
            raise ValueError("DistributedDataParallel: this rank is not in the process group")
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if init_sync:
            for tensor in [p for p in module.parameters() if not p.requires_grad] + list(module.buffers()):
                group.broadcast(tensor, 0, False)
        object.__setattr__(self, "process_group", group)
        object.__setattr__(self, "reducer", _comm.Reducer(
            group, [p for _, p in trained], [name for name, _ in trained],
            int((25 if bucket_cap_mb is None else bucket_cap_mb) * 2**20), find_unused_parameters,
            gradient_as_bucket_view, init_sync))  # fmt: skip

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if self.training and self.reducer.sync:
            self.reducer.prepare()
            if self.broadcast_buffers:
                for buffer in self.module.buffers():
                    self.process_group.broadcast(buffer, 0, False)
        return self.module(*inputs, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, gradients stay this rank's and add up; the first backward outside reduces the sums."""
        before = self.reducer.sync
        self.reducer.sync = False
        try:
            yield
        finally:
            self.reducer.sync = before

    def __getstate__(self) -> Any:
        raise TypeError("DistributedDataParallel belongs to a running group of ranks; save model.module")

    def __repr__(self) -> str:
        inner = repr(self.module).replace("\n", "\n  ")
        return f"DistributedDataParallel(\n  (module): {inner}\n)"


__all__ = ["DistributedDataParallel"]
