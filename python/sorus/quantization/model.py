"""QuantizedModel: a .tflite file of integers that is called like the float model."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import _import, tensor
from .._core import Tensor
from ..nn import Module
from .calibrate import codes
from .layers import Plan


class QuantizedModel(Module):
    """What `quantize` returns. Called like the float model, with floats; inside there are integers only.

    integer: the same on int8, an ImportedModel whose images are [n, h, w, c], and signals images of one row.
    report: a dictionary for JSON: per layer its range, scale, bits of its weights and signal to noise in dB; accuracy if there
    were labels.
    """

    def __init__(self, plan: Plan, file: Callable[[int], bytes], report: dict[str, Any]):
        super().__init__()
        self.report = report
        self._plan = plan
        self._file = file  # for a batch of this size: padding in a file has one
        self._loaded: dict[int, _import.ImportedModel] = {}
        self.integer = loaded(file(1))

    def forward(self, *inputs: Tensor) -> Tensor:
        batch = inputs[0].shape[0]
        if batch not in self._loaded:
            self._loaded[batch] = loaded(self._file(batch))
        y = self._loaded[batch](*(tensor(c) for c in self._all_codes(inputs)))
        assert isinstance(y, Tensor)
        return self._plan.as_result(tensor(real(y, self.integer.outputs[0])))

    def codes(self, *inputs: Tensor) -> np.ndarray:
        """The int8 input for floats, as generated C is given it. Of several inputs, one row of bytes for each inference."""
        found = self._all_codes(inputs)
        return found[0] if len(found) == 1 else np.concatenate([c.reshape(len(c), -1) for c in found], axis=1)

    def _all_codes(self, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
        ports = self.integer.inputs
        if len(inputs) != len(ports):
            raise TypeError(f"expected {len(ports)} inputs, found {len(inputs)}")
        return [
            input_codes(self._plan, i, x, (port["scale"][0], port["zero_point"][0]))
            for i, (x, port) in enumerate(zip(inputs, ports, strict=True))
        ]

    def save(self, path: str | os.PathLike) -> None:
        """Writes a .tflite file, for load_model, `sorus codegen` and other runtimes."""
        pathlib.Path(path).write_bytes(self._file(1))

    def table(self) -> str:
        """The report as text."""
        lines = [f"{'layer':<24} {'kind':<11} {'bits':>4} {'range':>21} {'weights':>9} {'result':>9}"]
        for r in self.report["layers"]:
            both = [f"{r[k]:.1f} dB" if r[k] is not None else "" for k in ("weight_snr_db", "snr_db")]
            ends = f"{r['low']:.4g} .. {r['high']:.4g}"
            bits = r["weight_bits"] or ""
            lines.append(f"{r['name']:<24} {r['kind']:<11} {bits:>4} {ends:>21} {both[0]:>9} {both[1]:>9}")
        if accuracy := self.report.get("accuracy"):
            lines.append(f"accuracy {accuracy['before']:.2%} before, {accuracy['after']:.2%} after")
        lines.append(f"weights {self.report['float_bytes']:,} bytes before, {self.report['bytes']:,} after")
        return "\n".join(lines)


def loaded(file: bytes) -> _import.ImportedModel:
    with tempfile.TemporaryDirectory(prefix="sorus_quantize_") as folder:
        path = pathlib.Path(folder) / "model.tflite"
        path.write_bytes(file)
        return _import.load_model(path)


def input_codes(plan: Plan, number: int, x: Tensor, scale: tuple[Any, int]) -> np.ndarray:
    """The integers of the input of that number, as the file has them."""
    return codes(image_last(plan.as_value(plan.inputs[number], x.detach()).numpy()), *scale)


def real(y: Tensor, port: dict[str, Any]) -> np.ndarray:
    floats = (y.numpy().astype(np.float64) - port["zero_point"][0]) * port["scale"][0]
    return image_first(floats.astype(np.float32))


def image_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def image_first(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


Batch = tuple[Tensor, ...]


def as_batch(x: Tensor | Batch) -> Batch:
    return x if isinstance(x, tuple) else (x,)


def accuracy(model: Module, batches: Iterable[tuple[Tensor | Batch, Tensor]]) -> tuple[float, int]:
    """The share of labels that are the largest output, and how many there were. In eval mode."""
    was_training, right, count = model.training, 0, 0
    model.eval()
    for x, labels in batches:
        right += int((model(*as_batch(x)).numpy().argmax(1) == labels.numpy()).sum())
        count += len(labels)
    model.train(was_training)
    return right / max(count, 1), count
