#include "sorus/device/softmax_table.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sorus::device {
namespace {

// Products of Q0.31 numbers, and divisions by powers of two, with gemmlowp's rounding.
int32_t product(int32_t a, int32_t b) { return static_cast<int32_t>((int64_t{a} * b + (int64_t{1} << 30)) >> 31); }
int32_t half(int32_t v, int times) {
  return static_cast<int32_t>((int64_t{v} + (int64_t{1} << (times - 1)) - (v < 0 ? 1 : 0)) >> times);
}
int32_t doubled(int32_t v, int times) {
  int64_t r = int64_t{v} * (int64_t{1} << times);
  return static_cast<int32_t>(
      std::clamp<int64_t>(r, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()));
}

int32_t exp_near_zero(int32_t a) {  // -1/4 < a <= 0 in Q0.31: a polynomial around -1/8
  constexpr int32_t kExpOfMinusEighth = 1895147668, kThird = 715827883;
  int32_t x = a + (1 << 28), x2 = product(x, x), x3 = product(x2, x), x4 = product(x2, x2);
  int32_t rest = half(product(half(x4, 2) + x3, kThird) + x2, 1);
  return kExpOfMinusEighth + product(kExpOfMinusEighth, x + rest);
}

int32_t exp_of_negative(int32_t a) {  // Q5.26
  if (a == 0) return std::numeric_limits<int32_t>::max();
  constexpr int32_t kQuarter = 1 << 24;
  int32_t low = (a & (kQuarter - 1)) - kQuarter, rest = low - a;
  int32_t result = exp_near_zero(doubled(low, 5));
  // exp of minus 1/4, 1/2, 1, 2, 4, 8, 16
  constexpr int32_t kFactors[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  for (int bit = 0; bit < 7; ++bit)
    if (rest & (int32_t{1} << (24 + bit))) result = product(result, kFactors[bit]);
  return result;
}

}  // namespace

std::vector<int32_t> softmax_exponentials(int32_t multiplier, int32_t shift) {
  auto radius = static_cast<int32_t>(std::min(std::floor(31.0 * std::ldexp(1.0, 26 - shift)), 255.0));
  std::vector<int32_t> table;
  for (int32_t d = 0; d <= radius; ++d) table.push_back(exp_of_negative(product(doubled(-d, shift), multiplier)));
  while (!table.empty() && table.back() == 0) table.pop_back();
  return table;
}

}  // namespace sorus::device
