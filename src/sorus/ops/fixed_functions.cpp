#include "sorus/ops/fixed_functions.h"

#include <array>

#include "sorus/ops/fixed_point.h"

namespace sorus::fixed {

// The argument is split into a multiple of 1/4, whose exponential is a product of those of its bits, and a rest in
// [-1/4, 0), near whose middle -1/8 the series is short.
std::string exponential(std::string_view y, std::string_view a, int bits) {
  int point = 31 - bits;
  int64_t quarter = int64_t{1} << (point - 2);
  std::string s = fmt::format("ea = {}; part = (ea & {}) - {}; rest = part - ea; ex = (part << {}) + 268435456;", a,
                              quarter - 1, quarter, bits);
  s += high_product("x2", "ex", "ex") + high_product("x3", "x2", "ex") + high_product("x4", "x2", "x2");
  s += rounded_shift("q4", "x4", "2") + high_product("cubic", "q4 + x3", "715827883") +
       rounded_shift("series", "cubic + x2", "1") + high_product("tail", "1895147668", "ex + series") +
       "e0 = 1895147668 + tail;";
  constexpr std::array<int, 7> factors = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  int n = 0;
  for (; n < 7 && n - 2 < bits; ++n) {  // exp(-2^(n-2))
    std::string with = fmt::format("w{}", n);
    s += high_product(with, fmt::format("e{}", n), fmt::format("{}", factors[static_cast<size_t>(n)]));
    s += fmt::format("e{} = rest & {} != 0 ? {} : e{};", n + 1, int64_t{1} << (point - 2 + n), with, n);
  }
  return s + fmt::format("{} = ea == 0 ? 2147483647 : e{};", y, n);
}

namespace {

// Newton's method for 1 / (half of 1 + a), with two integer bits: the result is r3.
std::string reciprocal_of_half(std::string_view a) {
  std::string s = fmt::format("half = {} + 2147483648 >> 1;", a);
  s += high_product("start", "half", "-1010580540") + "r0 = 1515870810 + start;";
  for (int i = 0; i < 3; ++i) {
    std::string r = fmt::format("r{}", i);
    s += high_product(r + "d", "half", r) + high_product(r + "e", r, fmt::format("536870912 - {}d", r)) +
         saturated_shift(r + "s", r + "e", 2) + fmt::format("r{} = {} + {}s;", i + 1, r, r);
  }
  return s;
}

}  // namespace

std::string one_over_one_plus(std::string_view y, std::string_view a) {
  return reciprocal_of_half(a) + saturated_shift(y, "r3", 1);
}
std::string one_minus_over_one_plus(std::string_view y, std::string_view a) {
  return reciprocal_of_half(a) + saturated_shift(y, "r3 - 536870912", 2);
}

}  // namespace sorus::fixed
