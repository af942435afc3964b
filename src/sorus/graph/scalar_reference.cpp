#include "sorus/graph/scalar_reference.h"

#include <cmath>
#include <limits>

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

double inverse_erf(double x) {
  if (!(std::fabs(x) < 1)) return std::fabs(x) == 1 ? std::copysign(kInfinity, x) : kNaN;
  // Giles' approximation in single precision, then three steps of Halley's method on the smaller tail.
  double w = -std::log((1 - x) * (1 + x)), p;
  if (w < 5) {
    w -= 2.5;
    p = 1.50140941 + w * (0.246640727 + w * (-0.00417768164 + w * (-0.00125372503)));
  } else {
    w = std::sqrt(w) - 3;
    p = 2.83297682 + w * (1.00167406 + w * (0.00943887047 + w * (-0.0076224613)));
  }
  double y = p * x;
  for (int i = 0; i < 3; ++i) {
    double tail = 1 - std::fabs(x) - std::erfc(std::fabs(y));
    double error = std::fabs(x) < 0.5 ? std::erf(y) - x : x < 0 ? -tail : tail;
    double u = error / (2 / std::sqrt(kPi) * std::exp(-y * y));
    y -= u / (1 + y * u);
  }
  return y;
}

double digamma(double x) {
  if (x == 0) return std::copysign(kInfinity, -x);
  if (x < 0) {
    if (x == std::floor(x)) return kNaN;
    double fraction = x - std::floor(x);
    return digamma(1 - x) - kPi / std::tan(kPi * fraction);
  }
  double result = 0;
  for (; x < 10; ++x) result -= 1 / x;
  double r = 1 / (x * x);
  double tail =
      r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132 - r * 691.0 / 32760)))));
  return result + std::log(x) - 0.5 / x - tail;
}

// (-1)^(n+1) n! zeta(n + 1, x), the Hurwitz zeta function by Euler-Maclaurin summation.
double polygamma(double n, double x) {
  if (n == 0) return digamma(x);
  if (x <= 0 && x == std::floor(x)) return kInfinity;
  double s = n + 1, sum = 0;
  while (x < 12) {
    sum += std::pow(x, -s);
    x += 1;
  }
  sum += std::pow(x, 1 - s) / (s - 1) + 0.5 * std::pow(x, -s);
  static constexpr double kBernoulli[] = {1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6};
  double term = s * std::pow(x, -s - 1), factorial = 2;
  for (int k = 0; k < 7; ++k) {
    sum += kBernoulli[k] * term / factorial;
    term *= (s + 2 * k + 1) * (s + 2 * k + 2) / (x * x);
    factorial *= (2 * k + 3) * (2 * k + 4);
  }
  double sign = std::fmod(n, 2) == 0 ? -1 : 1;
  return sign * std::tgamma(n + 1) * sum;
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
