"""The errors of operators and layers: what Python calls them, and RuntimeErrors as in PyTorch, for programs that catch those.

try:
    a @ b
except RuntimeError as error:   # or ValueError
    print(error)                # matmul: .., with the shapes and the line
"""

from ._core import _IndexError as IndexError  # type: ignore[attr-defined]  # made when the module is loaded
from ._core import _TypeError as TypeError  # type: ignore[attr-defined]  # made when the module is loaded
from ._core import _ValueError as ValueError  # type: ignore[attr-defined]  # made when the module is loaded

__all__ = ["IndexError", "TypeError", "ValueError"]
