// First and second derivatives of every operator against finite differences, in double precision, through the tape.
//
// With w and v drawn at random and L(x) = <w, f(x)>:  dL/dx . v  is compared with  (L(x + hv) - L(x - hv)) / 2h.  The
// second derivative is the first of S(x) = <u, dL/dx>. A direction that has a share of every element sees each wrong
// one.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "operators/reference.h"
#include "operators/samples.h"
#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"

namespace sorus::harness {
namespace {

using Complex = std::complex<double>;
constexpr double kStep = 1e-5;

class EachGradient : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Operators, EachGradient, testing::ValuesIn(operator_names()),
                         [](const auto& info) { return test_name(info.param); });

Tensor drawn(const Shape& shape, DType type, std::mt19937& random) {
  Tensor t = Tensor::empty(shape, type);
  std::uniform_real_distribution<double> d(0.3, 1.0);
  int64_t n = t.numel() * (is_complex(type) ? 2 : 1);
  for (int64_t i = 0; i < n; ++i) static_cast<double*>(t.data())[i] = (random() % 2 ? 1 : -1) * d(random);
  return t;
}

// Re(sum(conj(a) b)).
double scalar_product(const Tensor& a, const Tensor& b) {
  auto x = elements(a), y = elements(b);
  double s = 0;
  for (size_t i = 0; i < x.size(); ++i) s += (std::conj(x[i]) * y[i]).real();
  return s;
}

struct Problem {
  const OpDef& op;
  Attrs attrs;
  TensorList inputs;
  std::vector<size_t> sources;  ///< inputs that a gradient is asked for

