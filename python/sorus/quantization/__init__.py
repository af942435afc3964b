"""Quantisation: a trained module in int8, after training or while it goes on.

    from sorus import codegen, quantization

    small = quantization.quantize(model, [x for x, _ in loader], method="mse")
    print(small.table())                     # signal to noise, layer by layer
    small.save("gestures.tflite")
    codegen.generate("gestures.tflite", target="cortex-m4", name="gestures", out="out/gestures")

    learning = quantization.prepare_qat(model, batches, weight_bits=4)
    train(learning)                          # any loop; gradients go straight through the rounding
    small = learning.convert()

The result runs on integers alone with the arithmetic of TensorFlow Lite, to the bit. docs/quantization.md has more.
"""

from .calibrate import METHODS
from .model import QuantizedModel
from .post_training import quantize
from .training import QATModel, prepare_qat

__all__ = ["METHODS", "QATModel", "QuantizedModel", "prepare_qat", "quantize"]
