"""Layers that Python adds to the C++ classes: other names and small compositions of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from .._core import Tensor, _nn
from . import functional as F
from .containers import ModuleList
from .module import Module
from .parameter import Parameter

Dropout1d, Dropout2d, Dropout3d = (
    type(name, (_nn.DropoutChannels,), {"__module__": __name__, "__doc__": "Zeroes whole channels."})
    for name in ("Dropout1d", "Dropout2d", "Dropout3d")
)


def _from_pretrained(
    cls: type, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, *_: Any, **__: Any
) -> Module:
    """An Embedding with given rows, which are not trained if `freeze`."""
    rows, columns = embeddings.shape
    layer = cls(rows, columns, padding_idx, dtype=embeddings.dtype)
    layer.weight = Parameter(embeddings, requires_grad=not freeze)
    return layer


_nn.Embedding.from_pretrained = classmethod(_from_pretrained)  # type: ignore[assignment]


class RNNCell(_nn.RecurrentCell):
    """One step: h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
        super().__init__(nonlinearity, input_size, hidden_size, bias, dtype)
        self.nonlinearity = nonlinearity

    def _arguments(self) -> tuple:
        return self.nonlinearity, self.input_size, self.hidden_size, self.bias_ih is not None, None


class LSTMCell(_nn.RecurrentCell):
    """One step of an LSTM: (h, c) from an input and (h, c)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, dtype)

    def _arguments(self) -> tuple:
        return "lstm", self.input_size, self.hidden_size, self.bias_ih is not None, None


class GRUCell(_nn.RecurrentCell):
    """One step of a GRU."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, dtype)

    def _arguments(self) -> tuple:
        return "gru", self.input_size, self.hidden_size, self.bias_ih is not None, None


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after another, and a norm at the end if given."""

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


class _Pad(Module):
    dimensions, mode = 1, "constant"

    def __init__(self, padding: int | tuple, value: float | None = None) -> None:
        super().__init__()
        self.padding = (padding,) * (2 * self.dimensions) if isinstance(padding, int) else tuple(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        value = (
            f", value={self.value}" if self.mode == "constant" and type(self).__name__.startswith("Constant") else ""
        )
        return f"padding={self.padding}{value}" if value else f"{self.padding}"


def _pad_classes() -> dict[str, type]:
    modes = {
        "Constant": "constant",
        "Zero": "constant",
        "Reflection": "reflect",
        "Replication": "replicate",
        "Circular": "circular",
    }
    return {
        f"{kind}Pad{n}d": type(
            f"{kind}Pad{n}d",
            (_Pad,),
            {
                "dimensions": n,
                "mode": mode,
                "__module__": __name__,
                "__doc__": "Pads the last dimensions; see nn.functional.pad.",
            },
        )
        for kind, mode in modes.items()
        for n in (1, 2, 3)
    }


globals().update(_pad_classes())


class _Function(Module):
    """A layer without parameters: `function` of the input and the options in the order of `options`."""

    function: Any
    options: tuple[str, ...] = ()
    shown: tuple[str, ...] | None = None  # in the text; all options unless said otherwise

    def _keep(self, **values: Any) -> None:
        Module.__init__(self)
        for name, value in values.items():
            setattr(self, name, value)
        self.options = tuple(values)

    def forward(self, input: Tensor) -> Any:
        return type(self).function(input, *(getattr(self, name) for name in self.options))

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}={getattr(self, name)}" for name in (self.options if self.shown is None else self.shown)
        )


class PixelShuffle(_Function):
    """[.., c r^2, h, w] to [.., c, h r, w r] (Shi et al. 2016)."""

    function: Callable[..., Any] = staticmethod(F.pixel_shuffle)

    def __init__(self, upscale_factor: int) -> None:
        self._keep(upscale_factor=upscale_factor)


class PixelUnshuffle(_Function):
    """[.., c, h r, w r] to [.., c r^2, h, w]."""

    function: Callable[..., Any] = staticmethod(F.pixel_unshuffle)

    def __init__(self, downscale_factor: int) -> None:
        self._keep(downscale_factor=downscale_factor)


class ChannelShuffle(_Function):
    """Channels of several groups taken in turns."""

    function: Callable[..., Any] = staticmethod(F.channel_shuffle)

    def __init__(self, groups: int) -> None:
        self._keep(groups=groups)


class AdaptiveMaxPool1d(_Function):
    """Maxima of as many windows as asked for."""

    function: Callable[..., Any] = staticmethod(F.adaptive_max_pool1d)
    shown = ("output_size",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self._keep(output_size=output_size, return_indices=return_indices)


class AdaptiveMaxPool2d(AdaptiveMaxPool1d):
    """Maxima of as many windows as asked for; None keeps a size."""

    function: Callable[..., Any] = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(AdaptiveMaxPool1d):
    """Maxima of as many windows of volumes as asked for; None keeps a size."""

    function = staticmethod(F.adaptive_max_pool3d)


class FractionalMaxPool2d(_Function):
    """Maxima of windows whose distances are drawn; exactly one of `output_size` and `output_ratio` is given."""

    function: Callable[..., Any] = staticmethod(F.fractional_max_pool2d)

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{type(self).__name__}: give either output_size or output_ratio")
        self._keep(
            kernel_size=kernel_size, output_size=output_size, output_ratio=output_ratio,
            return_indices=return_indices, _random_samples=_random_samples,
        )  # fmt: skip


class FractionalMaxPool3d(FractionalMaxPool2d):
    """The same for volumes."""

    function: Callable[..., Any] = staticmethod(F.fractional_max_pool3d)


class LPPool1d(_Function):
    """The norm of each window."""

    function: Callable[..., Any] = staticmethod(F.lp_pool1d)

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        self._keep(norm_type=norm_type, kernel_size=kernel_size, stride=stride, ceil_mode=ceil_mode)


class LPPool2d(LPPool1d):
    """The norm of each window."""

    function: Callable[..., Any] = staticmethod(F.lp_pool2d)


class LocalResponseNorm(_Function):
    """Each element divided by a power of the mean square of its neighbours in `size` channels."""

    function: Callable[..., Any] = staticmethod(F.local_response_norm)

    def __init__(self, size: int, alpha: float = 0.0001, beta: float = 0.75, k: float = 1.0) -> None:
        self._keep(size=size, alpha=alpha, beta=beta, k=k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class Unfold(_Function):
    """The windows of images as columns; see nn.functional.unfold."""

    function: Callable[..., Any] = staticmethod(F.unfold)

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self._keep(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)


class Fold(_Function):
    """Adds up columns of windows; see nn.functional.fold."""

    function: Callable[..., Any] = staticmethod(F.fold)

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self._keep(
            output_size=output_size, kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride
        )


class Upsample(Module):
    """Images in another size; see nn.functional.interpolate."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size, self.mode, self.align_corners = size, mode, align_corners
        self.scale_factor = (
            tuple(map(float, scale_factor))
            if isinstance(scale_factor, tuple)
            else scale_factor and float(scale_factor)
        )
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        size = f"scale_factor={self.scale_factor!r}" if self.scale_factor is not None else f"size={self.size!r}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample with mode "nearest"."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample with mode "bilinear" and align_corners."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class RReLU(_Function):
    """Leaky ReLU whose slope is drawn while training."""

    function: Callable[..., Any] = staticmethod(F.rrelu)

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        self._keep(lower=lower, upper=upper)
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class AlphaDropout(Module):
    """Dropout that keeps what SELU normalizes."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class _InstanceNorm(Module):
    dimensions: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        from .. import ones, tensor, zeros

        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.register_parameter("weight", Parameter(ones(num_features, dtype=dtype)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, dtype=dtype)) if affine and bias else None)
        if track_running_stats:
            self.register_buffer("running_mean", zeros(num_features, dtype=dtype))
            self.register_buffer("running_var", ones(num_features, dtype=dtype))
            self.register_buffer("num_batches_tracked", tensor(0))
        else:
            self.running_mean = self.running_var = None

    def forward(self, input: Tensor) -> Tensor:
        batched = input.dim() == self.dimensions[1]
        if input.dim() not in self.dimensions:
            raise ValueError(f"{type(self).__name__}: expected {self.dimensions[0]} or {self.dimensions[1]} dimensions, "
                             f"got {tuple(input.shape)}")  # fmt: skip
        y = F.instance_norm(
            input if batched else input.unsqueeze(0),
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum,
            self.eps,
        )
        return y if batched else y.squeeze(0)

    def extra_repr(self) -> str:
        return (f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
                f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}")  # fmt: skip


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample [N, C, L] normalized over its elements (Ulyanov et al. 2016)."""

    dimensions = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each sample [N, C, H, W] normalized over its elements (Ulyanov et al. 2016)."""

    dimensions = (3, 4)


class EmbeddingBag(Module):
    """Sums, means or maxima of the rows that bags of indices name: `input` [bags, n], or flat with `offsets`."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        from .. import randn

        if mode not in ("sum", "mean", "max"):
            raise ValueError(f"EmbeddingBag: mode must be 'sum', 'mean' or 'max', not {mode!r}")
        self.num_embeddings, self.embedding_dim, self.mode = num_embeddings, embedding_dim, mode
        self.max_norm, self.norm_type, self.scale_grad_by_freq = max_norm, norm_type, scale_grad_by_freq
        self.include_last_offset, self.padding_idx = include_last_offset, padding_idx
        self.weight = Parameter(randn(num_embeddings, embedding_dim, dtype=dtype) if _weight is None else _weight)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, *args: Any, **kwargs: Any) -> EmbeddingBag:
        """One of given rows, which are not trained if `freeze`; what follows are the options after the sizes."""
        if len(args) > 5:  # the constructor has the weight behind `sparse`
            args = (*args[:5], None, *args[5:])
        layer = cls(*embeddings.shape, *args, **kwargs)
        layer.weight = Parameter(embeddings, requires_grad=not freeze)
        return layer

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode,
            per_sample_weights=per_sample_weights, include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}"
