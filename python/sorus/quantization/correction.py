"""Bias correction: what rounding shifts on average goes into the biases."""

from __future__ import annotations

import numpy as np

from .. import tensor
from .._core import Tensor
from .calibrate import Scale
from .layers import Plan, activated, computed, constants
from .simulate import on_grid
from .weights import Weights, quantized_weights

Batch = tuple[Tensor, ...]


def correct_biases(plan: Plan, scales: list[Scale], weights: dict[int, Weights], batches: list[Batch]) -> None:
    """Changes the biases of `plan` and `weights` layer by layer, each with all earlier ones corrected, so that every output of a
    layer has on `batches` the mean that it has in floats (before the activation)."""
    exact = [plan.run(x) for x in batches]
    found: list[dict[int, Tensor]] = [
        {v: on_grid(plan.as_value(v, t), scales[v]) for v, t in zip(plan.inputs, x, strict=True)} for x in batches
    ]
    for i, layer in enumerate(plan.layers):
        shape = plan.values[layer.output].shape
        pair = None
        if layer.weight is not None:
            shift, count = np.zeros(len(layer.weight)), 0
            for values, on in zip(exact, found, strict=True):
                wanted = computed(layer, [values[v] for v in layer.inputs], constants(layer), shape)
                got = computed(layer, [on[v] for v in layer.inputs], _floats(plan, scales, weights, i), shape)
                off = (wanted - got).numpy().astype(np.float64)
                shift += np.moveaxis(off, 1, 0).reshape(len(shift), -1).sum(axis=1)
                count += off.size // len(shift)
            assert layer.bias is not None
            layer.bias = layer.bias + shift / max(count, 1)
            old = weights[i]
            weights[i] = quantized_weights(layer, scales[layer.inputs[0]][0], old.scale, old.bits)
            pair = _floats(plan, scales, weights, i)
        for on in found:
            y = activated(layer, computed(layer, [on[v] for v in layer.inputs], pair, shape))
            on[layer.output] = on_grid(y, scales[layer.output])


def _floats(plan: Plan, scales: list[Scale], weights: dict[int, Weights], number: int) -> tuple[Tensor, Tensor]:
    w = weights[number]
    bias = w.bias * (w.scale.astype(np.float64) * float(scales[plan.layers[number].inputs[0]][0]))
    return tensor(w.floats().astype(np.float32)), tensor(bias.astype(np.float32))
