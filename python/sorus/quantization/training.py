"""Quantisation-aware training: the weights learn on the grid of their integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import no_grad, tensor
from .._core import Tensor
from ..nn import Module, Parameter
from .layers import Layer
from .model import QuantizedModel
from .post_training import Batches, Calibrated, Evaluation, bits_by_layer, calibrate, calibrated, finished
from .simulate import run_on_grid, weight_on_grid
from .weights import Weights, largest, quantized_weights


class QATModel(Module):
    """What `prepare_qat` returns: a module whose parameters are the layers' weights and biases, batch normalisation in them.

    In training mode all values and weights are floats on the grid of their integers, and gradients go straight through the
    rounding. In eval mode the integers themselves run, as in the file that `convert()` gives, to the bit.
    """

    def __init__(self, model: Module, c: Calibrated, bits: dict[int, int]):
        super().__init__()
        self._model, self._calibrated, self._bits = [model], c, bits  # in a list: no parameters of this module
        self._names: dict[int, str] = {}
        self._integer: tuple[Any, QuantizedModel] | None = None
        for i, weights in c.weights(bits).items():
            layer = c.plan.layers[i]
            assert layer.weight is not None and layer.bias is not None
            name = self._names[i] = (
                layer.name.replace(".", "_") if layer.name[0].isalpha() else f"layer_{layer.name}".replace(".", "_")
            )
            self.register_parameter(f"{name}_weight", Parameter(tensor(layer.weight.astype(np.float32))))
            self.register_parameter(f"{name}_bias", Parameter(tensor(layer.bias.astype(np.float32))))
            self.register_buffer(f"{name}_scale", tensor(weights.scale))

    def forward(self, *inputs: Tensor) -> Tensor:
        if not self.training:
            return self._integers()(*inputs)
        plan = self._calibrated.plan
        values = run_on_grid(plan, inputs, self._calibrated.scales, self._on_grid)
        return plan.as_result(values[plan.output])

    def convert(self, evaluation: Evaluation | None = None) -> QuantizedModel:
        """The integer model with the weights as they are now, and its report; `before` in the accuracy is the float model's that
        was prepared."""
        with no_grad():
            return finished(self._model[0], self._calibrated, self._weights(), evaluation)

    def calibrate(self) -> None:
        """Ranges of values, and scales of weights, anew on the calibration batches: for weights that training moved far."""
        with no_grad():
            self._weights()
            calibrate(self._calibrated)
            for i, weights in self._calibrated.weights(self._bits).items():
                getattr(self, f"{self._names[i]}_scale").copy_(tensor(weights.scale))
        self._integer = None

    def _on_grid(self, number: int, layer: Layer) -> tuple[Tensor, Tensor]:
        weight, bias, scale = (getattr(self, f"{self._names[number]}_{k}") for k in ("weight", "bias", "scale"))
        return weight_on_grid(weight, scale, largest(self._bits[number]), layer), bias

    def _weights(self) -> dict[int, Weights]:
        """The parameters as integers; the plan's layers get the floats."""
        found, c = {}, self._calibrated
        for i, name in self._names.items():
            layer = c.plan.layers[i]
            weight, bias, scale = (getattr(self, f"{name}_{k}").detach().numpy() for k in ("weight", "bias", "scale"))
            layer.weight, layer.bias = weight.astype(np.float64), bias.astype(np.float64)
            found[i] = quantized_weights(layer, c.scales[layer.inputs[0]][0], scale.copy(), self._bits[i])
        return found

    def _integers(self) -> QuantizedModel:
        now = tuple(p._version for p in self.parameters())
        if self._integer is None or self._integer[0] != now:
            weights, c = self._weights(), self._calibrated
            self._integer = now, QuantizedModel(c.plan, lambda batch: c.file(weights, batch), {})
        return self._integer[1]


def prepare_qat(
    model: Module,
    calibration_batches: Batches,
    method: str = "minmax",
    per_channel: bool = True,
    *,
    equalize: bool = False,
    weight_bits: int | dict[str, int] = 8,
) -> QATModel:
    """A module to be trained further with the rounding of its integers; arguments and errors as those of `quantize`.

    `model` should be trained: its batch normalisation, with the statistics it has, goes into the weights.
    """
    with no_grad():
        c = calibrated(model, calibration_batches, method, per_channel, equalize, "prepare_qat")
        return QATModel(model, c, bits_by_layer(c.plan, weight_bits))
