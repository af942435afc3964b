// The scalar language: its text, its derivatives, and its kernels against the reference values of the table.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "sorus/base/error.h"
#include "sorus/derive/scalar_derivative.h"
#include "sorus/emit/c_scalar.h"
#include "sorus/emit/eager_kernels.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double value(const ScalarFunction& f, std::vector<double> args, std::vector<double> params = {}) {
  return evaluate<double>(f, args, params)[0];
}

// An expression of two arguments and a parameter, built at random from all operations.
Expr random_expression(std::mt19937& random, int depth) {
  auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  if (depth == 0 || pick(6) == 0) {
    switch (pick(6)) {
      case 0:
        return argument(pick(2));
      case 1:
        return parameter(0);
      case 2:
        return constant(static_cast<int64_t>(pick(7) - 3));
      case 3:
        return constant((pick(2000) - 1000) * 1e-3 * std::pow(10.0, pick(40) - 20));
      case 4:
        return std::array{constant(-0.0), constant(kInfinity), constant(-kInfinity), constant(true)}[random() % 4];
      default:
        return position();
    }
  }
  while (true) {
    const ScalarOp& op = scalar_ops()[random() % scalar_ops().size()];
    std::vector<Expr> inputs;
    for (int i = 0; i < op.arity; ++i) {
      inputs.push_back(op.integer_inputs ? (i == 2 ? position() : parameter(0))
                                         : random_expression(random, depth - 1));
    }
    return call(op, std::move(inputs));
  }
}

TEST(Scalar, TextReadsBackToTheSameExpression) {
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    ScalarFunction f{{"x", "t1"}, {"p"}, {random_expression(random, 5), random_expression(random, 3)}};
    std::string text = f.to_string();
    ASSERT_EQ(parse_scalar(text, f.args, f.params), f) << text;
  }
}

TEST(Scalar, SimplifyKeepsEveryValue) {
  std::mt19937 random(2);
  const double points[] = {-2.5, -1, -0.0, 0.0, 0.5, 1, 3, kInfinity, NAN};
  for (int i = 0; i < 3000; ++i) {
    ScalarFunction f{{"x", "y"}, {"p"}, {random_expression(random, 3)}};
    bool real = true;
    for (const ScalarNode* n : topological_order(f.results)) {
      // pow is rewritten to products and roots, as PyTorch does, which differ in the last digit. Of complex(a, b)
      // real types have only a, so what is true of it among complex numbers is not true there.
      if (n->kind == ScalarNode::Kind::call)
        real &= n->op->real && n->op->name != "pow" && n->op->name != "complex" && !n->op->integer_inputs;
    }
    if (!real) continue;
    ScalarFunction g = simplify(f);
    EXPECT_EQ(simplify(g), g) << f.to_string();
    for (double x : points) {
      for (double y : points) {
        double before = value(f, {x, y}, {0.75}), after = value(g, {x, y}, {0.75});
        ASSERT_TRUE(before == after || (std::isnan(before) && std::isnan(after)))
            << f.to_string() << " and " << g.to_string() << " at " << x << ", " << y << ": " << before << ", "
            << after;
      }
    }
  }
}

TEST(Scalar, DerivativeOfEveryOperationIsItsSlope) {
  for (const ScalarOp& op : scalar_ops()) {
    if (!op.real || op.boolean || op.integer_inputs || !op.in_real_types.empty() || op.name == "complex") continue;
    ScalarFunction f;
    std::vector<Expr> inputs;
    for (int i = 0; i < op.arity; ++i) {
      f.args.push_back(std::string(1, static_cast<char>('a' + i)));
      inputs.push_back(argument(i));
    }
    f.results = {call(op, inputs)};
    int compared = 0;
    for (int i = 0; i < op.arity; ++i) {
      if ((op.conditions | op.fixed) >> i & 1) continue;
      ScalarFunction slope = gradient(f, i);
      for (double a : {-1.7, -0.45, 0.35, 0.8, 2.3}) {
        for (double b : {-1.3, 0.6, 1.9}) {
          // Orders and the like are whole numbers in the domain of all.
          std::vector<double> at = {op.fixed & 1 ? 2 : a, op.fixed & 2 ? 3 : b, op.fixed & 4 ? 1 : 0.7};
          at.resize(static_cast<size_t>(op.arity));
          auto shifted = [&](double h) {
            std::vector<double> moved = at;
            moved[static_cast<size_t>(i)] += h;
            return value(f, moved);
          };
          const double h = 1e-4;
          double expected = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
          if (!std::isfinite(expected)) continue;
          std::vector<double> with_g = at;
          with_g.insert(with_g.begin(), 1.5);
          EXPECT_NEAR(value(slope, with_g), 1.5 * expected, 1e-6 * (1 + std::fabs(expected)))
              << op.name << " by input " << i << " at " << a << ", " << b << ": " << slope.to_string();
          ++compared;
        }
      }
    }
    EXPECT_GT(compared, 0) << op.name;
  }
}

