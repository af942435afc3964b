"""Models that are defined in C++."""

from .._core._nn import GPT
