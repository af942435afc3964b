#!/usr/bin/env python3
"""Print the types of the native module, python/sorus/_core/*.pyi, for mypy and editors: from the built module itself.

    .venv/bin/python scripts/print_stubs.py [FOLDER]

Bound functions and classes carry their signatures; nanobind's own stub generator prints them. Operators are objects of one class
that take what PyTorch's functions take; their stubs say what comes out, and the registry says how many.
"""

import re
import sys
from pathlib import Path
from typing import Any

from nanobind.stubgen import StubGen

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "python"))

import sorus._core as core  # noqa: E402

HEADER = "# Printed by scripts/print_stubs.py from the built module.\n"
CALLABLE = "    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...\n"


def result_of(operator: Any) -> str:
    """Of the operator's signatures, which its documentation begins with: one each line, `name(...) -> (a, b)`."""
    signatures = [line for line in (operator.__doc__ or "").splitlines() if re.match(r"[\w.]+\(", line)]
    single = signatures and not any(re.search(r"->\s*\(.*,", s) or re.search(r"->.*\[\]", s) for s in signatures)
    return "Tensor" if single else "Any"


class Stubs(StubGen):
    """Knows the class of operators, which nanobind did not make."""

    def put(self, value: object, name: str | None = None, parent: object | None = None) -> None:
        if value is core.Operator:
            self.write_ln("class Operator:")
            self.write_ln(CALLABLE.rstrip())
            self.write_ln("    def __getattr__(self, name: str) -> Any: ...\n")
        elif isinstance(value, core.Operator):
            receiver = "self, " if isinstance(parent, type) else ""
            self.write_ln(f"def {name}({receiver}*args: Any, **kwargs: Any) -> {result_of(value)}: ...\n")
        else:
            super().put(value, name, parent)