TEST(Scalar, ComplexDerivativesFollowPyTorch) {
  using C = std::complex<double>;
  // For a real loss L = real(g conj-paired with f): dL = real(conj(grad) dz) for steps in both directions.
  for (const ScalarOp& op : scalar_ops()) {
    if (!op.complex || op.boolean || op.name == "select" || op.name == "complex") continue;
    ScalarFunction f;
    std::vector<Expr> inputs;
    for (int i = 0; i < op.arity; ++i) {
      f.args.push_back(std::string(1, static_cast<char>('a' + i)));
      inputs.push_back(argument(i));
    }
    f.results = {call(op, inputs)};
    for (int i = 0; i < op.arity; ++i) {
      ScalarFunction slope = gradient(f, i);
      for (C a : {C(0.4, 0.3), C(-0.6, 0.9), C(1.7, -0.4)}) {
        std::vector<C> at = {a, C(0.8, -0.5)};
        at.resize(static_cast<size_t>(op.arity));
        bool real_result = op.real_valued;
        C g = real_result ? C(1.2, 0) : C(1.2, -0.7);
        std::vector<C> with_g = at;
        with_g.insert(with_g.begin(), g);
        C grad = evaluate<C>(slope, with_g)[0];
        auto loss = [&](C step) {
          std::vector<C> moved = at;
          moved[static_cast<size_t>(i)] += step;
          return (std::conj(g) * evaluate<C>(f, moved)[0]).real();
        };
        const double h = 1e-6;
        C expected((loss(h) - loss(-h)) / (2 * h), (loss(C(0, h)) - loss(C(0, -h))) / (2 * h));
        EXPECT_LT(std::abs(grad - expected), 1e-6 * (1 + std::abs(expected)))
            << op.name << " by input " << i << ": " << slope.to_string();
      }
    }
  }
}

TEST(Scalar, TheBranchNotTakenStaysOut) {
  ScalarFunction f = parse_scalar("x > 20 ? x : log1p(exp(x))", {"x"});
  EXPECT_EQ(value(gradient(f, 0), {1.0, 1e4}), 1.0);
  ScalarFunction root = parse_scalar("x > 0 ? sqrt(x) : 0", {"x"});
  EXPECT_EQ(value(gradient(root, 0), {1.0, 0.0}), 0.0);
  EXPECT_EQ(value(gradient(parse_scalar("abs(x)", {"x"}), 0), {1.0, 0.0}), 0.0);
  EXPECT_EQ(value(gradient(parse_scalar("pow(x, n)", {"x"}, {"n"}), 0), {1.0, 0.0}, {0.0}), 0.0);
  EXPECT_EQ(value(gradient(parse_scalar("max(x, y)", {"x", "y"}), 0), {1.0, 2.0, 2.0}), 0.5);
}

