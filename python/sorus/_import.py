"""Model files of other frameworks as modules: sorus.load_model."""

from __future__ import annotations

from pathlib import Path

from ._core import Tensor, _import
from .nn import Module, Parameter


class ImportedModel(Module):
    """A model that `load_model` read. Calling it with its inputs runs it; one output comes alone, several as a tuple.

    Floating-point weights are parameters and integers are buffers, under their names in the file, with `_` for dots. States that last from
    one run to the next (of recurrent layers) are buffers too; `reset()` makes them what they were at first.

    inputs, outputs: dictionaries with name, dtype, shape, and for quantised values scale and zero_point (lists).
    format: "TensorFlow Lite", "ONNX" or "MindSpore Lite".
    """

    def __init__(self, imported: _import.ImportedModel):
        super().__init__()
        self._imported = imported
        self.format = imported.format
        self.inputs, self.outputs = imported.inputs, imported.outputs
        self._weights: list[str] = []
        names: dict[str, str] = {}
        states = set(imported.states)
        for given, tensor in imported.weights:
            name = base = given.replace(".", "_") or "weight"  # a dot stands between modules
            number = 1
            while name in self._weights or hasattr(self, name):
                number += 1
                name = f"{base}_{number}"
            self._weights.append(name)
            names[given] = name
            if tensor.is_floating_point() and given not in states:
                self.register_parameter(name, Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        self._first = {names[given]: getattr(self, names[given]).clone() for given in imported.states}

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        results = self._imported.run(list(inputs), [getattr(self, name) for name in self._weights])
        return results[0] if len(results) == 1 else tuple(results)

    def graph(self) -> str:
        """The graph as text, one line a node, with the operator of the file behind it."""
        return self._imported.graph()

    def reset(self) -> None:
        """Makes states what they were when the model was loaded."""
        for name, tensor in self._first.items():
            getattr(self, name).copy_(tensor)

    def extra_repr(self) -> str:
        def text(ports: list[dict]) -> str:
            return ", ".join(f"{p['name']}: {p['dtype']}{p['shape']}" for p in ports)

        return f"{self.format}, ({text(self.inputs)}) -> ({text(self.outputs)})"


def load_model(path) -> ImportedModel:
    """Reads a .tflite, .onnx or .ms file; its content tells which.

    Float models run, train and compile like any module. Quantised models stay in integers and give what TensorFlow
    Lite's reference kernels give, to the bit.

    OSError if the file cannot be read or is damaged; NotImplementedError that lists all operators of the file which
    cannot be converted, with their numbers in it.
    """
    return ImportedModel(_import.import_model(Path(path)))
