// The special functions among the scalar operations. Most exist in double precision only and are not printed as C
// (emit/preamble.h): eager and compiled graphs evaluate them here, element by element.
#include <cmath>
#include <limits>

#include "sorus/graph/scalar_entry.h"
#include "sorus/graph/special_functions.h"

namespace sorus {
namespace {
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
}  // namespace

// The k-th derivative (c) of the polynomial of order n (b) at x (a).
#define POLYNOMIAL(family)                                                                    \
  {                                                                                           \
    .name = #family, .arity = 3, .gradient = {#family "(a, b, c + 1)", "nan * a", "nan * a"}, \
    REAL(polynomial(Polynomial::family, a, b, c)), .fixed = 6, .flops = 50                    \
  }

std::vector<ScalarOp> special_scalar_ops() {
  using namespace special;
  return {
      {.name = "erf", .gradient = {"1.1283791670955126 * exp(-(a * a))"}, REAL(std::erf(a)), .flops = 24},
      {.name = "erfc", .gradient = {"-1.1283791670955126 * exp(-(a * a))"}, REAL(std::erfc(a)), .flops = 30},
      {.name = "erfcx", .gradient = {"2 * a * y - 1.1283791670955126"}, REAL(scaled_erfc(a)), .flops = 50},
      {.name = "erfinv", .gradient = {"0.8862269254527580 * exp(y * y)"}, REAL(inverse_erf(a)), .flops = 40},
      {.name = "ndtri",
       .gradient = {"2.5066282746310002 * exp(0.5 * y * y)"},
       REAL(normal_quantile(a)),
       .flops = 200},

      {.name = "lgamma", .gradient = {"digamma(a)"}, REAL(std::lgamma(a)), .flops = 50},
      {.name = "digamma", .gradient = {"polygamma(1, a)"}, REAL(digamma(a)), .flops = 50},
      {.name = "polygamma",
       .arity = 2,
       .gradient = {"nan * a", "polygamma(a + 1, b)"},
       REAL(polygamma(a, b)),
       .fixed = 1,
       .flops = 100},
      {.name = "zeta",
       .arity = 2,
       .gradient = {"nan * a", "-a * zeta(a + 1, b)"},
       REAL(zeta(a, b)),
       .fixed = 1,
       .flops = 100},
      {.name = "igamma",
       .arity = 2,
       .gradient = {"nan * a", "exp((a - 1) * log(b) - b - lgamma(a))"},
       REAL(lower_gamma_share(a, b)),
       .fixed = 1,
       .flops = 100},
      {.name = "igammac",
       .arity = 2,
       .gradient = {"nan * a", "-exp((a - 1) * log(b) - b - lgamma(a))"},
       REAL(upper_gamma_share(a, b)),
       .fixed = 1,
       .flops = 100},

      {.name = "bessel_j0", .gradient = {"-bessel_j1(a)"}, REAL(::j0(a)), .flops = 50},
      {.name = "bessel_j1", .gradient = {"a == 0 ? 0.5 : bessel_j0(a) - y / a"}, REAL(::j1(a)), .flops = 50},
      {.name = "bessel_y0", .gradient = {"-bessel_y1(a)"}, REAL(a < 0 ? kNaN : ::y0(a)), .flops = 50},
      {.name = "bessel_y1", .gradient = {"bessel_y0(a) - y / a"}, REAL(a < 0 ? kNaN : ::y1(a)), .flops = 50},
      {.name = "i0", .gradient = {"i1(a)"}, REAL(scaled_bessel_i(0, a) * std::exp(std::fabs(a))), .flops = 60},
      {.name = "i0e", .gradient = {"i1e(a) - sign(a) * y"}, REAL(scaled_bessel_i(0, a)), .flops = 60},
      {.name = "i1",
       .gradient = {"a == 0 ? 0.5 : i0(a) - y / a"},
       REAL(scaled_bessel_i(1, a) * std::exp(std::fabs(a))),
       .flops = 60},
      {.name = "i1e",
       .gradient = {"a == 0 ? 0.5 : i0e(a) - y * (sign(a) + 1 / a)"},
       REAL(scaled_bessel_i(1, a)),
       .flops = 60},
      {.name = "k0", .gradient = {"-k1(a)"}, REAL(scaled_bessel_k(0, a) * std::exp(-a)), .flops = 200},
      {.name = "k0e", .gradient = {"y - k1e(a)"}, REAL(scaled_bessel_k(0, a)), .flops = 200},
      {.name = "k1", .gradient = {"-k0(a) - y / a"}, REAL(scaled_bessel_k(1, a) * std::exp(-a)), .flops = 200},
      {.name = "k1e", .gradient = {"y - k0e(a) - y / a"}, REAL(scaled_bessel_k(1, a)), .flops = 200},
      {.name = "airy_ai", .gradient = {"airy_ai_slope(a)"}, REAL(airy(a)), .flops = 200},
      {.name = "airy_ai_slope", .gradient = {"a * airy_ai(a)"}, REAL(airy_slope(a)), .flops = 200},

      POLYNOMIAL(chebyshev_t),
      POLYNOMIAL(chebyshev_u),
      POLYNOMIAL(chebyshev_v),
      POLYNOMIAL(chebyshev_w),
      POLYNOMIAL(hermite_h),
      POLYNOMIAL(hermite_he),
      POLYNOMIAL(laguerre),
      POLYNOMIAL(legendre),
  };
}

}  // namespace sorus
