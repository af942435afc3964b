"""From a trained module to integers: ranges, scales, bits, and the report of what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import no_grad, tensor
from .._core import Tensor
from ..nn import Module
from . import precision
from .calibrate import METHODS, Histogram, Scale, scale_of
from .correction import correct_biases
from .equalize import equalize as equalize_plan
from .layers import FIXED_RANGES, Layer, Plan
from .model import Batch, QuantizedModel, accuracy, as_batch, image_first, input_codes, loaded
from .recorded import layers_of
from .tflite import Writer
from .weights import BITS, Weights, quantized_weights, weight_scale

Batches = Iterable[Tensor | Batch]
Evaluation = Iterable[tuple[Tensor | Batch, Tensor]]


@dataclass
class Calibrated:
    """A plan with the ranges of its values, and the batches on which they were seen."""

    plan: Plan
    scales: list[Scale]
    ranges: list[tuple[float, float]]
    batches: list[Batch]
    method: str
    per_channel: bool

    def weights(self, bits: Mapping[int, int]) -> dict[int, Weights]:
        found = {}
        for i, layer in enumerate(self.plan.layers):
            if layer.weight is not None:
                scale = self.scales[layer.inputs[0]][0]
                size = weight_scale(layer, scale, self.per_channel, bits[i])
                found[i] = quantized_weights(layer, scale, size, bits[i])
        return found

    def file(self, weights: dict[int, Weights], batch: int, outputs: list[int] | None = None) -> bytes:
        return Writer(self.plan, self.scales, weights, batch).file(outputs or [self.plan.output])


def calibrated(
    model: Module, calibration_batches: Batches, method: str, per_channel: bool, equalize: bool, what: str
) -> Calibrated:
    """ValueError for another method, or without batches."""
    if method not in METHODS:
        raise ValueError(f"{what}: expected method to be one of {', '.join(METHODS)}, found '{method}'")
    batches = [as_batch(x) for x in calibration_batches]
    if not batches or not all(isinstance(t, Tensor) and t.ndim >= 2 for x in batches for t in x):
        raise ValueError(
            f"{what}: expected at least one batch for calibration, each a tensor whose first dimension is the batch "
            "(or, for a model of several inputs, a tuple of them)"
        )
    plan = layers_of(model, [tuple(t.shape[1:]) for t in batches[0]])
    if equalize:
        equalize_plan(plan)
    found = Calibrated(plan, [], [], batches, method, per_channel)
    calibrate(found)
    return found


def calibrate(c: Calibrated) -> None:
    """Sets scale and range of every value."""
    source = c.plan.sources()
    seen = {v: Histogram() for v in set(source)}
    for visit in (Histogram.widen, Histogram.count):
        for x in c.batches:
            values = c.plan.run(x)
            for v, histogram in seen.items():
                visit(histogram, values[v].numpy())
    ranges = {v: histogram.range(c.method) for v, histogram in seen.items()}
    for layer in c.plan.layers:
        if layer.kind in FIXED_RANGES:
            ranges[layer.output] = FIXED_RANGES[layer.kind]
        elif layer.kind == "activation" and layer.activation == "relu6":
            ranges[layer.output] = (0.0, 6.0)  # the operator has no end of its own
    scales = {v: scale_of(*r) for v, r in ranges.items()}
    c.scales, c.ranges = [scales[v] for v in source], [ranges[v] for v in source]


def quantize(
    model: Module,
    calibration_batches: Batches,
    method: str = "minmax",
    per_channel: bool = True,
    evaluation: Evaluation | None = None,
    *,
    equalize: bool = False,
    bias_correction: bool = False,
    weight_bits: int | Mapping[str, int] = 8,
    flash_budget: int | None = None,
    accuracy_budget: float | None = None,
) -> QuantizedModel:
    """`model` in int8, its ranges those of the values on the calibration batches.

    calibration_batches: tensors whose first dimension is the batch; tuples of them for a model of several inputs.
    method: "minmax" covers all that was seen; "percentile" leaves out one value in ten thousand at either end; "entropy" and
    "mse" search for the range that keeps the distribution or the values best.
    per_channel: weights have a scale for each output channel.
    evaluation: batches with labels, for the accuracy before and after.
    equalize: brings the weights of neighbouring layers to one size first.
    bias_correction: biases take up what rounding shifts on average, measured on the calibration batches.
    weight_bits: 8, 4 or 2; or by layer, {name as in the report: bits}, 8 for the others. Activations stay int8.
    flash_budget: bytes for all weights and biases; chooses the bits of each layer with the least error within them.
    accuracy_budget: the share of accuracy on `evaluation` that may be lost, such as 0.01; chooses the fewest bytes within it.

    NotImplementedError that lists all operators of the model which have no integer layer; ValueError for another method,
    without batches, for other bits or unknown layers, and for a budget that cannot be kept.
    """
    if flash_budget is not None and accuracy_budget is not None:
        raise ValueError("quantize: expected flash_budget or accuracy_budget, found both")
    if (flash_budget is not None or accuracy_budget is not None) and weight_bits != 8:
        raise ValueError("quantize: expected either a budget, which chooses the bits, or weight_bits, found both")
    if accuracy_budget is not None and evaluation is None:
        raise ValueError("quantize: expected evaluation, batches with labels, for accuracy_budget, found None")
    labelled = None if evaluation is None else list(evaluation)
    with no_grad():
        c = calibrated(model, calibration_batches, method, per_channel, equalize, "quantize")
        if flash_budget is not None:
            chosen = precision.frontier(c.plan, c.scales, per_channel, c.batches)
            bits = precision.within_bytes(chosen, flash_budget).bits
        elif accuracy_budget is not None:
            assert labelled is not None
            before, _ = accuracy(model, labelled)

            def measured(choice: precision.Choice) -> float:
                weights = c.weights(choice.bits)
                return accuracy(QuantizedModel(c.plan, lambda batch: c.file(weights, batch), {}), labelled)[0]

            chosen = precision.frontier(c.plan, c.scales, per_channel, c.batches)
            bits = precision.within_accuracy(chosen, measured, before - accuracy_budget).bits
        else:
            bits = bits_by_layer(c.plan, weight_bits)
        weights = c.weights(bits)
        if bias_correction:
            correct_biases(c.plan, c.scales, weights, c.batches)
        return finished(model, c, weights, labelled)


def bits_by_layer(plan: Plan, weight_bits: int | Mapping[str, int]) -> dict[int, int]:
    given = weight_bits if isinstance(weight_bits, Mapping) else {}
    names = [layer.name for layer in plan.layers if layer.weight is not None]
    if unknown := [n for n in given if n not in names]:
        raise ValueError(
            f"quantize: expected weight_bits of layers among {', '.join(names)}, found {', '.join(unknown)}"
        )
    default = 8 if isinstance(weight_bits, Mapping) else weight_bits
    found = {i: given.get(layer.name, default) for i, layer in enumerate(plan.layers) if layer.weight is not None}
    if wrong := sorted({b for b in found.values() if b not in BITS}):
        raise ValueError(f"quantize: expected weight_bits of {', '.join(map(str, BITS))}, found {wrong[0]}")
    return found


def finished(
    model: Module, c: Calibrated, weights: dict[int, Weights], evaluation: Evaluation | None
) -> QuantizedModel:
    """The integer model with its report."""
    noise = _noise(c, weights)
    report: dict[str, Any] = {
        "method": c.method, "per_channel": c.per_channel,
        "layers": [_row(c, i, layer, weights.get(i), noise[i]) for i, layer in enumerate(c.plan.layers)],
        "bytes": sum(w.bytes() for w in weights.values()),
        "float_bytes": sum(4 * p.numel() for p in model.parameters()),
    }  # fmt: skip
    result = QuantizedModel(c.plan, lambda batch: c.file(weights, batch), report)
    if evaluation is not None:
        labelled = list(evaluation)
        before, samples = accuracy(model, labelled)
        report["accuracy"] = {"before": before, "after": accuracy(result, labelled)[0], "samples": samples}
    return result


def _row(c: Calibrated, number: int, layer: Layer, weights: Weights | None, noise: np.ndarray) -> dict[str, Any]:
    own = None
    if weights is not None:
        assert layer.weight is not None
        own = decibels(np.sum(layer.weight**2), np.sum((layer.weight - weights.floats()) ** 2))
    low, high = c.ranges[layer.output]
    scale, zero = c.scales[layer.output]
    return {
        "name": layer.name, "kind": layer.kind, "shape": list(c.plan.values[layer.output].shape),
        "activation": layer.activation, "low": low, "high": high, "scale": float(scale), "zero_point": zero,
        "weight_bits": weights.bits if weights else None, "weight_snr_db": own, "snr_db": decibels(*noise),
    }  # fmt: skip


def _noise(c: Calibrated, weights: dict[int, Weights]) -> np.ndarray:
    """Sums of squares of each layer's result in floats, and of what the integers make different."""
    plan = c.plan
    sums = np.zeros((len(plan.layers), 2))
    results = [layer.output for layer in plan.layers]
    integer: dict[int, Any] = {}
    for x in c.batches:
        batch, values = x[0].shape[0], plan.run(x)
        if batch not in integer:
            integer[batch] = loaded(c.file(weights, batch, results))
        inputs = [input_codes(plan, i, t, c.scales[plan.inputs[i]]) for i, t in enumerate(x)]
        found = integer[batch](*map(tensor, inputs))
        for i, (layer, y) in enumerate(
            zip(plan.layers, found if isinstance(found, tuple) else (found,), strict=True)
        ):
            step, point = c.scales[layer.output]
            real = image_first((y.numpy().astype(np.float64) - point) * float(step))
            wanted = values[layer.output].numpy().astype(np.float64)
            if planes := plan.values[layer.output].planes:
                ch, h, w = planes
                real = real.reshape(-1, h, w, ch).transpose(0, 3, 1, 2).reshape(real.shape)
            sums[i] += np.sum(wanted**2), np.sum((wanted - real) ** 2)
    return sums


def decibels(signal: float, noise: float) -> float | None:
    """None where there is no signal, or no noise."""
    return float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
