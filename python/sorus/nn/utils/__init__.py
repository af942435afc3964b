"""Functions on the parameters of a model."""

from ..._core._nn_utils import (
    clip_grad_value_,
    parameters_to_vector,
    vector_to_parameters,
)
from . import parametrizations, parametrize, prune, rnn
from .norms import clip_grad_norm_, get_total_norm
from .weights import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

clip_grad_norm = clip_grad_norm_

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector",
           "parametrizations", "parametrize", "prune", "remove_spectral_norm", "remove_weight_norm", "rnn",
           "spectral_norm", "vector_to_parameters", "weight_norm"]  # fmt: skip
