// Reference values of the operations that the C++ library lacks (special_functions.h has those of analysis). They are
// checked against by everything faster, so they are written to be right, not quick.
#pragma once

#include <complex>
#include <cstdint>

namespace sorus::scalar_reference {

inline bool truth(double a) { return a != 0; }
inline bool truth(int64_t a) { return a != 0; }
inline bool truth(std::complex<double> a) { return a != 0.0; }

int64_t integer_power(int64_t a, int64_t b);  ///< Negative powers truncate to 0, except those of 1 and -1.
std::complex<double> complex_power(std::complex<double> a, std::complex<double> b);
std::complex<double> complex_expm1(std::complex<double> z);
std::complex<double> complex_log1p(std::complex<double> z);

// Division as Python and PyTorch define it. By zero, integers give 0, here and in the kernels (PyTorch stops).
double floor_divide(double a, double b);
int64_t floor_divide(int64_t a, int64_t b);
double python_remainder(double a, double b);
int64_t python_remainder(int64_t a, int64_t b);
/// e of a = m 2^e with 1/2 <= |m| < 1; 0 for 0, infinity and NaN.
double binary_exponent(double a);
int64_t truncated_divide(int64_t a, int64_t b);
int64_t truncated_remainder(int64_t a, int64_t b);
int64_t shift_left(int64_t a, int64_t b);
int64_t shift_right(int64_t a, int64_t b);
int64_t greatest_common_divisor(int64_t a, int64_t b);  ///< Of 0 and 0 it is 0.
int64_t least_common_multiple(int64_t a, int64_t b);

/// Four random words: Philox 4x32 with 10 rounds. The key is the low halves of key0 and key1.
void philox(int64_t key0, int64_t key1, int64_t position, uint32_t words[4]);
double uniform(const double* keys_and_position);                    ///< 53 bits in [0, 1).
double normal(const double* keys_and_position);                     ///< Box-Muller.
int64_t random_bits(int64_t key0, int64_t key1, int64_t position);  ///< 63 bits.

}  // namespace sorus::scalar_reference
