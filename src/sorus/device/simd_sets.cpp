// Instruction sets of kernels with vectors, in numbers.
#include "sorus/device/simd.h"

namespace sorus::device {

const KernelSet& avx2_kernels() {
  static const SimdKernels set({.name = "AVX2",
                                .floats = "avx2_floats",
                                .bytes = "avx2_bytes",
                                .residual = "avx2_residual",
                                .real = "avx2_real",
                                .dot = "avx2_dot",
                                .wide_floats = "avx512_floats",
                                .lanes = 8,
                                .vectors = 2,
                                .byte_vectors = 2,
                                .group = 4,
                                .step = 8,
                                .taps = 2,
                                .flips = true,
                                .crossed = true,
                                .right = 1,
                                .float_ways = {{"", 0, 8, 12, "AVX2"}, {"16", 2, 16, 24, "AVX-512"}},
                                .ways = {{"avx2", 4, 2, 1, 12, false, true, "widen", "AVX2"},
                                         {"vnni", 8, 1, 1, 12, false, true, {}, "AVX-VNNI"},
                                         {"vnni512", 8, 1, 1, 12, false, true, {}, "AVX512-VNNI"}}});
  return set;
}

namespace {
/// What both have in common; arm64 has twice as many registers.
Simd neon(std::string bytes, int64_t vectors, int64_t accumulators, std::vector<Way> ways) {
  return {.name = "NEON",
          .floats = "neon_floats",
          .bytes = std::move(bytes),
          .residual = "neon_residual",
          .real = "neon_real",
          .dot = "neon_dot",
          .lanes = 4,
          .vectors = vectors,
          .byte_vectors = vectors,
          .group = 4,
          .step = 8,
          .taps = 1,
          .crossed = false,
          .right = -1,
          .float_ways = {{"", 0, 4, accumulators, "NEON"}},
          .ways = std::move(ways)};
}
}  // namespace

const KernelSet& neon64_kernels() {
  static const SimdKernels set(neon("neon64_bytes", 4, 24,
                                    {{"neon", 4, 1, 1, 24, true, false, {}, "NEON"},
                                     {"dot", 4, 1, 1, 24, false, false, {}, "SDOT"},
                                     {"mm", 2, 1, 2, 24, false, false, {}, "SMMLA"}}));
  return set;
}

const KernelSet& neon32_kernels() {
  static const SimdKernels set(neon("neon_bytes", 2, 12, {{"neon", 4, 1, 1, 8, true, false, {}, "NEON"}}));
  return set;
}

}  // namespace sorus::device
