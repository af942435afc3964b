"""From a float module to a plan of layers.

The module is recorded (sorus._core._quantization) and its operators are walked once, in order. A factor or a number for each
channel, which is what batch normalisation is when it does not train, goes into the weights of the layer before it, and so does an
activation become part of it, where nothing else reads what lies between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._core import _quantization
from ..nn import Module
from .layers import Layer, Plan, Value, fits_same, inside

Node = dict[str, Any]
Shape = tuple[int, ...]


class _Unsupported(Exception):
    """Why an operator has no layer."""


class _Builder:
    def __init__(self, model: Module, shapes: Sequence[Shape]):
        self.nodes, self.result = _quantization.record(model, [[1, *shape] for shape in shapes])
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
        self.plan.inputs = [self.value[i, 0] for i, n in enumerate(self.nodes) if self.is_input(n)]
        if self.result not in self.value:
            raise ValueError("quantize: the result of the model does not depend on its input")
        self.check_result()
        if self.missing:
            lines = "".join(f"\n  {op}: {', '.join(dict.fromkeys(where))}" for op, where in self.missing.items())
            raise NotImplementedError(f"quantize: these operators of the model have no integer layer:{lines}")
        self.plan.output = self.value[self.result]
        self.plan.output_shape = tuple(self.nodes[self.result[0]]["shapes"][self.result[1]])[1:]
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

    @staticmethod
    def is_input(node: Node) -> bool:
        return node["op"] == "input" and node["constant"] is None

    def convert(self, node: Node) -> int:
        if node["op"] == "input":
            return self.new_value(node["shapes"][0])
        handler = getattr(self, "on_" + node["op"].replace(".", "_"), None)
        if handler is None:
            raise _Unsupported
        return handler(node, node["attrs"])

    # ---- what handlers ask

    @staticmethod
    def own_shape(shape: Sequence[int]) -> Shape:
        """Without the batch; a signal is an image of one row."""
        return (shape[1], 1, shape[2]) if len(shape) == 3 else tuple(shape)[1:]

    def new_value(self, shape: Sequence[int], planes: tuple[int, int, int] | None = None) -> int:
        self.plan.values.append(Value(self.own_shape(shape), planes))
        return len(self.plan.values) - 1

    def read(self, node: Node, slot: int = 0) -> int:
        place = node["inputs"][slot]
        if place not in self.value:
            raise _Unsupported("of a constant, or of a second result")
        return self.value[place]

    def constant(self, node: Node, slot: int) -> np.ndarray:
        place = node["inputs"][slot]
        found = self.nodes[place[0]]["constant"]
        if found is None or place[1] != 0:
            raise _Unsupported("with numbers that are computed from the input, expected weights")
        return found.numpy().astype(np.float64)

    def weights(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias, zeros where none is given."""
        weight = self.constant(node, 1)
        return weight, np.zeros(len(weight)) if node["inputs"][2] is None else self.constant(node, 2)

    def is_constant(self, node: Node, slot: int) -> bool:
        return self.nodes[node["inputs"][slot][0]]["constant"] is not None

    def alone(self, node: Node, slot: int = 0) -> Layer | None:
        """The layer that makes this input, if nothing else reads its result."""
        return self.made_by.get(self.read(node, slot)) if self.reads[node["inputs"][slot]] == 1 else None

    def add(
        self, node: Node, kind: str, inputs: list[int], named: int | None = None, planes=None, shape=None, **rest
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

    def on_conv2d(self, node: Node, a: dict) -> int:
        weight, bias = self.weights(node)
        rank = len(node["shapes"][0])
        if rank != weight.ndim:
            raise _Unsupported("of an image without a batch")
        s, p, d = (a[k] if rank == 4 else [one, *a[k]] for k, one in (("stride", 1), ("padding", 0), ("dilation", 1)))
        if rank == 3:
            weight = weight[:, :, None]
        return self.add(node, "conv", [self.read(node)], 1, weight=weight, bias=bias, groups=a["groups"],
                        kernel=weight.shape[2:], stride=tuple(s), dilation=tuple(d), pads=(p[0], p[0], p[1], p[1]))  # fmt: skip

    on_conv1d = on_conv2d

    def on_linear(self, node: Node, a: dict) -> int:
        weight, bias = self.weights(node)
        if len(node["shapes"][0]) != 2:
            raise _Unsupported(f"of {len(node['shapes'][0])} dimensions, expected rows of features")
        return self.add(node, "linear", [self.read(node)], 1, weight=weight, bias=bias)

    def on_relu(self, node: Node, a: dict, activation: str = "relu") -> int:
        x, layer = self.read(node), self.alone(node)
        if layer and layer.takes_activation():
            layer.activation = activation
            return x
        return self.add(node, "activation", [x], planes=self.plan.values[x].planes, activation=activation)

    def on_relu6(self, node: Node, a: dict) -> int:
        return self.on_relu(node, a, "relu6")

    def clamped(self, node: Node, low: float | None, high: float | None) -> int:
        if low != 0 or high not in (6, None):
            raise _Unsupported(f"between {low} and {high}; 0 and 6 have integer kernels")
        return self.on_relu(node, {}, "relu" if high is None else "relu6")

    def on_hardtanh(self, node: Node, a: dict) -> int:
        return self.clamped(node, a["min_val"], a["max_val"])

    def on_clamp_range(self, node: Node, a: dict) -> int:
        return self.clamped(node, a["low"], a["high"])

    def on_clamp_low(self, node: Node, a: dict) -> int:
        return self.clamped(node, a["low"], None)

    def on_leaky_relu(self, node: Node, a: dict) -> int:
        x = self.read(node)
        return self.add(node, "activation", [x], planes=self.plan.values[x].planes, activation="leaky",
                        slope=float(a["negative_slope"]))  # fmt: skip

    def on_sigmoid(self, node: Node, a: dict) -> int:
        x = self.read(node)
        return self.add(node, node["op"], [x], planes=self.plan.values[x].planes)

    on_tanh = on_hardswish = on_sigmoid

    def on_silu(self, node: Node, a: dict) -> int:
        x = self.read(node)
        planes = self.plan.values[x].planes
        return self.add(node, "mul", [x, self.add(node, "sigmoid", [x], planes=planes)], planes=planes)

    def on_cat(self, node: Node, a: dict) -> int:
        rank = len(node["shapes"][0])
        inputs = [self.read(node, slot) for slot in range(len(node["inputs"]))]
        if a["dim"] % rank != 1 or any(self.plan.values[x].planes for x in inputs):
            raise _Unsupported("along another dimension than the channels, or of images that were flattened")
        return self.add(node, "cat", inputs)

    def on_max_pool2d_with_indices(self, node: Node, a: dict) -> int:
        k, s, p = a["kernel_size"], a["stride"] or a["kernel_size"], a["padding"]
        if any(d != 1 for d in a["dilation"]) or a["ceil_mode"]:
            raise _Unsupported("with dilation or ceil_mode")
        if len(k) == 1:
            k, s, p = [1, *k], [1, *s], [0, *p]
        return self.add(
            node, "max_pool", [self.read(node)], kernel=tuple(k), stride=tuple(s), pads=(p[0], p[0], p[1], p[1])
        )

    on_max_pool1d_with_indices = on_max_pool2d_with_indices

    def on_window_sum(self, node: Node, a: dict) -> int:
        k, s, p, x = a["kernel_size"], a["stride"], a["padding"], self.read(node)
        for size, kernel, step, pad, places in zip(self.plan.values[x].shape[1:], k, s, p, a["places"], strict=True):
            if places != (size + 2 * pad - kernel) // step + 1:
                raise _Unsupported("with ceil_mode")
        return self.add(node, "avg_pool", [x], kernel=tuple(k), stride=tuple(s), pads=(p[0], p[0], p[1], p[1]))

    def on_sum(self, node: Node, a: dict) -> int:
        x = self.read(node)
        shape = self.plan.values[x].shape
        rank = len(self.nodes[node["inputs"][0][0]]["shapes"][0])
        if len(shape) != 3 or sorted(d % rank for d in a["dim"] or []) != list(range(2, rank)):
            raise _Unsupported("over other dimensions than those of an image or a signal")
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

    def on_div(self, node: Node, a: dict) -> int:
        if a.get("rounding_mode"):
            raise _Unsupported("with rounding")
        divisor, layer = self.constant(node, 1), self.alone(node)
        if layer and layer.kind == "avg_pool" and layer.divisor is None:
            layer.divisor = divisor
            return self.read(node)
        return self.affine(node, 0, factor=1 / divisor)

    def on_mul(self, node: Node, a: dict) -> int:
        if not self.is_constant(node, 0) and not self.is_constant(node, 1):
            return self.both(node, "mul")
        slot = 1 if self.is_constant(node, 1) else 0
        return self.affine(node, 1 - slot, factor=self.constant(node, slot))

    def on_sub(self, node: Node, a: dict) -> int:
        if not self.is_constant(node, 0) and not self.is_constant(node, 1):
            return self.both(node, "sub")
        return self.affine(node, 0, shift=-self.constant(node, 1) * a["alpha"])

    def on_add(self, node: Node, a: dict) -> int:
        for slot in (1, 0):
            if self.is_constant(node, slot):
                both = self.constant(node, slot) * (a["alpha"] if slot == 1 else 1)
                if slot == 0 and a["alpha"] != 1:
                    raise _Unsupported(f"with alpha={a['alpha']}")
                return self.affine(node, 1 - slot, shift=both)
        return self.both(node, "add")

    def both(self, node: Node, kind: str) -> int:
        """Of two computed values. A factor for each channel may be multiplied with an image."""
        x, y = self.read(node, 0), self.read(node, 1)
        one, two = self.plan.values[x], self.plan.values[y]
        if kind == "mul" and len(one.shape) == len(two.shape) == 3 and two.shape != one.shape:
            if one.shape[1:] == (1, 1):
                x, y, one, two = y, x, two, one
            if two.shape == (one.shape[0], 1, 1):
                return self.add(node, kind, [x, y])
        if one.shape != two.shape or one.planes != two.planes or node["attrs"].get("alpha", 1) != 1:
            raise _Unsupported(f"of {list(one.shape)} and {list(two.shape)}, alpha={node['attrs'].get('alpha', 1)}")
        return self.add(node, kind, [x, y], planes=one.planes)

    def affine(self, node: Node, slot: int, factor=1.0, shift=0.0) -> int:
        """x * factor + shift, both by channel."""
        x, layer = self.read(node, slot), self.alone(node, slot)
        value = self.plan.values[x]
        channels = value.shape[0]
        factor, shift = (self.by_channel(np.asarray(v), len(node["shapes"][0]), channels) for v in (factor, shift))
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

    def on_softmax(self, node: Node, a: dict) -> int:
        value = self.plan.values[self.read(node)]
        if len(value.shape) != 1 or a["dim"] not in (1, -1) or value.planes:
            raise _Unsupported("expected rows, and their last dimension")
        return self.add(node, "softmax", [self.read(node)])

    def on_reshape(self, node: Node, a: dict) -> int:
        x = self.read(node)
        value, shape = self.plan.values[x], self.own_shape(node["shapes"][0])
        if shape == value.shape:
            return x
        if shape == (int(np.prod(value.shape)),) and len(value.shape) == 3:
            c, h, w = value.shape
            return self.add(node, "flatten", [x], planes=(c, h, w) if c > 1 and h * w > 1 else None)
        if shape == (*value.shape, 1, 1) and not value.planes:
            return self.add(node, "flatten", [x])
        raise _Unsupported(f"from {[1, *value.shape]} to {list(node['shapes'][0])}; an image can be flattened")

    on_unsqueeze = on_squeeze = on_reshape


def layers_of(model: Module, shapes: Sequence[Shape]) -> Plan:
    """The layers of `model` for inputs of these shapes (without the batch).

    NotImplementedError that lists every operator which has no integer layer, with the line it comes from.
    """
    was_training = model.training
    model.eval()
    try:
        return _Builder(model, shapes).build()
    finally:
        model.train(was_training)
