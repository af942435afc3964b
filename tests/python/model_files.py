"""Small model files of other frameworks, made in tests: .tflite and .ms by tables, .onnx by messages."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from sorus.quantization import flatbuffer

TFLITE_TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
MS_TYPES = {"bool": 30, "int8": 32, "int32": 34, "int64": 35, "uint8": 37, "float32": 43}
ONNX_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}


class Tflite:
    """Tensors and operators of one graph, in order. Field numbers are those of TensorFlow Lite's schema, version 3."""

    def __init__(self) -> None:
        self.buffers: list[dict[int, Any]] = [{}]
        self.graphs: list[dict[int, Any]] = []
        self.codes: list[int] = []
        self.tensors: list[dict[int, Any]] = []
        self.operators: list[dict[int, Any]] = []

    def tensor(self, name: str, shape: Any, kind: str, scale: Any = None, zero: Any = 0, **more: Any) -> int:
        """`data`: of a constant; `variable`: it lasts; `axis`: of scales by channel."""
        buffer = 0
        if "data" in more:
            data = np.ascontiguousarray(more["data"])
            self.buffers.append({0: np.frombuffer(data.tobytes(), np.uint8)})
            buffer = len(self.buffers) - 1
        t: dict[int, Any] = {0: np.array(shape, np.int32), 1: np.int8(TFLITE_TYPES.get(kind, 13)), 2: np.uint32(buffer),
                             3: name}  # fmt: skip
        if scale is not None:
            t[4] = {2: np.atleast_1d(np.asarray(scale, np.float32)), 3: np.atleast_1d(np.asarray(zero, np.int64)),
                    6: np.int32(more.get("axis", 0))}  # fmt: skip
        if more.get("variable"):
            t[5] = np.bool_(True)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scale: Any = None, zero: Any = 0, axis: int = 0) -> int:
        return self.tensor(name, data.shape, str(data.dtype), scale, zero, data=data, axis=axis)

    def operator(self, code: int, inputs: list[int], outputs: list[int], options: Any = (), **more: Any) -> None:
        """`kind`: number of the options' table among all; `intermediates`."""
        if code not in self.codes:
            self.codes.append(code)
        op = {0: np.uint32(self.codes.index(code)), 1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32),
              3: np.uint8(more.get("kind", 1)), 4: dict(options)}  # fmt: skip
        if "intermediates" in more:
            op[8] = np.array(more["intermediates"], np.int32)
        self.operators.append(op)

    def graph(self, inputs: list[int], outputs: list[int]) -> None:
        self.graphs.append({0: self.tensors, 1: np.array(inputs, np.int32), 2: np.array(outputs, np.int32),
                            3: self.operators})  # fmt: skip
        self.tensors, self.operators = [], []

    def file(self) -> bytes:
        codes = [{0: np.int8(min(c, 127)), 2: np.int32(3), 3: np.int32(c)} for c in self.codes]
        return bytes(flatbuffer.write({0: np.uint32(3), 1: codes, 2: self.graphs, 3: "", 4: self.buffers}, b"TFL3"))


class MsLite:
    """Tensors and operators of one graph, in order. Field numbers are those of MindSpore Lite, from version 1.1 on."""

    def __init__(self, version: str = "MindSpore Lite 2.0.0") -> None:
        self.version = version
        self.tensors: list[dict[int, Any]] = []
        self.nodes: list[dict[int, Any]] = []

    def tensor(self, name: str, shape: Any, kind: str, scale: Any = None, zero: int = 0, data: Any = None) -> int:
        """`scale`: one, or one for each index of dimension 0."""
        t: dict[int, Any] = {1: np.int32(MS_TYPES[kind]), 2: np.array(shape, np.int32), 9: name}
        if data is not None:
            t[6] = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        if scale is not None:
            t[7] = [{0: np.float64(s), 1: np.int32(zero), 6: np.bool_(True)} for s in np.atleast_1d(scale)]
        self.tensors.append(t)
        return len(self.tensors) - 1

    def constant(self, name: str, data: np.ndarray, scale: Any = None) -> int:
        return self.tensor(name, data.shape, str(data.dtype), scale, data=data)

    def node(self, number: int, inputs: list[int], outputs: list[int], fields: Any = ()) -> None:
        """`number`: the operator's."""
        self.nodes.append({2: {0: np.uint8(number), 1: dict(fields)}, 3: np.array(inputs, np.uint32),
                           4: np.array(outputs, np.uint32)})  # fmt: skip

    def file(self, inputs: list[int], outputs: list[int], mark: bytes = b"MSL2") -> bytes:
        root = {0: "made in a test", 1: self.version, 3: np.array(inputs, np.uint32), 4: np.array(outputs, np.uint32),
                6: self.nodes, 7: self.tensors}  # fmt: skip
        return bytes(flatbuffer.write(root, mark))


def varint(value: int) -> bytes:
    out, value = b"", value % 2**64
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: Any) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_tensor(name: str, a: np.ndarray) -> bytes:
    dims = b"".join(field(1, int(n)) for n in a.shape)
    return dims + field(2, ONNX_TYPES[str(a.dtype)]) + field(8, name) + field(9, np.ascontiguousarray(a).tobytes())


def onnx_attribute(name: str, value: Any) -> bytes:
    if isinstance(value, float):
        return field(1, name) + field(2, value) + field(20, 1)
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    if isinstance(value, str):
        return field(1, name) + field(4, value) + field(20, 3)
    return field(1, name) + b"".join(field(8, int(v)) for v in value) + field(20, 7)


class Onnx:
    def __init__(self, opset: int = 17) -> None:
        self.opset, self.body, self.count = opset, b"", 0

    def port(self, number: int, name: str, shape: Any, kind: str = "float32") -> str:
        dims = b"".join(field(1, field(1, int(n))) for n in shape)
        tensor = field(1, ONNX_TYPES[kind]) + field(2, dims)
        self.body += field(number, field(1, name) + field(2, field(1, tensor)))
        return name

    def input(self, name: str, shape: Any, kind: str = "float32") -> str:
        return self.port(11, name, shape, kind)

    def output(self, name: str, shape: Any, kind: str = "float32") -> None:
        self.port(12, name, shape, kind)

    def constant(self, a: np.ndarray) -> str:
        self.count += 1
        self.body += field(5, onnx_tensor(f"w{self.count}", a))
        return f"w{self.count}"

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        self.count += 1
        names = [f"v{self.count}_{i}" for i in range(outputs)]
        text = b"".join(field(1, i) for i in inputs) + b"".join(field(2, o) for o in names) + field(4, op)
        text += b"".join(field(5, onnx_attribute(k, v)) for k, v in attributes.items())
        self.body += field(1, text)
        return names[0] if outputs == 1 else names

    def file(self) -> bytes:
        return field(1, 8) + field(7, self.body) + field(8, field(2, self.opset))
