// Index notation: shapes, values against plain loops, gradients against finite differences.
#include "sorus/graph/index.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <random>

#include "sorus/derive/index_loops.h"
#include "sorus/derive/index_rules.h"

namespace sorus {
namespace {

Tensor random_tensor(IntSpan shape, unsigned seed, DType t = DType::f64) {
  Tensor x = Tensor::empty(shape, t);
  std::mt19937 r(seed);
  std::normal_distribution<double> d;
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (t == DType::f64)
      x.data<double>()[i] = d(r);
    else
      x.data<float>()[i] = static_cast<float>(d(r));
  }
  return x;
}
Tensor random_tensor(std::initializer_list<int64_t> shape, unsigned seed, DType t = DType::f64) {
  return random_tensor(Shape(shape), seed, t);
}

Attrs attrs_of(const OpDef& op, Attrs first) {
  for (int i = static_cast<int>(first.size()); i < op.signature.attrs; ++i)
    first.push_back(op.signature.attr_param(i).default_value);
  return first;
}

Tensor run(const OpDef& op, const TensorList& in, const Attrs& attrs) {
  std::vector<TensorType> types(in.size());
  std::vector<const TensorType*> p(in.size(), nullptr);
  for (size_t i = 0; i < in.size(); ++i)
    if (in[i].defined()) {
      types[i] = in[i].type();
      p[i] = &types[i];
    }
  TensorType t = index_types(TypeCall{op, p, attrs})[0];
  Tensor out = Tensor::empty(t.shape, t.dtype);
  run_index(Call{op, in, attrs}, {&out, 1});
  return out;
}
Tensor run(std::string_view name, const TensorList& in, Attrs attrs = {}) {
  const OpDef& op = find_op(name);
  return run(op, in, attrs_of(op, std::move(attrs)));
}

double dot(const Tensor& a, const Tensor& b) {
  double s = 0;
  for (int64_t i = 0; i < a.numel(); ++i) s += a.data<double>()[i] * b.data<double>()[i];
  return s;
}

// The derived gradient of every input, and the gradient's own gradient, against central differences of dot(y, w).
void check_gradient(const OpDef& op, TensorList in, const Attrs& attrs, int depth = 2) {
  Tensor y = run(op, in, attrs);
  Tensor w = random_tensor(y.sizes(), 99);
  for (size_t i = 0; i < in.size(); ++i) {
    if (!in[i].defined() || in[i].dtype() != DType::f64) continue;
    auto derived = derive_index(op, "grad" + std::to_string(i));
    ASSERT_TRUE(derived || op.derived_from) << op.name();
    if (!derived) continue;  // it is there for its shape only
    derived->derived_from = &op;
    derived->kernel = nullptr;
    TensorList gin;
    for (int b : derived->index->base_slots) gin.push_back(b == -1 ? w : b == -2 ? y : in[static_cast<size_t>(b)]);
    Attrs gattrs = attrs;
    gattrs.push_back(Attr(in[i].sizes()));
    Tensor g = run(*derived, gin, gattrs);
    ASSERT_EQ(g.sizes(), in[i].sizes()) << op.name();
    for (int64_t k = 0; k < in[i].numel(); k += 1 + in[i].numel() / 7) {
      double* x = in[i].data<double>() + k;
      const double before = *x, h = 1e-5;
      *x = before + h;
      double up = dot(run(op, in, attrs), w);
      *x = before - h;
      double down = dot(run(op, in, attrs), w);
      *x = before;
      EXPECT_NEAR(g.data<double>()[k], (up - down) / (2 * h), 1e-5) << derived->name() << " at " << k;
    }
    if (depth > 1) check_gradient(*derived, gin, gattrs, depth - 1);
  }
}
void check_gradient(std::string_view name, const TensorList& in, Attrs attrs = {}) {
  const OpDef& op = find_op(name);
  check_gradient(op, in, attrs_of(op, std::move(attrs)));
}

TEST(Index, MatmulIsAProduct) {
  Tensor a = random_tensor({2, 3, 4}, 1), b = random_tensor({4, 5}, 2);
  Tensor y = run("matmul_batched", {a, b});
  ASSERT_EQ(y.sizes(), (Shape{2, 3, 5}));
  for (int64_t r = 0; r < 6; ++r)
    for (int64_t c = 0; c < 5; ++c) {
      double s = 0;
      for (int64_t k = 0; k < 4; ++k) s += a.data<double>()[r * 4 + k] * b.data<double>()[k * 5 + c];
      EXPECT_NEAR(y.data<double>()[r * 5 + c], s, 1e-12);
    }
}

TEST(Index, MatmulBroadcastsBatches) {
  check_gradient("matmul_batched", {random_tensor({2, 1, 3, 4}, 1), random_tensor({5, 4, 2}, 2)});
  check_gradient("bmm", {random_tensor({2, 3, 4}, 1), random_tensor({2, 4, 2}, 2)});
  check_gradient("mv", {random_tensor({3, 4}, 1), random_tensor({4}, 2)});
  check_gradient("dot", {random_tensor({4}, 1), random_tensor({4}, 2)});
  check_gradient("outer", {random_tensor({3}, 1), random_tensor({4}, 2)});
}

TEST(Index, LinearAddsItsBias) {
  Tensor x = random_tensor({2, 3, 4}, 1), w = random_tensor({5, 4}, 2), b = random_tensor({5}, 3);
  Tensor y = run("linear", {x, w, b});
  ASSERT_EQ(y.sizes(), (Shape{2, 3, 5}));
  for (int64_t r = 0; r < 6; ++r)
    for (int64_t c = 0; c < 5; ++c) {
      double s = b.data<double>()[c];
      for (int64_t k = 0; k < 4; ++k) s += x.data<double>()[r * 4 + k] * w.data<double>()[c * 4 + k];
      EXPECT_NEAR(y.data<double>()[r * 5 + c], s, 1e-12);
    }
  check_gradient("linear", {x, w, b});
  check_gradient("linear", {x, w, Tensor()});
}

TEST(Index, ReductionsTakeDimensions) {
  Tensor x = random_tensor({2, 3, 4}, 1);
  Tensor y = run("sum", {x}, {Attr(Shape{1}), Attr(true)});
  ASSERT_EQ(y.sizes(), (Shape{2, 1, 4}));
  EXPECT_NEAR(y.data<double>()[1], x.data<double>()[1] + x.data<double>()[5] + x.data<double>()[9], 1e-12);
  EXPECT_EQ(run("sum", {x}, {Attr(Shape{-1, 0})}).sizes(), (Shape{3}));
  EXPECT_EQ(run("amax", {x}).sizes(), Shape{});
  Tensor largest = run("amax", {x}, {Attr(Shape{2})});
  for (int64_t r = 0; r < 6; ++r) {
    double m = -INFINITY;
    for (int64_t k = 0; k < 4; ++k) m = std::max(m, x.data<double>()[r * 4 + k]);
    EXPECT_EQ(largest.data<double>()[r], m);
  }
  check_gradient("sum", {x}, {Attr(Shape{1})});
  check_gradient("sum", {x}, {Attr(), Attr(true)});
  EXPECT_THROW(run("sum", {x}, {Attr(Shape{3})}), IndexError);
  EXPECT_THROW(run("amax", {Tensor::empty({2, 0}, DType::f64)}, {Attr(Shape{1})}), IndexError);
}

TEST(Index, NaNIsTheExtremum) {
  Tensor x = Tensor::of<double>({1, NAN, 3}, Shape{3});
  EXPECT_TRUE(std::isnan(run("amax", {x}).data<double>()[0]));
}

TEST(Index, Convolutions) {
  Tensor x = random_tensor({2, 4, 7, 6}, 1), w = random_tensor({6, 2, 3, 2}, 2), b = random_tensor({6}, 3);
  Attrs attrs{Attr(Shape{2, 1}), Attr(Shape{1, 2}), Attr(Shape{1, 2}), Attr(2)};
  Tensor y = run("conv2d", {x, w, b}, attrs);
  ASSERT_EQ(y.sizes(), (Shape{2, 6, 4, 8}));
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t o = 0; o < 6; ++o)
      for (int64_t h = 0; h < 4; ++h)
        for (int64_t v = 0; v < 8; ++v) {
          double s = b.data<double>()[o];
          for (int64_t c = 0; c < 2; ++c)
            for (int64_t i = 0; i < 3; ++i)
              for (int64_t j = 0; j < 2; ++j) {
                int64_t p = h * 2 + i - 1, q = v + j * 2 - 2;
                if (p < 0 || p >= 7 || q < 0 || q >= 6) continue;
                s += x.data<double>()[((n * 4 + o / 3 * 2 + c) * 7 + p) * 6 + q] *
                     w.data<double>()[((o * 2 + c) * 3 + i) * 2 + j];
              }
          EXPECT_NEAR(y.data<double>()[((n * 6 + o) * 4 + h) * 8 + v], s, 1e-10);
        }
  check_gradient("conv2d", {x, w, b}, attrs);
}

