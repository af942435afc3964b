"""Distributions: draws, logarithms of densities, entropies (torch.distributions). Parameters are not checked."""

from . import transforms
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
from .multivariate import *
from .transformed import *
from .transforms import *
