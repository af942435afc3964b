// The words of kernels with vectors (simd.h) for AVX2 and FMA, and for AVX-512.
#include "sorus/device/helper.h"

namespace sorus::device {
namespace {

const Helper kHelpers[] = {
    {"avx2", {}, R"(
#include <immintrin.h>
#define $P_SIMD __attribute__((target("avx2,fma"), unused))
)"},
    {"avx2_dot", {"avx2"}, R"(
/* The sum of n products. */
$P_SIMD static int32_t $P_dot(const int8_t *a, const int8_t *b, int n)
{
  __m256i sums = _mm256_setzero_si256();
  __m128i four;
  int32_t sum;
  int k;
  for (k = 0; k + 16 <= n; k += 16) {
    const __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(a + k)));
    const __m256i w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(b + k)));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(v, w));
  }
  four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  sum = _mm_cvtsi128_si32(four) + _mm_extract_epi32(four, 1);
  for (; k < n; k++) sum += a[k] * b[k];
  return sum;
}
)"},
    {"avx2_level", {}, R"(
/* Which instructions the processor has: below 0, not those that are needed; 0 AVX2; 1 AVX-VNNI as well,
   2 AVX512-VNNI, with which there are vectors of 16 floats. */
static int $P_level(void)
{
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return -1;
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl")) return 2;
#if !defined(__clang__) || __clang_major__ >= 17 /* earlier ones cannot ask */
  if (__builtin_cpu_supports("avxvnni")) return 1;
#endif
  return 0;
}
)"},
    {"avx2_floats", {"avx2"}, R"(
typedef __m256 $P_F;
#define $P_LOADF(p) _mm256_loadu_ps(p)
#define $P_STOREF(p, v) _mm256_storeu_ps(p, v)
#define $P_SPLATF(p) _mm256_broadcast_ss(p)
#define $P_SETF(x) _mm256_set1_ps(x)
#define $P_FMA(s, t, w) _mm256_fmadd_ps(t, w, s)
#define $P_ADDF(a, b) _mm256_add_ps(a, b)
#define $P_SUBF(a, b) _mm256_sub_ps(a, b)
#define $P_MAXF(a, b) _mm256_max_ps(a, b)
#define $P_MINF(a, b) _mm256_min_ps(a, b)
/* The first n of eight elements are read or written. */
$P_SIMD static inline __m256i $P_first(int n)
{
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
$P_SIMD static inline __m256 $P_firstf(const float *p, int n) { return _mm256_maskload_ps(p, $P_first(n)); }
$P_SIMD static inline void $P_putf(float *p, __m256 v, int n) { _mm256_maskstore_ps(p, $P_first(n), v); }
$P_SIMD static inline void $P_copyf(const float *from, float *to, int n)
{
  int i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, _mm256_loadu_ps(from + i));
  if (n & 7)
    for (; i < n; i++) to[i] = from[i];
}
)"},
    {"avx512_floats", {"avx2_floats"}, R"(
/* The same for sixteen floats. */
#define $P_SIMD16 __attribute__((target("avx2,fma,avx512f"), unused))
typedef __m512 $P_F16;
#define $P_LOADF16(p) _mm512_loadu_ps(p)
#define $P_STOREF16(p, v) _mm512_storeu_ps(p, v)
#define $P_SPLATF16(p) _mm512_set1_ps(*(p))
#define $P_SETF16(x) _mm512_set1_ps(x)
#define $P_FMA16(s, t, w) _mm512_fmadd_ps(t, w, s)
#define $P_ADDF16(a, b) _mm512_add_ps(a, b)
#define $P_SUBF16(a, b) _mm512_sub_ps(a, b)
#define $P_MAXF16(a, b) _mm512_max_ps(a, b)
#define $P_MINF16(a, b) _mm512_min_ps(a, b)
/* The first n of sixteen elements, 1 to 15, are read or written. */
#define $P_FIRST16(n) ((__mmask16)((1u << (n)) - 1))
#define $P_firstf16(p, n) _mm512_maskz_loadu_ps($P_FIRST16(n), p)
#define $P_putf16(p, v, n) _mm512_mask_storeu_ps(p, $P_FIRST16(n), v)
)"},
    {"avx2_bytes", {"avx2"}, R"(
typedef __m256i $P_I, $P_V, $P_HALVES, $P_AVX2_T, $P_VNNI_T, $P_VNNI512_T;
typedef __m128i $P_BYTES;
#define $P_ZERO _mm256_setzero_si256()
#define $P_LOADI(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define $P_SETI(x) _mm256_set1_epi32(x)
#define $P_ADDI(a, b) _mm256_add_epi32(a, b)
#define $P_LOADH(p) $P_LOADI(p)
#define $P_STOREH(p, v) _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define $P_SETH(x) _mm256_set1_epi16(x)
#define $P_WIDE(v) _mm256_cvtepi8_epi16(v)
#define $P_LOAD16(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define $P_MAXB(v, x) _mm_max_epi8(v, _mm_set1_epi8(x))
#define $P_MINB(v, x) _mm_min_epi8(v, _mm_set1_epi8(x))
/* Elements are multiplied as unsigned bytes: 128 more than they are. Four of them, as they lie (X), brought to the scratch
   (X8), brought and widened (X16); four weights of each of four channels. */
#define $P_FLIP _mm256_set1_epi8(-128)
#define $P_AVX2_SIMD $P_SIMD
#define $P_AVX2_W(p) _mm256_cvtepi8_epi16($P_LOAD16(p))
#define $P_AVX2_X(p) _mm256_cvtepu8_epi16(_mm_xor_si128(_mm_set1_epi32($P_four(p)), _mm_set1_epi8(-128)))
#define $P_AVX2_X8(p) _mm256_cvtepu8_epi16(_mm_set1_epi32($P_four(p)))
#define $P_AVX2_X16(p) _mm256_set1_epi64x(*(const $P_eight *)(const void *)(p))
#define $P_AVX2_FOLD(a, b) _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8)
/* The same for eight channels at once. */
#define $P_VNNI_SIMD __attribute__((target("avx2,fma,avxvnni"), unused))
#define $P_VNNI_W(p) $P_LOADI(p)
#define $P_VNNI_X(p) _mm256_xor_si256(_mm256_set1_epi32($P_four(p)), $P_FLIP)
#define $P_VNNI_X8(p) _mm256_set1_epi32($P_four(p))
#define $P_VNNI_ADD(s, t, w) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(s) : "x"(t), "x"(w))
#define $P_VNNI512_SIMD __attribute__((target("avx2,fma,avx512f,avx512vl,avx512vnni"), unused))
#define $P_VNNI512_W(p) $P_LOADI(p)
#define $P_VNNI512_X(p) $P_VNNI_X(p)
#define $P_VNNI512_X8(p) $P_VNNI_X8(p)
#define $P_VNNI512_ADD(s, t, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(t), "v"(w))
/* Keeps the compiler from reading all elements first, for which there are not enough registers. */
#define $P_NOW __asm__ volatile("" ::: "memory")
/* s += products of pairs, in place: compilers give every sum of intrinsics a register of its own and run out of them. */
#define $P_AVX2_ADD(s, t, w) \
  do { \
    __m256i product; \
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(s), "=&x"(product) : "x"(t), "x"(w)); \
  } while (0)
