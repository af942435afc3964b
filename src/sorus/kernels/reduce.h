// Sums, products and extrema over some dimensions of a strided tensor.
//
//   ReduceArgs r;                         // y[i] = sum(j) x[i, j]
//   r.type = r.out_type = DType::f32;
//   r.in = x, r.out = y;
//   r.kept = {{rows, columns}};           // extent and stride, outermost first
//   r.reduced = {{columns, 1}};
//   reduce(r);
//
// Floating elements are added in double precision, integers in 64 bits. Long reductions are cut into pieces whose
// size does not depend on the number of threads, and the pieces are combined in order: the same input gives the same
// bits.
#pragma once

#include <cstdint>
#include <vector>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

enum class ReduceKind : uint8_t { sum, prod, max, min };

struct ReduceAxis {
  int64_t extent, stride;  ///< in elements
};

struct ReduceArgs {
  ReduceKind kind = ReduceKind::sum;
  DType type = DType::f32, out_type = DType::f32;  ///< not complex
  const void* in = nullptr;
  void* out = nullptr;  ///< contiguous, in the order of `kept`
  std::vector<ReduceAxis> kept, reduced;
};

/// Merges axes that are walked as one and puts the reduced ones in order of their strides; once, before `reduce`.
void prepare(ReduceArgs& args);
/// Sizes may be 0: the result is then the identity of the operation. A NaN is every extremum.
void reduce(const ReduceArgs& args);

}  // namespace sorus::kernels
