"""What integers do, computed in floats: every value is put onto the grid of its integers by `fake_quantize`.

Differs from the integers only where a sum lies so near to the middle between two of them that float32 or the fixed-point factors
round the other way. Gradients go straight through the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

from .._core import Tensor
from .._core import operators as ops
from .calibrate import Scale
from .layers import MOVES, Layer, Plan, Weights


def run_on_grid(plan: Plan, xs: Sequence[Tensor], scales: list[Scale], weights: Weights) -> list[Tensor]:
    """All values of the plan for a batch; `weights` gives those of a layer, on their grid."""
    moved = {layer.output for layer in plan.layers if layer.kind in MOVES and layer.kind != "avg_pool"}

    def finish(value: int, y: Tensor) -> Tensor:
        return y if value in moved else on_grid(y, scales[value])

    return plan.run(xs, weights, finish)


def on_grid(y: Tensor, scale: Scale) -> Tensor:
    return ops["fake_quantize_per_tensor_affine"](y, float(scale[0]), scale[1], -128, 127)


def weight_on_grid(weight: Tensor, scale: Tensor, largest: int, layer: Layer) -> Tensor:
    """Symmetric, with one scale or one for each output of the layer."""
    shape = [-1] + [1] * (weight.ndim - 1)
    return ops["fake_quantize"](weight, scale.reshape(shape), _zero(), -largest, largest)


def _zero() -> Tensor:
    from .. import tensor

    return tensor(0.0)
