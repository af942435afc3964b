// A recorded optimizer step goes on with the counters and the learning rate it finds, and equals eager steps.
#include <gtest/gtest.h>

#include <array>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"
#include "sorus/run/execute.h"

namespace sorus {
namespace {

Tensor parameter() {
  Tensor p = Tensor::of(std::vector<float>{1, -2, 3}, Shape{3});
  set_requires_grad(p, true);
  return p;
}

template <class Optimizer, class Options>
void check(const Options& options) {
  Tensor p = parameter(), q = parameter();
  Optimizer a({{.parameters = {p}}}, options), b({{.parameters = {q}}}, options);
  auto step = [](Tensor& w, optim::Optimizer& o, const Tensor& x) {
    Tensor loss = sum(square(w * x));
    backward(loss);
    o.step();
    o.zero_grad();
    return loss;
  };
  Tensor x = Tensor::of(std::vector<float>{0.5, 1, 2}, Shape{3});
  TracedGraph traced = trace([&](TensorSpan in) { return TensorList{step(p, a, in[0])}; }, std::array{x});
  EXPECT_EQ(a.steps(), 0);
  for (int i = 0; i < 4; ++i) {
    if (i == 2) a.set_lr(0.01), b.set_lr(0.01);
    Tensor x_i = x * static_cast<double>(i + 1);
    EXPECT_EQ(run_traced(traced, std::array{x_i})[0].item().to_double(), step(q, b, x_i).item().to_double());
    for (int k = 0; k < 3; ++k) EXPECT_EQ(p.data<float>()[k], q.data<float>()[k]) << "step " << i;
  }
  EXPECT_EQ(a.steps(), b.steps());
  trace(
      [&](TensorSpan in) {
        EXPECT_THROW(a.set_lr(1), Error);
        return TensorList{step(p, a, in[0])};
      },
      std::array{x});
}

TEST(TracedStep, Adam) { check<optim::Adam>(optim::AdamOptions{.lr = 0.1, .weight_decay = 0.1}); }
TEST(TracedStep, AdamW) { check<optim::AdamW>(optim::AdamWOptions{.lr = 0.1, .amsgrad = true}); }
TEST(TracedStep, SGD) { check<optim::SGD>(optim::SGDOptions{.lr = 0.1}); }
TEST(TracedStep, SGDWithMomentum) {
  check<optim::SGD>(optim::SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.5});
}

}  // namespace
}  // namespace sorus
