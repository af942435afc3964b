// Gradients of views that show a part of their input (a slice, a row, one of the parts of a split): each is added in
// place to that part of the input's gradient, instead of being laid into zeros of the whole size, once for each view,
// which are then added up.
#pragma once

#include "sorus/graph/call.h"

namespace sorus {

/// Adds `grad`, the gradient of the view `op` of an `input` of that type, to `sum`, what is known of the gradient of
/// the input (undefined: nothing yet). False, and nothing changed, if the view does not show a part without overlap:
/// then the rule of the operator has to be asked. `sum` may be replaced by memory of its own.
bool add_part_gradient(const OpDef& op, const Attrs& attrs, const TensorType& input, const Tensor& grad, Tensor& sum);

}  // namespace sorus
