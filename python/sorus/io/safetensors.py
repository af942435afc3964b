"""safetensors, with the functions of the package of that name.

save_file({"weight": w}, "model.safetensors", metadata={"format": "pt"})
tensors = load_file("model.safetensors")
with safe_open("model.safetensors") as f:
    w = f.get_tensor("weight")
"""

from __future__ import annotations

from typing import Any

from .._core._io import SafetensorsFile, load_file, save_file

__all__ = ["load_file", "safe_open", "save_file"]


class safe_open:
    """The header of a file; tensors are mapped one by one."""

    def __init__(self, filename, framework: str = "pt", device: str = "cpu") -> None:
        self._file: Any = SafetensorsFile(filename)

    def __enter__(self) -> SafetensorsFile:
        return self._file

    def __exit__(self, *_) -> None:
        self._file = None
