#include "sorus/nn/init.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sorus/graph/call.h"
#include "sorus/tensor/copy.h"

namespace sorus::nn {
namespace {

// Values computed in double precision are written into a tensor of any floating type.
void write(const Tensor& t, const std::vector<double>& values) {
  copy_elements(t.detach(), Tensor::of(values, t.sizes()));
  t.storage()->bump_version();
}
std::vector<double> values_of(const Tensor& t) {
  return std::vector<double>(t.data<double>(), t.data<double>() + t.numel());
}
std::vector<double> draw_normal(int64_t n, Generator& g) { return values_of(randn({n}, DType::f64, g)); }
std::vector<double> draw_uniform(int64_t n, Generator& g) { return values_of(rand({n}, DType::f64, g)); }

double fan(const Tensor& t, const std::string& mode) {
  SORUS_CHECK(mode == "fan_in" || mode == "fan_out", ValueError, "init: mode must be 'fan_in' or 'fan_out', not '{}'",
              mode);
  Fans f = fans_of(t);
  return static_cast<double>(std::max<int64_t>(mode == "fan_in" ? f.in : f.out, 1));
}

}  // namespace

Fans fans_of(const Tensor& t) {
  SORUS_CHECK(t.dim() >= 2, ValueError, "init: fan in and fan out need at least 2 dimensions, found {}",
              to_string(t.sizes()));
  int64_t window = 1;
  for (int64_t d = 2; d < t.dim(); ++d) window *= t.size(d);
  return {t.size(1) * window, t.size(0) * window};
}

double calculate_gain(const std::string& f, std::optional<double> param) {
  SORUS_CHECK(!param || f == "leaky_relu", ValueError, "calculate_gain: '{}' takes no parameter", f);
  if (f == "linear" || f == "sigmoid" || f.starts_with("conv")) return 1;
  if (f == "tanh") return 5.0 / 3;
  if (f == "relu") return std::sqrt(2.0);
  if (f == "leaky_relu") return std::sqrt(2 / (1 + std::pow(param.value_or(0.01), 2)));
  if (f == "selu") return 0.75;
  fail<ValueError>(
      "calculate_gain: '{}' is not known; known are linear, sigmoid, conv1d.., tanh, relu, leaky_relu, selu", f);
}

namespace init {

void constant_(const Tensor& t, double value) {
  write(t, std::vector<double>(static_cast<size_t>(t.numel()), value));
}

void eye_(const Tensor& t) {
  SORUS_CHECK(t.dim() == 2, ValueError, "eye_: expected a matrix, found {}", to_string(t.sizes()));
  std::vector<double> v(static_cast<size_t>(t.numel()), 0);
  for (int64_t i = 0; i < std::min(t.size(0), t.size(1)); ++i) v[static_cast<size_t>(i * t.size(1) + i)] = 1;
  write(t, v);
}

void dirac_(const Tensor& t, int64_t groups) {
  SORUS_CHECK(t.dim() >= 3 && t.dim() <= 5, ValueError, "dirac_: expected 3 to 5 dimensions, found {}",
              to_string(t.sizes()));
  SORUS_CHECK(groups > 0 && t.size(0) % groups == 0, ValueError,
              "dirac_: {} channels are not a multiple of {} groups", t.size(0), groups);
  Shape s = t.sizes();
  int64_t window = fans_of(t).in / std::max<int64_t>(s[1], 1), middle = 0;
  for (size_t d = 2; d < s.size(); ++d) middle = middle * s[d] + s[d] / 2;
  std::vector<double> v(static_cast<size_t>(t.numel()), 0);
  int64_t each = s[0] / groups;
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t i = 0; i < std::min(each, s[1]); ++i)
      v[static_cast<size_t>(((g * each + i) * s[1] + i) * window + middle)] = 1;
  write(t, v);
}

void trunc_normal_(const Tensor& t, double mean, double deviation, double low, double high, Generator& g) {
  SORUS_CHECK(low < high && deviation > 0, ValueError,
              "trunc_normal_: expected low < high and a positive deviation, found {}, {} and {}", low, high,
              deviation);
  auto cumulative = [&](double x) { return 0.5 * std::erfc(-(x - mean) / deviation / std::sqrt(2.0)); };
  double from = cumulative(low), to = cumulative(high);
  std::vector<double> v = draw_uniform(t.numel(), g);
  // The inverse of the distribution by bisection: exact enough, and it needs no inverse error function.
  for (double& u : v) {
    double wanted = from + u * (to - from), a = std::max(low, mean - 40 * deviation),
           b = std::min(high, mean + 40 * deviation);
    for (int i = 0; i < 60 && a < b; ++i) {
      double m = 0.5 * (a + b);
      (cumulative(m) < wanted ? a : b) = m;
    }
    u = std::clamp(0.5 * (a + b), low, high);
  }
  write(t, v);
}

void xavier_uniform_(const Tensor& t, double gain, Generator& g) {
  Fans f = fans_of(t);
  double bound = gain * std::sqrt(6.0 / static_cast<double>(std::max<int64_t>(f.in + f.out, 1)));
  uniform_(t, -bound, bound, g);
}
void xavier_normal_(const Tensor& t, double gain, Generator& g) {
  Fans f = fans_of(t);
  normal_(t, 0, gain * std::sqrt(2.0 / static_cast<double>(std::max<int64_t>(f.in + f.out, 1))), g);
}

double kaiming(const Tensor& t, double a, const std::string& mode, const std::string& f) {
  double gain = calculate_gain(f, f == "leaky_relu" ? std::optional(a) : std::nullopt);
  return gain / std::sqrt(fan(t, mode));
}
void kaiming_uniform_(const Tensor& t, double a, const std::string& mode, const std::string& f, Generator& g) {
  double bound = std::sqrt(3.0) * kaiming(t, a, mode, f);
  uniform_(t, -bound, bound, g);
}
void kaiming_normal_(const Tensor& t, double a, const std::string& mode, const std::string& f, Generator& g) {
  normal_(t, 0, kaiming(t, a, mode, f), g);
}

void orthogonal_(const Tensor& t, double gain, Generator& g) {
  SORUS_CHECK(t.dim() >= 2, ValueError, "orthogonal_: expected at least 2 dimensions, found {}",
              to_string(t.sizes()));
  if (t.numel() == 0) return;
  int64_t rows = t.size(0), cols = t.numel() / rows, n = std::min(rows, cols), m = std::max(rows, cols);
  // n random vectors of m elements, made orthonormal one after another (twice, against rounding).
  std::vector<double> q = draw_normal(n * m, g);
  for (int64_t i = 0; i < n; ++i) {
    double* v = q.data() + i * m;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t k = 0; k < i; ++k) {
        const double* u = q.data() + k * m;
        double along = std::inner_product(u, u + m, v, 0.0);
        for (int64_t e = 0; e < m; ++e) v[e] -= along * u[e];
      }
    double length = std::sqrt(std::inner_product(v, v + m, v, 0.0));
    for (int64_t e = 0; e < m; ++e) v[e] /= length;
  }
  std::vector<double> out(static_cast<size_t>(t.numel()));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t k = 0; k < cols; ++k)
      out[static_cast<size_t>(i * cols + k)] = gain * q[static_cast<size_t>(rows <= cols ? i * m + k : k * m + i)];
  write(t, out);
}

void sparse_(const Tensor& t, double sparsity, double deviation, Generator& g) {
  SORUS_CHECK(t.dim() == 2, ValueError, "sparse_: expected a matrix, found {}", to_string(t.sizes()));
  int64_t rows = t.size(0), cols = t.size(1);
  auto zeros = static_cast<int64_t>(std::ceil(sparsity * static_cast<double>(rows)));
  std::vector<double> v = draw_normal(t.numel(), g), order = draw_uniform(t.numel(), g);
  for (double& x : v) x *= deviation;
  std::vector<int64_t> row(static_cast<size_t>(rows));
  for (int64_t c = 0; c < cols; ++c) {
    std::iota(row.begin(), row.end(), 0);
    std::sort(row.begin(), row.end(), [&](int64_t a, int64_t b) {
      return order[static_cast<size_t>(a * cols + c)] < order[static_cast<size_t>(b * cols + c)];
    });
    for (int64_t i = 0; i < std::min(zeros, rows); ++i)
      v[static_cast<size_t>(row[static_cast<size_t>(i)] * cols + c)] = 0;
  }
  write(t, v);
}

}  // namespace init
}  // namespace sorus::nn
