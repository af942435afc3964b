#include "sorus/kernels/rows.h"

#include "sorus/base/clones.h"

namespace sorus::kernels {

SORUS_CLONES void widen(const bfloat16* x, int64_t n, float* out) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = __builtin_bit_cast(float, static_cast<uint32_t>(x[i].bits) << 16);
}
void widen(const float16* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_float(x[i]);
}

}  // namespace sorus::kernels
