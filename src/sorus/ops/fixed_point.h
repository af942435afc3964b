// Fixed-point arithmetic as text of the scalar language: what quantised operators are written with.
//
//   "p = input << 20;" + fixed::product("y", "p", "multiplier", "shift") + "y + zero_point"
//
// A real factor is kept as a 32-bit `multiplier` in [2^30, 2^31) and a `shift`: factor = multiplier / 2^31 * 2^shift.
// Products round twice, first to 31 bits (half away from zero, as ARM's SQRDMULH), then by the right shift, since
// that is what the reference kernels of TensorFlow Lite do (Jacob et al. 2018; gemmlowp's fixedpoint.h), and results
// have to be equal to the bit. All of it is computed in 64-bit integers, where none of the steps can overflow.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace sorus::fixed {

/// `y` = (a * b) / 2^31, rounded half away from zero; saturated where both are -2^31.
inline std::string high_product(std::string_view y, std::string_view a, std::string_view b) {
  return fmt::format(
      "{0}_p = ({1}) * ({2});"
      "{0} = min({0}_p >= 0 ? ({0}_p + 1073741824) >> 31 : -((1073741823 - {0}_p) >> 31), 2147483647);",
      y, a, b);
}

/// `y` = x / 2^bits, rounded half away from zero. `bits` is not negative.
inline std::string rounded_shift(std::string_view y, std::string_view x, std::string_view bits) {
  return fmt::format(
      "{0}_x = {1}; {0}_b = {2}; {0}_m = (1 << {0}_b) - 1;"
      "{0} = ({0}_x >> {0}_b) + ({0}_x & {0}_m > ({0}_m >> 1) + ({0}_x < 0 ? 1 : 0) ? 1 : 0);",
      y, x, bits);
}

/// `y` = x times the real factor of `multiplier` and `shift`.
inline std::string product(std::string_view y, std::string_view x, std::string_view multiplier,
                           std::string_view shift) {
  std::string high = fmt::format("{}_h", y);
  return high_product(high, fmt::format("({}) << max({}, 0)", x, shift), multiplier) +
         rounded_shift(y, high, fmt::format("max(-({}), 0)", shift));
}

/// `y` = x * 2^bits for bits > 0, saturated to 32 bits.
inline std::string saturated_shift(std::string_view y, std::string_view x, int bits) {
  return fmt::format("{} = max(-2147483648, min(2147483647, ({}) << {}));", y, x, bits);
}

/// The last expression of a body: an integer brought to its zero point and range.
inline std::string clamped(std::string_view x) {
  return fmt::format("max(quant_min, min(quant_max, {} + zero_point))", x);
}

}  // namespace sorus::fixed
