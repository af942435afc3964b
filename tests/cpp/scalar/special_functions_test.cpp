// Values to 18 digits, from arithmetic of arbitrary precision; and what happens outside of the domains.
#include "sorus/graph/special_functions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sorus::special {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void near(double found, double expected, double tolerance = 1e-13) {
  EXPECT_NEAR(found / expected, 1, tolerance) << "found " << found << ", expected " << expected;
}

TEST(SpecialFunctions, NormalDistribution) {
  near(scaled_erfc(-2), 108.940904389977972);
  near(scaled_erfc(0.5), 0.615690344192925875);
  near(scaled_erfc(3), 0.17900115118138995);
  near(scaled_erfc(30), 0.0187958888614167515);
  EXPECT_EQ(scaled_erfc(-kInfinity), kInfinity);
  EXPECT_EQ(scaled_erfc(kInfinity), 0);
  near(normal_quantile(1e-300), -37.0470962993611992);
  near(normal_quantile(1e-20), -9.26234008979840757);
  near(normal_quantile(0.3), -0.524400512708040784);
  near(normal_quantile(0.7), 0.524400512708040784);
  EXPECT_EQ(normal_quantile(0.5), 0);
  EXPECT_EQ(normal_quantile(1), kInfinity);
  EXPECT_TRUE(std::isnan(normal_quantile(1.5)));
}

TEST(SpecialFunctions, ZetaAndPolygamma) {
  near(zeta(2, 1), 1.64493406684822644);
  near(zeta(1.5, 0.25), 10.2130553604666, 1e-12);
  near(zeta(3, -1.5), 0.118102025820863702, 1e-12);
  near(zeta(20, 200), zeta(20, 201) + std::pow(200.0, -20));
  near(zeta(300, 2.5), std::pow(2.5, -300) * (1 + std::pow(2.5 / 3.5, 300)));
  EXPECT_EQ(zeta(1, 3), kInfinity);
  EXPECT_EQ(zeta(2, -3), kInfinity);
  EXPECT_TRUE(std::isnan(zeta(0.5, 1)));
  EXPECT_TRUE(std::isnan(zeta(2.5, -0.5)));
  EXPECT_EQ(zeta(1e300, 20), 0);
  near(digamma(-1e-8), 99999999.42278431);
  near(polygamma(2, 1), -2.40411380631918857);
}

TEST(SpecialFunctions, SharesOfTheGammaIntegral) {
  struct Row {
    double a, x, below, above;
  };
  for (Row r : {Row{0.5, 0.2, 0.472910743134461926, 0.527089256865538074},
                Row{3, 10, 0.997230604284488424, 0.00276939571551157594},
                Row{1e-10, 1, 0.999999999978061607, 2.19383934417967786e-11},
                Row{50, 30, 0.000518891462548034293, 0.999481108537451966},
                Row{1e5, 1e5 + 500, 0.942896730023971289, 0.0571032699760287114}}) {
    near(lower_gamma_share(r.a, r.x), r.below, 1e-11);
    near(upper_gamma_share(r.a, r.x), r.above, 1e-11);
  }
  near(lower_gamma_share(3e7, 3e7), 0.5 + 1 / (3 * std::sqrt(2 * 3.14159265358979323846 * 3e7)), 1e-11);
  EXPECT_EQ(lower_gamma_share(2, 0), 0);
  EXPECT_EQ(upper_gamma_share(0, 2), 0);
  EXPECT_EQ(lower_gamma_share(2, kInfinity), 1);
  EXPECT_TRUE(std::isnan(lower_gamma_share(-1, 2)));
}

TEST(SpecialFunctions, Bessel) {
  struct Row {
    int order;
    double x, i, k;
  };
  for (Row r :
       {Row{0, 0.1, 0.907100925782301092, 2.68232610226289434},
        Row{1, 0.1, 0.0452984468088093273, 10.890182683049696}, Row{0, 3, 0.243000354161825398, 0.697761598043851776},
        Row{1, 3, 0.196826713297300854, 0.806563480128786903},
        Row{0, 40, 0.0632782798752353303, 0.197555584957298169},
        Row{1, 40, 0.0624822290744420607, 0.200009967254433484}}) {
    near(scaled_bessel_i(r.order, r.x), r.i);
    near(scaled_bessel_i(r.order, -r.x), r.order ? -r.i : r.i);
    near(scaled_bessel_k(r.order, r.x), r.k);
  }
  EXPECT_EQ(scaled_bessel_i(0, 0), 1);
  EXPECT_EQ(scaled_bessel_k(1, 0), kInfinity);
  EXPECT_TRUE(std::isnan(scaled_bessel_k(0, -1)));
}

TEST(SpecialFunctions, Airy) {
  struct Row {
    double x, value, slope;
  };
  for (Row r :
       {Row{-30, -0.0879681884568421628, 1.22862060263748513}, Row{-5, 0.35076100902411432, 0.327192818554443137},
        Row{-1, 0.535560883292352119, -0.0101605671166452094}, Row{0, 0.355028053887817239, -0.258819403792806798},
        Row{1, 0.135292416312881416, -0.159147441296793213},
        Row{5, 0.000108344428136074417, -0.000247413890868462476},
        Row{20, 1.69167286867054031e-27, -7.58639162574835496e-27}}) {
    near(airy(r.x), r.value, 1e-12);
    near(airy_slope(r.x), r.slope, 1e-12);
  }
}

TEST(SpecialFunctions, Polynomials) {
  using enum Polynomial;
  double x = 0.3, angle = std::acos(x);
  near(polynomial(chebyshev_t, x, 7, 0), std::cos(7 * angle));
  near(polynomial(chebyshev_u, x, 7, 0), std::sin(8 * angle) / std::sin(angle));
  near(polynomial(chebyshev_v, x, 7, 0), std::cos(7.5 * angle) / std::cos(0.5 * angle));
  near(polynomial(chebyshev_w, x, 7, 0), std::sin(7.5 * angle) / std::sin(0.5 * angle));
  near(polynomial(hermite_h, x, 3, 0), 8 * x * x * x - 12 * x);
  near(polynomial(hermite_he, x, 3, 0), x * x * x - 3 * x);
  near(polynomial(laguerre, x, 2, 0), (x * x - 4 * x + 2) / 2);
  near(polynomial(legendre, x, 3, 0), (5 * x * x * x - 3 * x) / 2);
  near(polynomial(legendre, x, 3, 1), (15 * x * x - 3) / 2);
  near(polynomial(legendre, x, 3, 2), 15 * x);
  EXPECT_EQ(polynomial(legendre, x, 3, 4), 0);
  EXPECT_EQ(polynomial(hermite_h, x, 3.9, 0), polynomial(hermite_h, x, 3, 0));
  EXPECT_EQ(polynomial(hermite_h, x, -1, 0), 0);
  EXPECT_TRUE(std::isnan(polynomial(hermite_h, x, 1e9, 0)));
}

}  // namespace
}  // namespace sorus::special
