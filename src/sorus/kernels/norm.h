// Layer normalisation and root-mean-square normalisation, and their gradients, row by row: a row is read once from
// memory and stays in the nearest cache for all that its formula takes.
//
//   kernels::NormArgs a;
//   a.type = DType::f32, a.rows = 2048, a.n = 384, a.input = x, a.weight = w, a.bias = b;
//   kernels::norm(a, y);
#pragma once

#include <cstdint>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

struct NormArgs {
  DType type = DType::f32;  ///< of input, result and their gradients: f64, f32, bf16, f16
  int64_t rows = 0, n = 0;
  bool centred = true;  ///< subtracts the mean (layer normalisation)
  double eps = 1e-5;
  const void* input = nullptr;   ///< [rows, n]
  const void* weight = nullptr;  ///< [n], or null for ones; f64 if the type is f64, else f32, as all below
  const void* bias = nullptr;    ///< [n], or null for zeros
};

/// (x - mean) / sqrt(mean((x - mean)^2) + eps) * weight + bias of each row, without the means if not `centred`.
void norm(const NormArgs& args, void* out);

/// The gradients, given that of the result; those that are null are not computed. `grad_weight` and `grad_bias` ([n])
/// are sums over the rows, added up in blocks that depend on the number of rows only, not on that of threads.
void norm_backward(const NormArgs& args, const void* grad, void* grad_input, void* grad_weight, void* grad_bias);

}  // namespace sorus::kernels
