"""Layers of volumes [N, C, D, H, W] that hold nothing, and the reverse of max-pooling. Convolutions and batch norm of
volumes are C++ classes like those of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core import Tensor
from . import functional as F
from .layers import AlphaDropout, LPPool1d, _Function, _InstanceNorm
from .module import Module

__all__ = [
    "AdaptiveAvgPool3d", "AvgPool3d", "FeatureAlphaDropout", "InstanceNorm3d", "LPPool3d", "MaxPool3d", "MaxUnpool1d",
    "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip


class MaxPool3d(_Function):
    """Maximum of each window of volumes, with its place in the volume if asked for."""

    function: Callable[..., Any] = staticmethod(F.max_pool3d)
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self._keep(
            kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding,
            dilation=dilation, ceil_mode=ceil_mode, return_indices=return_indices,
        )  # fmt: skip


class AvgPool3d(_Function):
    """Mean of each window of volumes."""

    function: Callable[..., Any] = staticmethod(F.avg_pool3d)
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._keep(
            kernel_size=kernel_size, stride=kernel_size if stride is None else stride, padding=padding,
            ceil_mode=ceil_mode, count_include_pad=count_include_pad, divisor_override=divisor_override,
        )  # fmt: skip


class AdaptiveAvgPool3d(_Function):
    """Means of as many windows of volumes as asked for; None keeps a size."""

    function: Callable[..., Any] = staticmethod(F.adaptive_avg_pool3d)

    def __init__(self, output_size: Any) -> None:
        self._keep(output_size=output_size)


class LPPool3d(LPPool1d):
    """The norm of each window of volumes."""

    function: Callable[..., Any] = staticmethod(F.lp_pool3d)


class InstanceNorm3d(_InstanceNorm):
    """Each channel of each sample [N, C, D, H, W] normalized over its elements."""

    dimensions = (4, 5)


class FeatureAlphaDropout(AlphaDropout):
    """AlphaDropout of whole channels."""

    def forward(self, input: Tensor) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)


class _MaxUnpool(Module):
    function: Any
    dimensions = 1

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()

        def each(v: Any) -> tuple:
            return (v,) * self.dimensions if isinstance(v, int) else tuple(v)

        self.kernel_size, self.padding = each(kernel_size), each(padding)
        self.stride = self.kernel_size if stride is None else each(stride)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The elements put back to the places that max-pooling found them at, zeros elsewhere."""

    function: Callable[..., Any] = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """The same for images."""

    function: Callable[..., Any] = staticmethod(F.max_unpool2d)
    dimensions = 2


class MaxUnpool3d(_MaxUnpool):
    """The same for volumes."""

    function: Callable[..., Any] = staticmethod(F.max_unpool3d)
    dimensions = 3
