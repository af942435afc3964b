#include "sorus/kernels/gemm_isa.h"

#include "sorus/kernels/element.h"
#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC diagnostic ignored "-Wuninitialized"  // gcc 12 on its own intrinsics
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace sorus::kernels {
namespace {
// Outside the pragma, so that nothing shared with other files is compiled for AVX-512.
float half_to_float(float16 h) { return to_float(h); }
uint16_t float_to_half(float x) { return f16_bits(x); }
constexpr int kVectorBytes = 64, kVectors = 2;
typedef uint16_t vh32 __attribute__((vector_size(64)));

#define SORUS_GEMM_ROWS 12
#define SORUS_GEMM_F16C 1
#define SORUS_GEMM_TRANSPOSE 1
#define SORUS_GEMM_COMMON                                                                                        \
  inline __attribute__((always_inline)) vf fma_vector(vf x, vf y, vf z) {                                        \
    return (vf)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)z);                                                 \
  }                                                                                                              \
  inline __attribute__((always_inline)) vd fma_vector(vd x, vd y, vd z) {                                        \
    return (vd)_mm512_fmadd_pd((__m512d)x, (__m512d)y, (__m512d)z);                                              \
  }                                                                                                              \
  inline __attribute__((always_inline)) vf halves_to_floats(const uint16_t* p) {                                 \
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));                         \
  }                                                                                                              \
  inline __attribute__((always_inline)) vf fms_vector(vf x, vf y, vf z) {                                        \
    return (vf)_mm512_fmsub_ps((__m512)x, (__m512)y, (__m512)z);                                                 \
  }                                                                                                              \
  inline __attribute__((always_inline)) vf max_vector(vf x, vf y) {                                              \
    return (vf)_mm512_max_ps((__m512)x, (__m512)y);                                                              \
  }                                                                                                              \
  inline __attribute__((always_inline)) vf min_vector(vf x, vf y) {                                              \
    return (vf)_mm512_min_ps((__m512)x, (__m512)y);                                                              \
  }                                                                                                              \
  inline __attribute__((always_inline)) vf round_vector(vf x) { return (vf)_mm512_roundscale_ps((__m512)x, 8); } \
  inline __attribute__((always_inline)) vf scale_vector(vf x, vf n) {                                            \
    return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);                                                           \
  }                                                                                                              \
  inline __attribute__((always_inline)) void transpose_lanes(vu* lanes) {                                        \
    __m512i r[16];                                                                                               \
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; ++i) r[i] = (__m512i)lanes[i];                              \
    transpose_words(r);                                                                                          \
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; ++i) lanes[i] = (vu)r[i];                                   \
  }

namespace plain512 {
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,prefer-vector-width=512")
#define SORUS_GEMM_BF16 0
#include "sorus/kernels/transpose_avx512.h"
#define SORUS_GEMM_ARITHMETIC SORUS_GEMM_COMMON
#include "sorus/kernels/gemm_table.h"
#undef SORUS_GEMM_ARITHMETIC
#undef SORUS_GEMM_BF16
#pragma GCC pop_options
}  // namespace plain512

namespace bf16dot {
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,f16c,prefer-vector-width=512")
#define SORUS_GEMM_BF16 1
#include "sorus/kernels/transpose_avx512.h"
#define SORUS_GEMM_ARITHMETIC                                                                                     \
  SORUS_GEMM_COMMON                                                                                               \
  inline __attribute__((always_inline)) vf dot_vector(vi x, vi y, vf z) {                                         \
    return (vf)_mm512_dpbf16_ps((__m512)z, (__m512bh)x, (__m512bh)y);                                             \
  }                                                                                                               \
  inline __attribute__((always_inline)) vh floats_to_bf16(vf x) { return (vh)_mm512_cvtneps_pbh((__m512)x); }     \
  inline __attribute__((always_inline)) vi pair_vector(vf low, vf high) {                                         \
    const vh32 order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,                             \
                        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};                            \
    return (vi)_mm512_permutexvar_epi16((__m512i)order, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low)); \
  }
#include "sorus/kernels/gemm_table.h"
#undef SORUS_GEMM_ARITHMETIC
#undef SORUS_GEMM_BF16
#pragma GCC pop_options
}  // namespace bf16dot
}  // namespace

const GemmIsa* gemm_isa_avx512() {
  static const GemmIsa isa = plain512::isa_table("avx512");
  return &isa;
}
const GemmIsa* gemm_isa_avx512_bf16() {
  static const GemmIsa isa = bf16dot::isa_table("avx512_bf16");
  return &isa;
}
}  // namespace sorus::kernels
#else
namespace sorus::kernels {
const GemmIsa* gemm_isa_avx512() { return nullptr; }
const GemmIsa* gemm_isa_avx512_bf16() { return nullptr; }
}  // namespace sorus::kernels
#endif
