// Eager execution and the tape, end to end on small cases.
#include <gtest/gtest.h>

#include "sorus/autodiff/tape.h"
#include "sorus/graph/graph.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

Tensor vec(std::vector<float> v) {
  Shape s{static_cast<int64_t>(v.size())};
  return Tensor::of(v, s);
}
std::vector<float> values(const Tensor& t) {
  Tensor c = contiguous(to(t, DType::f32));
  return {c.data<float>(), c.data<float>() + c.numel()};
}

TEST(Eager, BroadcastsAndPromotes) {
  Tensor a = reshape(vec({1, 2, 3, 4, 5, 6}), Shape{2, 3});
  Tensor b = add(a, Tensor::of(std::vector<int64_t>{10, 20, 30}, Shape{3}));
  EXPECT_EQ(b.dtype(), DType::f32);
  EXPECT_EQ(values(b), (std::vector<float>{11, 22, 33, 14, 25, 36}));
  EXPECT_EQ(values(a + 0.5)[0], 1.5f);
  EXPECT_EQ((Tensor::of(std::vector<int64_t>{1, 2}, Shape{2}) + 0.5).dtype(), DType::f32);
}

TEST(Eager, ReadsStridesAndHalves) {
  Tensor a = transpose(reshape(vec({1, 2, 3, 4, 5, 6}), Shape{2, 3}), 0, 1);
  EXPECT_EQ(values(a * 2.0), (std::vector<float>{2, 8, 4, 10, 6, 12}));
  Tensor h = to(a, DType::bf16) * to(a, DType::bf16);
  EXPECT_EQ(h.dtype(), DType::bf16);
  EXPECT_EQ(values(h), (std::vector<float>{1, 16, 4, 25, 9, 36}));
}

TEST(Eager, MatmulAgreesWithTheSum) {
  Tensor a = reshape(vec({1, 2, 3, 4, 5, 6}), Shape{2, 3}), b = reshape(vec({1, 0, 0, 1, 1, 1}), Shape{3, 2});
  EXPECT_EQ(values(matmul(a, b)), (std::vector<float>{4, 5, 10, 11}));
}

TEST(Eager, LookUpsBeyondTheirTensorsAreRefused) {
  Tensor x = reshape(vec({1, 2, 3, 4}), Shape{2, 2});
  Tensor index = zeros(Shape{3, 2}, DType::i64);
  EXPECT_THROW(gather(x, 1, index), ValueError);
  EXPECT_NO_THROW(gather(x, 0, index));
  EXPECT_THROW(scatter_add(x, 1, index, ones(Shape{3, 2})), Error);
  EXPECT_THROW(scatter_add(x, 0, index, ones(Shape{2, 2})), Error);
  EXPECT_THROW(scatter_add(x, 0, index, ones(Shape{3, 2}, DType::f64)), Error);
  EXPECT_THROW(embedding_backward(x, zeros(Shape{3}, DType::i64), 4), ValueError);
}

TEST(Tape, GradientsOfAChain) {
  Tensor x = vec({1, 2, 3});
  set_requires_grad(x, true);
  Tensor y = sum(x * x * 2.0 + exp(x));
  backward(y);
  auto g = values(grad_of(x));
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(g[i], 4 * (i + 1) + std::exp(i + 1.0), 1e-4);
}

// More leaves than a list is searched for, each used twice, and as many nodes that wait at once as there are
// branches.
TEST(Tape, ManyLeavesAndBranches) {
  constexpr int kLeaves = 50;
  TensorList leaves, products;
  for (int i = 0; i < kLeaves; ++i) {
    leaves.push_back(Tensor::of<float>({static_cast<float>(i)}, Shape{1}));
    set_requires_grad(leaves.back(), true);
    products.push_back(leaves.back() * leaves.back() * 0.5);
  }
  std::reverse(products.begin(), products.end());  // branches arrive in the order opposite to that of their making
  for (int i = 0; i < kLeaves; ++i) products.push_back(leaves[static_cast<size_t>(kLeaves - 1 - i)] * 3.0);
  backward(sum(cat(products, 0)));
  for (int i = 0; i < kLeaves; ++i) EXPECT_EQ(grad_of(leaves[static_cast<size_t>(i)]).item().to_double(), i + 3.0);
}

TEST(Tape, SecondDerivative) {
  Tensor x = Tensor::of(std::vector<double>{0.3, -0.7}, Shape{2});
  set_requires_grad(x, true);
  TensorList g = gradients(std::array{sum(tanh(x) * x)}, std::array{x}, {}, false, true);
  TensorList h = gradients(std::array{sum(g[0])}, std::array{x});
  for (int i = 0; i < 2; ++i) {
    double v = x.data<double>()[i], t = std::tanh(v), s = 1 - t * t;
    EXPECT_NEAR(h[0].data<double>()[i], 2 * s - 2 * v * t * s, 1e-10);
  }
}

