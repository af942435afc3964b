// Normalisation: kernels beside the formula in f64, and numbers that do not depend on the number of threads.
#include "sorus/kernels/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "sorus/base/threads.h"

namespace sorus::kernels {
namespace {

std::vector<float> waves(int64_t n, double phase) {
  std::vector<float> v;
  for (int64_t i = 0; i < n; ++i) v.push_back(static_cast<float>(std::sin(0.7 * static_cast<double>(i) + phase)));
  return v;
}

struct Case {
  int64_t rows, n;
  bool centred, weighted;
};

class Norm : public testing::TestWithParam<Case> {};

TEST_P(Norm, ResultAndGradientsAreThoseOfTheFormula) {
  const Case c = GetParam();
  auto size = static_cast<size_t>(c.rows * c.n), n = static_cast<size_t>(c.n);
  std::vector<float> x = waves(c.rows * c.n, 0), g = waves(c.rows * c.n, 1), w = waves(c.n, 2), b = waves(c.n, 3);
  std::vector<float> y(size), gx(size), gw(n), gb(n);
  NormArgs a;
  a.rows = c.rows, a.n = c.n, a.centred = c.centred, a.eps = 0.1, a.input = x.data();
  if (c.weighted) a.weight = w.data(), a.bias = b.data();
  norm(a, y.data());
  norm_backward(a, g.data(), gx.data(), gw.data(), gb.data());
  std::vector<double> sum_w(n), sum_b(n);
  for (size_t r = 0; r < static_cast<size_t>(c.rows); ++r) {
    const float *row = &x[r * n], *grad = &g[r * n];
    double mean = 0, square = 0, plain = 0, with = 0;
    for (size_t i = 0; i < n; ++i) mean += row[i];
    mean = c.centred ? mean / static_cast<double>(n) : 0;
    for (size_t i = 0; i < n; ++i) square += (row[i] - mean) * (row[i] - mean);
    const double scale = 1 / std::sqrt(square / static_cast<double>(n) + 0.1);
    auto hat = [&](size_t i) { return (row[i] - mean) * scale; };
    auto weighted = [&](size_t i) { return grad[i] * (c.weighted ? static_cast<double>(w[i]) : 1); };
    for (size_t i = 0; i < n; ++i) plain += weighted(i), with += weighted(i) * hat(i);
    for (size_t i = 0; i < n; ++i) {
      ASSERT_NEAR(y[r * n + i], c.weighted ? hat(i) * w[i] + b[i] : hat(i), 1e-5);
      const double expected = scale * (weighted(i) - (c.centred ? plain / static_cast<double>(n) : 0) -
                                       hat(i) * with / static_cast<double>(n));
      ASSERT_NEAR(gx[r * n + i], expected, 2e-5);
      sum_w[i] += grad[i] * hat(i), sum_b[i] += grad[i];
    }
  }
  for (size_t i = 0; i < n; ++i) {
    EXPECT_NEAR(gw[i], sum_w[i], 1e-4 * static_cast<double>(c.rows));
    EXPECT_NEAR(gb[i], sum_b[i], 1e-4 * static_cast<double>(c.rows));
  }
  for (int threads : {1, 3}) {
    ThreadLimit limit(threads);
    std::vector<float> again(n), bias(n);
    norm_backward(a, g.data(), nullptr, again.data(), bias.data());
    EXPECT_EQ(again, gw);
    EXPECT_EQ(bias, gb);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Norm,
                         testing::Values(Case{1, 1, true, true}, Case{3, 5, true, false}, Case{200, 33, true, true},
                                         Case{1500, 64, false, true}, Case{2, 5000, false, false}));

}  // namespace
}  // namespace sorus::kernels