/* Two taps of a depthwise convolution. */
#define $P_TAPS(s0, s1, t, u, w0, w1) \
  do { \
    s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(_mm256_unpacklo_epi16(t, u), w0)); \
    s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(_mm256_unpackhi_epi16(t, u), w1)); \
  } while (0)
typedef int64_t __attribute__((may_alias, aligned(2))) $P_eight;
$P_SIMD static inline int32_t $P_four(const int8_t *p)
{
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}
/* n bytes as unsigned ones, and as those of 16 bits each. */
$P_SIMD static inline void $P_bring(const int8_t *from, int8_t *to, int n)
{
  int i = 0;
  for (; i + 16 <= n; i += 16)
    _mm_storeu_si128((__m128i *)(void *)(to + i), _mm_xor_si128($P_LOAD16(from + i), _mm_set1_epi8(-128)));
  if (n & 15)
    for (; i < n; i++) to[i] = (int8_t)(from[i] ^ -128);
}
$P_SIMD static inline void $P_widen(const int8_t *from, int16_t *to, int n)
{
  int i = 0;
  for (; i + 16 <= n; i += 16)
    $P_STOREH(to + i, _mm256_add_epi16($P_WIDE($P_LOAD16(from + i)), _mm256_set1_epi16(128)));
  if (n & 15)
    for (; i < n; i++) to[i] = (int16_t)(from[i] + 128);
}
/* The sum of n elements, each 128 more: as they lie, brought, brought and widened. */
$P_SIMD static inline int32_t $P_sum8(const int8_t *x, int n)
{
  __m256i sums = _mm256_setzero_si256();
  __m128i s;
  int32_t rest = 0;
  int i = 0;
  for (; i + 32 <= n; i += 32) sums = _mm256_add_epi64(sums, _mm256_sad_epu8($P_LOADI(x + i), _mm256_setzero_si256()));
  if (n & 31)
    for (; i < n; i++) rest += (uint8_t)x[i];
  s = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return rest + _mm_cvtsi128_si32(s) + _mm_extract_epi32(s, 2);
}
$P_SIMD static inline int32_t $P_sum(const int8_t *x, int n)
{
  int32_t sum = 128 * n;
  int i;
  for (i = 0; i < n; i++) sum += x[i];
  return sum;
}
$P_SIMD static inline int32_t $P_sum16(const int16_t *x, int n)
{
  int32_t sum = 0;
  int i;
  for (i = 0; i < n; i++) sum += x[i];
  return sum;
}
/* The first n of sixteen bytes are read or written. */
$P_SIMD static inline __m128i $P_first_bytes(const int8_t *from, int n)
{
  __m128i v = _mm_setzero_si128();
  if (n >= 16) return $P_LOAD16(from);
  __builtin_memcpy(&v, from, (unsigned)n & 15);
  return v;
}
$P_SIMD static inline void $P_put_bytes(int8_t *to, __m128i v, int n)
{
  __builtin_memcpy(to, &v, n >= 16 ? 16 : (unsigned)n & 15);
}
/* round(round(sum * multiplier / 2^31) / 2^right) of eight sums. Halves go away from zero in the second rounding;
   `below` is 0 where results below zero do not show, 1 where all of them are shifted. */
