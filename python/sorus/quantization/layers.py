"""The layers that integer arithmetic has, and how floats go through them: what `quantize` works on.

`recorded.py` makes them from a module. Images are [n, c, h, w] here, as in the module; a signal [n, c, l] is an image of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .._core import Tensor
from .._core import operators as ops

Pads = tuple[int, int, int, int]  # top, bottom, left, right

# Kinds whose result has the integers of what they read, in another place.
MOVES = ("max_pool", "avg_pool", "flatten")
# Ranges that the format says.
FIXED_RANGES = {"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


@dataclass
class Layer:
    """kind: conv, linear; max_pool, avg_pool; add, sub, mul, cat; activation, sigmoid, tanh, hardswish, softmax; flatten."""

    kind: str
    name: str
    inputs: list[int]
    output: int
    weight: np.ndarray | None = None  # conv [o, c / groups, h, w], linear [o, i]
    bias: np.ndarray | None = None
    groups: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    divisor: np.ndarray | None = None  # avg_pool: what the sums are divided by
    counts_outside: bool = False  # avg_pool: zeros around the image are part of the mean
    activation: str = ""  # "", relu, relu6, leaky
    slope: float = 0.0  # of leaky, below 0

    def takes_factors(self) -> bool:
        return self.weight is not None and not self.activation

    def takes_activation(self) -> bool:
        return self.kind in ("conv", "linear", "add", "sub", "mul") and not self.activation


@dataclass
class Value:
    """A tensor between layers: its shape without the batch. `planes` is the (c, h, w) that was flattened into it."""

    shape: tuple[int, ...]
    planes: tuple[int, int, int] | None = None


Weights = Callable[[int, Layer], tuple[Tensor, Tensor]]
Finish = Callable[[int, Tensor], Tensor]


@dataclass
class Plan:
    layers: list[Layer] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    output: int = 0
    output_shape: tuple[int, ...] = ()  # as in the module, without the batch

    def run(
        self, xs: Sequence[Tensor], weights: Weights | None = None, finish: Finish = lambda value, y: y
    ) -> list[Tensor]:
        """All values for a batch, in float32. `weights` gives other ones than the layers'; each value is passed through `finish`."""
        found: dict[int, Tensor] = {}
        for value, x in zip(self.inputs, xs, strict=True):
            found[value] = finish(value, self.as_value(value, x))
        for i, layer in enumerate(self.layers):
            pair = None if layer.weight is None else weights(i, layer) if weights else constants(layer)
            y = activated(
                layer, computed(layer, [found[i] for i in layer.inputs], pair, self.values[layer.output].shape)
            )
            found[layer.output] = finish(layer.output, y)
        return [found[i] for i in range(len(self.values))]

    def as_value(self, value: int, x: Tensor) -> Tensor:
        shape = self.values[value].shape
        return x if tuple(x.shape[1:]) == shape else x.reshape(x.shape[0], *shape)

    def as_result(self, y: Tensor) -> Tensor:
        """The last value as the module returns it."""
        return y if tuple(y.shape[1:]) == self.output_shape else y.reshape(y.shape[0], *self.output_shape)

    def sources(self) -> list[int]:
        """For each value the one whose integers it has: moves and pools keep those of what they read."""
        source = list(range(len(self.values)))
        for layer in self.layers:
            if layer.kind in MOVES:
                source[layer.output] = source[layer.inputs[0]]
        return source

    def readers(self, value: int) -> list[Layer]:
        return [layer for layer in self.layers if value in layer.inputs]


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    top, bottom, left, right = pads
    return ops["pad"](x, [left, right, top, bottom], "constant", value) if any(pads) else x


def same_pads(layer: Layer, size: tuple[int, ...]) -> Pads:
    """What the formats' padding 'SAME' means: as many places as there are strides in the image, the odd zero last."""

    def total(d: int) -> int:
        spread = (layer.kernel[d] - 1) * layer.dilation[d] + 1
        return max(0, (-(-size[d] // layer.stride[d]) - 1) * layer.stride[d] + spread - size[d])

    return total(0) // 2, total(0) - total(0) // 2, total(1) // 2, total(1) - total(1) // 2


def fits_same(layer: Layer, size: tuple[int, ...]) -> bool:
    """Whether the layer's padding is 'SAME'. Rows that no window reaches may be missing at the end."""
    places = [(n + layer.pads[2 * d] + layer.pads[2 * d + 1] - (layer.kernel[d] - 1) * layer.dilation[d] - 1) // layer.stride[d] + 1
              for d, n in enumerate(size)]  # fmt: skip
    same = same_pads(layer, size)
    return all(-(-n // layer.stride[d]) == places[d] and same[2 * d] == layer.pads[2 * d] for d, n in enumerate(size))


def inside(size: int, before: int, kernel: int, stride: int, places: int) -> np.ndarray:
    """How many elements of each window lie in the image."""
    begin = np.arange(places) * stride - before
    return np.minimum(begin + kernel, size) - np.maximum(begin, 0)


def constants(layer: Layer) -> tuple[Tensor, Tensor]:
    from .. import tensor

    assert layer.weight is not None and layer.bias is not None
    return tensor(layer.weight.astype(np.float32)), tensor(layer.bias.astype(np.float32))


def computed(layer: Layer, x: list[Tensor], weights: tuple[Tensor, Tensor] | None, shape: tuple[int, ...]) -> Tensor:
    """The layer's result, of this shape without the batch, before its activation."""
    from .. import tensor

    kernel, stride = list(layer.kernel), list(layer.stride)
    match layer.kind:
        case "conv":
            assert weights
            image = padded(x[0], layer.pads)
            return ops["conv2d"](image, *weights, stride, [0, 0], list(layer.dilation), layer.groups)
        case "linear":
            assert weights
            return ops["linear"](x[0], *weights)
        case "max_pool":
            return ops["max_pool2d"](padded(x[0], layer.pads, -np.inf), kernel, stride)
        case "avg_pool":
            sums = ops["avg_pool2d"](padded(x[0], layer.pads), kernel, stride, divisor_override=1)
            return sums / tensor(np.asarray(layer.divisor, np.float32))
        case "add":
            return x[0] + x[1]
        case "sub":
            return x[0] - x[1]
        case "mul":
            return x[0] * x[1]
        case "cat":
            return ops["cat"](x, 1)
        case "softmax":
            return x[0].softmax(-1)
        case "sigmoid" | "tanh" | "hardswish":
            return ops[layer.kind](x[0])
        case "flatten":
            return x[0].reshape(x[0].shape[0], *shape)
        case _:
            return x[0]


def activated(layer: Layer, y: Tensor) -> Tensor:
    match layer.activation:
        case "relu" | "relu6":
            return ops[layer.activation](y)
        case "leaky":
            return ops["leaky_relu"](y, layer.slope)
        case _:
            return y