// Kernels, compiled or interpreted, against the reference in double over many magnitudes and all special values.
template <class T>
void check_kernels(DType compute, double tolerance) {
  std::vector<T> points = {T(0),   T(-0.0), T(1),    T(-1), T(kInfinity), T(-kInfinity),
                           T(NAN), T(0.5),  T(-0.5), T(2),  T(-3)};
  for (int e = -30; e < 7; ++e) {
    for (double m : {1.1, 1.37, 1.93}) {
      points.push_back(static_cast<T>(m * std::pow(2.0, e)));
      points.push_back(static_cast<T>(-m * std::pow(2.0, e)));
    }
  }
  for (const ScalarOp& op : scalar_ops()) {
    if (!op.real || op.integer_inputs) continue;
    ScalarFunction f;
    std::vector<Expr> inputs;
    for (int i = 0; i < op.arity; ++i) {
      f.args.push_back(std::string(1, static_cast<char>('a' + i)));
      inputs.push_back(argument(i));
    }
    f.results = {call(op, inputs)};
    size_t n = points.size();
    std::vector<T> second(n, T(0.75)), third(n, T(-2.5)), out(n);
    for (size_t i = 0; i < n; ++i) second[i] = points[(i * 7 + 3) % n];
    std::vector<uint8_t> truth(n);
    const void* in[] = {points.data(), second.data(), third.data()};
    void* to[] = {op.boolean ? static_cast<void*>(truth.data()) : out.data()};
    EachKernel kernel = find_each_kernel(f, compute);
    kernel(static_cast<int64_t>(n), to, in, nullptr, 0);
    for (size_t i = 0; i < n; ++i) {
      std::vector<double> at = {points[i], second[i], third[i]};
      at.resize(static_cast<size_t>(op.arity));
      double expected = static_cast<T>(value(f, at)), found = op.boolean ? truth[i] : out[i];
      auto is_found = [&](double v) {
        return (std::isnan(v) && std::isnan(found)) || v == found ||
               std::fabs(v - found) <= tolerance * std::fabs(v) + std::numeric_limits<T>::min();
      };
      bool same = is_found(expected);
      for (double side : {-1.0, 1.0}) {  // where it jumps, a quotient's rounding decides on which side it is
        std::vector<double> beside = at;
        beside[0] += side * static_cast<double>(std::numeric_limits<T>::epsilon()) * at[0];
        same = same || is_found(static_cast<T>(value(f, beside)));
      }
      EXPECT_TRUE(same) << op.name << " in " << name(compute) << " at " << at[0] << ", " << second[i] << ": " << found
                        << ", expected " << expected;
    }
  }
}
TEST(Scalar, KernelsInSinglePrecision) { check_kernels<float>(DType::f32, 1e-6); }
TEST(Scalar, KernelsInDoublePrecision) { check_kernels<double>(DType::f64, 1e-14); }

TEST(Scalar, RandomNumbersDependOnKeysAndPositionOnly) {
  ScalarFunction f = parse_scalar("uniform(k, 7), normal(k, 7)", {}, {"k"});
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < 20000; ++i) {
    std::vector<double> v = evaluate<double>(f, {}, std::vector<double>{3}, i);
    ASSERT_TRUE(v[0] >= 0 && v[0] < 1);
    sum += v[0];
    squares += v[1] * v[1];
  }
  EXPECT_NEAR(sum / 20000, 0.5, 0.01);
  EXPECT_NEAR(squares / 20000, 1, 0.05);
}

TEST(Scalar, WhatIsDividedByIsKnown) {
  ScalarFunction f = parse_scalar("half = truncdiv(b, 2); truncdiv(a + half, b) + fmod(a, c)", {"a", "b", "c"});
  EXPECT_EQ(divisors(f), (std::vector<int>{1, 2}));
  EXPECT_TRUE(divisors(parse_scalar("a / b", {"a", "b"})).empty());  // true division has infinity
  EXPECT_FALSE(printable(f, DType::i64));                            // a loop cannot say that b is 0
  EXPECT_EQ(find_each_kernel(f, DType::i64).divisors().size(), 2);
  EXPECT_TRUE(find_each_kernel(f, DType::f32).divisors().empty());
}

TEST(Scalar, ErrorsShowThePlace) {
  auto message = [](const char* text) -> std::string {
    try {
      parse_scalar(text, {"x"});
    } catch (const ValueError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(message("x +* 2").find("\n     ^"), std::string::npos) << message("x +* 2");
  EXPECT_NE(message("foo(x)").find("unknown function 'foo'"), std::string::npos);
  EXPECT_NE(message("tanh(x, x)").find("takes 1 inputs, not 2"), std::string::npos);
  EXPECT_NE(message("x 3").find("expected an operator"), std::string::npos);
  EXPECT_NE(message("").find("unexpected end"), std::string::npos);
  EXPECT_NE(message(std::string(2000, '(').c_str()).find("nested too deeply"), std::string::npos);
  EXPECT_NE(message((std::string(2000, '-') + "x").c_str()).find("nested too deeply"), std::string::npos);
}

}  // namespace
}  // namespace sorus