$P_SIMD static inline __m256i $P_rescales(__m256i sum, __m256i multiplier, __m256i right, int below)
{
  const __m256i half = _mm256_set1_epi64x(1 << 30), one = _mm256_set1_epi32(1);
  const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(sum, multiplier), half);
  const __m256i odd =
    _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(sum, 32), _mm256_srli_epi64(multiplier, 32)), half);
  __m256i v = _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xaa);
  __m256i nudge = _mm256_srli_epi32(_mm256_sllv_epi32(one, right), 1);
  if (below == 1) nudge = _mm256_add_epi32(nudge, _mm256_srai_epi32(v, 31));
  if (below > 1)
    nudge = _mm256_add_epi32(
      nudge, _mm256_and_si256(_mm256_srai_epi32(v, 31), _mm256_cmpgt_epi32(right, _mm256_setzero_si256())));
  return _mm256_srav_epi32(_mm256_add_epi32(v, nudge), right);
}
/* Eight or sixteen results and a zero point as bytes; of sixteen, one vector holds 0-3, 8-11, the other the rest. */
$P_SIMD static inline __m128i $P_bytes(__m256i v)
{
  return _mm_packs_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
$P_SIMD static inline __m128i $P_narrow2(__m256i a, __m256i b, int zero)
{
  const __m256i z = _mm256_set1_epi32(zero);
  return $P_bytes(_mm256_packs_epi32(_mm256_add_epi32(a, z), _mm256_add_epi32(b, z)));
}
$P_SIMD static inline __m128i $P_narrow1(__m256i a, int zero)
{
  a = _mm256_add_epi32(a, _mm256_set1_epi32(zero));
  return $P_bytes(_mm256_permute4x64_epi64(_mm256_packs_epi32(a, a), 8));
}
)"},
    {"avx2_real", {"avx2_bytes"}, R"(
/* round(sum * scale), halves to even, of eight sums; see $P_rescale_real. */
#define $P_SETR(x) _mm256_set1_ps(x)
#define $P_LOADR(p) _mm256_loadu_ps(p)
$P_SIMD static inline __m256i $P_rescales_real(__m256i sum, __m256 scale)
{
  __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
  v = _mm256_min_ps(_mm256_max_ps(v, _mm256_set1_ps(-1048576.0F)), _mm256_set1_ps(1048576.0F));
  return _mm256_cvttps_epi32(_mm256_sub_ps(_mm256_add_ps(v, _mm256_set1_ps(12582912.0F)), _mm256_set1_ps(12582912.0F)));
}
)"},
    {"avx2_residual", {"avx2_bytes"}, R"(
/* The residual connection: v is the result of the sums of products, r what is added to it. */
$P_SIMD static inline __m256i $P_residual8(__m128i v, __m128i r, int left, int za, int ma, int sa, int zb, int mb, int sb,
                                           int negate, int m, int s, int z)
{
  __m256i a = _mm256_sub_epi32(_mm256_cvtepi8_epi32(v), _mm256_set1_epi32(za));
  __m256i b = _mm256_sub_epi32(_mm256_cvtepi8_epi32(r), _mm256_set1_epi32(zb));
  a = $P_rescales(_mm256_slli_epi32(a, left), _mm256_set1_epi32(ma), _mm256_set1_epi32(sa), 2);
  b = $P_rescales(_mm256_slli_epi32(b, left), _mm256_set1_epi32(mb), _mm256_set1_epi32(sb), 2);
  a = negate ? _mm256_sub_epi32(a, b) : _mm256_add_epi32(a, b);
  return _mm256_add_epi32($P_rescales(a, _mm256_set1_epi32(m), _mm256_set1_epi32(s), 2), _mm256_set1_epi32(z));
}
$P_SIMD static inline __m128i $P_residual(__m128i v, __m128i r, int left, int za, int ma, int sa, int zb, int mb, int sb,
                                          int negate, int m, int s, int z)
{
  const __m256i low = $P_residual8(v, r, left, za, ma, sa, zb, mb, sb, negate, m, s, z);
  const __m256i high = $P_residual8(_mm_srli_si128(v, 8), _mm_srli_si128(r, 8), left, za, ma, sa, zb, mb, sb, negate, m, s, z);
  return $P_bytes(_mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8));
}
)"},
};

}  // namespace

std::span<const Helper> avx2_helpers() { return kHelpers; }

}  // namespace sorus::device
