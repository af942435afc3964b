// Kernels of scalar bodies for eager execution: contiguous blocks in, contiguous blocks out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "sorus/graph/scalar.h"

namespace sorus {

/// Computes n elements. Inputs and outputs are in the compute type (truth values: one byte); `params` is an array of
/// it.
using EachFunction = void (*)(int64_t n, void* const* out, const void* const* in, const void* params,
                              int64_t position);

/// A kernel printed at build time for the best instruction set this processor has; or, for bodies that were not
/// (second derivatives, complex numbers), the same body executed block by block by an interpreter.
class EachKernel {
 public:
  void operator()(int64_t n, void* const* out, const void* const* in, const void* params, int64_t position) const {
    if (function_) [[likely]]
      return function_(n, out, in, params, position);
    interpret(n, out, in, params, position);
  }
  bool compiled() const { return function_ != nullptr; }
  /// Inputs that must not be 0 (`divisors` of a body of whole numbers).
  std::span<const int> divisors() const;

  struct Program;
  EachKernel(EachFunction function, const Program* program) : function_(function), program_(program) {}

 private:
  void interpret(int64_t n, void* const* out, const void* const* in, const void* params, int64_t position) const;
  EachFunction function_;
  const Program* program_;
};

/// For f32, f64, i64 and c128. The kernel lives as long as the process.
EachKernel find_each_kernel(const ScalarFunction& f, DType compute);

/// The instruction set whose kernels are used: "avx512", "avx2" or "baseline".
const char* kernel_variant();

}  // namespace sorus
