// Copying elements between any two layouts and types: the one loop behind clone, cast, cat, contiguous and in-place
// writes. Values convert as in C; to bool, everything but zero is true; complex to real drops the imaginary part.
#pragma once

#include "sorus/tensor/tensor.h"

namespace sorus {

/// Writes `source`, broadcast to the shape of `target`, into it. In parallel when it is large.
void copy_elements(const Tensor& target, const Tensor& source);
/// Adds instead, one element after the other, so that elements shown several times by `target` add up.
void add_elements(const Tensor& target, const Tensor& source);
/// n elements with strides (in elements), of any two types.
void convert_strided(DType to, void* target, int64_t target_stride, DType from, const void* source,
                     int64_t source_stride, int64_t n);

/// A loop over several strided operands of one shape, with adjacent dimensions merged where all of them allow it.
/// `inner(pointers-as-element-offsets, n)` gets rows; strides of the inner dimension are in `inner_strides`.
struct LoopPlan {
  Shape sizes;                 ///< outermost first; at least one dimension
  std::vector<Shape> strides;  ///< one per operand, in elements
  int64_t rows() const { return inner() ? numel(sizes) / inner() : 0; }
  int64_t inner() const { return sizes.back(); }
};
LoopPlan plan_loop(IntSpan shape, std::span<const Shape> strides);
/// Element offsets of all operands at the start of row `row`.
void row_offsets(const LoopPlan& plan, int64_t row, std::span<int64_t> offsets);

}  // namespace sorus
