// What this machine can do, measured in about a second: the denominators of "share of the machine's own speed".
#pragma once

#include <string>
#include <vector>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

/// Fastest `gemm` of a few large shapes, in GFLOP/s over all threads; below half a second.
double measure_gemm_gflops(DType type);

/// Memory bandwidth in GB/s over all threads: a triad with streaming stores, bytes counted once each.
double measure_memory_gbs();

/// Features of this processor that kernels choose by: "avx2", "avx512f", "avx512_bf16", "amx_bf16", "neon", ...
std::vector<std::string> cpu_features();

/// The processor's name as the system gives it, or "unknown".
std::string cpu_name();

}  // namespace sorus::kernels
