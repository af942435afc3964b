// Special functions that the C++ library lacks, in double precision: what the scalar language (scalar.h) evaluates
// where no C is printed. They are written from defining series, integrals and recurrences rather than from tables of
// fitted coefficients, so that each can be read beside its formula in the NIST Digital Library of Mathematical
// Functions (dlmf.nist.gov; sections below as DLMF). They hold for every double: outside of their domain they are
// NaN, never slow.
#pragma once

namespace sorus::special {

double inverse_erf(double x);
/// exp(x^2) erfc(x), which neither overflows nor vanishes for large x.
double scaled_erfc(double x);
/// The x below which the share p of the normal distribution lies.
double normal_quantile(double p);

double digamma(double x);
/// (-1)^(n+1) n! zeta(n + 1, x).
double polygamma(double n, double x);
/// Hurwitz's zeta function, the sum of (q + k)^-s over k >= 0; DLMF 25.11.
double zeta(double s, double q);
/// The share of the integral of t^(a-1) exp(-t) that lies below x, and the one above; DLMF 8.2.
double lower_gamma_share(double a, double x);
double upper_gamma_share(double a, double x);

/// Modified Bessel functions of order 0 or 1 times exp(-|x|) and exp(x); DLMF 10.25.
double scaled_bessel_i(int order, double x);
double scaled_bessel_k(int order, double x);
/// Airy's function of the first kind, and its derivative; DLMF 9.2.
double airy(double x);
double airy_slope(double x);

/// Orthogonal polynomials, DLMF 18: the `derivative`-th derivative of the one of order n (cut to a whole number) at
/// x. Zero for n < 0. NaN for orders above a million.
enum class Polynomial {
  chebyshev_t,
  chebyshev_u,
  chebyshev_v,
  chebyshev_w,
  hermite_h,
  hermite_he,
  laguerre,
  legendre
};
double polynomial(Polynomial family, double x, double n, double derivative);

}  // namespace sorus::special
