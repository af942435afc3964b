// Recording ordinary code as a graph: views, in-place writes, gradients and captured tensors.
#include <gtest/gtest.h>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/run/execute.h"

namespace sorus {
namespace {

std::vector<float> values(const Tensor& t) {
  Tensor c = contiguous(to(t, DType::f32));
  return {c.data<float>(), c.data<float>() + c.numel()};
}
Tensor matrix() { return Tensor::of(std::vector<float>{1, -2, 3, 0.5, 2, -1}, Shape{2, 3}); }

void expect_same(const std::function<TensorList(TensorSpan)>& f, TensorSpan inputs) {
  TracedGraph traced = trace(f, inputs);
  traced.graph.verify();
  EXPECT_EQ(Graph::parse(traced.graph.to_string()).to_string(), traced.graph.to_string());
  TensorList eager = f(inputs), replayed = run_traced(traced, inputs);
  ASSERT_EQ(eager.size(), replayed.size());
  for (size_t i = 0; i < eager.size(); ++i) EXPECT_EQ(values(eager[i]), values(replayed[i]));
}

TEST(Trace, ReplaysCompositesAndViews) {
  expect_same(
      [](TensorSpan in) -> TensorList {
        return {softmax(transpose(in[0], 0, 1), 0), sum(in[0] * 2.0)};
      },
      std::array{matrix()});
}

TEST(Trace, WritesShowInViewsTakenBefore) {
  expect_same(
      [](TensorSpan in) -> TensorList {
        Tensor y = in[0] * 1.0, row = select(y, 0, 1), all = reshape(y, Shape{6});
        call_into(find_op("mul"), std::array{row, Tensor::weak_scalar(10.0)}, {}, std::array{row});
        return {all, y};
      },
      std::array{matrix()});
}

TEST(Trace, RecordsBackwardAndUpdate) {
  Tensor w = matrix();
  set_requires_grad(w, true);
  auto step = [&](TensorSpan in) -> TensorList {
    Tensor loss = mean(square(matmul(in[0], transpose(w, 0, 1))));
    TensorList g = gradients(std::array{loss}, std::array{w});
    GradMode off(false);
    Tensor p = w.detach();
    call_into(find_op("sub"), std::array{p, g[0]}, {Attr(0.1)}, std::array{p});
    return {loss};
  };
  Tensor x = Tensor::of(std::vector<float>{1, 2, 3, 4, 5, 6}, Shape{2, 3});
  TracedGraph traced = trace(step, std::array{x});
  ASSERT_EQ(traced.captures.size(), 1u);
  ASSERT_EQ(traced.write_targets.size(), 1u);
  EXPECT_EQ(values(w), values(matrix())) << "recording must not run anything";
  float before = values(run_traced(traced, std::array{x})[0])[0];
  std::vector<float> replayed = values(w);
  Tensor fresh = matrix();
  std::copy_n(fresh.data<float>(), 6, w.data<float>());
  float eager = values(step(std::array{x})[0])[0];
  EXPECT_EQ(before, eager);
  EXPECT_EQ(values(w), replayed);
}

TEST(Trace, SaysWhereAValueIsNeeded) {
  try {
    trace([](TensorSpan in) -> TensorList { return {in[0] * sum(in[0]).item().to_double()}; }, std::array{matrix()});
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("while a graph is recorded"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sorus
