"""Layers that Python adds to the C++ classes: other names and small compositions of them."""

from __future__ import annotations

import copy
from typing import Any

from .._core import Tensor, _nn
from . import functional as F
from .containers import ModuleList
from .module import Module
from .parameter import Parameter

Dropout1d, Dropout2d, Dropout3d = (type(name, (_nn.DropoutChannels,), {"__module__": __name__, "__doc__": "Zeroes whole channels."})
                                   for name in ("Dropout1d", "Dropout2d", "Dropout3d"))


def _from_pretrained(cls: type, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, *_: Any, **__: Any) -> Module:
    """An Embedding with given rows, which are not trained if `freeze`."""
    rows, columns = embeddings.shape
    layer = cls(rows, columns, padding_idx, dtype=embeddings.dtype)
    layer.weight = Parameter(embeddings, requires_grad=not freeze)
    return layer


_nn.Embedding.from_pretrained = classmethod(_from_pretrained)


class RNNCell(_nn.RecurrentCell):
    """One step: h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", device: Any = None,
                 dtype: Any = None) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', not {nonlinearity!r}")
        super().__init__(nonlinearity, input_size, hidden_size, bias, dtype)
        self.nonlinearity = nonlinearity

    def _arguments(self) -> tuple:
        return self.nonlinearity, self.input_size, self.hidden_size, self.bias_ih is not None, None


class LSTMCell(_nn.RecurrentCell):
    """One step of an LSTM: (h, c) from an input and (h, c)."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, dtype)

    def _arguments(self) -> tuple:
        return "lstm", self.input_size, self.hidden_size, self.bias_ih is not None, None


class GRUCell(_nn.RecurrentCell):
    """One step of a GRU."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__("gru", input_size, hidden_size, bias, dtype)

    def _arguments(self) -> tuple:
        return "gru", self.input_size, self.hidden_size, self.bias_ih is not None, None


class TransformerEncoder(Module):
    """`num_layers` copies of a layer, one after another, and a norm at the end if given."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
                 enable_nested_tensor: bool = True, mask_check: bool = True) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
                is_causal: bool | None = None) -> Tensor:
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
        value = f", value={self.value}" if self.mode == "constant" and type(self).__name__.startswith("Constant") else ""
        return f"padding={self.padding}{value}" if value else f"{self.padding}"


def _pad_classes() -> dict[str, type]:
    modes = {"Constant": "constant", "Zero": "constant", "Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}
    return {f"{kind}Pad{n}d": type(f"{kind}Pad{n}d", (_Pad,), {"dimensions": n, "mode": mode, "__module__": __name__,
                                                           "__doc__": "Pads the last dimensions; see nn.functional.pad."})
            for kind, mode in modes.items() for n in (1, 2)}


globals().update(_pad_classes())


class PixelShuffle(Module):
    """[.., c r^2, h, w] to [.., c, h r, w r]."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        r = self.upscale_factor
        *lead, c, h, w = input.shape
        x = input.reshape((*lead, c // (r * r), r, r, h, w))
        n = len(lead)
        return x.permute((*range(n), n, n + 3, n + 1, n + 4, n + 2)).reshape((*lead, c // (r * r), h * r, w * r))

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"
