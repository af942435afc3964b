// Small functions that kernels call; a program gets those that it needs.
#include <array>

#include "sorus/base/error.h"
#include "sorus/device/helper.h"
#include "sorus/device/kernel.h"
#include "sorus/emit/preamble.h"

namespace sorus::device {
namespace {

// The functions of scalar bodies; a program uses few of them.
std::string_view scalar_functions() {
  static const std::string text = [] {
    std::string t(c_preamble());
    constexpr std::string_view kInline = "__attribute__((always_inline))";
    size_t at = t.find(kInline);
    SORUS_CHECK(at != std::string::npos, Error, "device kernels: the preamble marks no function as inline");
    return t.replace(at, kInline.size(), "__attribute__((always_inline, unused))");
  }();
  return text;
}

const Helper kHelpers[] = {
    {"rescale", {}, R"(
/* round(round(sum * multiplier / 2^31) / 2^right), halves away from zero in the second rounding. */
static inline int32_t $P_rescale(int32_t sum, int32_t multiplier, int right)
{
  int32_t v = (int32_t)(((int64_t)sum * multiplier + (1 << 30)) >> 31);
  return right == 0 ? v : (v + (1 << (right - 1)) - (v < 0)) >> right;
}
)"},
    {"rescale_left", {"rescale"}, R"(
/* The same where some shifts go left: `right` may be negative. */
static inline int32_t $P_rescale_left(int32_t sum, int32_t multiplier, int right)
{
  return right < 0 ? $P_rescale(sum * (1 << -right), multiplier, 0) : $P_rescale(sum, multiplier, right);
}
)"},
    {"rescale_real", {}, R"(
/* round(sum * scale), halves to even, where that is less than 2^20 in size: floats beyond 2^23 have no fractions. */
static inline int32_t $P_rescale_real(float sum, float scale)
{
  float v = sum * scale;
  v = v < -1048576.0F ? -1048576.0F : v > 1048576.0F ? 1048576.0F : v;
  v += 12582912.0F;
  return (int32_t)(v - 12582912.0F);
}
)"},
    {"rescale_wide", {}, R"(
/* round(sum * multiplier / 2^right), where that is less than 2^20 in size. */
static inline int32_t $P_rescale_wide(int64_t sum, int32_t multiplier, int right)
{
  const int64_t v = (sum * multiplier + ((int64_t)1 << (right - 1))) >> right;
  return v < -1048576 ? -1048576 : v > 1048576 ? 1048576 : (int32_t)v;
}
)"},
    {"clamp", {}, R"(
static inline int32_t $P_clamp(int32_t v, int32_t low, int32_t high)
{
  return v < low ? low : v > high ? high : v;
}
)"},
    {"unpack4", {}, R"(
/* Two numbers of a byte: from its lower four bits and from its upper four. */
static void $P_unpack4(int8_t *to, const uint8_t *from, int32_t n)
{
  int32_t i;
  for (i = 0; i < n; i += 2, from++) {
    to[i] = (int8_t)((*from & 15) - ((*from & 8) << 1));
    to[i + 1] = (int8_t)((*from >> 4) - ((*from & 128) >> 3));
  }
}
)"},
    {"unpack2", {}, R"(
/* Four numbers of a byte, from the lowest bits up. */
static void $P_unpack2(int8_t *to, const uint8_t *from, int32_t n)
{
  int32_t i;
  for (i = 0; i < n; i++) {
    const int v = from[i >> 2] >> (i % 4 * 2);
    to[i] = (int8_t)((v & 1) - (v & 2));
  }
}
)"},
    {"math", {}, R"(
#include <math.h>
)"},
    {"scalar", {}, scalar_functions()},
    // Numbers of 64 bits where memory is aligned to 4.
    {"i64", {}, R"(
typedef int64_t __attribute__((aligned(4), may_alias)) $P_i64;
)"},
    // Functions of the scalar language (scalar_helpers.h), as graph/scalar_ops.cpp defines them.
    {"min_i64", {}, R"(
static inline int64_t $P_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
)"},
    {"max_i64", {}, R"(
static inline int64_t $P_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
)"},
    {"abs_i64", {}, R"(
static inline int64_t $P_abs_i64(int64_t a) { return a < 0 ? (int64_t)(0 - (uint64_t)a) : a; }
)"},
    {"sign_i64", {}, R"(
static inline int64_t $P_sign_i64(int64_t a) { return (a > 0) - (a < 0); }
)"},
    {"truncdiv_i64", {}, R"(
static inline int64_t $P_truncdiv_i64(int64_t a, int64_t b)
{
  return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}
)"},
    {"shl_i64", {}, R"(
static inline int64_t $P_shl_i64(int64_t a, int64_t b) { return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a << b); }
)"},
    {"shr_i64", {}, R"(
static inline int64_t $P_shr_i64(int64_t a, int64_t b) { return a >> (b < 0 || b > 63 ? 63 : b); }
)"},
    {"min_f32", {}, R"(
static inline float $P_min_f32(float a, float b) { return a < b || a != a ? a : b; }
)"},
    {"max_f32", {}, R"(
static inline float $P_max_f32(float a, float b) { return a > b || a != a ? a : b; }
)"},
    {"abs_f32", {}, R"(
static inline float $P_abs_f32(float a) { return a < 0 ? -a : a; }
)"},
    {"sign_f32", {}, R"(
static inline float $P_sign_f32(float a) { return (float)((a > 0) - (a < 0)); }
)"},
    {"trunc_f32", {"math"}, R"(
static inline float $P_trunc_f32(float a) { return truncf(a); }
)"},
    {"round_f32", {"math"}, R"(
static inline float $P_round_f32(float a) { return rintf(a); }
)"},
    {"reciprocal", {}, R"(
static inline int32_t $P_product(int32_t a, int32_t b) { return (int32_t)(((int64_t)a * b + (1 << 30)) >> 31); }
static inline int32_t $P_times4(int32_t v)
{
  return v > INT32_MAX >> 2 ? INT32_MAX : v < INT32_MIN >> 2 ? INT32_MIN : v * 4;
}
/* 1 / sum as a fraction of 2^31, and how far a product with it must go right to become an 8-bit result. */
static int32_t $P_reciprocal(int32_t sum, int *bits)
{
  uint32_t v = (uint32_t)sum;
  int zeros = 0, i;
  int32_t half, x;
  while (!(v >> 31)) v <<= 1, zeros++;
  *bits = 35 - zeros;
  half = (int32_t)(((int64_t)(v - 0x80000000u) + INT32_MAX + 1) / 2);
  x = 1515870810 + $P_product(half, -1010580540); /* 48/17 - 32/17 half, then three steps of Newton */
  for (i = 0; i < 3; i++) x += $P_times4($P_product(x, (1 << 29) - $P_product(half, x)));
  return x > INT32_MAX >> 1 ? INT32_MAX : x * 2;
}
)"},
    {"dsp", {}, R"(
#include <arm_acle.h>
typedef uint32_t __attribute__((may_alias)) $P_word;
typedef int16_t __attribute__((may_alias)) $P_half;
/* acc + low * low + high * high of 16-bit halves. */
#define $P_MAC(a, b, acc) ((int32_t)__smlad((int16x2_t)(a), (int16x2_t)(b), (acc)))
)"},
    {"dsp_bytes", {"dsp"}, R"(
static inline uint32_t $P_load4(const void *p)
{
  uint32_t v;
  __builtin_memcpy(&v, p, 4);
  return v;
}
/* Bytes 0 and 2, or 1 and 3, as two 16-bit numbers. */
#define $P_EVEN(v) ((uint32_t)__sxtb16(v))
static inline uint32_t $P_odd(uint32_t v)
{
  uint32_t r;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(v));
  return r;
}
)"},
    {"dsp_pair", {"dsp"}, R"(
static inline uint32_t $P_pair(int32_t low, int32_t high) { return ((uint32_t)low & 0xffffu) | (uint32_t)high << 16; }
)"},
    {"dsp_high", {"dsp"}, R"(
/* round(sum * multiplier / 2^31) for |sum| < 2^30. */
static inline int32_t $P_high(int32_t sum, int32_t multiplier)
{
  int32_t r, twice = (int32_t)((uint32_t)sum << 1);
  __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(twice), "r"(multiplier));
  return r;
}
)"},
    {"dsp_expand1", {"dsp_bytes", "dsp_pair"}, R"(
/* n bytes as 16-bit pairs, every 1th word from `to` on; an odd one at the end gets a partner that no weight reads. */
static $P_word *$P_expand1(const int8_t *from, $P_word *to, int n)
{
  for (; n >= 4; n -= 4, from += 4, to += 2 * 1) {
    const uint32_t v = $P_load4(from), a = $P_EVEN(v), b = $P_odd(v);
    to[0] = (a & 0xffffu) | b << 16;
    to[1] = (b & 0xffff0000u) | a >> 16;
  }
  for (; n > 0; n -= 2, from += 2, to += 1) *to = $P_pair(from[0], n > 1 ? from[1] : 0);
  return to;
}
)"},
    {"dsp_expand2", {"dsp_bytes", "dsp_pair"}, R"(
/* n bytes as 16-bit pairs, every 2th word from `to` on; an odd one at the end gets a partner that no weight reads. */
static $P_word *$P_expand2(const int8_t *from, $P_word *to, int n)
{
  for (; n >= 4; n -= 4, from += 4, to += 2 * 2) {
    const uint32_t v = $P_load4(from), a = $P_EVEN(v), b = $P_odd(v);
    to[0] = (a & 0xffffu) | b << 16;
    to[2] = (b & 0xffff0000u) | a >> 16;
  }
  for (; n > 0; n -= 2, from += 2, to += 2) *to = $P_pair(from[0], n > 1 ? from[1] : 0);
  return to;
}
)"},
    {"dsp_expand4", {"dsp_bytes", "dsp_pair"}, R"(
/* n bytes as 16-bit pairs, every 4th word from `to` on; an odd one at the end gets a partner that no weight reads. */
static $P_word *$P_expand4(const int8_t *from, $P_word *to, int n)
{
  for (; n >= 4; n -= 4, from += 4, to += 2 * 4) {
    const uint32_t v = $P_load4(from), a = $P_EVEN(v), b = $P_odd(v);
    to[0] = (a & 0xffffu) | b << 16;
    to[4] = (b & 0xffff0000u) | a >> 16;
  }
  for (; n > 0; n -= 2, from += 2, to += 4) *to = $P_pair(from[0], n > 1 ? from[1] : 0);
  return to;
}
)"},
    {"dsp_products4", {"dsp"}, R"(
/* Sums of products of two channels' weights with four pixels: sums[0..3] of the first, [4..7] of the second channel.
   Eight sums, two pointers and four temporaries take all registers, which no compiler manages without spilling; what is
   not listed as changed is put back. Returns the end of the weights. */
#define $P_STEP \
  "ldr r3, [r0], #4\n\t" \
  "sxtb16 r12, r3\n\t" \
  "sxtb16 r3, r3, ror #8\n\t" \
  "ldrd r2, lr, [r1], #8\n\t" \
  "smlad r4, r12, r2, r4\n\t" \
  "smlad r8, r3, r2, r8\n\t" \
  "smlad r5, r12, lr, r5\n\t" \
  "smlad r9, r3, lr, r9\n\t" \
  "ldrd r2, lr, [r1], #8\n\t" \
  "smlad r6, r12, r2, r6\n\t" \
  "smlad r10, r3, r2, r10\n\t" \
  "smlad r7, r12, lr, r7\n\t" \
  "smlad r11, r3, lr, r11\n\t"
static __attribute__((noinline)) const int8_t *$P_products4(const int8_t *row, const $P_word *x, int32_t steps, int32_t *sums)
{
  register const int8_t *w __asm__("r0") = row;
  register const $P_word *pairs __asm__("r1") = x;
  register int32_t left __asm__("r2") = steps;
  register int32_t *to __asm__("r3") = sums;
  __asm__ volatile(
    "push {r2-r12, lr}\n\t"
    "ldm r3, {r4-r11}\n\t"
    "subs r2, #4\n\t"
    "str r2, [sp]\n\t"
    "blt 2f\n\t"
    "1:\n"
    $P_STEP $P_STEP $P_STEP $P_STEP
    "ldr r2, [sp]\n\t"
    "subs r2, #4\n\t"
    "str r2, [sp]\n\t"
    "bge 1b\n\t"
    "2:\n"
    "adds r2, #4\n\t"
    "str r2, [sp]\n\t"
    "beq 4f\n\t"
    "3:\n"
    $P_STEP
    "ldr r2, [sp]\n\t"
    "subs r2, #1\n\t"
    "str r2, [sp]\n\t"
    "bne 3b\n\t"
    "4:\n"
    "ldr r3, [sp, #4]\n\t"
    "stm r3, {r4-r11}\n\t"
    "pop {r2-r12, lr}\n\t"
    : "+r"(w), "+r"(pairs)
    : "r"(left), "r"(to)
    : "cc", "memory");
  return w;
}
#undef $P_STEP
)"},
    {"dsp_dense4", {"dsp"}, R"(
/* Adds the products of four rows with 4 * quads inputs; weights of the rows lie interleaved in words. Registers as in
   _products4. Returns the end of the weights, which are aligned to 4. */
static __attribute__((noinline)) const int8_t *$P_dense4(const int8_t *in, const int8_t *weights, int32_t quads, int32_t *sums)
{
  register const int8_t *x __asm__("r0") = in;
  register const int8_t *w __asm__("r1") = weights;
  register int32_t left __asm__("r2") = quads;
  register int32_t *to __asm__("r3") = sums;
  __asm__ volatile(
    "push {r3-r12, lr}\n\t"
    "ldm r3, {r4-r7}\n\t"
    "1:\n"
    "ldr r8, [r0], #4\n\t"
    "sxtb16 r9, r8, ror #8\n\t"
    "sxtb16 r8, r8\n\t"
    "ldm r1!, {r3, r10, r11, r12}\n\t"
    "sxtb16 lr, r3\n\t"
    "smlad r4, r8, lr, r4\n\t"
    "sxtb16 lr, r3, ror #8\n\t"
    "smlad r4, r9, lr, r4\n\t"
    "sxtb16 lr, r10\n\t"
    "smlad r5, r8, lr, r5\n\t"
    "sxtb16 lr, r10, ror #8\n\t"
    "smlad r5, r9, lr, r5\n\t"
    "sxtb16 lr, r11\n\t"
    "smlad r6, r8, lr, r6\n\t"
    "sxtb16 lr, r11, ror #8\n\t"
    "smlad r6, r9, lr, r6\n\t"
    "sxtb16 lr, r12\n\t"
    "smlad r7, r8, lr, r7\n\t"
    "sxtb16 lr, r12, ror #8\n\t"
    "smlad r7, r9, lr, r7\n\t"
    "subs r2, #1\n\t"
    "bne 1b\n\t"
    "pop {r3}\n\t"
    "stm r3, {r4-r7}\n\t"
    "pop {r4-r12, lr}\n\t"
    : "+r"(x), "+r"(w), "+r"(left)
    : "r"(to)
    : "cc", "memory");
  return w;
}
)"},
    {"dsp_depthwise", {"dsp_pair"}, R"(
/* Products of one half each: low of a and high of b, or the other way round. */
#define $P_BT(a, b, acc) ((int32_t)__smlabt((int32_t)(a), (int32_t)(b), (acc)))
#define $P_TB(a, b, acc) ((int32_t)__smlatb((int32_t)(a), (int32_t)(b), (acc)))
)"},
    {"mve", {}, R"(
#include <arm_mve.h>
)"},
    {"mve_copy", {"mve"}, R"(
static inline void $P_copy(const int8_t *from, int8_t *to, int n)
{
  for (; n > 0; n -= 16, from += 16, to += 16) {
    const mve_pred16_t there = vctp8q((uint32_t)n);
    vstrbq_p_s8(to, vldrbq_z_s8(from, there), there);
  }
}
)"},
    {"mve_set", {"mve"}, R"(
static inline void $P_set(int8_t *to, int8_t value, int n)
{
  const int8x16_t v = vdupq_n_s8(value);
  for (; n > 0; n -= 16, to += 16) vstrbq_p_s8(to, v, vctp8q((uint32_t)n));
}
)"},
    {"mve_rescale", {"mve"}, R"(
static inline int32x4_t $P_rescale4(int32x4_t v, int32_t multiplier, int left)
{
  if (left > 0) v = vshlq_r_s32(v, left);
  v = vqrdmulhq_n_s32(v, multiplier);
  if (left < 0) v = vrshlq_n_s32(vaddq_s32(v, vshrq_n_s32(v, 31)), left);
  return v;
}
)"},
    {"mve_products4", {"mve"}, R"(
/* A channel's weights against four pixels, which lie `depth` bytes apart, rounded up to 16: bias and four sums. The
   loop is predicated: its last round takes what is left of `depth`. Registers that change are put back. */
static __attribute__((noinline)) int32x4_t $P_products4(const int8_t *row, const int8_t *x, int32_t bias, int32_t depth)
{
  register const int8_t *r0 __asm__("r0") = row;
  register const int8_t *r1 __asm__("r1") = x;
  register int32_t r2 __asm__("r2") = bias;
  register int32_t r3 __asm__("r3") = depth;
  int32x4_t v, a, b;
  __asm__ volatile(
    "push {r4, r6, r8, r10, r12, lr}\n\t"
    "mov r4, r2\n\t"
    "mov r6, r2\n\t"
    "mov r8, r2\n\t"
    "mov r10, r2\n\t"
    "add r12, r3, #15\n\t"
    "bic r12, r12, #15\n\t"
    "add r2, r1, r12\n\t"
    "dlstp.8 lr, r3\n\t"
    "add r3, r2, r12\n\t"
    "add r12, r3, r12\n"
    "1:\n\t"
    "vldrb.8 %q0, [r0], #16\n\t"
    "vldrb.8 %q1, [r1], #16\n\t"
    "vmladava.s8 r4, %q0, %q1\n\t"
    "vldrb.8 %q2, [r2], #16\n\t"
    "vmladava.s8 r6, %q0, %q2\n\t"
    "vldrb.8 %q1, [r3], #16\n\t"
    "vmladava.s8 r8, %q0, %q1\n\t"
    "vldrb.8 %q2, [r12], #16\n\t"
    "vmladava.s8 r10, %q0, %q2\n\t"
    "letp lr, 1b\n\t"
    "vmov.32 %q0[0], r4\n\t"
    "vmov.32 %q0[1], r6\n\t"
    "vmov.32 %q0[2], r8\n\t"
    "vmov.32 %q0[3], r10\n\t"
    "pop {r4, r6, r8, r10, r12, lr}\n\t"
    : "=&w"(v), "=&w"(a), "=&w"(b), "+r"(r0), "+r"(r1), "+r"(r2), "+r"(r3)
    :
    : "cc", "memory");
  return v;
}
)"},
};

const Helper* found(std::string_view name) {
  for (std::span<const Helper> list :
       {std::span<const Helper>(kHelpers), avx2_helpers(), neon_helpers(), layer_helpers()})
    for (const Helper& h : list)
      if (h.name == name) return &h;
  return nullptr;
}

const Helper& find(std::string_view name) {
  if (const Helper* h = found(name)) return *h;
  fail<Error>("device kernels: no helper is called '{}'", name);
}

}  // namespace

bool has_helper(std::string_view name) { return found(name) != nullptr; }
std::string_view helper_text(std::string_view name) { return find(name).text; }
std::vector<std::string> helper_needs(std::string_view name) {
  const Helper& h = find(name);
  return {h.needs.begin(), h.needs.end()};
}

}  // namespace sorus::device
