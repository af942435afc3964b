// Kernels of scalar bodies for eager execution: contiguous blocks in, contiguous blocks out.
#pragma once

#include <cstdint>
#include <memory>

#include "sorus/graph/scalar.h"

namespace sorus {

/// Computes n elements. Inputs and outputs are in the compute type (truth values: one byte); `params` is an array of it.
class EachKernel {
 public:
  void operator()(int64_t n, void* const* out, const void* const* in, const void* params, int64_t position) const;

  struct Program;
  explicit EachKernel(const Program* program) : program_(program) {}

 private:
  const Program* program_;
};

/// For f32, f64, i64 and c128. The kernel lives as long as the process.
EachKernel find_each_kernel(const ScalarFunction& f, DType compute);

}  // namespace sorus
