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
    {"remainder_i64", {}, R"(
static inline int64_t $P_remainder_i64(int64_t a, int64_t b) /* with the sign of b */
{
  const int64_t r = b == 0 || b == -1 ? 0 : a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
)"},
    {"floordiv_i64", {"truncdiv_i64"}, R"(
static inline int64_t $P_floordiv_i64(int64_t a, int64_t b)
{
  const int64_t r = b == 0 || b == -1 ? 0 : a % b;
  return $P_truncdiv_i64(a, b) - (r != 0 && (r < 0) != (b < 0));
}
)"},
    {"dot", {}, R"(
/* The sum of n products. */
static inline int32_t $P_dot(const int8_t *a, const int8_t *b, int n)
{
  int32_t sum = 0;
  int k;
  for (k = 0; k < n; k++) sum += a[k] * b[k];
  return sum;
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
    {"between", {}, R"(
/* Between two of 513 values: x from -32768 to 32767. */
static inline int32_t $P_between(int32_t x, const int16_t *table)
{
  const int32_t place = (x >> 7) + 256, low = table[place];
  return low + (((table[place + 1] - low) * (x & 127) + 64) >> 7);
}
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
};

const Helper* found(std::string_view name) {
  for (std::span<const Helper> list : {std::span<const Helper>(kHelpers), dsp_helpers(), mve_helpers(),
                                       avx2_helpers(), neon_helpers(), layer_helpers()})
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
