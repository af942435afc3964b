#include "sorus/compile/compile.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "sorus/autodiff/tape.h"
#include "sorus/nn/gpt.h"
#include "sorus/nn/random.h"
#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"

namespace sorus {
namespace {

Tensor waves(const Shape& shape, double shift = 0) {
  Tensor t = Tensor::empty(shape, DType::f32);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<float>()[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i) + shift));
  return t;
}

void expect_near(const Tensor& a, const Tensor& b, double tolerance) {
  ASSERT_EQ(a.sizes(), b.sizes());
  Tensor x = contiguous(a.detach()), y = contiguous(b.detach());
  for (int64_t i = 0; i < x.numel(); ++i)
    ASSERT_NEAR(x.data<float>()[i], y.data<float>()[i], tolerance) << "at " << i;
}

TEST(Compile, GradientsFlowThroughResults) {
  Tensor w = waves({4, 5}), x = waves({3, 5}, 1);
  set_requires_grad(w, true);
  auto f = [&](TensorSpan in) -> TensorList { return {tanh(linear(in[0], w)), sum(in[0])}; };
  CompiledFunction g = compile(f);
  TensorList eager = f(std::array{x}), compiled = g({x});
  expect_near(compiled[0], eager[0], 1e-6);
  EXPECT_TRUE(compiled[0].requires_grad());
  EXPECT_FALSE(compiled[1].requires_grad());
  Tensor a = gradients(std::array{sum(square(eager[0]))}, std::array{w})[0];
  Tensor b = gradients(std::array{sum(square(compiled[0]))}, std::array{w})[0];
  expect_near(b, a, 1e-5);
  ASSERT_NE(g.recordings()[0]->backward(), nullptr);
}

TEST(Compile, RecordsAgainForOtherTypesAndModes) {
  auto g = compile([](TensorSpan in) -> TensorList { return {in[0] * 2.0}; });
  g({waves({3})});
  g({waves({3}, 1)});
  EXPECT_EQ(g.recordings().size(), 1u);
  g({waves({4})});
  EXPECT_EQ(g.recordings().size(), 2u);
  {
    GradMode off(false);
    g({waves({4})});
  }
  EXPECT_EQ(g.recordings().size(), 3u);
  g({waves({3})});
  EXPECT_EQ(g.recordings().size(), 3u);
}

TEST(Compile, LeavesGradientsWhereTheProgramLeavesThem) {
  Tensor w = waves({6});
  set_requires_grad(w, true);
  auto accumulate = compile([&](TensorSpan in) -> TensorList {
    Tensor loss = sum(square(w * in[0]));
    backward(loss);
    return {loss.detach()};
  });
  Tensor x = waves({6}, 2);
  accumulate({x});
  Tensor once = clone(grad_of(w));
  accumulate({x});
  expect_near(grad_of(w), once * 2.0, 1e-5);
  accumulate({x});
  expect_near(grad_of(w), once * 3.0, 1e-5);
  EXPECT_EQ(accumulate.recordings().size(), 2u) << "one for no gradient at first, one that adds to it";
  auto fresh = compile([&](TensorSpan in) -> TensorList {
    set_grad(w, {});
    backward(sum(square(w * in[0])));
    return {};
  });
  for (int i = 0; i < 3; ++i) fresh({x});
  expect_near(grad_of(w), once, 1e-6);
  EXPECT_EQ(fresh.recordings().size(), 1u);
}

// An outer product is not stored by the step that only updates a weight with it; whoever looks finds it all the same.
TEST(Compile, GradientsThatNobodyReadsAreNotStored) {
  auto train = [](bool compiled, bool look) {
    Tensor w = waves({64, 128}), b = waves({64}, 2);
    for (Tensor* p : {&w, &b}) set_requires_grad(*p, true);
    optim::SGD optimizer({{{w, b}}}, {.lr = 0.1, .weight_decay = 0.01});
    auto body = [&](TensorSpan in) -> TensorList {
      optimizer.zero_grad();
      Tensor loss = sum(square(tanh(linear(in[0], w, b))));
      backward(loss);
      optimizer.step();
      return {loss.detach()};
    };
    CompiledFunction step = compile(body);
    TensorList seen;
    for (int i = 0; i < 3; ++i) {
      Tensor x = waves({1, 128}, i);
      seen.push_back((compiled ? step({x}) : body(std::array{x}))[0]);
      std::fill_n(x.data<float>(), 128, 7.0f);  // what the caller does with an argument later changes nothing
      if (look) seen.push_back(clone(grad_of(w)));
    }
    if (compiled) {
      EXPECT_EQ(step.recordings().size(), 1u);
      for (const Value& v : step.recordings()[0]->forward().graph().outputs())
        EXPECT_TRUE(v.node->op == nullptr || v.node->op->name() != "linear:grad1") << "the gradient is stored";
    }
    backward(sum(square(w)));  // adds to what is there
    seen.push_back(grad_of(w));
    seen.push_back(grad_of(b));
    seen.push_back(w);
    return seen;
  };
  for (bool look : {false, true}) {
    TensorList eager = train(false, look), compiled = train(true, look);
    for (size_t i = 0; i < eager.size(); ++i) expect_near(compiled[i], eager[i], 1e-4);
  }
}

