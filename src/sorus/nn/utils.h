// Functions on the parameters of a model: clipping of gradients, all parameters as one vector.
#pragma once

#include "sorus/tensor/tensor.h"

namespace sorus::nn {

/// Scales all gradients together, in place, so that their norm of order `norm_type` (infinity: the largest magnitude)
/// is at most `max_norm`. Returns the norm before, 0-d. With `error_if_nonfinite`, a norm that is not finite is an
/// Error (it looks at the value, so it cannot be recorded).
Tensor clip_grad_norm(TensorSpan parameters, double max_norm, double norm_type = 2, bool error_if_nonfinite = false);
/// The norm alone.
Tensor total_norm(TensorSpan tensors, double norm_type = 2, bool error_if_nonfinite = false);
/// Limits each element of the gradients to [-clip_value, clip_value], in place.
void clip_grad_value(TensorSpan parameters, double clip_value);

/// All elements one after another; gradients flow back.
Tensor parameters_to_vector(TensorSpan parameters);
/// Copies such a vector back into the parameters.
void vector_to_parameters(const Tensor& vector, TensorSpan parameters);

}  // namespace sorus::nn
