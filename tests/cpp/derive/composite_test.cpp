// Reductions, pooling and products as users call them: gradients against finite differences through the tape.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

using F = std::function<Tensor(const Tensor&)>;

Tensor random_tensor(std::initializer_list<int64_t> shape, unsigned seed = 1) {
  Tensor x = Tensor::empty(shape, DType::f64);
  std::mt19937 r(seed);
  std::normal_distribution<double> d;
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = d(r);
  return x;
}

double weighted(const Tensor& y) {
  Tensor c = contiguous(y);
  double s = 0;
  for (int64_t i = 0; i < c.numel(); ++i) s += c.data<double>()[i] * std::cos(static_cast<double>(i));
  return s;
}

void check(const char* what, const F& f, Tensor x) {
  set_requires_grad(x, true);
  Tensor y = f(x);
  Tensor w = Tensor::empty(y.sizes(), DType::f64);
  for (int64_t i = 0; i < w.numel(); ++i) w.data<double>()[i] = std::cos(static_cast<double>(i));
  Tensor g = contiguous(gradients(std::array{y}, std::array{x}, std::array{w})[0]);
  GradMode off(false);
  for (int64_t i = 0; i < x.numel(); ++i) {
    double* p = x.data<double>() + i;
    const double before = *p, h = 1e-6;
    *p = before + h;
    double up = weighted(f(x));
    *p = before - h;
    double down = weighted(f(x));
    *p = before;
    EXPECT_NEAR(g.data<double>()[i], (up - down) / (2 * h), 1e-5) << what << " at " << i;
  }
}

TEST(Composites, Reductions) {
  Tensor x = random_tensor({3, 4});
  check(
      "mean", [](auto& t) { return mean(t, Shape{1}); }, x);
  check(
      "prod", [](auto& t) { return prod(t, Shape{0}, true); }, x);
  check(
      "amax", [](auto& t) { return amax(t, Shape{0}); }, x);
  check(
      "amin", [](auto& t) { return amin(t); }, x);
  check(
      "max.dim", [](auto& t) { return max(t, 1)[0]; }, x);
  check(
      "min.dim", [](auto& t) { return min(t, 0, true)[0]; }, x);
  check(
      "var", [](auto& t) { return var(t, Shape{1}); }, x);
  check(
      "std",
      [](auto& t) {
        return find_op_or_null("std") ? call_one(find_op("std"), {t}, {Attr(Shape{0}), Attr(0), Attr(true)}) : t;
      },
      x);
  check(
      "logsumexp", [](auto& t) { return logsumexp(t, Shape{1}); }, x);
  for (double p : {1.0, 2.0, 3.0, double(INFINITY)})
    check(
        "norm", [&](auto& t) { return norm(t, Scalar(p), Shape{1}); }, x);
}

TEST(Composites, ProductWithZeros) {
  Tensor x = Tensor::of(std::vector<double>{0, 2, 3, 0, 0, 5, 1, 2, 4}, Shape{3, 3});
  check(
      "prod", [](auto& t) { return prod(t, Shape{1}); }, x);
}

TEST(Composites, TiesShareAndFirstWins) {
  Tensor x = Tensor::of(std::vector<double>{1, 3, 3, 2}, Shape{4});
  set_requires_grad(x, true);
  Tensor g = gradients(std::array{amax(x)}, std::array{x})[0];
  EXPECT_EQ(g.data<double>()[1], 0.5);
  EXPECT_EQ(g.data<double>()[2], 0.5);
  EXPECT_EQ(argmax(x).data<int64_t>()[0], 1);
}

TEST(Composites, TypesOfSums) {
  Tensor b = Tensor::of(std::vector<int64_t>{1, 0, 3}, Shape{3});
  EXPECT_EQ(sum(gt(b, Tensor::weak_scalar(Scalar(0)))).dtype(), DType::i64);
  EXPECT_EQ(sum(gt(b, Tensor::weak_scalar(Scalar(0)))).item().to_int(), 2);
  EXPECT_EQ(sum(b, {}, false, DType::f32).dtype(), DType::f32);
  EXPECT_EQ(sum(to(b, DType::bf16)).dtype(), DType::bf16);
  EXPECT_EQ(any(b).item().to_bool(), true);
  EXPECT_EQ(all(b).item().to_bool(), false);
}

TEST(Composites, Pooling) {
  Tensor x = random_tensor({2, 2, 5, 4});
  check(
      "max_pool2d",
      [](auto& t) {
        return max_pool2d(t, Shape{2, 2});
      },
      x);
  check(
      "max_pool2d",
      [](auto& t) {
        return max_pool2d(t, Shape{3, 2}, Shape{2, 1}, Shape{1, 1}, Shape{1, 2}, true);
      },
      x);
  check(
      "avg_pool2d",
      [](auto& t) {
        return avg_pool2d(t, Shape{3, 2}, Shape{2, 2}, Shape{1, 0}, true, false);
      },
      x);
  check(
      "avg_pool2d",
      [](auto& t) {
        return avg_pool2d(t, Shape{2, 2});
      },
      x);
  check(
      "adaptive",
      [](auto& t) {
        return adaptive_avg_pool2d(t, Shape{3, 2});
      },
      x);
}

TEST(Composites, Products) {
  Tensor m = random_tensor({3, 4}, 2), v = random_tensor({4}, 3);
  check(
      "matmul", [&](auto& t) { return matmul(t, v); }, m);
  check(
      "matmul", [&](auto& t) { return matmul(m, t); }, v);
  check(
      "matmul", [&](auto& t) { return matmul(t, v); }, random_tensor({4}, 5));
  check(
      "addmm",
      [&](auto& t) {
        return addmm(v, t, random_tensor({4, 4}, 6), 2.0, 0.5);
      },
      m);
  check(
      "einsum",
      [&](auto& t) {
        return einsum("bij,kj->bki", std::array{t, m});
      },
      random_tensor({2, 3, 4}, 7));
  check(
      "einsum", [&](auto& t) { return einsum("ii->i", std::array{t}); }, random_tensor({3, 3}, 8));
  check(
      "einsum",
      [&](auto& t) {
        return einsum("...i,...i", std::array{t, m});
      },
      random_tensor({2, 3, 4}, 9));
}

TEST(Composites, Convolutions) {
  Tensor w = random_tensor({4, 2, 3, 3}, 2), b = random_tensor({4}, 3);
  auto conv = [&](auto& t) { return conv2d(t, w, b, Shape{2, 1}, Shape{1, 1}, Shape{1, 1}, 1); };
  check("conv2d", conv, random_tensor({1, 2, 5, 4}, 4));
  Tensor x = random_tensor({1, 4, 4, 3}, 5);
  check(
      "conv_transpose2d",
      [&](auto& t) {
        return conv_transpose2d(x, t, Tensor(), Shape{2, 2}, Shape{1, 1}, Shape{1, 1});
      },
      w);
}

}  // namespace
}  // namespace sorus
