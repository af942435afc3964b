"""Batch normalization whose statistics are those of the batches of all ranks together."""

from __future__ import annotations

from typing import Any

from .. import _core
from .._core import Tensor
from ..autograd import Function
from . import functional as F
from .module import Module
from .parameter import Parameter

__all__ = ["SyncBatchNorm"]


class _SumOverRanks(Function):
    """Each rank's result depends on all inputs alike, so the gradient is summed over the ranks too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        from .. import distributed

        ctx.group = group
        total = x.detach().clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _SumOverRanks.apply(grad, ctx.group), None


class SyncBatchNorm(Module):
    """BatchNorm for inputs [batch, num_features, ...]: in training, mean and variance are taken over all ranks of
    `process_group` (by default of the job). Batches may differ in size. `convert_sync_batchnorm(net)` replaces the
    BatchNorm layers of a network. In eager steps; a compiled step of a mesh has the whole batch's statistics anyway."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats, self.process_group = affine, track_running_stats, process_group
        make = _core.operators
        dtype = dtype or _core.get_default_dtype()
        self.register_parameter("weight", Parameter(make["ones"]([num_features], dtype=dtype)) if affine else None)
        self.register_parameter("bias", Parameter(make["zeros"]([num_features], dtype=dtype)) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", make["zeros"]([num_features], dtype=dtype) if tracked else None)
        self.register_buffer("running_var", make["ones"]([num_features], dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", _core.tensor(0) if tracked else None)

    def reset_running_stats(self) -> None:
        if self.track_running_stats:
            self.running_mean.zero_(), self.running_var.fill_(1), self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        self.reset_running_stats()
        if self.affine:
            self.weight.detach().fill_(1), self.bias.detach().zero_()

    def _ranks(self) -> int:
        from .. import distributed

        return distributed.get_world_size(self.process_group) if distributed.is_initialized() else 1

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() < 2 or input.shape[1] != self.num_features:
            raise ValueError(
                f"SyncBatchNorm: expected an input of shape [batch, {self.num_features}, ...], got {tuple(input.shape)}"
            )
        share = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                share = 1.0 / float(self.num_batches_tracked)
        own = self.training or not self.track_running_stats
        if not own or self._ranks() == 1:
            return F.batch_norm(input, self.running_mean if not self.training or self.track_running_stats else None,
                                self.running_var if not self.training or self.track_running_stats else None,
                                self.weight, self.bias, own, share, self.eps)  # fmt: skip
        x = input.float() if input.dtype.itemsize < 4 else input
        dims = [d for d in range(x.dim()) if d != 1]
        rows = [1, self.num_features, *[1] * (x.dim() - 2)]
        mine = _core.tensor([x.numel() / self.num_features], dtype=x.dtype)
        sums = _SumOverRanks.apply(_core.operators["cat"]([x.sum(dims), mine]), self.process_group)
        count = sums[-1].detach()
        if float(count) <= 1:
            raise ValueError("SyncBatchNorm: expected more than 1 value per channel when training")
        mean = sums[:-1] / count
        away = x - mean.reshape(rows)
        variance = _SumOverRanks.apply((away * away).sum(dims), self.process_group) / count
        if self.training and self.track_running_stats:
            unbiased = variance.detach() * (count / (count - 1))
            for running, now in ((self.running_mean, mean.detach()), (self.running_var, unbiased)):
                running.lerp_(now.to(running.dtype), share)
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        y = away * scale.reshape(rows)
        return (y if self.bias is None else y + self.bias.reshape(rows)).to(input.dtype)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"track_running_stats={self.track_running_stats}")  # fmt: skip

    @classmethod
    def convert_sync_batchnorm(cls, module: Any, process_group: Any = None) -> Any:
        """The module with SyncBatchNorm, of the same tensors, in the place of every BatchNorm layer."""
        from . import BatchNorm1d, BatchNorm2d, BatchNorm3d

        if isinstance(module, (BatchNorm1d, BatchNorm2d, BatchNorm3d)):
            new = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats,
                      process_group)  # fmt: skip
            if module.affine:
                new.weight, new.bias = module.weight, module.bias
            if module.track_running_stats:
                for name in ("running_mean", "running_var", "num_batches_tracked"):
                    setattr(new, name, getattr(module, name))
            return new.train(module.training)
        for name, child in list(module.named_children()):
            new = cls.convert_sync_batchnorm(child, process_group)
            if new is not child:
                setattr(module, name, new)
        return module