TEST(Index, TransposedConvolutionIsTheGradient) {
  Tensor x = random_tensor({1, 4, 5}, 1), w = random_tensor({4, 3, 3}, 2);
  Attrs attrs{Attr(Shape{2}), Attr(Shape{1}), Attr(Shape{1}), Attr(2)};
  Tensor y = run("conv_transpose1d_product", {x, w}, attrs);
  EXPECT_EQ(y.sizes(), (Shape{1, 6, 10}));
  check_gradient("conv_transpose1d_product", {x, w}, attrs);
}

TEST(Index, WindowsMayLeaveTheInput) {
  Tensor x = random_tensor({2, 5, 4}, 1);
  Attrs attrs{Attr(Shape{3, 2}), Attr(Shape{2, 2}), Attr(Shape{1, 0}), Attr(Shape{3, 2})};
  EXPECT_EQ(run("window_sum", {x}, attrs).sizes(), (Shape{2, 3, 2}));
  check_gradient("window_sum", {x}, attrs);
}

TEST(Index, WrongShapesAreNamed) {
  try {
    run("mm", {random_tensor({2, 3}, 1), random_tensor({4, 5}, 2)});
    FAIL();
  } catch (const ValueError& e) {
    std::string text = e.what();
    EXPECT_NE(text.find("mm"), std::string::npos);
    EXPECT_NE(text.find("[2, 3]"), std::string::npos) << text;
  }
}

RC_GTEST_PROP(Index, ProductsOfAnyShapeAndOrder, ()) {
  auto m = *rc::gen::inRange<int64_t>(0, 6), n = *rc::gen::inRange<int64_t>(0, 6),
       k = *rc::gen::inRange<int64_t>(0, 6);
  Tensor a = random_tensor({m, k}, 1), b = random_tensor({n, k}, 2);
  Tensor t = b.with_geometry({{k, n}, {1, k}, 0});
  Tensor y = run("mm", {a, t});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double s = 0;
      for (int64_t p = 0; p < k; ++p) s += a.data<double>()[i * k + p] * b.data<double>()[j * k + p];
      RC_ASSERT(std::abs(y.data<double>()[i * n + j] - s) < 1e-10);
    }
}

}  // namespace
}  // namespace sorus
