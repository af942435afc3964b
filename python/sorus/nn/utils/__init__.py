"""Functions on the parameters of a model."""

from ..._core._nn_utils import (
    clip_grad_value_,
    parameters_to_vector,
    vector_to_parameters,
)
from . import rnn
from .norms import clip_grad_norm_, get_total_norm

clip_grad_norm = clip_grad_norm_

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "get_total_norm", "parameters_to_vector", "rnn",
           "vector_to_parameters"]  # fmt: skip
