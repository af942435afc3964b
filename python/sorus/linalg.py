"""Linear algebra: the operators whose names start with "linalg."."""

from ._core import operators

_PREFIX = "linalg."
globals().update({name.removeprefix(_PREFIX): f for name, f in operators.items() if name.startswith(_PREFIX)})
