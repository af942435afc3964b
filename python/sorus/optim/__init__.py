"""Optimizers. Their algorithms are C++ classes (sorus::optim)."""

from .algorithms import SGD, Adam, AdamW
from .optimizer import Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