TEST(Tape, MatmulBroadcastAndReductions) {
  Tensor w = reshape(vec({1, 2, 3, 4, 5, 6}), Shape{3, 2}), x = reshape(vec({1, -1, 2, 0, 1, 3}), Shape{2, 3});
  set_requires_grad(w, true);
  set_requires_grad(x, true);
  Tensor b = vec({0.5, -0.5});
  set_requires_grad(b, true);
  backward(mean(matmul(x, w) + b));
  EXPECT_EQ(values(grad_of(b)), (std::vector<float>{0.5, 0.5}));
  EXPECT_EQ(values(grad_of(w)), (std::vector<float>{0.25, 0.25, 0, 0, 1.25, 1.25}));
  EXPECT_EQ(values(grad_of(x)), (std::vector<float>{0.75, 1.75, 2.75, 0.75, 1.75, 2.75}));
}

TEST(Tape, InPlaceOnAView) {
  Tensor x = vec({1, 2, 3});
  set_requires_grad(x, true);
  Tensor y = x * 2.0;
  Tensor part = slice(y, 0, 0, 2);
  call_into(find_op("mul"), std::array{part, Tensor::weak_scalar(10.0)}, {}, std::array{part});
  backward(sum(y));
  EXPECT_EQ(values(grad_of(x)), (std::vector<float>{20, 20, 2}));
}

TEST(Tape, SaysWhatWasChangedInPlace) {
  Tensor x = vec({1, 2, 3});
  set_requires_grad(x, true);
  Tensor y = exp(x), z = y * y;
  {
    GradMode off(false);
    call_into(find_op("add"), std::array{y, Tensor::weak_scalar(1.0)}, {Attr(1)}, std::array{y});
  }
  try {
    backward(sum(z));
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("mul"), std::string::npos) << e.what();
  }
}

TEST(Tape, CrossEntropyIsSoftmaxMinusOneHot) {
  Tensor x = reshape(vec({1, 2, 3, 0, 0, 0}), Shape{2, 3});
  set_requires_grad(x, true);
  Tensor loss = cross_entropy(x, Tensor::of(std::vector<int64_t>{2, 0}, Shape{2}));
  EXPECT_NEAR(loss.item().to_double(), (0.40760596 + std::log(3.0)) / 2, 1e-5);
  backward(loss);
  auto g = values(grad_of(x));
  EXPECT_NEAR(g[2], (0.66524096 - 1) / 2, 1e-5);
  EXPECT_NEAR(g[3], (1.0 / 3 - 1) / 2, 1e-5);
}

TEST(Tape, AttentionAgreesWithItsDefinition) {
  std::vector<float> v(2 * 2 * 5 * 8);
  for (size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f);
  Tensor q = reshape(vec(v), Shape{2, 2, 5, 8}), k = clone(q * 0.5), w = clone(q * 0.3 + 0.1);
  auto run = [&](bool whole) {
    std::vector<Tensor> in{clone(q), clone(k), clone(w)};
    for (Tensor& t : in) set_requires_grad(t, true);
    Tensor o;
    if (whole) {
      o = scaled_dot_product_attention(in[0], in[1], in[2], {}, 0.0, true);
    } else {
      Tensor i = unsqueeze(arange(int64_t{0}, int64_t{5}), 1), j = arange(int64_t{0}, int64_t{5});
      Tensor s = matmul(in[0], transpose(in[1], -2, -1)) * (1 / std::sqrt(8.0));
      o = matmul(softmax(where(le(j, i), s, Tensor::weak_scalar(-INFINITY)), -1), in[2]);
    }
    backward(sum(o * o));
    std::vector<float> all = values(o);
    for (Tensor& t : in)
      for (float f : values(grad_of(t))) all.push_back(f);
    return all;
  };
  auto a = run(true), b = run(false);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4) << i;
}

TEST(Graph, TextReadsBack) {
  const char* text =
      "graph step(%0: f32[2, 3] \"x\", %1: f32[3, 4]) {\n"
      "  %2 = matmul_batched(%0, %1) : f32[2, 4]\n"
      "  %3 = constant 2.0 : f64[] weak\n"
      "  %4 = mul(%2, %3) : f32[2, 4]\n"
      "  %5 = sum(%4, dim=[0], keepdim=false, dtype=none) : f32[4]\n"
      "  return %5\n}\n";
  Graph g = Graph::parse(text);
  g.verify();
  EXPECT_EQ(g.to_string(), text);
  EXPECT_THROW(Graph::parse("graph a(%0: f32[2]) {\n %1 = add(%0, %7, alpha=1) : f32[2]\n return %1\n}"), ValueError);
}

}  // namespace
}  // namespace sorus
