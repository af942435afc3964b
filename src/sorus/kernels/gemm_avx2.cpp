#include "sorus/kernels/gemm_isa.h"

#include "sorus/kernels/element.h"
#if defined(__x86_64__)
#include <immintrin.h>

namespace sorus::kernels {
namespace {
float half_to_float(float16 h) { return to_float(h); }
uint16_t float_to_half(float x) { return f16_bits(x); }
constexpr int kVectorBytes = 32, kVectors = 2;

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define SORUS_GEMM_ROWS 6
#define SORUS_GEMM_BF16 0
#define SORUS_GEMM_F16C 1
#define SORUS_GEMM_TRANSPOSE 1
#define SORUS_GEMM_ARITHMETIC                                                                               \
  inline __attribute__((always_inline)) vf fma_vector(vf x, vf y, vf z) {                                   \
    return (vf)_mm256_fmadd_ps((__m256)x, (__m256)y, (__m256)z);                                            \
  }                                                                                                         \
  inline __attribute__((always_inline)) vd fma_vector(vd x, vd y, vd z) {                                   \
    return (vd)_mm256_fmadd_pd((__m256d)x, (__m256d)y, (__m256d)z);                                         \
  }                                                                                                         \
  inline __attribute__((always_inline)) vf fms_vector(vf x, vf y, vf z) {                                   \
    return (vf)_mm256_fmsub_ps((__m256)x, (__m256)y, (__m256)z);                                            \
  }                                                                                                         \
  inline __attribute__((always_inline)) vf max_vector(vf x, vf y) {                                         \
    return (vf)_mm256_max_ps((__m256)x, (__m256)y);                                                         \
  }                                                                                                         \
  inline __attribute__((always_inline)) vf min_vector(vf x, vf y) {                                         \
    return (vf)_mm256_min_ps((__m256)x, (__m256)y);                                                         \
  }                                                                                                         \
  inline __attribute__((always_inline)) vf round_vector(vf x) { return (vf)_mm256_round_ps((__m256)x, 8); } \
  inline __attribute__((always_inline)) vf scale_vector(vf x, vf n) {                                       \
    vf y = (vf)((vi)x + (__builtin_convertvector(n, vi) << 23));                                            \
    return n < -126.0f ? vf{} : y;                                                                          \
  }                                                                                                         \
  inline __attribute__((always_inline)) vf halves_to_floats(const uint16_t* p) {                            \
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));                       \
  }                                                                                                         \
  /* A square of words: what was word j of register i becomes word i of register j. */                      \
  inline __attribute__((always_inline)) void transpose_lanes(vu* lanes) {                                   \
    __m256 r[8], t[8];                                                                                      \
    _Pragma("GCC unroll 16") for (int i = 0; i < 8; ++i) r[i] = (__m256)lanes[i];                           \
    _Pragma("GCC unroll 16") for (int i = 0; i < 8; i += 2) {                                               \
      t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);                                                            \
      t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);                                                        \
    }                                                                                                       \
    _Pragma("GCC unroll 16") for (int i = 0; i < 8; i += 4) {                                               \
      r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);                                                       \
      r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);                                                   \
      r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);                                               \
      r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);                                               \
    }                                                                                                       \
    _Pragma("GCC unroll 16") for (int i = 0; i < 4; ++i) {                                                  \
      lanes[i] = (vu)_mm256_permute2f128_ps(r[i], r[i + 4], 0x20);                                          \
      lanes[i + 4] = (vu)_mm256_permute2f128_ps(r[i], r[i + 4], 0x31);                                      \
    }                                                                                                       \
  }
#include "sorus/kernels/gemm_table.h"
#pragma GCC pop_options
}  // namespace

const GemmIsa* gemm_isa_avx2() {
  static const GemmIsa isa = isa_table("avx2");
  return &isa;
}
}  // namespace sorus::kernels
#else
namespace sorus::kernels {
const GemmIsa* gemm_isa_avx2() { return nullptr; }
}  // namespace sorus::kernels
#endif
