// IndexPlan: all that can be known of a call of an index operator before its elements are: the type of the result,
// the loops, and how they are run. It is made once for each signature (operator, types, shapes, strides, attributes)
// and kept, because binding names to numbers takes longer than many a loop.
//
//   const IndexPlan& plan = plan_index(call);
//   Tensor y = Tensor::empty(plan.result.shape, plan.result.dtype);
//   run_plan(plan, call.inputs, y);
#pragma once

#include <optional>

#include "sorus/derive/loop_nest.h"
#include "sorus/kernels/gemm.h"
#include "sorus/kernels/reduce.h"

namespace sorus {

/// A nest as one matrix product: the arguments without addresses, and which input goes where.
struct ContractionPlan {
  kernels::GemmArgs gemm;
  int a = 0, b = 0;      ///< slots
  int bias = -1;         ///< slot of a row that the kernel adds itself
  bool initial = false;  ///< the result starts from what stands before the reduction
  struct Outer {
    int64_t extent, a, b;
  };
  std::vector<Outer> outer;  ///< loops over products that are added up, with the steps of A and B in elements
};
/// `inputs`: types and strides are read, elements are not. Nothing if the loops are no product.
std::optional<ContractionPlan> plan_contraction(const LoopNest& nest, TensorSpan inputs, DType out_type);

struct ReductionPlan {
  kernels::ReduceArgs args;
  int slot = 0;
};
/// Sums and the like of the elements of one input as they are.
std::optional<ReductionPlan> plan_reduction(const LoopNest& nest, TensorSpan inputs, DType out_type);

struct IndexPlan {
  TensorType result;
  LoopNest nest;
  std::optional<ContractionPlan> contraction;
  std::optional<ReductionPlan> reduction;
};

/// The plan of a call. It stays valid until the next call of plan_index on this thread.
const IndexPlan& plan_index(const Call& call);
/// Fills `out`, which is contiguous and of the plan's type.
void run_plan(const IndexPlan& plan, TensorSpan inputs, Tensor& out, std::string_view who);

}  // namespace sorus
