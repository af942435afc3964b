"""What C can be generated for: model files, and modules with an example of their inputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .._core import Tensor, _device

Model = str | os.PathLike | Callable[..., Any]
Example = Tensor | tuple[Tensor, ...] | None


def source_of(model: Model, example: Example) -> Any:
    """The graph of a file, or of a module recorded on its example. TypeError where one of both is missing."""
    if isinstance(model, (str, os.PathLike)):
        return _device.from_file(os.fspath(model))
    if not callable(model):
        raise TypeError(f"codegen: expected a file's path or a module, found {type(model).__name__}")
    examples = [example] if isinstance(example, Tensor) else list(example or ())
    if not examples or not all(isinstance(x, Tensor) for x in examples):
        raise TypeError(
            f"codegen: expected example=, a tensor or a tuple of tensors like the inputs of {type(model).__name__}, "
            f"found {type(example).__name__}"
        )
    return _device.from_function(model, examples)
