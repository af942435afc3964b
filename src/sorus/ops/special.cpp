// Special functions under PyTorch's names. Gradients follow from their bodies, of any order; there is none by the
// order of a polynomial and by the parameters of zeta and of the gamma integrals.
#include "sorus/ops.h"

namespace sorus {
namespace {

const bool normal = [] {
  op("special.erfcx(input)")
      .each("erfcx(input)", "float")
      .doc("exp(x^2) erfc(x), which does not vanish for large x.");
  op("special.ndtr(input)")
      .each("0.5 * erfc(input * -0.7071067811865476)", "float")
      .doc("The share of the normal distribution below x.");
  op("special.log_ndtr(input)")
      .each(
          "input < -1 ? log(0.5 * erfcx(input * -0.7071067811865476)) - 0.5 * input * input"
          " : log1p(-0.5 * erfc(input * 0.7071067811865476))",
          "float")
      .doc("The logarithm of `ndtr`, also where that is too small for a number.");
  op("special.ndtri(input)")
      .each("ndtri(input)", "float")
      .doc("The x below which a share of the normal distribution lies.");
  return true;
}();

const bool gamma = [] {
  op("polygamma(n: int, input)").each("polygamma(n, input)", "float").doc("The n-th derivative of `digamma`.");
  op("special.zeta(input, other)")
      .each("zeta(input, other)", "float")
      .doc("Hurwitz's zeta function: the sum of (other + k)^-input over k >= 0.");
  op("igamma(input, other)")
      .each("igamma(input, other)", "float")
      .doc("The share of the integral of t^(input-1) exp(-t) over t > 0 that lies below `other`.");
  op("igammac(input, other)").each("igammac(input, other)", "float").doc("1 - igamma(input, other).");
  return true;
}();

const bool bessel = [] {
  op("i0(input)").each("i0(input)", "float").doc("The modified Bessel function of the first kind, order 0.");
  op("special.i0e(input)").each("i0e(input)", "float").doc("exp(-|x|) i0(x).");
  op("special.i1(input)").each("i1(input)", "float").doc("The modified Bessel function of the first kind, order 1.");
  op("special.i1e(input)").each("i1e(input)", "float").doc("exp(-|x|) i1(x).");
  op("special.bessel_j0(input)").each("bessel_j0(input)", "float");
  op("special.bessel_j1(input)").each("bessel_j1(input)", "float");
  op("special.bessel_y0(input)").each("bessel_y0(input)", "float");
  op("special.bessel_y1(input)").each("bessel_y1(input)", "float");
  op("special.modified_bessel_k0(input)").each("k0(input)", "float");
  op("special.modified_bessel_k1(input)").each("k1(input)", "float");
  op("special.scaled_modified_bessel_k0(input)").each("k0e(input)", "float").doc("exp(x) modified_bessel_k0(x).");
  op("special.scaled_modified_bessel_k1(input)").each("k1e(input)", "float").doc("exp(x) modified_bessel_k1(x).");
  op("special.spherical_bessel_j0(input)").each("input == 0 ? 1 : isinf(input) ? 0 : sin(input) / input", "float");
  op("special.airy_ai(input)").each("airy_ai(input)", "float");
  return true;
}();

// Of order n, which is cut to a whole number; 0 for n < 0, NaN for n above a million.
const bool polynomials = [] {
  op("special.chebyshev_polynomial_t(input, n)").each("chebyshev_t(input, n, 0)", "float");
  op("special.chebyshev_polynomial_u(input, n)").each("chebyshev_u(input, n, 0)", "float");
  op("special.chebyshev_polynomial_v(input, n)").each("chebyshev_v(input, n, 0)", "float");
  op("special.chebyshev_polynomial_w(input, n)").each("chebyshev_w(input, n, 0)", "float");
  op("special.shifted_chebyshev_polynomial_t(input, n)").each("chebyshev_t(2 * input - 1, n, 0)", "float");
  op("special.shifted_chebyshev_polynomial_u(input, n)").each("chebyshev_u(2 * input - 1, n, 0)", "float");
  op("special.shifted_chebyshev_polynomial_v(input, n)").each("chebyshev_v(2 * input - 1, n, 0)", "float");
  op("special.shifted_chebyshev_polynomial_w(input, n)").each("chebyshev_w(2 * input - 1, n, 0)", "float");
  op("special.hermite_polynomial_h(input, n)").each("hermite_h(input, n, 0)", "float");
  op("special.hermite_polynomial_he(input, n)").each("hermite_he(input, n, 0)", "float");
  op("special.laguerre_polynomial_l(input, n)").each("laguerre(input, n, 0)", "float");
  op("special.legendre_polynomial_p(input, n)").each("legendre(input, n, 0)", "float");
  return true;
}();

}  // namespace
}  // namespace sorus
