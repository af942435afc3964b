// The gradient of any operator, wherever it comes from: a rule of its own, its scalar body, its index notation, or
// (for composites) the gradients of the smaller operators in its body.
#pragma once

#include <cstdint>

#include "sorus/graph/op.h"

namespace sorus {

/// One gradient per input; undefined where none is needed or none exists. Every result has its input's shape and
/// type.
TensorList apply_gradient(const GradCall& call);

/// Which values the gradients of the inputs that are needed (`needs`, by tensor parameter) read: bit i for tensor
/// parameter i, bit 32 + i for result i. The rest need not be kept.
uint64_t gradient_reads(const OpDef& op, uint64_t needs);

}  // namespace sorus
