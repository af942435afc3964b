#!/usr/bin/env python3
"""Print the types of the native module, python/sorus/_core/*.pyi, for mypy and editors: from the built module itself.

    .venv/bin/python scripts/print_stubs.py [FOLDER]

Bound functions and classes carry their signatures, which nanobind's stub generator prints. Operators are objects of one class
that take what PyTorch's functions take; of them the stubs say what comes out.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanobind.stubgen import StubGen

ROOT = Path(__file__).resolve().parents[1]
NAMES = """from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sorus._core import Generator, Size, Tensor, dtype
"""
KEYWORD = re.compile(
    r"(?<=[(,] )(from|in|is|not|lambda)(?=[:,])|(?<=\()(from|in)(?=:)"
)  # parameters that only positions reach
HEADER = "# Printed by scripts/print_stubs.py from the built module.\n"


def result_of(operator: Any) -> str:
    """From the signatures that an operator's documentation begins with: `name(...)`, one tensor; `name(...) -> list`; or
    `name(...) -> values, indices`."""
    signatures = re.findall(r"^[\w.]+\(.*\)(.*)$", (operator.__doc__ or "").partition("\n\n")[0], re.M)
    kinds = {"list" if s == " -> list" else "tuple" if "," in s else "one" for s in signatures}
    return {"one": "Tensor", "list": "list[Tensor]", "tuple": "Any"}[kinds.pop()] if len(kinds) == 1 else "Any"


class Stubs(StubGen):
    """Of one module; knows the class of operators, which nanobind did not make."""

    operator: type

    def put(self, value: object, name: str | None = None, parent: object | None = None) -> None:
        if isinstance(value, self.operator):
            receiver = "self, " if isinstance(parent, type) else ""
            any_type = self.bind("typing", "Any")
            self.write_ln(
                f"def {name}({receiver}*args: {any_type}, **kwargs: {any_type}) -> {result_of(value)}: ...\n"
            )
        elif isinstance(value, dict) and value and all(isinstance(v, self.operator) for v in value.values()):
            any_type = self.bind("typing", "Any")
            self.write_ln(
                f"class Operator:\n    def __call__(self, *args: {any_type}, **kwargs: {any_type}) -> {any_type}: ..."
            )
            self.write_ln("    __name__: str\n    __qualname__: str\n")
            self.write_ln(f"{name}: dict[str, Operator]\n")
        elif isinstance(value, type) and issubclass(value, tuple) and name == "Size":
            self.write_ln("class Size(tuple[int, ...]):\n    def numel(self) -> int: ...\n")
        elif name == "__ipow__":  # must take what __pow__ takes
            any_type = self.bind("typing", "Any")
            self.write_ln(f"def __ipow__(self, value: {any_type}, mod: {any_type} = None, /) -> {any_type}: ...\n")
        elif name == "__setattr__" and inspect.isfunction(value):
            self.write_ln(f"def __setattr__(self, name: str, value: {self.bind('typing', 'Any')}) -> None: ...\n")
        elif name == "__getattr__" and inspect.isfunction(value):
            self.write_ln(f"def __getattr__(self, name: str) -> {self.bind('typing', 'Any')}: ...\n")
        elif isinstance(parent, type) and (inspect.isfunction(value) or name == "forward"):
            # What Python gives the class, or a subclass may change: like a variable.
            self.write_ln(f"{name}: {self.bind('collections.abc', 'Callable')}[..., {self.bind('typing', 'Any')}]\n")
        elif isinstance(parent, type) and isinstance(value, property) and inspect.isfunction(value.fget):
            self.write_ln(f"{name}: {self.bind('typing', 'Any')}\n")
        elif isinstance(parent, type) and isinstance(value, (classmethod, staticmethod)):
            self.write_ln(f"{name}: {self.bind('collections.abc', 'Callable')}[..., {self.bind('typing', 'Any')}]\n")
        else:
            super().put(value, name, parent)


def with_builtins(text: str) -> str:
    """Types whose names are tensor methods and element types too (`x.float()`, `sorus.bool`) get the name that is theirs alone."""
    named = re.sub(r"(?<=[:>|\[] )(bool|int|float|complex|list)\b|(?<=\[)(bool|int|float|complex|list)\b|(?<=, )(bool|int|float|complex|list)(?=[\[\],])",
                   lambda m: "builtins." + m[0], text)  # fmt: skip
    return f"import builtins\n{named}" if named != text else text


def modules(module: types.ModuleType) -> Iterator[types.ModuleType]:
    yield module
    for value in list(vars(module).values()):
        if inspect.ismodule(value) and value.__name__.startswith(module.__name__ + "."):
            yield from modules(value)


def main(folder: Path) -> None:
    sys.path.insert(0, str(ROOT / "python"))
    for name in (
        "sorus",
        "sorus.nn",
        "sorus.optim",
        "sorus.utils.data",
        "sorus.distributed",
    ):  # they add methods in Python
        importlib.import_module(name)
    core = importlib.import_module("sorus._core")
    Stubs.operator = type(core.operators["add"])
    folder.mkdir(parents=True, exist_ok=True)
    for module in modules(core):
        stubs = Stubs(module, include_private=True)
        stubs.put(module)
        parts = module.__name__.split(".")[2:]
        file = folder.joinpath(*parts[:-1], f"{parts[-1]}.pyi") if parts else folder / "__init__.pyi"
        text = re.sub(r"-> object\b", "-> Any", stubs.get())  # nanobind's word for what it does not know
        file.write_text(
            HEADER
            + (NAMES if parts else "from typing import Any\n")
            + with_builtins(KEYWORD.sub(lambda m: m[0] + "_", text))
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "python" / "sorus" / "_core")
