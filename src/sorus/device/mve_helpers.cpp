// Functions that kernels for Helium use (kernels_mve.cpp).
#include "sorus/device/helper.h"

namespace sorus::device {
namespace {

const Helper kHelpers[] = {
    {"mve", {}, R"(
#include <arm_mve.h>
)"},
    {"mve_dot", {"mve"}, R"(
/* The sum of n products. */
static inline int32_t $P_dot(const int8_t *a, const int8_t *b, int n)
{
  int32_t sum = 0;
  for (; n > 0; n -= 16, a += 16, b += 16) {
    const mve_pred16_t there = vctp8q((uint32_t)n);
    sum = vmladavaq_p_s8(sum, vldrbq_z_s8(a, there), vldrbq_z_s8(b, there), there);
  }
  return sum;
}
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

}  // namespace

std::span<const Helper> mve_helpers() { return kHelpers; }

}  // namespace sorus::device
