// Gradients of views that show a part: the same as those of the rules (which a recorded graph asks), whatever else
// reads the input and whoever else holds what is added up.
#include <gtest/gtest.h>

#include <functional>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/run/execute.h"

namespace sorus {
namespace {

Tensor numbers(const Shape& shape, double from = 0) {
  return reshape(arange(from, from + static_cast<double>(numel(shape)), 1, DType::f32), shape);
}
std::vector<float> values(const Tensor& t) {
  Tensor c = contiguous(t);
  return {c.data<float>(), c.data<float>() + c.numel()};
}

// The gradient of f(x) by the tape, and by the graph that is recorded of the same.
void expect_same_gradient(const std::function<Tensor(const Tensor&)>& f, const Shape& shape) {
  auto gradient = [&](TensorSpan in) -> TensorList {
    Tensor x = in[0].detach();
    set_requires_grad(x, true);
    return gradients(std::array{f(x)}, std::array{x});
  };
  Tensor x = numbers(shape);
  std::array<Tensor, 1> inputs{x};
  TracedGraph traced = trace(gradient, inputs);
  EXPECT_EQ(values(gradient(inputs)[0]), values(run_traced(traced, inputs)[0]));
}

TEST(PartGradient, PartsOfASplit) {
  expect_same_gradient(
      [](const Tensor& x) {
        Tensor a = slice(x, 1, 0, 2), b = slice(x, 1, 2, 5), c = slice(x, 1, 5, 6);
        return sum(a) + sum(b * b) + sum(c * 3.0);
      },
      {4, 6});
}

TEST(PartGradient, OverlappingSlicesStepsAndRows) {
  expect_same_gradient(
      [](const Tensor& x) {
        return sum(square(slice(x, 0, 0, 3))) + sum(slice(x, 0, 1, 4) * 2.0) + sum(square(slice(x, 1, 0, 5, 2))) +
               sum(select(x, 0, 2) * 5.0);
      },
      {4, 5});
}

TEST(PartGradient, APartOfAPartAndTheWhole) {
  expect_same_gradient(
      [](const Tensor& x) {
        Tensor y = x * 2.0;
        return sum(square(slice(slice(transpose(y, 0, 1), 0, 1, 4), 1, 0, 2))) + sum(y * y) + sum(slice(y, 0, 0, 1));
      },
      {3, 5});
}

TEST(PartGradient, ASumThatSomebodyElseHoldsStaysAsItIs) {
  Tensor x = numbers({4}, 1), y = numbers({4}, 2);
  set_requires_grad(x, true);
  set_requires_grad(y, true);
  // `add` hands one gradient to both; the slice, made first, adds to that of x alone.
  Tensor part = slice(x, 0, 1, 3);
  Tensor loss = sum((x + y) * numbers({4}, 1)) + sum(part * 10.0);
  backward(loss);
  EXPECT_EQ(values(grad_of(x)), (std::vector<float>{1, 12, 13, 4}));
  EXPECT_EQ(values(grad_of(y)), (std::vector<float>{1, 2, 3, 4}));
}

TEST(PartGradient, SecondDerivativesGoThroughTheRule) {
  Tensor x = numbers({3}, 1);
  set_requires_grad(x, true);
  Tensor y = sum(square(slice(x, 0, 0, 2)) * slice(x, 0, 1, 3));
  TensorList first = gradients(std::array{y}, std::array{x}, {}, true, true);
  TensorList second = gradients(std::array{sum(first[0])}, std::array{x});
  // y = a a b + b b c: the sum of the gradient is 2ab + aa + 2bc + bb.
  EXPECT_EQ(values(second[0]), (std::vector<float>{2 * 2 + 2 * 1, 2 * 1 + 2 * 3 + 2 * 2, 2 * 2}));
}

}  // namespace
}  // namespace sorus
