"""Layers with scales as a .tflite file, which load_model and `sorus codegen` read, and other runtimes too.

Images are [n, h, w, c] in the file. Numbers of operators, options and fields are those of TensorFlow Lite's schema, version 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import flatbuffer
from .calibrate import Scale
from .layers import Layer, Plan, fits_same
from .weights import Weights

FLOAT32, INT32, INT8 = np.int8(0), np.int8(2), np.int8(9)
SAME, VALID = np.int8(0), np.int8(1)
ACTIVATION = {"": np.int8(0), "leaky": np.int8(0), "relu": np.int8(1), "relu6": np.int8(3)}
# Operator, the least version of it that has what is used here, and which options it has.
OPS = {
    "add": (0, 2, 11), "avg_pool": (1, 2, 5), "conv": (3, 3, 1), "depthwise": (4, 3, 2), "linear": (9, 4, 8),
    "linear by channel": (9, 12, 8), "max_pool": (17, 2, 5), "flatten": (22, 1, 17), "softmax": (25, 2, 9),
    "pad": (34, 2, 22), "pad with": (60, 2, 43), "activation": (98, 2, 75), "cat": (2, 2, 10), "sigmoid": (14, 2, 0),
    "mul": (18, 2, 21), "tanh": (28, 2, 0), "sub": (41, 2, 28), "rescale": (114, 2, 0), "hardswish": (117, 1, 0),
}  # fmt: skip


class Writer:
    def __init__(self, plan: Plan, scales: list[Scale], weights: dict[int, Weights], batch: int = 1):
        self.plan, self.scales, self.weights, self.batch = plan, scales, weights, batch
        self.buffers: list[dict[int, Any]] = [{}]  # the first one is empty
        self.tensors: list[dict[int, Any]] = []
        self.operators: list[dict[int, Any]] = []
        self.kinds: list[str] = []
        self.place = {v: self.activation(f"value_{v}", self.physical(v), s) for v, s in enumerate(scales)}
        for i, layer in enumerate(plan.layers):
            self.tensors[self.place[layer.output]][3] = layer.name
            self.emit(i, layer)
        for i, value in enumerate(plan.inputs):
            self.tensors[self.place[value]][3] = f"input_{i}" if i else "input"

    def file(self, outputs: list[int]) -> bytes:
        """The model with these values as its outputs."""
        graph = {
            0: self.tensors,
            1: np.array([self.place[v] for v in self.plan.inputs], np.int32),
            2: np.array([self.place[v] for v in outputs], np.int32),
            3: self.operators,
        }
        codes = [{0: np.int8(OPS[k][0]), 2: np.int32(OPS[k][1]), 3: np.int32(OPS[k][0])} for k in self.kinds]
        model = {0: np.uint32(3), 1: codes, 2: [graph], 3: "quantised by Sorus", 4: self.buffers}
        return flatbuffer.write(model, b"TFL3")

    # ---- tensors

    def physical(self, value: int) -> tuple[int, ...]:
        shape = self.plan.values[value].shape
        return (self.batch, *shape[1:], shape[0]) if len(shape) == 3 else (self.batch, *shape)

    def activation(self, name: str, shape: tuple[int, ...], scale: Scale) -> int:
        return self.tensor(name, np.array(shape, np.int32), INT8, 0, np.array([scale[0]]), np.array([scale[1]]))

    def tensor(self, name: str, shape: np.ndarray, kind: np.int8, buffer: int, scale=None, zero=None, axis=0) -> int:
        quantization = None
        if scale is not None:
            quantization = {2: np.asarray(scale, np.float32), 3: np.asarray(zero, np.int64), 6: np.int32(axis)}
        self.tensors.append({0: shape, 1: kind, 2: np.uint32(buffer), 3: name, 4: quantization})
        return len(self.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scale: np.ndarray | None = None, axis: int = 0) -> int:
        kind = INT8 if data.dtype == np.int8 else INT32
        self.buffers.append({0: np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)})
        zero = None if scale is None else np.zeros(len(scale))
        return self.tensor(name, np.array(data.shape, np.int32), kind, len(self.buffers) - 1, scale, zero, axis)

    # ---- operators

    def operator(self, kind: str, inputs: list[int], output: int, options: dict[int, Any]) -> None:
        if kind not in self.kinds:
            self.kinds.append(kind)
        self.operators.append({
            0: np.uint32(self.kinds.index(kind)), 1: np.array(inputs, np.int32), 2: np.array([output], np.int32),
            3: np.uint8(OPS[kind][2]), 4: options,
        })  # fmt: skip

    def emit(self, number: int, layer: Layer) -> None:
        x, y = [self.place[i] for i in layer.inputs], self.place[layer.output]
        act = ACTIVATION[layer.activation]
        match layer.kind:
            case "conv":
                self.convolution(number, layer, y)
            case "linear":
                w, planes = self.weights[number], self.plan.values[layer.inputs[0]].planes
                codes = w.codes
                if planes:  # the image that was flattened lies here with its channels last
                    codes = codes.reshape(-1, *planes).transpose(0, 2, 3, 1).reshape(len(codes), -1)
                kind = "linear" if len(w.scale) == 1 else "linear by channel"
                self.operator(kind, [*x, *self.constants(layer, w, codes, 0)], y, {0: act})
            case "max_pool" | "avg_pool":
                image, padding = self.padded(layer, None if layer.kind == "avg_pool" else -128)
                (kh, kw), (sh, sw) = layer.kernel, layer.stride
                options = dict(enumerate([padding, *(np.int32(n) for n in (sw, sh, kw, kh))]))
                self.operator(layer.kind, [image], y, options)
            case "add" | "sub" | "mul":
                self.operator(layer.kind, x, y, {0: act})
            case "cat":
                same = [self.rescaled(i, layer) for i in layer.inputs]
                axis = len(self.physical(layer.output)) - 1  # channels come last
                self.operator("cat", same, y, {0: np.int32(axis)})
            case "sigmoid" | "tanh" | "hardswish":
                self.operator(layer.kind, x, y, {})
            case "softmax":
                self.operator("softmax", x, y, {0: np.float32(1)})
            case "flatten":
                shape = np.array(self.physical(layer.output), np.int32)
                self.operator("flatten", [*x, self.constant(f"{layer.name}/shape", shape)], y, {0: shape})
            case _:
                # ReLU is a leaky one that lets nothing through below 0; above 6 the integers of the result end.
                self.operator("activation", x, y, {0: np.float32(layer.slope)})

    def constants(self, layer: Layer, w: Weights, codes: np.ndarray, axis: int) -> list[int]:
        steps = w.scale * self.scales[layer.inputs[0]][0]
        return [self.constant(f"{layer.name}/weight", codes, w.scale, axis),
                self.constant(f"{layer.name}/bias", w.bias, steps)]  # fmt: skip

    def rescaled(self, value: int, layer: Layer) -> int:
        """The value in steps of the layer's result."""
        scale = self.scales[layer.output]
        if self.scales[value] == scale:
            return self.place[value]
        other = self.activation(f"{layer.name}/rescaled_{value}", self.physical(value), scale)
        self.operator("rescale", [self.place[value]], other, {})
        return other

    def padded(self, layer: Layer, value: int | None) -> tuple[int, np.int8]:
        """The image, and how its operator has to pad it; with other zeros than those of 'SAME' it is another image."""
        x, size = layer.inputs[0], self.plan.values[layer.inputs[0]].shape[1:]
        if not any(layer.pads):
            return self.place[x], VALID
        if fits_same(layer, size) and not layer.counts_outside:
            return self.place[x], SAME
        n, h, w, c = self.physical(x)
        top, bottom, left, right = layer.pads
        wide = self.activation(f"{layer.name}/padded", (n, h + top + bottom, w + left + right, c), self.scales[x])
        inputs = [
            self.place[x],
            self.constant(f"{layer.name}/pads", np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)),
        ]
        if value is not None:
            scale, zero = self.scales[x]
            self.buffers.append({0: np.array([value], np.int8)})
            inputs.append(self.tensor(f"{layer.name}/least", np.array([1], np.int32), INT8, len(self.buffers) - 1,
                                      np.array([scale]), np.array([zero])))  # fmt: skip
        self.operator("pad" if value is None else "pad with", inputs, wide, {})
        return wide, VALID

    def convolution(self, number: int, layer: Layer, y: int) -> None:
        w = self.weights[number]
        image, padding = self.padded(layer, None)
        channels = self.plan.values[layer.inputs[0]].shape[0]
        depthwise = 1 < layer.groups == channels
        (sh, sw), (dh, dw), act = layer.stride, layer.dilation, ACTIVATION[layer.activation]
        strides, dilations = [np.int32(sw), np.int32(sh)], [np.int32(dw), np.int32(dh)]
        if depthwise:
            codes = w.codes.transpose(1, 2, 3, 0)  # [1, h, w, o]
            options = [padding, *strides, np.int32(len(w.codes) // channels), act, *dilations]
        else:
            codes = w.codes.transpose(0, 2, 3, 1)
            options = [padding, *strides, act, *dilations]
        constants = self.constants(layer, w, codes, 3 if depthwise else 0)
        self.operator("depthwise" if depthwise else "conv", [image, *constants], y, dict(enumerate(options)))
