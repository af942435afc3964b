"""Weights of neighbouring layers brought to one size, without a change of what they compute.

Where only ReLU or what keeps factors stands between two layers, a channel of the first may be divided by any s > 0 and the weights
of the second that read it be multiplied with it. With s = sqrt(r1 / r2), r1 and r2 the largest weights of either, no channel
wastes integers on the size of another (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
2019). It helps most where all channels share one scale, and it evens the ranges of the values in between.
"""

from __future__ import annotations

import numpy as np

from .layers import MOVES, Layer, Plan

ROUNDS = 20


def equalize(plan: Plan) -> int:
    """Changes the weights of the plan's layers; returns how many pairs of layers were brought together."""
    found = pairs(plan)
    for _ in range(ROUNDS):
        largest = max((_equalized(one, two) for one, two in found), default=0.0)
        if largest < 0.01:
            break
    return len(found)


def pairs(plan: Plan) -> list[tuple[Layer, Layer]]:
    """Layers with weights whose second one alone reads the first, through what keeps positive factors."""
    found = []
    for layer in plan.layers:
        if layer.weight is None or layer.activation not in ("", "relu", "leaky"):
            continue
        value = layer.output
        while value != plan.output and len(readers := plan.readers(value)) == 1:
            reader = readers[0]
            if reader.weight is not None:
                found.append((layer, reader))
                break
            if reader.kind not in MOVES and not (reader.kind == "activation" and reader.activation != "relu6"):
                break
            value = reader.output
    return found


def _equalized(one: Layer, two: Layer) -> float:
    """The largest change, as a logarithm."""
    assert one.weight is not None and two.weight is not None and one.bias is not None
    channels = len(one.weight)
    rows = one.weight.reshape(channels, -1)
    groups = two.groups
    columns = two.weight.reshape(groups, len(two.weight) // groups, channels // groups, -1)
    r1, r2 = np.abs(rows).max(axis=1), np.abs(columns).max(axis=(1, 3)).reshape(-1)
    both = (r1 > 0) & (r2 > 0)
    s = np.where(both, np.sqrt(np.where(both, r1, 1) / np.where(both, r2, 1)), 1)
    one.weight = (rows / s[:, None]).reshape(one.weight.shape)
    one.bias = one.bias / s
    two.weight = (columns * s.reshape(groups, 1, -1, 1)).reshape(two.weight.shape)
    return float(np.abs(np.log(s)).max())
