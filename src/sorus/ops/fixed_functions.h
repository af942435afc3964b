// Functions in fixed point, as text of the scalar language (see fixed_point.h): those of gemmlowp's fixedpoint.h,
// whose constants and roundings are kept so that results are equal to the bit. A number with n integer bits is an
// int32 q that stands for q / 2^(31-n).
#pragma once

#include <string>
#include <string_view>

namespace sorus::fixed {

/// `y` = exp(a) without integer bits, for a <= 0 with `bits` integer bits (at most 5).
std::string exponential(std::string_view y, std::string_view a, int bits);
/// `y` = 1 / (1 + a), both without integer bits, a in [0, 1).
std::string one_over_one_plus(std::string_view y, std::string_view a);
/// `y` = (1 - a) / (1 + a), the same.
std::string one_minus_over_one_plus(std::string_view y, std::string_view a);

/// The same in 16 bits, whose constants and products are rounded to 15: a number with n integer bits is an int16 q
/// that stands for q / 2^(15-n). `y` = 1 / (1 + exp(-a)) for a with three integer bits, without integer bits.
std::string sigmoid16(std::string_view y, std::string_view a);
/// `y` = tanh(a), the same, for a with `bits` integer bits (an expression from 0 to 6).
std::string tanh16(std::string_view y, std::string_view a, std::string_view bits);

}  // namespace sorus::fixed
