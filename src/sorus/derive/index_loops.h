// Runs index rules: the kernel of every operator that states index notation and has no better one.
//
// Contractions, in whatever order their axes stand, become one matrix product; sums and the like of elements as they
// are have a kernel (index_plan.h); everything else is a nest of loops over rows of the axis that is most contiguous.
#pragma once

#include "sorus/derive/loop_nest.h"

namespace sorus {

/// Fills `out`, which is allocated and contiguous. Inputs may have any strides.
void run_index(const Call& call, std::span<Tensor> out);
/// The loops as they stand, whatever they are.
void run_nest(const LoopNest& nest, TensorSpan inputs, Tensor& out, std::string_view who);

/// Fills `out` with what stands before the reduction.
void run_initial(const LoopNest& nest, TensorSpan inputs, Tensor& out);
/// The same question without tensors: a sum of products of two inputs without sums or data in their indices.
bool is_contraction(const LoopNest& nest);

}  // namespace sorus
