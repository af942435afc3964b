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

// ---- 16 bits: all names begin with that of the result, so that a body may have several
// -----------------------------------------------------------------------------------------------------------------

namespace {

// A constant of 32 bits as gemmlowp brings it to 16: rounded half away from zero.
constexpr int64_t short_of(int64_t v) { return v >= 0 ? (v + 32768) >> 16 : -((32768 - v) >> 16); }

std::string high_product16(std::string_view y, std::string_view a, std::string_view b) {
  return fmt::format(
      "{0}_p = ({1}) * ({2});"
      "{0} = min({0}_p >= 0 ? ({0}_p + 16384) >> 15 : -((16383 - {0}_p) >> 15), 32767);",
      y, a, b);
}
std::string saturated16(std::string_view y, std::string_view x) {
  return fmt::format("{} = max(-32768, min(32767, {}));", y, x);
}

// exp(a) for a <= 0, as `exponential` above; where a has more than five integer bits, 0 below -32.
std::string exponential16(const std::string& y, std::string_view a, std::string_view bits) {
  auto n = [&](std::string_view name) { return fmt::format("{}_{}", y, name); };
  std::string s = fmt::format(
      "{0}_a = {1}; {0}_point = 15 - ({2}); {0}_quarter = 1 << ({0}_point - 2);"
      "{0}_part = ({0}_a & ({0}_quarter - 1)) - {0}_quarter; {0}_rest = {0}_part - {0}_a;"
      "{0}_x = ({0}_part << ({2})) + 4096;",
      y, a, bits);
  s += high_product16(n("x2"), n("x"), n("x")) + high_product16(n("x3"), n("x2"), n("x")) +
       high_product16(n("x4"), n("x2"), n("x2"));
  s += rounded_shift(n("q4"), n("x4"), "2") +
       high_product16(n("cubic"), n("q4") + " + " + n("x3"), std::to_string(short_of(715827883))) +
       rounded_shift(n("series"), n("cubic") + " + " + n("x2"), "1");
  std::string middle = std::to_string(short_of(1895147668));  // exp(-1/8)
  s += high_product16(n("tail"), middle, n("x") + " + " + n("series")) +
       saturated16(n("e0"), middle + " + " + n("tail"));
  constexpr std::array<int64_t, 7> factors = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  for (size_t i = 0; i < factors.size(); ++i) {  // exp(-2^(i-2)); bits that the argument has not are 0
    std::string e = n("e" + std::to_string(i)), with = n("w" + std::to_string(i));
    s += high_product16(with, e, std::to_string(short_of(factors[i])));
    s += fmt::format("{}_e{} = ({}_rest & (1 << ({}_point + {}))) != 0 ? {} : {};", y, i + 1, y, y,
                     static_cast<int>(i) - 2, with, e);
  }
  return s + fmt::format("{0} = {0}_a == 0 ? 32767 : {0}_a < -(1 << (20 - ({1}))) ? 0 : {0}_e7;", y, bits);
}

// Newton's method for 1 / (half of 1 + a), with two integer bits; the result is `y`_r3.
std::string reciprocal_of_half16(const std::string& y, std::string_view a) {
  auto n = [&](std::string_view name) { return fmt::format("{}_{}", y, name); };
  std::string s = fmt::format("{0}_half = ({1} + 32768) >> 1;", y, a);
  s += high_product16(n("start"), n("half"), std::to_string(short_of(-1010580540))) +
       fmt::format("{0}_r0 = {1} + {0}_start;", y, short_of(1515870810));
  for (int i = 0; i < 3; ++i) {
    std::string r = fmt::format("{}_r{}", y, i);
    s += high_product16(r + "d", n("half"), r) + high_product16(r + "e", r, fmt::format("8192 - {}d", r)) +
         saturated16(r + "s", r + "e << 2") + fmt::format("{}_r{} = {} + {}s;", y, i + 1, r, r);
  }
  return s;
}

}  // namespace

std::string sigmoid16(std::string_view given, std::string_view a) {
  std::string y(given);
  return fmt::format("{0}_in = {1};", y, a) + exponential16(y + "_exp", fmt::format("-abs({}_in)", y), "3") +
         reciprocal_of_half16(y, y + "_exp") + saturated16(y + "_up", y + "_r3 << 1") +
         fmt::format("{0} = {0}_in == 0 ? 16384 : {0}_in > 0 ? {0}_up : 32767 - {0}_up;", y);
}
std::string tanh16(std::string_view given, std::string_view a, std::string_view bits) {
  std::string y(given);
  return fmt::format("{0}_in = {1};", y, a) +
         exponential16(y + "_exp", fmt::format("-abs({}_in)", y), fmt::format("{} + 1", bits)) +
         reciprocal_of_half16(y, y + "_exp") + saturated16(y + "_t", fmt::format("({}_r3 - 8192) << 2", y)) +
         fmt::format("{0} = {0}_in == 0 ? 0 : {0}_in > 0 ? {0}_t : -{0}_t;", y);
}

}  // namespace sorus::fixed
