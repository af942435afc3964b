"""Mixed precision: which layers' weights get 8, 4 or 2 bits.

For every layer and number of bits it is measured what rounding that layer's weights alone does to the result of the model
(in floats, on the calibration batches). These errors are taken to add up, so that the best choice for any number of bytes is the
end of a chain of choices, each of which nothing beats in both bytes and error: the frontier, followed layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import tensor
from .._core import Tensor
from .calibrate import Scale
from .layers import Layer, Plan, constants
from .weights import BITS, quantized_weights, weight_bytes, weight_scale

WIDEST = 4096  # choices that are kept after each layer; of more, the best of each of as many classes of bytes


@dataclass
class Choice:
    bytes: int  # of weights and biases
    noise: float  # squared errors of the result, in parts of its squares
    bits: dict[int, int]


def frontier(plan: Plan, scales: list[Scale], per_channel: bool, batches: list[tuple[Tensor, ...]]) -> list[Choice]:
    """Choices by growing bytes and falling noise, of which none is beaten by another one."""
    noise = _sensitivities(plan, scales, per_channel, batches)
    found = [Choice(0, 0.0, {})]
    for number, layer in enumerate(plan.layers):
        if layer.weight is None:
            continue
        found = _unbeaten(
            [
                Choice(
                    c.bytes + weight_bytes(layer.weight.size, bits) + 4 * len(layer.weight),
                    c.noise + noise[number, bits],
                    {**c.bits, number: bits},
                )
                for c in found
                for bits in BITS
            ]
        )
    return found


def within_bytes(found: list[Choice], budget: int) -> Choice:
    """The least noise. ValueError if even the smallest choice is larger than `budget`."""
    if found[0].bytes > budget:
        raise ValueError(
            f"quantize: expected flash_budget to be at least the {found[0].bytes:,} bytes that weights of {BITS[-1]} bits "
            f"and biases take, found {budget:,}"
        )
    return max((c for c in found if c.bytes <= budget), key=lambda c: c.bytes)


def within_accuracy(found: list[Choice], accuracy: Callable[[Choice], float], least: float) -> Choice:
    """The smallest choice that bisection finds whose measured accuracy is at least `least`. ValueError if the best has less."""
    low, high = 0, len(found) - 1
    if (best := accuracy(found[-1])) < least:
        raise ValueError(
            f"quantize: expected an accuracy of at least {least:.2%} within accuracy_budget, found {best:.2%} with "
            f"weights of {BITS[0]} bits"
        )
    while low < high:
        middle = (low + high) // 2
        if accuracy(found[middle]) >= least:
            high = middle
        else:
            low = middle + 1
    return found[high]


def _unbeaten(choices: list[Choice]) -> list[Choice]:
    choices.sort(key=lambda c: (c.bytes, c.noise))
    kept: list[Choice] = []
    for c in choices:
        if not kept or c.noise < kept[-1].noise:
            kept.append(c)
    if len(kept) <= WIDEST:
        return kept
    span = kept[-1].bytes - kept[0].bytes + 1
    thin = {(c.bytes - kept[0].bytes) * (WIDEST - 1) // span: c for c in kept}  # the last of each class is the best
    thin[-1] = kept[0]
    return sorted(thin.values(), key=lambda c: c.bytes)


def _sensitivities(plan: Plan, scales: list[Scale], per_channel: bool, batches: list[tuple[Tensor, ...]]) -> dict:
    found: dict[tuple[int, int], float] = {}
    exact = [plan.run(x)[plan.output].numpy().astype(np.float64) for x in batches]
    signal = max(sum(float(np.sum(y**2)) for y in exact), 1e-30)
    for number, layer in enumerate(plan.layers):
        if layer.weight is None:
            continue
        for bits in BITS:
            scale = scales[layer.inputs[0]][0]
            w = quantized_weights(layer, scale, weight_scale(layer, scale, per_channel, bits), bits)
            rough = tensor(w.floats().astype(np.float32))

            def weights(i: int, other: Layer, number=number, rough=rough) -> tuple[Tensor, Tensor]:
                weight, bias = constants(other)
                return (rough if i == number else weight), bias

            errors = (
                float(np.sum((plan.run(x, weights)[plan.output].numpy() - y) ** 2))
                for x, y in zip(batches, exact, strict=True)
            )
            found[number, bits] = sum(errors) / signal
    return found
