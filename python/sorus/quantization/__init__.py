"""Post-training quantisation: a trained module in int8.

    from sorus import codegen, quantization

    small = quantization.quantize(model, [x for x, _ in loader], method="mse")
    print(small.table())                     # signal to noise, layer by layer
    small.save("gestures.tflite")
    codegen.generate("gestures.tflite", target="cortex-m4", name="gestures", out="out/gestures")

The result runs on integers alone with the arithmetic of TensorFlow Lite, to the bit. docs/quantization.md has more.
"""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import numpy as np

from .. import _import, no_grad, tensor
from .._core import Tensor
from ..nn import Module
from .calibrate import METHODS, Histogram, codes, scale_of
from .layers import Plan, layers_of
from .tflite import Scale, Writer, quantized_weights

__all__ = ["METHODS", "QuantizedModel", "quantize"]


class QuantizedModel(Module):
    """What `quantize` returns. Called like the float model, with floats; inside there are integers only.

    integer: the same on int8, an ImportedModel whose images are [n, h, w, c].
    report: a dictionary for JSON: per layer its range, scale, and signal to noise in dB; accuracy if there were labels.
    """

    def __init__(self, file: Callable[[int], bytes], report: dict):
        super().__init__()
        self.report = report
        self._file = file  # for a batch of this size: padding in a file has one
        self._loaded: dict[int, _import.ImportedModel] = {}
        self.integer = _loaded(file(1))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        if batch not in self._loaded:
            self._loaded[batch] = _loaded(self._file(batch))
        y = self._loaded[batch](tensor(self.codes(x)))
        assert isinstance(y, Tensor)
        return tensor(_image_first(self._real(y, self.integer.outputs[0])))

    def codes(self, x: Tensor) -> np.ndarray:
        """The int8 input for floats: what generated C is given."""
        port = self.integer.inputs[0]
        return codes(_image_last(x.detach().numpy()), port["scale"][0], port["zero_point"][0])

    @staticmethod
    def _real(y: Tensor, port: dict) -> np.ndarray:
        return ((y.numpy().astype(np.float64) - port["zero_point"][0]) * port["scale"][0]).astype(np.float32)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a .tflite file, for load_model, `sorus codegen` and other runtimes."""
        pathlib.Path(path).write_bytes(self._file(1))

    def table(self) -> str:
        """The report as text."""
        lines = [f"{'layer':<24} {'kind':<11} {'range':>21} {'weights':>9} {'result':>9}"]
        for r in self.report["layers"]:
            both = [f"{r[k]:.1f} dB" if r[k] is not None else "" for k in ("weight_snr_db", "snr_db")]
            ends = f"{r['low']:.4g} .. {r['high']:.4g}"
            lines.append(f"{r['name']:<24} {r['kind']:<11} {ends:>21} {both[0]:>9} {both[1]:>9}")
        if accuracy := self.report.get("accuracy"):
            lines.append(f"accuracy {accuracy['before']:.2%} before, {accuracy['after']:.2%} after")
        lines.append(f"weights {self.report['float_bytes']:,} bytes before, {self.report['bytes']:,} after")
        return "\n".join(lines)


def quantize(
    model: Module,
    calibration_batches: Iterable[Tensor],
    method: str = "minmax",
    per_channel: bool = True,
    evaluation: Iterable[tuple[Tensor, Tensor]] | None = None,
) -> QuantizedModel:
    """`model` in int8, its ranges those of the values on the calibration batches.

    method: "minmax" covers all that was seen; "percentile" leaves out one value in ten thousand at either end; "entropy" and
    "mse" search for the range that keeps the distribution or the values best.
    per_channel: weights have a scale for each output channel.
    evaluation: batches with labels, for the accuracy before and after.

    NotImplementedError that lists all operators of the model which have no integer layer; ValueError for another method, or
    without batches.
    """
    if method not in METHODS:
        raise ValueError(f"quantize: expected method to be one of {', '.join(METHODS)}, found '{method}'")
    batches = list(calibration_batches)
    if not batches or not all(isinstance(x, Tensor) and x.ndim >= 2 for x in batches):
        raise ValueError(
            "quantize: expected at least one batch for calibration, each a tensor whose first dimension is the batch"
        )
    with no_grad():
        plan = layers_of(model, tuple(batches[0].shape[1:]))
        scales, ranges = _calibrated(plan, batches, method)
        weights = {
            i: quantized_weights(layer, scales[layer.inputs[0]][0], per_channel)
            for i, layer in enumerate(plan.layers)
            if layer.weight is not None
        }

        def file(batch: int, outputs: list[int] | None = None) -> bytes:
            return Writer(plan, scales, weights, batch).file(outputs or [plan.output])

        noise = _noise(plan, file, scales, batches)
        rows: list[dict] = []
        for i, layer in enumerate(plan.layers):
            own = None
            if layer.weight is not None:
                wide = weights[i].scale.astype(np.float64).reshape(-1, *[1] * (layer.weight.ndim - 1))
                own = _decibels(np.sum(layer.weight**2), np.sum((layer.weight - weights[i].codes * wide) ** 2))
            low, high = ranges[layer.output]
            scale, zero = scales[layer.output]
            rows.append({
                "name": layer.name, "kind": layer.kind, "shape": list(plan.values[layer.output].shape),
                "activation": layer.activation, "low": low, "high": high, "scale": float(scale), "zero_point": zero,
                "weight_snr_db": own, "snr_db": _decibels(*noise[i]),
            })  # fmt: skip
        report = {
            "method": method, "per_channel": per_channel, "layers": rows,
            "bytes": sum(w.codes.nbytes + w.bias.nbytes for w in weights.values()),
            "float_bytes": sum(4 * p.numel() for p in model.parameters()),
        }  # fmt: skip
        result = QuantizedModel(file, report)
        if evaluation is not None:
            report["accuracy"] = _accuracies(model, result, evaluation)
    return result


def _loaded(file: bytes) -> _import.ImportedModel:
    with tempfile.TemporaryDirectory(prefix="sorus_quantize_") as folder:
        path = pathlib.Path(folder) / "model.tflite"
        path.write_bytes(file)
        return _import.load_model(path)


def _image_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def _image_first(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x


def _calibrated(plan: Plan, batches: list[Tensor], method: str) -> tuple[list[Scale], list[tuple[float, float]]]:
    """Scale and range of every value."""
    # Moves and pools keep the integers of what they read; a softmax has the scale that the format says.
    source = list(range(len(plan.values)))
    for layer in plan.layers:
        if layer.kind in ("max_pool", "avg_pool", "flatten"):
            source[layer.output] = source[layer.inputs[0]]
    seen = {v: Histogram() for v in set(source)}
    for visit in (Histogram.widen, Histogram.count):
        for x in batches:
            values = plan.run(x)
            for v, histogram in seen.items():
                visit(histogram, values[v].numpy())
    ranges = {v: histogram.range(method) for v, histogram in seen.items()}
    for layer in plan.layers:
        if layer.kind == "softmax":
            ranges[layer.output] = (0.0, 255 / 256)
        elif layer.kind == "activation" and layer.activation == "relu6":
            ranges[layer.output] = (0.0, 6.0)  # the operator has no end of its own
    scales = {v: scale_of(*r) for v, r in ranges.items()}
    return [scales[v] for v in source], [ranges[v] for v in source]


def _noise(plan: Plan, file: Callable, scales: list[Scale], batches: list[Tensor]) -> np.ndarray:
    """Sums of squares of each layer's result in floats, and of what the integers make different."""
    sums = np.zeros((len(plan.layers), 2))
    scale, zero = scales[plan.input]
    results = [layer.output for layer in plan.layers]
    integer: dict[int, _import.ImportedModel] = {}
    for x in batches:
        batch, values = x.shape[0], plan.run(x)
        if batch not in integer:
            integer[batch] = _loaded(file(batch, results))
        found = integer[batch](tensor(codes(_image_last(x.detach().numpy()), scale, zero)))
        for i, (layer, y) in enumerate(
            zip(plan.layers, found if isinstance(found, tuple) else (found,), strict=True)
        ):
            step, point = scales[layer.output]
            real = _image_first((y.numpy().astype(np.float64) - point) * float(step))
            wanted = values[layer.output].numpy().astype(np.float64)
            if planes := plan.values[layer.output].planes:
                c, h, w = planes
                real = real.reshape(-1, h, w, c).transpose(0, 3, 1, 2).reshape(real.shape)
            sums[i] += np.sum(wanted**2), np.sum((wanted - real) ** 2)
    return sums


def _decibels(signal: float, noise: float) -> float | None:
    """None where there is no signal, or no noise."""
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None


def _accuracies(model: Module, quantized: QuantizedModel, batches: Iterable[tuple[Tensor, Tensor]]) -> dict:
    was_training, right, count = model.training, np.zeros(2), 0
    model.eval()
    for x, labels in batches:
        wanted = labels.numpy()
        right += [(y.numpy().argmax(1) == wanted).sum() for y in (model(x), quantized(x))]
        count += len(wanted)
    model.train(was_training)
    return {"before": float(right[0] / max(count, 1)), "after": float(right[1] / max(count, 1)), "samples": count}
