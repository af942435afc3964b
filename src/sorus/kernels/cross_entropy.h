// Cross entropy of logits and class indices, and its gradient, row by row: one pass instead of the dozen operators
// that its formula takes, none of whose results have to be stored.
#pragma once

#include <cstdint>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

enum class LossReduction : uint8_t { none, sum, mean };

struct CrossEntropyArgs {
  DType type = DType::f32;  ///< of logits, losses and gradients: f64, f32, bf16, f16
  int64_t rows = 0, classes = 0;
  const void* logits = nullptr;  ///< [rows, classes]
  const int64_t* target = nullptr;
  int64_t ignore_index = -100;  ///< rows with this target have no loss and do not count
  LossReduction reduction = LossReduction::mean;
};

/// log(sum(exp(x))) - x[target] of each row (`out`: [rows]), their sum or their mean (`out`: one element). Rows are
/// added up in f64. IndexError for a target outside of [0, classes).
void cross_entropy(const CrossEntropyArgs& args, void* out);

/// The gradient with respect to the logits; `grad` is that of the result.
void cross_entropy_backward(const CrossEntropyArgs& args, const void* grad, void* out);

}  // namespace sorus::kernels
