// Eager execution of scalar bodies over tensors of any layout and type.
//
// The body's kernel works on contiguous blocks in the compute type (f32, f64, i64, complex double). This file feeds
// it: operands that already lie so are passed as they are; others are gathered and converted block by block, in a
// buffer that stays in the L1 cache. So bodies exist once for f32, and bf16, strides and broadcasting cost a copy
// loop.
#pragma once

#include "sorus/graph/call.h"
#include "sorus/graph/scalar.h"

namespace sorus {

/// The type in which a body with a result of the type `out` is computed.
DType body_type(const TypeCall& call, const ScalarFunction& f, DType out);

/// Computes an `each` operator into `out` (any layout; may be one of the inputs).
void run_each(const Call& call, std::span<Tensor> out);

}  // namespace sorus
