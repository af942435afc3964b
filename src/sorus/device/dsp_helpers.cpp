// Functions that kernels for the DSP extension use (kernels_dsp.cpp).
#include "sorus/device/helper.h"

namespace sorus::device {
namespace {

const Helper kHelpers[] = {
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
    {"dsp_dot", {"dsp_bytes"}, R"(
/* The sum of n products. */
static inline int32_t $P_dot(const int8_t *a, const int8_t *b, int n)
{
  int32_t sum = 0;
  for (; n >= 4; n -= 4, a += 4, b += 4) {
    const uint32_t v = $P_load4(a), w = $P_load4(b);
    sum = $P_MAC($P_EVEN(v), $P_EVEN(w), sum);
    sum = $P_MAC($P_odd(v), $P_odd(w), sum);
  }
  for (; n > 0; n--) sum += *a++ * *b++;
  return sum;
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
};

}  // namespace

std::span<const Helper> dsp_helpers() { return kHelpers; }

}  // namespace sorus::device
