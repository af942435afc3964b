#include "sorus/emit/preamble.h"

namespace sorus {
namespace {

// Polynomials: S. L. Moshier, Cephes Math Library, single precision (expf, logf, tanhf, ndtrf).
constexpr std::string_view kText = R"C(
#include <math.h>
#include <stdint.h>
#include <string.h>

#define SORUS_INLINE static inline __attribute__((always_inline))

SORUS_INLINE float sorus_bits_to_f32(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
SORUS_INLINE uint32_t sorus_f32_to_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

SORUS_INLINE float sorus_bf16_to_f32(uint16_t h) { return sorus_bits_to_f32((uint32_t)h << 16); }
SORUS_INLINE uint16_t sorus_f32_to_bf16(float f) {
  uint32_t u = sorus_f32_to_bits(f);
  uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}
SORUS_INLINE float sorus_f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, rest = h & 0x7fffu;
  float normal = sorus_bits_to_f32(((rest << 13) + 0x38000000u) | sign);
  float tiny = sorus_bits_to_f32(sorus_f32_to_bits((float)(int32_t)rest * 0x1p-24f) | sign);
  float special = sorus_bits_to_f32(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  return rest >= 0x7c00u ? special : rest < 0x400u ? tiny : normal;
}
SORUS_INLINE uint16_t sorus_f32_to_f16(float f) {
  uint32_t u = sorus_f32_to_bits(f), sign = (u >> 16) & 0x8000u, m = u & 0x7fffffffu;
  uint32_t tiny = sorus_f32_to_bits(sorus_bits_to_f32(m) + 0.5f) - 0x3f000000u;
  uint32_t normal = (m - 0x38000000u + 0xfffu + ((m >> 13) & 1u)) >> 13;
  uint32_t h = m > 0x7f800000u ? 0x7e00u : m >= 0x477ff000u ? 0x7c00u : m < 0x38800000u ? tiny : normal;
  return (uint16_t)(sign | h);
}

/* exp(c) = y 2^n; n comes as `shifted` = n + 3 2^22, whose lowest bits are those of n */
SORUS_INLINE float sorus_exp_parts_f32(float c, float *shifted, float *n) {
  *shifted = c * 1.44269504088896341f + 12582912.0f;
  *n = *shifted - 12582912.0f;
  float r = c - *n * 0.693359375f;
  r = r - *n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r + 1.0f;
}
SORUS_INLINE float sorus_exp_f32(float x) {
  float c = x > 89.0f ? 89.0f : x, shifted, n;
  c = c < -104.0f ? -104.0f : c;
  float y = sorus_exp_parts_f32(c, &shifted, &n);
  int32_t k = (int32_t)n, half = k >> 1;  /* in two factors: 2^128 and denormals are out of one's reach */
  y = y * sorus_bits_to_f32((uint32_t)(half + 127) << 23);
  return y * sorus_bits_to_f32((uint32_t)(k - half + 127) << 23);
}
/* exp from e-87 to e88, where n can be added to the exponent, and infinity beyond; c - c keeps a NaN, whose bits the
   sum may spoil */
SORUS_INLINE float sorus_exp_middle_f32(float x) {
  float c = x > 88.0f ? 88.0f : x, shifted, n;
  c = c < -87.0f ? -87.0f : c;
  float y = sorus_exp_parts_f32(c, &shifted, &n);
  y = sorus_bits_to_f32(sorus_f32_to_bits(y) + (sorus_f32_to_bits(shifted) << 23)) + (c - c);
  return x > 88.0f ? INFINITY : y;
}

SORUS_INLINE float sorus_log_f32(float a) {
  float small = a < 1.17549435e-38f ? 8388608.0f : 1.0f;
  float x = a * small;
  uint32_t u = sorus_f32_to_bits(x);
  int32_t e = (int32_t)((u >> 23) & 255) - 126;
  float m = sorus_bits_to_f32((u & 0x007fffffu) | 0x3f000000u);  /* [0.5, 1) */
  int low = m < 0.707106781186547524f;
  e = low ? e - 1 : e;
  x = low ? m + m - 1.0f : m - 1.0f;
  float f = (float)e - (small > 1.0f ? 23.0f : 0.0f), z = x * x;
  float p = 7.0376836292e-2f;
  p = p * x - 1.1514610310e-1f;
  p = p * x + 1.1676998740e-1f;
  p = p * x - 1.2420140846e-1f;
  p = p * x + 1.4249322787e-1f;
  p = p * x - 1.6668057665e-1f;
  p = p * x + 2.0000714765e-1f;
  p = p * x - 2.4999993993e-1f;
  p = p * x + 3.3333331174e-1f;
  float y = p * x * z + f * -2.12194440e-4f - 0.5f * z;
  y = x + y + f * 0.693359375f;
  y = a == INFINITY ? a : y;
  y = a == 0.0f ? -INFINITY : y;
  return a >= 0.0f ? y : NAN;
}

SORUS_INLINE float sorus_tanh_f32(float x) {
  float z = x * x, a = x < 0 ? -x : x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float near = p * z * x + x;
  float far = 1.0f - 2.0f / (sorus_exp_f32(a + a) + 1.0f);
  far = x < 0 ? -far : far;
  return a < 0.625f ? near : far;
}

SORUS_INLINE float sorus_sigmoid_f32(float x) { return 1.0f / (1.0f + sorus_exp_middle_f32(-x)); }

/* erfc for arguments above 1 */
SORUS_INLINE float sorus_erfc_tail_f32(float a) {
  float q = 1.0f / a, y = q * q, z = sorus_exp_f32(-a * a);
  float p = 2.326819970068386e-2f;
  p = p * y - 1.387039388740657e-1f;
  p = p * y + 3.687424674597105e-1f;
  p = p * y - 5.824733027278666e-1f;
  p = p * y + 6.210004621745983e-1f;
  p = p * y - 4.944515323274145e-1f;
  p = p * y + 3.404879937665872e-1f;
  p = p * y - 2.741127028184656e-1f;
  p = p * y + 5.638259427386472e-1f;
  float r = -1.047766399936249e+1f;
  r = r * y + 1.297719955372516e+1f;
  r = r * y - 7.495518717768503e+0f;
  r = r * y + 2.921019019210786e+0f;
  r = r * y - 1.015265279202700e+0f;
  r = r * y + 4.218463358204948e-1f;
  r = r * y - 2.820767439740514e-1f;
  r = r * y + 5.641895067754075e-1f;
  float t = z * q * (a < 2.0f ? p : r);
  return a > 10.5f ? 0.0f : t;
}
SORUS_INLINE float sorus_erf_f32(float x) {
  float z = x * x, a = x < 0 ? -x : x;
  float p = 7.853861353153693e-5f;
  p = p * z - 8.010193625184903e-4f;
  p = p * z + 5.188327685732524e-3f;
  p = p * z - 2.685381193529856e-2f;
  p = p * z + 1.128358514861418e-1f;
  p = p * z - 3.761262582423300e-1f;
  p = p * z + 1.128379165726710e+0f;
  float far = 1.0f - sorus_erfc_tail_f32(a < 1.0f ? 1.0f : a);
  far = x < 0 ? -far : far;
  far = x != x ? x : far;
  return a < 1.0f ? x * p : far;
}
SORUS_INLINE float sorus_erfc_f32(float x) {
  float a = x < 0 ? -x : x, t = sorus_erfc_tail_f32(a < 1.0f ? 1.0f : a);
  t = x < 0 ? 2.0f - t : t;
  return a < 1.0f ? 1.0f - sorus_erf_f32(x) : (x != x ? x : t);
}

SORUS_INLINE float sorus_sqrt_f32(float x) { return __builtin_sqrtf(x); }
SORUS_INLINE double sorus_sqrt_f64(double x) { return __builtin_sqrt(x); }
SORUS_INLINE float sorus_rsqrt_f32(float x) { return 1.0f / __builtin_sqrtf(x); }
SORUS_INLINE double sorus_rsqrt_f64(double x) { return 1.0 / __builtin_sqrt(x); }
SORUS_INLINE double sorus_sigmoid_f64(double x) { return 1.0 / (1.0 + exp(-x)); }

/* Functions of the C library, in both precisions. */
#define SORUS_LIBRARY1(name)                                            \
  SORUS_INLINE double sorus_##name##_f64(double x) { return name(x); }
#define SORUS_LIBRARY(name)                                             \
  SORUS_LIBRARY1(name)                                                  \
  SORUS_INLINE float sorus_##name##_f32(float x) { return name##f(x); }
#define SORUS_LIBRARY2(name)                                                        \
  SORUS_INLINE float sorus_##name##_f32(float x, float y) { return name##f(x, y); } \
  SORUS_INLINE double sorus_##name##_f64(double x, double y) { return name(x, y); }
SORUS_LIBRARY1(exp) SORUS_LIBRARY1(log) SORUS_LIBRARY1(tanh) SORUS_LIBRARY1(erf) SORUS_LIBRARY1(erfc)
SORUS_LIBRARY(exp2) SORUS_LIBRARY(expm1) SORUS_LIBRARY(log1p) SORUS_LIBRARY(log2) SORUS_LIBRARY(log10)
SORUS_LIBRARY(sin) SORUS_LIBRARY(cos) SORUS_LIBRARY(tan) SORUS_LIBRARY(asin) SORUS_LIBRARY(acos) SORUS_LIBRARY(atan)
SORUS_LIBRARY(sinh) SORUS_LIBRARY(cosh) SORUS_LIBRARY(asinh) SORUS_LIBRARY(acosh) SORUS_LIBRARY(atanh)
SORUS_LIBRARY(floor) SORUS_LIBRARY(ceil) SORUS_LIBRARY(trunc)
SORUS_LIBRARY2(pow) SORUS_LIBRARY2(atan2) SORUS_LIBRARY2(fmod) SORUS_LIBRARY2(hypot) SORUS_LIBRARY2(fmin)
SORUS_LIBRARY2(fmax) SORUS_LIBRARY2(copysign) SORUS_LIBRARY2(nextafter)
SORUS_INLINE float sorus_exponent_f32(float x) {
  int e = 0;
  if (x - x == 0) frexpf(x, &e);
  return (float)e;
}
SORUS_INLINE double sorus_exponent_f64(double x) {
  int e = 0;
  if (x - x == 0) frexp(x, &e);
  return (double)e;
}

SORUS_INLINE float sorus_round_f32(float x) { return __builtin_rintf(x); }
SORUS_INLINE double sorus_round_f64(double x) { return __builtin_rint(x); }
SORUS_INLINE float sorus_abs_f32(float x) { return __builtin_fabsf(x); }
SORUS_INLINE double sorus_abs_f64(double x) { return __builtin_fabs(x); }
SORUS_INLINE int64_t sorus_abs_i64(int64_t x) { return x < 0 ? (int64_t)(0 - (uint64_t)x) : x; }

#define SORUS_REAL(T, t)                                                                                       \
  SORUS_INLINE T sorus_min_##t(T a, T b) { return (a < b) | (a != a) ? a : b; }                                \
  SORUS_INLINE T sorus_max_##t(T a, T b) { return (a > b) | (a != a) ? a : b; }                                \
  SORUS_INLINE T sorus_sign_##t(T x) { return (T)((x > 0) - (x < 0)); }                                        \
  SORUS_INLINE int sorus_isnan_##t(T x) { return x != x; }                                                     \
  SORUS_INLINE int sorus_isinf_##t(T x) { return (x == (T)INFINITY) | (x == -(T)INFINITY); }                   \
  SORUS_INLINE int sorus_isfinite_##t(T x) { return x - x == 0; }                                              \
  SORUS_INLINE T sorus_truncdiv_##t(T a, T b) { return sorus_trunc_##t(a / b); }                               \
  SORUS_INLINE T sorus_remainder_##t(T a, T b) {                                                               \
    T m = sorus_fmod_##t(a, b);                                                                                \
    return (m != 0) & ((b < 0) != (m < 0)) ? m + b : m;                                                        \
  }
SORUS_REAL(float, f32)
SORUS_REAL(double, f64)

SORUS_INLINE int64_t sorus_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
SORUS_INLINE int64_t sorus_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
SORUS_INLINE int64_t sorus_fmin_i64(int64_t a, int64_t b) { return a < b ? a : b; }
SORUS_INLINE int64_t sorus_fmax_i64(int64_t a, int64_t b) { return a > b ? a : b; }
SORUS_INLINE int64_t sorus_sign_i64(int64_t x) { return (x > 0) - (x < 0); }
SORUS_INLINE int64_t sorus_floor_i64(int64_t x) { return x; }
SORUS_INLINE int64_t sorus_ceil_i64(int64_t x) { return x; }
SORUS_INLINE int64_t sorus_round_i64(int64_t x) { return x; }
SORUS_INLINE int64_t sorus_trunc_i64(int64_t x) { return x; }
SORUS_INLINE int sorus_isnan_i64(int64_t x) { (void)x; return 0; }
SORUS_INLINE int sorus_isinf_i64(int64_t x) { (void)x; return 0; }
SORUS_INLINE int sorus_isfinite_i64(int64_t x) { (void)x; return 1; }
)C";

}  // namespace

std::string_view c_preamble() { return kText; }

}  // namespace sorus
