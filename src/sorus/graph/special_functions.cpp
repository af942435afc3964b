#include "sorus/graph/special_functions.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <vector>

namespace sorus::special {
namespace {

using Complex = std::complex<double>;
constexpr double kPi = 3.14159265358979323846, kEuler = 0.57721566490153286061;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kTiny = 1e-17;  // relative to the sum so far: what no longer changes it

}  // namespace

// ---- the normal distribution

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

double scaled_erfc(double x) {
  double square = x * x;
  if (x < 10) {
    // What x * x loses is as large as the error of the result, for an exponential.
    double lost = std::fma(x, x, -square);
    return square > 700 ? (x < 0 ? kInfinity : kNaN) : std::exp(square) * (1 + lost) * std::erfc(x);
  }
  double sum = 1, term = 1;  // DLMF 7.12.1
  for (int k = 1; k < 30 && std::fabs(term) > kTiny; ++k) sum += term *= -(2 * k - 1) / (2 * square);
  return x != x ? x : sum / (x * std::sqrt(kPi));
}

double normal_quantile(double p) {
  if (!(p > 0 && p < 1)) return p == 0 ? -kInfinity : p == 1 ? kInfinity : kNaN;
  if (p >= 0.5) return p == 0.5 ? 0 : -normal_quantile(1 - p);
  // Newton's method for the logarithm of the share, which is concave: from the left it never steps too far.
  double z = -std::sqrt(-2 * std::log(p));
  for (int i = 0; i < 20; ++i) {
    double mills = 0.5 * scaled_erfc(-z * std::sqrt(0.5));  // share(z) exp(z^2 / 2)
    double step = (std::log(mills) - 0.5 * z * z - std::log(p)) * mills * std::sqrt(2 * kPi);
    z -= step;
    if (std::fabs(step) < 1e-16 * std::fabs(z)) break;
  }
  return z;
}

// ---- gamma and zeta functions

double digamma(double x) {
  if (x == 0) return std::copysign(kInfinity, -x);
  if (x < 0) {
    if (x == std::floor(x)) return kNaN;
    return digamma(1 - x) - kPi / std::tan(kPi * (x - std::nearbyint(x)));
  }
  double result = 0;
  for (; x < 10; ++x) result -= 1 / x;
  double r = 1 / (x * x);
  double tail =
      r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r * (1.0 / 132 - r * 691.0 / 32760)))));
  return result + std::log(x) - 0.5 / x - tail;
}

double zeta(double s, double q) {
  if (s == 1) return kInfinity;
  if (!(s > 1) || q != q) return kNaN;
  if (q <= 0 && q == std::floor(q)) return kInfinity;
  if (q < 0 && (s != std::floor(s) || q < -1e6)) return kNaN;  // powers of negative numbers; and never slow
  if (std::isinf(s)) return std::fabs(q) > 1 ? 0 : std::fabs(q) == 1 ? 1 : kInfinity;
  // Euler-Maclaurin summation from a place where its terms shrink; DLMF 25.11.28.
  double sum = 0, x = q;
  for (double far = std::max(12.0, s); x < far; x += 1) {
    double term = std::pow(x, -s);
    sum += term;
    if (x > 1 && x * term <= kTiny * std::fabs(sum)) return sum;
  }
  sum += std::pow(x, 1 - s) / (s - 1) + 0.5 * std::pow(x, -s);
  static constexpr double kBernoulli[] = {1.0 / 6, -1.0 / 30, 1.0 / 42, -1.0 / 30, 5.0 / 66, -691.0 / 2730, 7.0 / 6};
  double term = s * std::pow(x, -s - 1), factorial = 2;
  for (int k = 0; k < 7; ++k) {
    sum += kBernoulli[k] * term / factorial;
    term *= (s + 2 * k + 1) * (s + 2 * k + 2) / (x * x);
    factorial *= (2 * k + 3) * (2 * k + 4);
  }
  return sum;
}

double polygamma(double n, double x) {
  if (n == 0) return digamma(x);
  return (std::fmod(n, 2) == 0 ? -1 : 1) * std::tgamma(n + 1) * zeta(n + 1, x);
}

