"""A float module as the layers that integer arithmetic has: what `quantize` works on.

The module is recorded (sorus._core._quantization) and its operators are walked once, in order. A factor or a number for each
channel, which is what batch normalisation is when it does not train, goes into the weights of the layer before it, and so does an
activation become part of it, where nothing else reads what lies between. Images are [n, c, h, w] here, as in the module.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .._core import Tensor, _quantization
from .._core import operators as ops

Pads = tuple[int, int, int, int]  # top, bottom, left, right


@dataclass
class Layer:
    kind: str  # conv, linear, max_pool, avg_pool, add, activation, softmax, flatten
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
    activation: str = ""  # "", relu, relu6

    def takes_factors(self) -> bool:
        return self.weight is not None and not self.activation

    def takes_activation(self) -> bool:
        return self.kind in ("conv", "linear", "add") and not self.activation


@dataclass
class Value:
    """A tensor between layers: its shape without the batch. `planes` is the (c, h, w) that was flattened into it."""

    shape: tuple[int, ...]
    planes: tuple[int, int, int] | None = None


@dataclass
class Plan:
    layers: list[Layer] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    input: int = 0
    output: int = 0

    def run(self, x: Tensor) -> list[Tensor]:
        """All values for a batch, in float32."""
        found: dict[int, Tensor] = {self.input: x}
        for layer in self.layers:
            found[layer.output] = _computed(layer, [found[i] for i in layer.inputs])
        return [found[i] for i in range(len(self.values))]


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


def _computed(layer: Layer, x: list[Tensor]) -> Tensor:
    from .. import tensor

    weight, bias = (None if a is None else tensor(a.astype(np.float32)) for a in (layer.weight, layer.bias))
    kernel, stride = list(layer.kernel), list(layer.stride)
    match layer.kind:
        case "conv":
            y = ops["conv2d"](
                padded(x[0], layer.pads), weight, bias, stride, [0, 0], list(layer.dilation), layer.groups
            )
        case "linear":
            y = ops["linear"](x[0], weight, bias)
        case "max_pool":
            y = ops["max_pool2d"](padded(x[0], layer.pads, -np.inf), kernel, stride)
        case "avg_pool":
            sums = ops["avg_pool2d"](padded(x[0], layer.pads), kernel, stride, divisor_override=1)
            y = sums / tensor(np.asarray(layer.divisor, np.float32))
        case "add":
            y = x[0] + x[1]
        case "softmax":
            y = x[0].softmax(-1)
        case "flatten":
            y = x[0].reshape(x[0].shape[0], -1)
        case _:
            y = x[0]
    return {"relu": ops["relu"], "relu6": ops["relu6"]}.get(layer.activation, lambda t: t)(y)


class _Unsupported(Exception):
    """Why an operator has no layer."""


class _Builder:
    def __init__(self, model, shape: tuple[int, ...]):
        self.nodes, self.result = _quantization.record(model, [1, *shape])
        self.names = {p.data_ptr(): n.rpartition(".")[0] for n, p in model.named_parameters()}
        self.plan = Plan()
        self.value: dict[tuple[int, int], int] = {}  # of each recorded value that depends on the input
        self.made_by: dict[int, Layer] = {}
        self.reads = Counter(i for n in self.nodes if n["constant"] is None for i in n["inputs"] if i)
        self.reads[self.result] += 1
        self.missing: dict[str, list[str]] = {}

    # ---- the walk

    def build(self) -> Plan:
        for number, node in enumerate(self.nodes):
            if node["constant"] is not None:
                continue
            try:
                value = self.convert(node)
            except _Unsupported as why:
                where = node["source"] or f"node {number}"
                self.missing.setdefault(f"{node['op']} ({why})" if str(why) else node["op"], []).append(where)
                value = self.new_value(node["shapes"][0])
            self.value[number, 0] = value
            # Another name of a value that has other readers: these must not find it changed.
            if any(self.value.get(place) == value and self.reads[place] > 1 for place in node["inputs"]):
                self.reads[number, 0] += 1
        if self.result not in self.value:
            raise ValueError("quantize: the result of the model does not depend on its input")
        self.check_result()
        if self.missing:
            lines = "".join(f"\n  {op}: {', '.join(dict.fromkeys(where))}" for op, where in self.missing.items())
            raise NotImplementedError(f"quantize: these operators of the model have no integer layer:{lines}")
        self.plan.output = self.value[self.result]
        return self.plan

    def check_result(self) -> None:
        result = self.plan.values[self.value[self.result]]
        if result.planes:
            self.missing.setdefault("the result (an image that was flattened, which no Linear reads)", []).append(
                "output"
            )
        for layer in self.plan.layers:
            if layer.kind == "avg_pool":
                try:
                    self.check_mean(layer)
                except _Unsupported as why:
                    self.missing.setdefault(f"mean of windows ({why})", []).append(layer.name)

    def convert(self, node: dict) -> int:
        if node["op"] == "input":
            return self.new_value(node["shapes"][0])
        handler = getattr(self, "on_" + node["op"].replace(".", "_"), None)
        if handler is None:
            raise _Unsupported
        return handler(node, node["attrs"])

    # ---- what handlers ask

    def new_value(self, shape, planes=None) -> int:
        self.plan.values.append(Value(tuple(shape)[1:], planes))
        return len(self.plan.values) - 1

    def read(self, node: dict, slot: int = 0) -> int:
        place = node["inputs"][slot]
        if place not in self.value:
            raise _Unsupported("of a constant, or of a second result")
        return self.value[place]

    def constant(self, node: dict, slot: int) -> np.ndarray:
        place = node["inputs"][slot]
        found = self.nodes[place[0]]["constant"]
        if found is None or place[1] != 0:
            raise _Unsupported("with numbers that are computed from the input, expected weights")
        return found.numpy().astype(np.float64)

    def weights(self, node: dict) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias, zeros where none is given."""
        weight = self.constant(node, 1)
        return weight, np.zeros(len(weight)) if node["inputs"][2] is None else self.constant(node, 2)

    def is_constant(self, node: dict, slot: int) -> bool:
        return self.nodes[node["inputs"][slot][0]]["constant"] is not None

    def alone(self, node: dict, slot: int = 0) -> Layer | None:
        """The layer that makes this input, if nothing else reads its result."""
        return self.made_by.get(self.read(node, slot)) if self.reads[node["inputs"][slot]] == 1 else None

    def add(
        self, node: dict, kind: str, inputs: list[int], named: int | None = None, planes=None, shape=None, **rest
    ) -> int:
        output = self.new_value(shape or node["shapes"][0], planes)
        place = node["inputs"][named] if named is not None else None
        weights = self.nodes[place[0]]["constant"] if place else None
        name = self.names.get(weights.data_ptr(), "") if weights is not None else ""
        if not name:
            name = f"{kind}_{sum(layer.kind == kind for layer in self.plan.layers)}"
        layer = Layer(kind, name, inputs, output, **rest)
        self.plan.layers.append(layer)
        self.made_by[output] = layer
        return output

    # ---- one operator each

    def on_conv2d(self, node: dict, a: dict) -> int:
        weight, bias = self.weights(node)
        x, groups = self.read(node), a["groups"]
        channels = self.plan.values[x].shape[0]
        if len(node["shapes"][0]) != 4:
            raise _Unsupported("of an image without a batch")
        if groups not in (1, channels):
            raise _Unsupported(f"{groups} groups of {channels} channels; 1 and {channels} have integer kernels")
        (h, w), s, d = a["padding"], a["stride"], a["dilation"]
        return self.add(node, "conv", [x], 1, weight=weight, bias=bias, groups=groups, kernel=weight.shape[2:],
                        stride=tuple(s), dilation=tuple(d), pads=(h, h, w, w))  # fmt: skip

    def on_linear(self, node: dict, a: dict) -> int:
        weight, bias = self.weights(node)
        if len(node["shapes"][0]) != 2:
            raise _Unsupported(f"of {len(node['shapes'][0])} dimensions, expected rows of features")
        return self.add(node, "linear", [self.read(node)], 1, weight=weight, bias=bias)

    def on_relu(self, node: dict, a: dict, activation: str = "relu") -> int:
        x, layer = self.read(node), self.alone(node)
        if layer and layer.takes_activation():
            layer.activation = activation
            return x
        return self.add(node, "activation", [x], planes=self.plan.values[x].planes, activation=activation)

    def on_relu6(self, node: dict, a: dict) -> int:
        return self.on_relu(node, a, "relu6")

    def clamped(self, node: dict, low: float | None, high: float | None) -> int:
        if low != 0 or high not in (6, None):
            raise _Unsupported(f"between {low} and {high}; 0 and 6 have integer kernels")
        return self.on_relu(node, {}, "relu" if high is None else "relu6")

    def on_hardtanh(self, node: dict, a: dict) -> int:
        return self.clamped(node, a["min_val"], a["max_val"])

    def on_clamp_range(self, node: dict, a: dict) -> int:
        return self.clamped(node, a["low"], a["high"])

    def on_clamp_low(self, node: dict, a: dict) -> int:
        return self.clamped(node, a["low"], None)

    def on_max_pool2d_with_indices(self, node: dict, a: dict) -> int:
        k, s, p = a["kernel_size"], a["stride"] or a["kernel_size"], a["padding"]
        if a["dilation"] != [1, 1] or a["ceil_mode"]:
            raise _Unsupported("with dilation or ceil_mode")
        return self.add(
            node, "max_pool", [self.read(node)], kernel=tuple(k), stride=tuple(s), pads=(p[0], p[0], p[1], p[1])
        )

    def on_window_sum(self, node: dict, a: dict) -> int:
        k, s, p, x = a["kernel_size"], a["stride"], a["padding"], self.read(node)
        for size, kernel, step, pad, places in zip(self.plan.values[x].shape[1:], k, s, p, a["places"], strict=True):
            if places != (size + 2 * pad - kernel) // step + 1:
                raise _Unsupported("with ceil_mode")
        return self.add(node, "avg_pool", [x], kernel=tuple(k), stride=tuple(s), pads=(p[0], p[0], p[1], p[1]))

    def on_sum(self, node: dict, a: dict) -> int:
        x = self.read(node)
        shape = self.plan.values[x].shape
        if len(shape) != 3 or sorted(d % 4 for d in a["dim"] or []) != [2, 3]:
            raise _Unsupported("over other dimensions than those of an image")
        mean = self.add(node, "avg_pool", [x], shape=(1, shape[0], 1, 1), kernel=shape[1:], stride=shape[1:])
        if a["keepdim"]:
            return mean
        flat = self.add(node, "flatten", [mean])
        self.made_by[flat] = self.made_by[mean]  # the division follows
        return flat

    def check_mean(self, layer: Layer) -> None:
        size = self.plan.values[layer.inputs[0]].shape[1:]
        places = self.plan.values[layer.output].shape[1:]
        counts = [inside(size[d], layer.pads[2 * d], layer.kernel[d], layer.stride[d], places[d]) for d in (0, 1)]
        within, area = np.outer(*counts), layer.kernel[0] * layer.kernel[1]
        divisor = np.asarray(0 if layer.divisor is None else layer.divisor)
        layer.counts_outside = bool((divisor == area).all())
        if layer.counts_outside or (divisor == within).all():
            if layer.counts_outside or fits_same(layer, size):
                return
            raise _Unsupported(f"with padding {layer.pads} that does not count")
        raise _Unsupported("divided by something else than their number of elements")

    def on_div(self, node: dict, a: dict) -> int:
        if a.get("rounding_mode"):
            raise _Unsupported("with rounding")
        divisor, layer = self.constant(node, 1), self.alone(node)
        if layer and layer.kind == "avg_pool" and layer.divisor is None:
            layer.divisor = divisor
            return self.read(node)
        return self.affine(node, 0, factor=1 / divisor)

    def on_mul(self, node: dict, a: dict) -> int:
        slot = 1 if self.is_constant(node, 1) else 0
        return self.affine(node, 1 - slot, factor=self.constant(node, slot))

    def on_sub(self, node: dict, a: dict) -> int:
        return self.affine(node, 0, shift=-self.constant(node, 1) * a["alpha"])

    def on_add(self, node: dict, a: dict) -> int:
        for slot in (1, 0):
            if self.is_constant(node, slot):
                both = self.constant(node, slot) * (a["alpha"] if slot == 1 else 1)
                if slot == 0 and a["alpha"] != 1:
                    raise _Unsupported(f"with alpha={a['alpha']}")
                return self.affine(node, 1 - slot, shift=both)
        x, y = self.read(node, 0), self.read(node, 1)
        one, two = self.plan.values[x], self.plan.values[y]
        if one.shape != two.shape or one.planes != two.planes or a["alpha"] != 1:
            raise _Unsupported(f"of {list(one.shape)} and {list(two.shape)}, alpha={a['alpha']}")
        return self.add(node, "add", [x, y], planes=one.planes)

    def affine(self, node: dict, slot: int, factor=1.0, shift=0.0) -> int:
        """x * factor + shift, both by channel."""
        x, layer = self.read(node, slot), self.alone(node, slot)
        value = self.plan.values[x]
        channels = value.shape[0]
        factor, shift = (self.by_channel(np.asarray(v), len(value.shape) + 1, channels) for v in (factor, shift))
        if layer and layer.takes_factors():
            assert layer.weight is not None
            layer.weight = layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.bias = layer.bias * factor + shift
            return x
        if len(value.shape) != 3:
            raise _Unsupported("by channel, of rows that are no result of a Linear")
        return self.add(node, "conv", [x], weight=factor.reshape(-1, 1, 1, 1), bias=shift, groups=channels)

    @staticmethod
    def by_channel(v: np.ndarray, dims: int, channels: int) -> np.ndarray:
        wide = v.reshape((1,) * (dims - v.ndim) + v.shape)
        if wide.ndim != dims or wide.size not in (1, wide.shape[1]) or wide.size not in (1, channels):
            raise _Unsupported(
                f"with a constant of shape {list(v.shape)}, expected one number for each of {channels} channels"
            )
        return np.broadcast_to(wide.reshape(-1), (channels,)).astype(np.float64)

    def on_softmax(self, node: dict, a: dict) -> int:
        value = self.plan.values[self.read(node)]
        if len(value.shape) != 1 or a["dim"] not in (1, -1) or value.planes:
            raise _Unsupported("expected rows, and their last dimension")
        return self.add(node, "softmax", [self.read(node)])

    def on_reshape(self, node: dict, a: dict) -> int:
        x = self.read(node)
        value, shape = self.plan.values[x], tuple(node["shapes"][0])
        if shape == (1, *value.shape):
            return x
        if shape != (1, int(np.prod(value.shape))) or len(value.shape) != 3:
            raise _Unsupported(f"from {[1, *value.shape]} to {list(shape)}; an image can be flattened")
        c, h, w = value.shape
        return self.add(node, "flatten", [x], planes=(c, h, w) if c > 1 and h * w > 1 else None)


def layers_of(model, shape: tuple[int, ...]) -> Plan:
    """The layers of `model` for inputs of this shape (without the batch).

    NotImplementedError that lists every operator which has no integer layer, with the line it comes from.
    """
    was_training = model.training
    model.eval()
    try:
        return _Builder(model, shape).build()
    finally:
        model.train(was_training)
