// The words of kernels with vectors (simd.h) for NEON, of 64-bit and 32-bit Arm.
#include "sorus/device/helper.h"

namespace sorus::device {
namespace {

const Helper kHelpers[] = {
    {"neon", {}, R"(
#include <arm_neon.h>
#ifdef __ARM_NEON
#define $P_SIMD __attribute__((unused))
#else
#define $P_SIMD __attribute__((target("fpu=neon"), unused))
#endif
)"},
    {"neon_dot", {"neon"}, R"(
/* The sum of n products. */
$P_SIMD static int32_t $P_dot(const int8_t *a, const int8_t *b, int n)
{
  int32x4_t sums = vdupq_n_s32(0);
  int32_t sum;
  int k;
  for (k = 0; k + 8 <= n; k += 8) sums = vpadalq_s16(sums, vmull_s8(vld1_s8(a + k), vld1_s8(b + k)));
  sum = vgetq_lane_s32(sums, 0) + vgetq_lane_s32(sums, 1) + vgetq_lane_s32(sums, 2) + vgetq_lane_s32(sums, 3);
  for (; k < n; k++) sum += a[k] * b[k];
  return sum;
}
)"},
    {"neon64_level", {}, R"(
/* Which instructions the processor has: 0 NEON, 1 SDOT as well, 2 SMMLA as well. Without an operating system, those that
   the compiler was told of. */
#if defined(__linux__) && __STDC_HOSTED__
#include <sys/auxv.h>
static int $P_level(void)
{
  const unsigned long dot = 1UL << 20, matrices = 1UL << 13; /* HWCAP_ASIMDDP, HWCAP2_I8MM */
  if (!(getauxval(AT_HWCAP) & dot)) return 0;
  return getauxval(AT_HWCAP2) & matrices ? 2 : 1;
}
#elif defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
static int $P_level(void) { return 2; }
#elif defined(__ARM_FEATURE_DOTPROD)
static int $P_level(void) { return 1; }
#else
static int $P_level(void) { return 0; }
#endif
)"},
    {"neon32_level", {}, R"(
/* Which instructions the processor has: below 0, not those that are needed. */
#if defined(__linux__) && __STDC_HOSTED__
#include <sys/auxv.h>
static int $P_level(void) { return getauxval(AT_HWCAP) & (1UL << 12) ? 0 : -1; } /* HWCAP_NEON */
#else
static int $P_level(void) { return 0; }
#endif
)"},
    {"neon_floats", {"neon"}, R"(
typedef float32x4_t $P_F;
#define $P_LOADF(p) vld1q_f32(p)
#define $P_STOREF(p, v) vst1q_f32(p, v)
#define $P_SPLATF(p) vdupq_n_f32(*(p))
#define $P_SETF(x) vdupq_n_f32(x)
#define $P_ADDF(a, b) vaddq_f32(a, b)
#define $P_SUBF(a, b) vsubq_f32(a, b)
#define $P_MAXF(a, b) vmaxq_f32(a, b)
#define $P_MINF(a, b) vminq_f32(a, b)
#ifdef __aarch64__
#define $P_FMA(s, t, w) vfmaq_f32(s, t, w)
#else
#define $P_FMA(s, t, w) vmlaq_f32(s, t, w)
#endif
/* The first n of four elements are read or written. */
$P_SIMD static inline float32x4_t $P_firstf(const float *p, int n)
{
  float32x4_t v = vdupq_n_f32(0);
  __builtin_memcpy(&v, p, 4 * ((unsigned)n & 3));
  return v;
}
$P_SIMD static inline void $P_putf(float *p, float32x4_t v, int n) { __builtin_memcpy(p, &v, 4 * ((unsigned)n & 3)); }
$P_SIMD static inline void $P_copyf(const float *from, float *to, int n)
{
  int i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(to + i, vld1q_f32(from + i));
  if (n & 3) /* GCC warns of a loop that it sees does not run */
    for (; i < n; i++) to[i] = from[i];
}
)"},
    {"neon_bytes", {"neon"}, R"(
typedef int32x4_t $P_I;
typedef int8x16_t $P_V, $P_NEON_T;
typedef int16x8_t $P_HALVES;
typedef int8x8_t $P_BYTES;
typedef float __attribute__((may_alias, aligned(1))) $P_four; /* four bytes, which go to a vector at once */
#define $P_ZERO vdupq_n_s32(0)
#define $P_LOADI(p) vld1q_s32(p)
#define $P_SETI(x) vdupq_n_s32(x)
#define $P_ADDI(a, b) vaddq_s32(a, b)
#define $P_LOADH(p) vld1q_s16(p)
#define $P_STOREH(p, v) vst1q_s16(p, v)
#define $P_SETH(x) vdupq_n_s16(x)
#define $P_WIDE(v) vmovl_s8(v)
#define $P_MAXB(v, x) vmax_s8(v, vdup_n_s8(x))
#define $P_MINB(v, x) vmin_s8(v, vdup_n_s8(x))
/* Keeps the compiler from reading all elements first, for which there are not enough registers. */
#define $P_NOW __asm__ volatile("" ::: "memory")
#define $P_NEON_SIMD $P_SIMD
#define $P_NEON_W(p) vld1q_s8(p)
#define $P_NEON_X(p) vreinterpretq_s8_f32(vdupq_n_f32(*(const $P_four *)(const void *)(p)))
/* s += the sums of four products: first of two in 16 bits, for which two weights of -128 side by side are too large. */
#ifdef __aarch64__
#define $P_NEON_ADD(s, t, w) \
  s = vpadalq_s16(s, vpaddq_s16(vmull_s8(vget_low_s8(t), vget_low_s8(w)), vmull_high_s8(t, w)))
#define $P_NEON_ADD128(s, t, w) \
  s = vaddq_s32(s, vpaddq_s32(vpaddlq_s16(vmull_s8(vget_low_s8(t), vget_low_s8(w))), vpaddlq_s16(vmull_high_s8(t, w))))
#define $P_TAPS(s0, s1, t, w) \
  do { \
    s0 = vmlal_s16(s0, vget_low_s16(t), vget_low_s16(w)); \
    s1 = vmlal_high_s16(s1, t, w); \
  } while (0)
#else
#define $P_NEON_ADD(s, t, w) \
  do { \
    const int16x8_t a = vmull_s8(vget_low_s8(t), vget_low_s8(w)), b = vmull_s8(vget_high_s8(t), vget_high_s8(w)); \
    s = vpadalq_s16(s, vcombine_s16(vpadd_s16(vget_low_s16(a), vget_high_s16(a)), \
                                    vpadd_s16(vget_low_s16(b), vget_high_s16(b)))); \
  } while (0)
#define $P_NEON_ADD128(s, t, w) \
  do { \
    const int32x4_t a = vpaddlq_s16(vmull_s8(vget_low_s8(t), vget_low_s8(w))); \
    const int32x4_t b = vpaddlq_s16(vmull_s8(vget_high_s8(t), vget_high_s8(w))); \
    s = vaddq_s32(s, vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), \
                                  vpadd_s32(vget_low_s32(b), vget_high_s32(b)))); \
  } while (0)
#define $P_TAPS(s0, s1, t, w) \
  do { \
    s0 = vmlal_s16(s0, vget_low_s16(t), vget_low_s16(w)); \
    s1 = vmlal_s16(s1, vget_high_s16(t), vget_high_s16(w)); \
  } while (0)
#endif
$P_SIMD static inline void $P_bring(const int8_t *from, int8_t *to, int n)
{
  int i = 0;
  if (n >= 16) {
    for (; i + 16 < n; i += 16) vst1q_s8(to + i, vld1q_s8(from + i));
    vst1q_s8(to + n - 16, vld1q_s8(from + n - 16)); /* some of them again */
  } else if (n >= 8) {
    vst1_s8(to, vld1_s8(from)), vst1_s8(to + n - 8, vld1_s8(from + n - 8));
  } else {
    for (; i < n; i++) to[i] = from[i];
  }
}
/* The sum of n bytes. */
$P_SIMD static inline int32_t $P_sum(const int8_t *x, int n)
{
  int32x4_t sums = vdupq_n_s32(0);
  int i;
  for (i = 0; i + 8 <= n; i += 8) sums = vpadalq_s16(sums, vmovl_s8(vld1_s8(x + i)));
  if (n & 7)
    for (; i < n; i++) sums = vsetq_lane_s32(vgetq_lane_s32(sums, 0) + x[i], sums, 0);
  return vgetq_lane_s32(sums, 0) + vgetq_lane_s32(sums, 1) + vgetq_lane_s32(sums, 2) + vgetq_lane_s32(sums, 3);
}
/* The first n of eight bytes are read or written. */
$P_SIMD static inline int8x8_t $P_first_bytes(const int8_t *from, int n)
{
  int8x8_t v = vdup_n_s8(0);
  if (n >= 8) return vld1_s8(from);
  __builtin_memcpy(&v, from, (unsigned)n & 7);
  return v;
}
$P_SIMD static inline void $P_put_bytes(int8_t *to, int8x8_t v, int n)
{
  __builtin_memcpy(to, &v, n >= 8 ? 8 : (unsigned)n & 7);
}
/* round(round(sum * multiplier / 2^31) * 2^shift) of four sums, shift <= 0. Halves go away from zero in the second
   rounding; `below` is 0 where results below zero do not show, 1 where all of them are shifted. */
$P_SIMD static inline int32x4_t $P_rescales(int32x4_t sum, int32x4_t multiplier, int32x4_t shift, int below)
{
  int32x4_t v = vqrdmulhq_s32(sum, multiplier);
  if (below == 1) v = vsraq_n_s32(v, v, 31);
  if (below > 1) v = vsraq_n_s32(v, vandq_s32(v, shift), 31);
  return vrshlq_s32(v, shift);
}
/* Eight or four results and a zero point as bytes. */
$P_SIMD static inline int8x8_t $P_narrow2(int32x4_t a, int32x4_t b, int zero)
{
  const int16x8_t v = vcombine_s16(vqmovn_s32(a), vqmovn_s32(b));
  return vqmovn_s16(zero ? vqaddq_s16(v, vdupq_n_s16((int16_t)zero)) : v);
}
$P_SIMD static inline int8x8_t $P_narrow1(int32x4_t a, int zero) { return $P_narrow2(a, a, zero); }
)"},
    {"neon64_bytes", {"neon_bytes"}, R"(
/* Four products for each of four channels at once; four bytes of a pixel are those for all of them. */
#ifdef __ARM_FEATURE_DOTPROD
#define $P_DOT_SIMD $P_SIMD
#elif defined(__clang__)
#define $P_DOT_SIMD __attribute__((target("dotprod"), unused))
#else
#define $P_DOT_SIMD __attribute__((target("arch=armv8.2-a+dotprod"), unused))
#endif
typedef $P_four $P_DOT_T;
#define $P_DOT_W(p) vld1q_s8(p)
#define $P_DOT_X(p) (*(const $P_four *)(const void *)(p))
#define $P_DOT_ADD(s, t, w) __asm__("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(s) : "w"(w), "w"(t))
/* Eight products for each of two channels and two pixels. */
#ifdef __ARM_FEATURE_MATMUL_INT8
#define $P_MM_SIMD $P_SIMD
#elif defined(__clang__)
#define $P_MM_SIMD __attribute__((target("dotprod,i8mm"), unused))
#else
#define $P_MM_SIMD __attribute__((target("arch=armv8.2-a+dotprod+i8mm"), unused))
#endif
#define $P_MM_W(p) vld1q_s8(p)
#define $P_MM_X(p, q) vcombine_s8(vld1_s8(p), vld1_s8(q))
#define $P_MM_EVEN(a, b) vreinterpretq_s8_s32(vtrn1q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)))
#define $P_MM_ODD(a, b) vreinterpretq_s8_s32(vtrn2q_s32(vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b)))
#define $P_MM_ADD(s, t, w) __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(s) : "w"(t), "w"(w))
#define $P_MM_FIRST(a, b) vzip1q_s32(a, b)
#define $P_MM_SECOND(a, b) vzip2q_s32(a, b)
)"},
    {"neon_real", {"neon_bytes"}, R"(
/* round(sum * scale), halves to even, of four sums; see $P_rescale_real. */
#define $P_SETR(x) vdupq_n_f32(x)
#define $P_LOADR(p) vld1q_f32(p)
$P_SIMD static inline int32x4_t $P_rescales_real(int32x4_t sum, float32x4_t scale)
{
  float32x4_t v = vmulq_f32(vcvtq_f32_s32(sum), scale);
  v = vminq_f32(vmaxq_f32(v, vdupq_n_f32(-1048576.0F)), vdupq_n_f32(1048576.0F));
  return vcvtq_s32_f32(vsubq_f32(vaddq_f32(v, vdupq_n_f32(12582912.0F)), vdupq_n_f32(12582912.0F)));
}
)"},
    {"neon_residual", {"neon_bytes"}, R"(
/* The residual connection: v is the result of the sums of products, r what is added to it. */
$P_SIMD static inline int32x4_t $P_residual4(int16x4_t v, int16x4_t r, int left, int za, int ma, int sa, int zb, int mb,
                                             int sb, int negate, int m, int s)
{
  int32x4_t a = vshlq_s32(vsubq_s32(vmovl_s16(v), vdupq_n_s32(za)), vdupq_n_s32(left));
  int32x4_t b = vshlq_s32(vsubq_s32(vmovl_s16(r), vdupq_n_s32(zb)), vdupq_n_s32(left));
  a = $P_rescales(a, vdupq_n_s32(ma), vdupq_n_s32(-sa), 2);
  b = $P_rescales(b, vdupq_n_s32(mb), vdupq_n_s32(-sb), 2);
  return $P_rescales(negate ? vsubq_s32(a, b) : vaddq_s32(a, b), vdupq_n_s32(m), vdupq_n_s32(-s), 2);
}
$P_SIMD static inline int8x8_t $P_residual(int8x8_t v, int8x8_t r, int left, int za, int ma, int sa, int zb, int mb, int sb,
                                           int negate, int m, int s, int z)
{
  const int16x8_t a = vmovl_s8(v), b = vmovl_s8(r);
  return $P_narrow2(
    $P_residual4(vget_low_s16(a), vget_low_s16(b), left, za, ma, sa, zb, mb, sb, negate, m, s),
    $P_residual4(vget_high_s16(a), vget_high_s16(b), left, za, ma, sa, zb, mb, sb, negate, m, s), z);
}
)"},
};

}  // namespace

std::span<const Helper> neon_helpers() { return kHelpers; }

}  // namespace sorus::device