namespace {

/// log(gamma(1 + a)) without the rounding of 1 + a; DLMF 5.7.3.
double log_gamma_after(double a) {
  if (a > 1e-3) return std::lgamma(1 + a);
  return a * (-kEuler + a * (kPi * kPi / 12 + a * (-1.2020569031595943 / 3 + a * kPi * kPi * kPi * kPi / 360)));
}

/// x^a exp(-x) / gamma(a + 1)
double gamma_density(double a, double x) {
  if (a < 20) return std::exp(a * std::log(x) - x - std::lgamma(a + 1));
  // The powers nearly cancel: Stirling's series for what is left.
  double apart = (x - a) / a, r = 1 / (a * a);
  double stirling = (1.0 / 12 - r * (1.0 / 360 - r * (1.0 / 1260 - r / 1680))) / a;
  double ratio = std::fabs(apart) < 0.5 ? std::log1p(apart) : std::log(x / a);
  return std::exp(a * (ratio - apart) - stirling) / std::sqrt(2 * kPi * a);
}

/// For 0 < a, x < infinity: the smaller of the two shares where they differ much, `upper` tells which it is.
double gamma_share(double a, double x, bool& upper) {
  if (a > 1e7) {  // DLMF 8.12.3 with its first correction; the next one is smaller by a
    double apart = (x - a) / a, eta = std::copysign(std::sqrt(2 * (apart - std::log1p(apart))), apart);
    double c = std::fabs(apart) < 1e-4 ? -1.0 / 3 + apart / 12 : 1 / apart - 1 / eta;
    double rest = std::exp(-0.5 * a * eta * eta) / std::sqrt(2 * kPi * a) * c;
    upper = apart > 0;
    return 0.5 * std::erfc(std::fabs(eta) * std::sqrt(a / 2)) + (upper ? rest : -rest);
  }
  if (x < 1.5 && x > a) {  // DLMF 8.7.1
    double t = a * std::log(x) - log_gamma_after(a), sum = 0, power = 1;
    for (int n = 1; n < 60; ++n) {
      power *= -x / n;
      sum += power * a / (a + n);
    }
    upper = true;
    return -std::expm1(t) - std::exp(t) * sum;
  }
  if (x < a + 1) {  // DLMF 8.11.4
    double sum = 1, term = 1;
    for (double n = a + 1; term > kTiny * sum; n += 1) sum += term *= x / n;
    upper = false;
    return gamma_density(a, x) * sum;
  }
  // The continued fraction DLMF 8.9.2, by Lentz's method.
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (double i = 1; i < 1e6; i += 1) {
    double an = -i * (i - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (std::fabs(d * c - 1) < 1e-16) break;
  }
  upper = true;
  return gamma_density(a, x) * a * h;
}

double gamma_share_of(double a, double x, bool want_upper) {
  if (!(a >= 0 && x >= 0) || (a == 0 && x == 0) || (std::isinf(a) && std::isinf(x))) return kNaN;
  if (a == 0 || std::isinf(x)) return want_upper ? 0 : 1;
  if (x == 0 || std::isinf(a)) return want_upper ? 1 : 0;
  bool upper = false;
  double share = gamma_share(a, x, upper);
  return upper == want_upper ? share : 1 - share;
}

}  // namespace

double lower_gamma_share(double a, double x) { return gamma_share_of(a, x, false); }
double upper_gamma_share(double a, double x) { return gamma_share_of(a, x, true); }

// ---- Bessel and Airy functions

namespace {

/// sqrt(2 z / pi) exp(z) K_v(z), and with `sign` -1 sqrt(2 pi z) exp(-z) I_v(z), for large z; DLMF 10.40.1
/// and 10.40.2.
template <class T>
T bessel_far(double v, T z, double sign) {
  T sum = 1, term = 1;
  for (int k = 1; k < 30 && std::abs(term) > kTiny; ++k) {
    double odd = 2 * k - 1;
    sum += term *= sign * (4 * v * v - odd * odd) / (8.0 * k * z);
  }
  return sum;
}

/// exp(z) K_v(z) for a positive or a positive imaginary z of size one or more; DLMF 10.32.9. The trapezoidal rule is
/// as good as exact for what falls off so fast; for an imaginary z along a path on which it does.
Complex scaled_k(double v, Complex z) {
  if (std::abs(z) > 50) return std::sqrt(kPi / (2.0 * z)) * bessel_far(v, z, 1);
  const double h = 0.05, tilt = z.imag() > 0 ? 1 : 0;
  Complex sum = 0.5 * Complex(1, -tilt);
  for (int i = 1; i < 2000; ++i) {
    double s = i * h, bend = std::tanh(s);
    Complex t(s, -tilt * bend), half = std::sinh(0.5 * t);
    Complex term = std::exp(-2.0 * z * half * half) * std::cosh(v * t) * Complex(1, -tilt * (1 - bend * bend));
    sum += term;
    if (std::abs(term) < kTiny * std::abs(sum)) break;
  }
  return h * sum;
}

}  // namespace

double scaled_bessel_i(int order, double x) {
  double a = std::fabs(x), sign = order % 2 && x < 0 ? -1 : 1;
  if (a > 30) return std::isinf(a) ? 0 : sign * bessel_far(order, a, -1) / std::sqrt(2 * kPi * a);
  double q = 0.25 * a * a, term = order ? 0.5 * a : 1, sum = term;  // DLMF 10.25.2
  for (int k = 1; k < 200 && term > kTiny * sum; ++k) sum += term *= q / (k * (k + order));
  return x != x ? x : sign * sum * std::exp(-a);
}

double scaled_bessel_k(int order, double x) {
  if (!(x > 0)) return x == 0 ? kInfinity : kNaN;
  if (std::isinf(x)) return 0;
  if (x > 2) return scaled_k(order, x).real();
  double q = 0.25 * x * x, term = 1, harmonic = 0, i0 = scaled_bessel_i(0, x) * std::exp(x);
  double k0 = -(std::log(0.5 * x) + kEuler) * i0;  // DLMF 10.31.2
  for (int k = 1; k < 30; ++k) {
    term *= q / (static_cast<double>(k) * k);
    harmonic += 1.0 / k;
    k0 += term * harmonic;
  }
  // K_1 by the Wronskian, DLMF 10.28.2: no difference of like numbers is in it.
  double k1 = (1 / x - scaled_bessel_i(1, x) * std::exp(x) * k0) / i0;
  return std::exp(x) * (order ? k1 : k0);
}

namespace {

/// Ai and Ai' near 0, DLMF 9.4.1 and 9.4.2.
double airy_near(double x, bool slope) {
  constexpr double kAt0 = 0.355028053887817239260, kSlopeAt0 = -0.258819403792806798405;
  double f = 1, g = x, f1 = 0, g1 = 1, even = 1, odd = x;
  for (int k = 3; k < 100; k += 3) {
    f1 += even * x * x / (k - 1);
    g1 += odd * x * x / k;
    f += even *= x * x * x / ((k - 1.0) * k);
    g += odd *= x * x * x / (k * (k + 1.0));
  }
  return slope ? kAt0 * f1 + kSlopeAt0 * g1 : kAt0 * f + kSlopeAt0 * g;
}

/// By K of the order 1/3 (for Ai) or 2/3 (for Ai'), DLMF 9.6.2, 9.6.3; for x < 0 at z exp(i pi / 3), DLMF 9.2.14.
double airy_of(double x, bool slope) {
  if (x != x) return x;
  if (std::isinf(x)) return 0;
  double size = std::fabs(x);
  if (size < 2) return airy_near(x, slope);
  double zeta = 2.0 / 3 * size * std::sqrt(size), factor = (slope ? -size : std::sqrt(size)) / (kPi * std::sqrt(3));
  if (x > 0) return factor * std::exp(-zeta) * scaled_k(slope ? 2.0 / 3 : 1.0 / 3, zeta).real();
  Complex k = scaled_k(slope ? 2.0 / 3 : 1.0 / 3, Complex(0, zeta)) * std::polar(1.0, -zeta);
  return 2 * factor * (slope ? k.real() : -k.imag());
}

}  // namespace

double airy(double x) { return airy_of(x, false); }
double airy_slope(double x) { return airy_of(x, true); }

// ---- orthogonal polynomials

namespace {

/// p[j+1] = (a x + b) p[j] - c p[j-1]; DLMF 18.9.1.
struct Recurrence {
  double a, b, c;
};

Recurrence recurrence(Polynomial family, double j) {
  double first = j == 0 ? 1 : 0;
  switch (family) {
    case Polynomial::chebyshev_t:
      return {2 - first, 0, 1};
    case Polynomial::chebyshev_u:
      return {2, 0, 1};
    case Polynomial::chebyshev_v:
      return {2, -first, 1};
    case Polynomial::chebyshev_w:
      return {2, first, 1};
    case Polynomial::hermite_h:
      return {2, 0, 2 * j};
    case Polynomial::hermite_he:
      return {1, 0, j};
    case Polynomial::laguerre:
      return {-1 / (j + 1), (2 * j + 1) / (j + 1), j / (j + 1)};
    case Polynomial::legendre:
      return {(2 * j + 1) / (j + 1), 0, j / (j + 1)};
  }
  return {kNaN, kNaN, kNaN};
}

}  // namespace

double polynomial(Polynomial family, double x, double n, double derivative) {
  if (!(n <= 1e6 && derivative >= 0 && derivative <= 1e6)) return kNaN;
  n = std::trunc(n);
  if (n < 0 || derivative > n) return 0;
  // All derivatives up to the wanted one, of the polynomials of the orders j - 1 and j.
  auto wanted = static_cast<size_t>(derivative);
  std::vector<double> before(wanted + 1), now(wanted + 1);
  now[0] = 1;
  for (double j = 0; j < n; j += 1) {
    auto [a, b, c] = recurrence(family, j);
    for (size_t i = wanted + 1; i-- > 0;) {
      double next = (a * x + b) * now[i] + (i ? static_cast<double>(i) * a * now[i - 1] : 0) - c * before[i];
      before[i] = next;
    }
    std::swap(before, now);
  }
  return now[wanted];
}

}  // namespace sorus::special