  /// Results in narrow types (of casts) move in steps; their gradients are those of the values before.
  bool counts(const Tensor& y) const { return y.dtype() == DType::f64 || y.dtype() == DType::c128; }
  TensorList run(TensorSpan at) const {
    TensorList in = inputs;
    for (size_t k = 0; k < sources.size(); ++k) in[sources[k]] = at[k];
    TensorList out;
    for (const Tensor& y : call(op, in, attrs))
      if (counts(y)) out.push_back(y);
    return out;
  }
  TensorList leaves() const {
    TensorList out;
    for (size_t s : sources) {
      out.push_back(clone(inputs[s]));
      set_requires_grad(out.back(), true);
    }
    return out;
  }
  TensorList moved(TensorSpan along, double step) const {
    TensorList out;
    for (size_t k = 0; k < sources.size(); ++k) out.push_back(inputs[sources[k]] + along[k] * step);
    return out;
  }
};

// Gradients of <w, outputs> at `at`; zeros where none flows.
TensorList gradient_of(const Problem& p, TensorSpan at, TensorSpan w, bool create_graph) {
  TensorList y = p.run(at), outputs, weights;
  for (size_t i = 0; i < y.size(); ++i)
    if (y[i].requires_grad()) {
      outputs.push_back(y[i]);
      weights.push_back(w[i]);
    }
  TensorList g(at.size());
  if (!outputs.empty()) g = gradients(outputs, at, weights, false, create_graph);
  for (size_t k = 0; k < g.size(); ++k)
    if (!g[k].defined()) g[k] = zeros(at[k].sizes(), at[k].dtype());
  return g;
}

double value_of(const Problem& p, TensorSpan at, TensorSpan w) {
  GradMode off(false);
  TensorList y = p.run(at);
  double s = 0;
  for (size_t i = 0; i < y.size(); ++i) s += scalar_product(w[i], y[i]);
  return s;
}

void expect_near(double found, double expected, double scale, const std::string& what) {
  double allowed = 2e-5 * std::max({1.0, std::abs(expected), scale});
  EXPECT_NEAR(found, expected, allowed) << what;
}

void check(const Problem& p, const std::string& what) {
  std::mt19937 random(7);
  TensorList leaves = p.leaves(), along, u, w;
  for (const Tensor& y : p.run(leaves)) w.push_back(drawn(y.sizes(), y.dtype(), random));
  if (w.empty()) return;
  for (const Tensor& x : leaves) {
    along.push_back(drawn(x.sizes(), x.dtype(), random));
    u.push_back(drawn(x.sizes(), x.dtype(), random));
  }
  TensorList g = gradient_of(p, leaves, w, false);
  double slope = 0;
  for (size_t k = 0; k < g.size(); ++k) {
    ASSERT_EQ(g[k].sizes(), leaves[k].sizes()) << what;
    ASSERT_EQ(g[k].dtype(), leaves[k].dtype()) << what;
    slope += scalar_product(g[k], along[k]);
  }
  double up = value_of(p, p.moved(along, kStep), w), down = value_of(p, p.moved(along, -kStep), w);
  expect_near(slope, (up - down) / (2 * kStep), 0, "first derivative of " + what);

  TensorList first = gradient_of(p, leaves, w, true), outputs, weights;
  for (size_t k = 0; k < first.size(); ++k)
    if (first[k].requires_grad()) {
      outputs.push_back(first[k]);
      weights.push_back(u[k]);
    }
  double curvature = 0;
  if (!outputs.empty()) {
    TensorList second = gradients(outputs, leaves, weights);
    for (size_t k = 0; k < second.size(); ++k)
      if (second[k].defined()) curvature += scalar_product(second[k], along[k]);
  }
  auto contracted = [&](double step) {
    TensorList at = p.moved(along, step);
    for (Tensor& t : at) set_requires_grad(t, true);
    TensorList grads = gradient_of(p, at, w, false);
    double s = 0;
    for (size_t k = 0; k < grads.size(); ++k) s += scalar_product(u[k], grads[k]);
    return s;
  };
  double above = contracted(kStep), below = contracted(-kStep);
  expect_near(curvature, (above - below) / (2 * kStep), std::abs(above) * 1e-2, "second derivative of " + what);
}

TEST_P(EachGradient, FirstAndSecondAreFiniteDifferences) {
  const OpDef& op = find_op(GetParam());
  if (!op.differentiable || op.random || tested_by(op)) return;
  for (const std::string& line : samples_of(op)) {
    Sample s = make_sample(op, line);
    for (DType type : {DType::f64, DType::c128}) {
      Problem p{op, s.attrs, in_type(s, type), {}};
      for (size_t i = 0; i < s.inputs.size(); ++i)
        if (s.variable[i]) p.sources.push_back(i);
      if (p.sources.empty() || (type == DType::c128 && s.free_phase)) continue;
      if (type == DType::c128) {  // complex numbers are not for every operator
        try {
          GradMode off(false);
          call(op, p.inputs, p.attrs);
        } catch (const Error&) {
          continue;
        }
      }
      std::string what = fmt::format("{} {} in {}", GetParam(), line, short_name(type));
      try {
        check(p, what);
      } catch (const Error& e) {
        ADD_FAILURE() << what << ": " << e.what();
      }
    }
  }
}

// Where several factors are zero, derivatives of a product of any order are products of the others.
TEST(GradientAtZeros, ProductsOfOthers) {
  for (const std::vector<double>& values :
       {std::vector<double>{0, 2, 3, 0, 0, 5, 1, 2, 4}, {0, 0, 0, 1, 2, 3, 0, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 0}}) {
    for (const char* line : {"f[3,3] dim=[1]", "f[3,3] dim=[0] keepdim=true", "f[3,3] dim=none"}) {
      const OpDef& op = find_op("prod.dims");
      Sample s = make_sample(op, line);
      check(Problem{op, s.attrs, {Tensor::of(values, Shape{3, 3})}, {0}},
            fmt::format("prod.dims {} with zeros", line));
    }
  }
}

// The mixed derivative of a batch without elements, or of an element alone, must not stumble over sizes.
TEST_P(EachGradient, SizesZeroAndOne) {
  const OpDef& op = find_op(GetParam());
  if (!op.differentiable || op.random || tested_by(op)) return;
  for (const std::string& line : samples_of(op))
    for (int64_t n : {0, 1}) {
      Sizes sizes;
      for (char c : letters_of(line)) sizes[c] = n;
      if (sizes.empty()) continue;
      Problem p{op, {}, {}, {}};
      try {
        GradMode off(false);
        Sample s = make_sample(op, line, sizes);
        p.inputs = s.inputs;
        p.attrs = s.attrs;
        for (size_t i = 0; i < s.inputs.size(); ++i)
          if (s.variable[i]) p.sources.push_back(i);
        call(op, p.inputs, p.attrs);
      } catch (const Error&) {
        continue;
      }
      if (p.sources.empty()) continue;
      std::string what = fmt::format("{} {} with sizes {}", GetParam(), line, n);
      try {
        TensorList leaves = p.leaves(), w;
        std::mt19937 random(3);
        for (const Tensor& y : p.run(leaves)) w.push_back(drawn(y.sizes(), y.dtype(), random));
        TensorList first = gradient_of(p, leaves, w, true);
        for (size_t k = 0; k < first.size(); ++k) EXPECT_EQ(first[k].sizes(), leaves[k].sizes()) << what;
      } catch (const Error& e) {
        ADD_FAILURE() << what << ": " << e.what();
      }
    }
}

}  // namespace
}  // namespace sorus::harness
