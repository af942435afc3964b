// Instruction sets of kernels with vectors, in numbers.
#include "sorus/device/simd.h"

namespace sorus::device {

const KernelSet& avx2_kernels() {
  static const SimdKernels set({.name = "AVX2",
                                .floats = "avx2_floats",
                                .bytes = "avx2_bytes",
                                .residual = "avx2_residual",
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
                                .float_ways = {{"", 0, 8, 12}, {"16", 2, 16, 24}},
                                .ways = {{"avx2", 4, 2, 1, 12, false, true, "widen"},
                                         {"vnni", 8, 1, 1, 12, false, true},
                                         {"vnni512", 8, 1, 1, 12, false, true}}});
  return set;
}

const KernelSet& neon64_kernels() {
  static const SimdKernels set({.name = "NEON",
                                .floats = "neon_floats",
                                .bytes = "neon64_bytes",
                                .residual = "neon_residual",
                                .lanes = 4,
                                .vectors = 4,
                                .byte_vectors = 4,
                                .group = 4,
                                .step = 8,
                                .taps = 1,
                                .crossed = false,
                                .right = -1,
                                .float_ways = {{"", 0, 4, 24}},
                                .ways = {{"neon", 4, 1, 1, 24, true}, {"dot", 4, 1, 1, 24}, {"mm", 2, 1, 2, 24}}});
  return set;
}

const KernelSet& neon32_kernels() {
  static const SimdKernels set({.name = "NEON",
                                .floats = "neon_floats",
                                .bytes = "neon_bytes",
                                .residual = "neon_residual",
                                .lanes = 4,
                                .vectors = 2,
                                .byte_vectors = 2,
                                .group = 4,
                                .step = 8,
                                .taps = 1,
                                .crossed = false,
                                .right = -1,
                                .float_ways = {{"", 0, 4, 12}},
                                .ways = {{"neon", 4, 1, 1, 8, true}}});
  return set;
}

}  // namespace sorus::device
