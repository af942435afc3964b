// Half types take their sums and means in f32, and leave as they came.
#pragma once

#include "sorus/ops.h"

namespace sorus {

inline DType computed_in(DType t) { return is_half(t) ? DType::f32 : t; }
inline Tensor widened(const Tensor& x) { return is_half(x.dtype()) ? to(x, DType::f32) : x; }

}  // namespace sorus
