"""Distributions: draws, logarithms of densities, entropies (torch.distributions)."""

from . import constraints, transforms
from .circular import *
from .discrete import *
from .distribution import (
    Bernoulli,
    Categorical,
    Distribution,
    Exponential,
    Independent,
    Laplace,
    Normal,
    Uniform,
)
from .gamma import *
from .kl import kl_divergence, register_kl
from .matrices import *
from .multivariate import *
from .transformed import *
from .transforms import *
