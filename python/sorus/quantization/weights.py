"""Weights as integers of 8, 4 or 2 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .layers import Layer

BITS = (8, 4, 2)
STEPS = 40  # parts of the largest weight that are tried as the end of the range


@dataclass
class Weights:
    """The integers of a layer's weights (in the layer's order) and what they stand for."""

    codes: np.ndarray
    scale: np.ndarray  # one, or one for each output
    bias: np.ndarray
    bits: int = 8

    def floats(self) -> np.ndarray:
        return self.codes * wide(self.scale, self.codes.ndim)

    def bytes(self) -> int:
        """Packed, with the biases."""
        return weight_bytes(self.codes.size, self.bits) + self.bias.nbytes


def weight_bytes(count: int, bits: int) -> int:
    return -(-count * bits // 8)


def wide(scale: np.ndarray, dims: int) -> np.ndarray:
    return scale.astype(np.float64).reshape(-1, *[1] * (dims - 1))


def largest(bits: int) -> int:
    """The integers are symmetric around 0."""
    return 2 ** (bits - 1) - 1


def weight_scale(layer: Layer, input_scale: np.float32, per_channel: bool, bits: int = 8) -> np.ndarray:
    """One scale, or one for each output. With few integers the largest weights are cut off where that costs less than
    coarser steps for all others."""
    assert layer.weight is not None and layer.bias is not None
    rows = layer.weight.reshape(len(layer.weight) if per_channel else 1, -1)
    ends = np.abs(rows).max(axis=1)
    if bits < 8:
        ends = np.minimum(ends, _least_squares(rows, ends, largest(bits)))
    size = ends / largest(bits)
    # A bias far beyond what the weights can add up to needs coarser steps, or it would not fit into 32 bits.
    bias_size = np.abs(layer.bias) if per_channel else np.abs(layer.bias).max(keepdims=True)
    size = np.maximum(size, bias_size / (float(input_scale) * 2.0**30))
    return np.where(size > 1e-30, size, 1).astype(np.float32)


def _least_squares(rows: np.ndarray, ends: np.ndarray, most: int) -> np.ndarray:
    best, error = ends, np.full(len(rows), np.inf)
    for part in range(1, STEPS + 1):
        end = np.maximum(ends * part / STEPS, 1e-30)
        step = (end / most)[:, None]
        found = np.sum((rows - np.clip(np.rint(rows / step), -most, most) * step) ** 2, axis=1)
        best, error = np.where(found < error, end, best), np.minimum(found, error)
    return best


def quantized_weights(layer: Layer, input_scale: np.float32, scale: np.ndarray, bits: int = 8) -> Weights:
    """Symmetric integers, and a bias in steps of input_scale * scale."""
    assert layer.weight is not None and layer.bias is not None
    weight = np.rint(layer.weight / wide(scale, layer.weight.ndim))
    bias = np.rint(layer.bias / (scale.astype(np.float64) * float(input_scale)))
    return Weights(
        np.clip(weight, -largest(bits), largest(bits)).astype(np.int8), scale,
        np.clip(bias, -(2.0**31) + 1, 2.0**31 - 1).astype(np.int32), bits,
    )  # fmt: skip
