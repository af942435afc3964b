"""PyTorch's second names of operators: `sorus.multiply` is `sorus.mul`, as a method and in place too."""

from __future__ import annotations

from typing import Any

SECOND_NAMES = {
    "abs": ["absolute"], "acos": ["arccos"], "acosh": ["arccosh"], "asin": ["arcsin"], "asinh": ["arcsinh"],
    "atan": ["arctan"], "atan2": ["arctan2"], "atanh": ["arctanh"], "cat": ["concat", "concatenate"],
    "clamp": ["clip"], "conj": ["conj_physical"], "div": ["divide", "true_divide"],
    "ge": ["greater_equal"], "gt": ["greater"], "le": ["less_equal"], "lt": ["less"], "movedim": ["moveaxis"],
    "mul": ["multiply"], "ne": ["not_equal"], "outer": ["ger"], "neg": ["negative"], "sub": ["subtract"], "trunc": ["fix"],
    "vstack": ["row_stack"],
}  # fmt: skip


def add_second_names(functions: dict[str, Any], tensor: type) -> None:
    """Adds them to the functions by name, and as methods where the operator is one."""
    for name, others in SECOND_NAMES.items():
        for suffix in ("", "_"):
            for other in others:
                if name + suffix in functions:
                    functions.setdefault(other + suffix, functions[name + suffix])
                if hasattr(tensor, name + suffix) and not hasattr(tensor, other + suffix):
                    setattr(tensor, other + suffix, getattr(tensor, name + suffix))
