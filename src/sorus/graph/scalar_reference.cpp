#include "sorus/graph/scalar_reference.h"

#include <cmath>
#include <limits>
#include <utility>

namespace sorus::scalar_reference {
namespace {
constexpr double kPi = 3.14159265358979323846;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
}  // namespace

int64_t integer_power(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
  uint64_t result = 1;
  for (uint64_t base = static_cast<uint64_t>(a); b; b >>= 1, base *= base) {
    if (b & 1) result *= base;
  }
  return static_cast<int64_t>(result);
}

std::complex<double> complex_power(std::complex<double> a, std::complex<double> b) {
  if (b == 0.0) return 1.0;
  if (a == 0.0 && b.imag() == 0) return b.real() > 0 ? 0.0 : std::complex<double>(kInfinity, kNaN);
  return std::pow(a, b);
}

std::complex<double> complex_expm1(std::complex<double> z) {
  double s = std::sin(0.5 * z.imag());
  return {std::expm1(z.real()) * std::cos(z.imag()) - 2 * s * s, std::exp(z.real()) * std::sin(z.imag())};
}

std::complex<double> complex_log1p(std::complex<double> z) {
  double x = z.real(), y = z.imag();
  // Near zero 1 + z loses its low digits; far away x*x overflows.
  if (std::fabs(x) < 0.5 && std::fabs(y) < 0.5) return {0.5 * std::log1p(x * (2 + x) + y * y), std::atan2(y, 1 + x)};
  return std::log(1.0 + z);
}

double floor_divide(double a, double b) {
  if (b == 0) return a / b;
  double mod = std::fmod(a, b);
  double div = (a - mod) / b;
  if (mod != 0 && (b < 0) != (mod < 0)) div -= 1;
  if (div == 0) return std::copysign(0.0, a / b);
  double whole = std::floor(div);
  return div - whole > 0.5 ? whole + 1 : whole;
}
double binary_exponent(double a) {
  int e = 0;
  if (std::isfinite(a)) std::frexp(a, &e);
  return e;
}
int64_t truncated_divide(int64_t a, int64_t b) {
  if (b == 0) return 0;
  return b == -1 ? static_cast<int64_t>(-static_cast<uint64_t>(a)) : a / b;
}
int64_t truncated_remainder(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
int64_t floor_divide(int64_t a, int64_t b) {
  int64_t q = truncated_divide(a, b), r = truncated_remainder(a, b);
  return r != 0 && (r < 0) != (b < 0) ? q - 1 : q;
}
double python_remainder(double a, double b) {
  double mod = std::fmod(a, b);
  return mod != 0 && (b < 0) != (mod < 0) ? mod + b : mod;
}
int64_t python_remainder(int64_t a, int64_t b) {
  int64_t r = truncated_remainder(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
int64_t shift_left(int64_t a, int64_t b) {
  return b < 0 || b > 63 ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a) << b);
}
int64_t shift_right(int64_t a, int64_t b) { return a >> (b < 0 || b > 63 ? 63 : b); }
int64_t greatest_common_divisor(int64_t a, int64_t b) {
  for (; b != 0; std::swap(a, b)) a = truncated_remainder(a, b);
  return a < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(a)) : a;
}
int64_t least_common_multiple(int64_t a, int64_t b) {
  int64_t divisor = greatest_common_divisor(a, b);
  if (divisor == 0) return 0;
  auto product = static_cast<int64_t>(static_cast<uint64_t>(truncated_divide(a, divisor)) * static_cast<uint64_t>(b));
  return product < 0 ? static_cast<int64_t>(-static_cast<uint64_t>(product)) : product;
}

void philox(int64_t key0, int64_t key1, int64_t position, uint32_t words[4]) {
  uint32_t k0 = static_cast<uint32_t>(key0), k1 = static_cast<uint32_t>(key1);
  uint32_t c0 = static_cast<uint32_t>(position), c1 = static_cast<uint32_t>(static_cast<uint64_t>(position) >> 32);
  uint32_t c2 = 0, c3 = 0;
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// The f32 versions take the upper 24 bits of the same 53, so that both precisions draw the same numbers.
double uniform(const double* v) {
  uint32_t w[4];
  philox(static_cast<int64_t>(v[0]), static_cast<int64_t>(v[1]), static_cast<int64_t>(v[2]), w);
  return ((uint64_t{w[0]} << 21) | (w[1] >> 11)) * 0x1p-53;
}
double normal(const double* v) {
  uint32_t w[4];
  philox(static_cast<int64_t>(v[0]), static_cast<int64_t>(v[1]), static_cast<int64_t>(v[2]), w);
  double radius = 1 - ((uint64_t{w[0]} << 21) | (w[2] >> 11)) * 0x1p-53;  // in (0, 1]: the logarithm is finite
  double turn = ((uint64_t{w[1]} << 21) | (w[3] >> 11)) * 0x1p-53;
  return std::sqrt(-2 * std::log(radius)) * std::cos(2 * kPi * turn);
}
int64_t random_bits(int64_t key0, int64_t key1, int64_t position) {
  uint32_t w[4];
  philox(key0, key1, position, w);
  return static_cast<int64_t>(((uint64_t{w[0]} << 32) | w[1]) >> 1);
}

}  // namespace sorus::scalar_reference
