// Vectors of 16 bytes: SSE2, NEON, or whatever the compiler makes of them.
#include "sorus/kernels/element.h"
#include "sorus/kernels/gemm_isa.h"

namespace sorus::kernels {
namespace {
float half_to_float(float16 h) { return to_float(h); }
uint16_t float_to_half(float x) { return f16_bits(x); }
constexpr int kVectorBytes = 16, kVectors = 2;

#define SORUS_GEMM_ROWS 6
#define SORUS_GEMM_BF16 0
#define SORUS_GEMM_ARITHMETIC                                                                 \
  inline __attribute__((always_inline)) vf fma_vector(vf x, vf y, vf z) { return x * y + z; } \
  inline __attribute__((always_inline)) vd fma_vector(vd x, vd y, vd z) { return x * y + z; } \
  inline __attribute__((always_inline)) vf fms_vector(vf x, vf y, vf z) { return x * y - z; } \
  inline __attribute__((always_inline)) vf max_vector(vf x, vf y) { return x > y ? x : y; }   \
  inline __attribute__((always_inline)) vf min_vector(vf x, vf y) { return x < y ? x : y; }   \
  inline __attribute__((always_inline)) vf round_vector(vf x) {                               \
    vf n = x + 12582912.0f;                                                                   \
    return n - 12582912.0f;                                                                   \
  }                                                                                           \
  inline __attribute__((always_inline)) vf scale_vector(vf x, vf n) {                         \
    vf y = (vf)((vi)x + (__builtin_convertvector(n, vi) << 23));                              \
    return n < -126.0f ? vf{} : y;                                                            \
  }
#include "sorus/kernels/gemm_table.h"
}  // namespace

const GemmIsa* gemm_isa_portable() {
  static const GemmIsa isa = isa_table("portable");
  return &isa;
}
}  // namespace sorus::kernels