// What cannot be made again from a little is stored: sums over a larger batch, gradients that are added to.
TEST(Compile, GradientsThatAreNotCheapAreStored) {
  Tensor w = waves({64, 128});
  set_requires_grad(w, true);
  auto step = compile([&](TensorSpan in) -> TensorList {
    set_grad(w, {});
    backward(sum(square(linear(in[0], w))));
    return {};
  });
  step({waves({32, 128})});
  const Graph& g = step.recordings()[0]->forward().graph();
  ASSERT_EQ(g.outputs().size(), 1u);
  EXPECT_EQ(g.outputs()[0].type().shape, (Shape{64, 128}));
}

// Eager and compiled training from the same start give the same numbers.
TEST(Compile, TrainingStepOfAGpt) {
  nn::GPTConfig config{11, 8, 2, 2, 16, 0.0, true};
  auto train = [&](bool compiled) {
    nn::manual_seed(3);
    nn::GPT model(config);
    optim::SGD optimizer({{model.parameters(), 0.1}}, {0.5, 0.9, 0.0, false});
    auto body = [&](TensorSpan in) -> TensorList {
      optimizer.zero_grad();
      Tensor loss = model.loss(in[0], in[1]);
      backward(loss);
      optimizer.step();
      return {loss.detach()};
    };
    CompiledFunction step = compile(body, "step");
    std::vector<double> losses;
    for (int i = 0; i < 6; ++i) {
      std::vector<int64_t> ids;
      for (int k = 0; k < 24; ++k) ids.push_back((k * 7 + i * 3) % 11);
      Tensor x = Tensor::of(ids, Shape{3, 8});
      for (int64_t& id : ids) id = (id + 1) % 11;
      Tensor y = Tensor::of(ids, Shape{3, 8});
      losses.push_back((compiled ? step({x, y}) : body(std::array{x, y}))[0].item().to_double());
    }
    EXPECT_EQ(step.recordings().size(), compiled ? 1u : 0u);
    return losses;
  };
  std::vector<double> eager = train(false), compiled = train(true);
  for (size_t i = 0; i < eager.size(); ++i) EXPECT_NEAR(eager[i], compiled[i], 2e-5) << i;
  EXPECT_LT(eager.back(), eager.front());
}

TEST(Compile, DrawsAsEagerDoes) {
  nn::Generator one(5), two(5);
  auto draw = [](nn::Generator& g) { return nn::rand(Shape{4}, DType::f32, g) + nn::randn(Shape{4}, DType::f32, g); };
  auto f = compile([&](TensorSpan) -> TensorList { return {draw(two)}; });
  for (int i = 0; i < 3; ++i) expect_near(f(TensorSpan())[0], draw(one), 0);
  expect_near(draw(two), draw(one), 0);
}

// The copy of a weight in bf16 is stored by the step that writes the weight, and made again when somebody else wrote
// it.
TEST(Compile, ConvertedWeightsAreKeptFromRunToRun) {
  Tensor w = waves({8, 16}), x = waves({4, 16}, 1);
  set_requires_grad(w, true);
  auto body = [&](TensorSpan in) -> TensorList {
    set_autocast_dtype(DType::bf16);
    Tensor loss = sum(square(to(linear(in[0], w), DType::f32)));
    set_autocast_dtype(std::nullopt);
    Tensor g = gradients(std::array{loss}, std::array{w})[0];
    GradMode off(false);
    Tensor p = w.detach();
    call_into(find_op("sub"), std::array{p, g}, {Attr(0.01)}, std::array{p});
    return {loss.detach()};
  };
  Tensor start = clone(w.detach());
  auto reset = [&] { call_into(find_op("copy"), std::array{w.detach(), start}, {}, std::array{w.detach()}); };
  std::vector<double> eager, compiled;
  CompiledFunction step = compile(body);
  for (auto* losses : {&eager, &compiled}) {
    for (int i = 0; i < 6; ++i) {
      if (i % 3 == 0) reset();
      losses->push_back((losses == &eager ? body(std::array{x}) : step({x}))[0].item().to_double());
    }
  }
  for (size_t i = 0; i < eager.size(); ++i) EXPECT_NEAR(compiled[i], eager[i], 0.02 * eager[i]) << i;
  EXPECT_EQ(compiled[0], compiled[3]) << "a weight that was set back gives the first loss again";
  EXPECT_LT(compiled[2], compiled[0]);
  EXPECT_EQ(step.recordings()[0]->forward().graph().inputs().size(), 3u) << "x, w, and the copy of w";
  EXPECT_EQ(step.recordings().size(), 1u);
}

TEST(Compile, ValuesThatAreNotKnownNameTheWayOut) {
  auto g = compile([](TensorSpan in) -> TensorList { return {in[0].item().to_double() > 0 ? in[0] : in[0] * 2.0}; });
  try {
    g({waves({1})});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("not known while a graph is recorded"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sorus
