"""Distributions: draws, logarithms of densities, entropies (torch.distributions)."""

from .distribution import (
    Bernoulli,
    Categorical,
    Distribution,
    Exponential,
    Independent,
    Laplace,
    Normal,
    Uniform,
    kl_divergence,
)

__all__ = ["Bernoulli", "Categorical", "Distribution", "Exponential", "Independent", "Laplace", "Normal", "Uniform",
           "kl_divergence"]  # fmt: skip
