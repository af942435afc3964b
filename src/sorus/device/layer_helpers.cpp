// Functions that kernels of whole layers use (kernels_layers.cpp).
#include "sorus/device/helper.h"

namespace sorus::device {
namespace {

const Helper kHelpers[] = {
    {"logistic", {"math"}, R"(
static inline float $P_logistic(float v) { return 1.0F / (1.0F + expf(-v)); }
)"},
    {"halved", {}, R"(
/* v / 2^bits, rounded half away from zero. */
static inline int32_t $P_halved(int32_t v, int bits)
{
  const int32_t mask = (int32_t)((1U << bits) - 1);
  return (v >> bits) + ((v & mask) > (mask >> 1) + (v < 0));
}
)"},
    {"exp16", {"halved", "clamp"}, R"(
/* Fixed point in 16 bits, as in gemmlowp: a number with n bits before the point is v / 2^(15 - n). */
static inline int32_t $P_high16(int32_t a, int32_t b)
{
  const int32_t p = a * b, v = p >= 0 ? (p + 16384) >> 15 : -((16383 - p) >> 15);
  return v > 32767 ? 32767 : v;
}
/* exp(a) for a <= 0 with `bits` bits before the point: a series near -1/8, times exp(-1/4), exp(-1/2), ... for the bits
   of the rest. */
static int32_t $P_exp16(int32_t a, int bits)
{
  static const int16_t factor[7] = {25520, 19875, 12055, 4435, 600, 11, 0};
  const int point = 15 - bits, quarter = 1 << (point - 2), part = (a & (quarter - 1)) - quarter;
  const int32_t rest = part - a, x = part * (1 << bits) + 4096, x2 = $P_high16(x, x), x3 = $P_high16(x2, x);
  const int32_t cubic = $P_high16($P_halved($P_high16(x2, x2), 2) + x3, 10923);
  int32_t e = $P_clamp(28918 + $P_high16(28918, x + $P_halved(cubic + x2, 1)), -32768, 32767);
  int i;
  if (a == 0) return 32767;
  if (a < -(1 << (20 - bits))) return 0;
  for (i = 0; i < 7; i++)
    if (rest & (1 << (point - 2 + i))) e = $P_high16(e, factor[i]);
  return e;
}
/* 2 / (1 + e) with two bits before the point: 48/17 - 32/17 of half the divisor, then three steps of Newton. */
static int32_t $P_reciprocal16(int32_t e)
{
  const int32_t half = (e + 32768) >> 1;
  int32_t r = 23130 + $P_high16(half, -15420);
  int i;
  for (i = 0; i < 3; i++) r += $P_clamp($P_high16(r, 8192 - $P_high16(half, r)) * 4, -32768, 32767);
  return r;
}
)"},
    {"logistic16", {"exp16"}, R"(
/* 1 / (1 + exp(-v)) of three bits before the point, without any. */
static int32_t $P_logistic16(int32_t v)
{
  int32_t up;
  if (v == 0) return 16384;
  up = $P_clamp($P_reciprocal16($P_exp16(v < 0 ? v : -v, 3)) * 2, -32768, 32767);
  return v > 0 ? up : 32767 - up;
}
)"},
    {"tanh16", {"exp16"}, R"(
static int32_t $P_tanh16(int32_t v, int bits)
{
  int32_t up;
  if (v == 0) return 0;
  up = $P_clamp(($P_reciprocal16($P_exp16(v < 0 ? v : -v, bits + 1)) - 8192) * 4, -32768, 32767);
  return v > 0 ? up : -up;
}
)"},
};

}  // namespace

std::span<const Helper> layer_helpers() { return kHelpers; }

}  // namespace sorus::device
