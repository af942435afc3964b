// Compiled graphs against eager execution: fusion, views, reductions in both directions, updates in place.
#include <gtest/gtest.h>

#include <cmath>

#include "sorus/autodiff/tape.h"
#include "sorus/ops.h"
#include "sorus/run/compiled.h"
#include "sorus/run/execute.h"
#include "sorus/run/memory_plan.h"

namespace sorus {
namespace {

std::vector<double> values(const Tensor& t) {
  Tensor c = contiguous(to(t, DType::f64));
  return {c.data<double>(), c.data<double>() + c.numel()};
}
Tensor waves(Shape shape, double phase = 0) {
  std::vector<float> v(static_cast<size_t>(numel(shape)));
  for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i) + phase));
  return Tensor::of(v, shape);
}
void expect_near(const Tensor& a, const Tensor& b, double tolerance = 2e-5) {
  ASSERT_EQ(a.sizes(), b.sizes());
  ASSERT_EQ(a.dtype(), b.dtype());
  auto x = values(a), y = values(b);
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], tolerance * (1 + std::fabs(y[i]))) << "element " << i;
}
using Function = std::function<TensorList(TensorSpan)>;
CompileReport expect_same(const Function& f, TensorSpan inputs, double tolerance = 2e-5) {
  TensorList eager = f(inputs);
  CompiledGraph compiled(trace(f, inputs));
  EXPECT_EQ(compiled.report().without_compiler, "");
  for (int round = 0; round < 2; ++round) {
    TensorList out = compiled.run(inputs);
    EXPECT_EQ(out.size(), eager.size());
    for (size_t i = 0; i < out.size(); ++i) expect_near(out[i], eager[i], tolerance);
  }
  return compiled.report();
}

TEST(Compiled, ElementwiseIsOneLoop) {
  auto r = expect_same([](TensorSpan in) -> TensorList { return {gelu(in[0] * 2.0 + in[1], "tanh") - in[1]}; },
                       std::array{waves({5, 7}), waves({7}, 1)});
  EXPECT_EQ(r.loops, 1);
  EXPECT_EQ(r.kernels, 0);
  EXPECT_EQ(r.arena_bytes, 0);
}

TEST(Compiled, LayerNormIsOneLoop) {
  auto r =
      expect_same([](TensorSpan in) -> TensorList { return {layer_norm(in[0] + in[1], Shape{33}, in[2], in[2])}; },
                  std::array{waves({6, 10, 33}), waves({6, 10, 33}, 2), waves({33}, 1)});
  EXPECT_EQ(r.loops, 1);
  EXPECT_EQ(r.kernels, 0);
}

TEST(Compiled, SoftmaxReadsTransposed) {
  auto r = expect_same([](TensorSpan in) -> TensorList { return {softmax(transpose(in[0], 0, 1), 1)}; },
                       std::array{waves({40, 9})});
  EXPECT_EQ(r.loops, 1);
}

TEST(Compiled, SumsOverRowsColumnsAndAll) {
  expect_same(
      [](TensorSpan in) -> TensorList {
        Tensor y = in[0] * in[0];
        return {sum(y, Shape{0}), sum(y, Shape{1}), sum(y), amax(in[0], Shape{1}), y};
      },
      std::array{waves({300, 70})});
}

TEST(Compiled, ViewsSlicesAndBroadcast) {
  expect_same(
      [](TensorSpan in) -> TensorList {
        Tensor x = in[0];
        Tensor a = reshape(permute(x, Shape{1, 0, 2}), Shape{4, 30});
        Tensor b = slice(x, 2, 1, 4) + 1.0;
        return {a * 2.0, b, expand(select(x, 2, 0), Shape{2, 5, 4}), cat(std::array{a, a + 1.0}, 0)};
      },
      std::array{waves({5, 4, 6})});
}

TEST(Compiled, HalvesAndIntegers) {
  expect_same(
      [](TensorSpan in) -> TensorList {
        Tensor h = to(in[0], DType::bf16);
        return {h * h, to(in[0] * 10.0, DType::i64) + 3.0, gt(in[0], Tensor::weak_scalar(0.0)),
                to(in[0], DType::f16)};
      },
      std::array{waves({9, 31})}, 0.01);
}

TEST(Compiled, TrainingStepOfAnMlp) {
  Tensor w1 = waves({16, 8}), b1 = waves({16}, 1), w2 = waves({4, 16}, 2);
  std::vector<Tensor> parameters{w1, b1, w2};
  for (Tensor& p : parameters) set_requires_grad(p, true);
  Function step = [&](TensorSpan in) -> TensorList {
    Tensor h = gelu(linear(in[0], w1, b1));
    Tensor loss = cross_entropy(linear(layer_norm(h, Shape{16}), w2), in[1]);
    TensorList g = gradients(std::array{loss}, parameters);
    GradMode off(false);
    for (size_t i = 0; i < g.size(); ++i) {
      Tensor p = parameters[i].detach();
      call_into(find_op("sub"), std::array{p, g[i]}, {Attr(0.1)}, std::array{p});
    }
    return {loss};
  };
  Tensor x = waves({12, 8}, 3), y = Tensor::of(std::vector<int64_t>{0, 1, 2, 3, 0, 1, 2, 3, 3, 2, 1, 0}, Shape{12});
  std::vector<Tensor> start;
  for (Tensor& p : parameters) start.push_back(clone(p.detach()));
  TensorList losses;
  for (int i = 0; i < 4; ++i) losses.push_back(step(std::array{x, y})[0].detach());
  std::vector<Tensor> after;
  for (size_t i = 0; i < parameters.size(); ++i) {
    after.push_back(clone(parameters[i].detach()));
    Tensor p = parameters[i].detach();
    call_into(find_op("copy"), std::array{p, start[i]}, {}, std::array{p});
  }
  CompiledGraph compiled(trace(step, std::array{x, y}));
  EXPECT_EQ(compiled.report().copies, 0) << "updates should be written in place";
  for (int i = 0; i < 4; ++i) expect_near(compiled.run(std::array{x, y})[0], losses[static_cast<size_t>(i)], 1e-4);
  for (size_t i = 0; i < parameters.size(); ++i) expect_near(parameters[i].detach(), after[i], 1e-4);
}

// The gradients of q, k and v are written where the gradient of their common projection wants them.
TEST(Compiled, GradientsOfSlicesAreJoinedInPlace) {
  Tensor x = waves({2, 5, 3, 2, 4});
  set_requires_grad(x, true);
  Function f = [&](TensorSpan in) -> TensorList {
    auto part = [&](int64_t i) { return transpose(select(in[0], 2, i), 1, 2); };
    Tensor y = scaled_dot_product_attention(part(0), part(1), part(2), {}, 0.0, true);
    return gradients(std::array{sum(square(y))}, std::array{in[0]});
  };
  TensorList eager = f(std::array{x});
  Tracer tracer("f");
  Tensor in = tracer.input(x.type());
  set_requires_grad(in, true);
  {
    InterpreterScope scope(&tracer);
    tracer.output(f(std::array{in})[0] * 2.0);
  }
  CompiledGraph compiled(tracer.finish());
  expect_near(compiled.run(std::array{x})[0], eager[0] * 2.0, 1e-5);
  EXPECT_NE(compiled.graph().to_string().find("cat("), std::string::npos);
  EXPECT_EQ(compiled.graph().to_string().find("slice_backward"), std::string::npos);
  EXPECT_EQ(compiled.report().kernels, 3) << "attention, its gradient, and the join with nothing to do";
}

TEST(Compiled, ProductsWithVectorsAreLoops) {
  Tensor w = waves({6, 40}), b = waves({6}, 2), x = waves({1, 40}, 1), g = waves({1, 6}, 3);
  Function f = [](TensorSpan in) -> TensorList {
    return {relu(linear(in[2], in[0], in[1])), matmul(in[3], in[0]),
            in[0] - matmul(transpose(in[3], 0, 1), in[2]) * 0.5};
  };
  TensorList in{w, b, x, g}, eager = f(in);
  CompiledGraph compiled(trace(f, in));
  EXPECT_EQ(compiled.report().kernels, 0);
  TensorList out = compiled.run(in);
  for (size_t i = 0; i < out.size(); ++i) expect_near(out[i], eager[i], 1e-5);
}

// Rows of the table that is never there: 20,001 do not divide into strips; one index is in two of the rows looked up.
TEST(Compiled, GradientsOfTablesAreMadeInStrips) {
  Tensor table = waves({20001, 96}), rows = waves({5, 96}, 1);
  Tensor at = Tensor::of(std::vector<int64_t>{0, 20000, 7, 9999, 7}, Shape{5});
  Function f = [](TensorSpan in) -> TensorList {
    return {in[0] * 0.5 - embedding_backward(in[1] * 2.0, in[2], in[0].size(0))};
  };
  TensorList in{table, rows, at}, eager = f(in);
  CompiledGraph compiled(trace(f, in));
  EXPECT_EQ(compiled.report().strips, 1);
  EXPECT_LT(compiled.report().arena_bytes, static_cast<int64_t>(table.nbytes() / 4));
  for (int round = 0; round < 2; ++round) EXPECT_EQ(values(compiled.run(in)[0]), values(eager[0]));
  in[2].data<int64_t>()[1] = 20001;
  EXPECT_THROW(compiled.run(in), IndexError);
  in[2].data<int64_t>()[1] = 20000;
  EXPECT_EQ(values(compiled.run(in)[0]), values(eager[0])) << "after an error";

  Function twice = [&](TensorSpan in) -> TensorList {
    Tensor g = embedding_backward(in[1], in[2], in[0].size(0));
    return {in[0] - g, sum(g)};
  };
  EXPECT_EQ(expect_same(twice, in).strips, 0) << "two loops read it";
}

// What each loop would have to be given is kept if it takes less than what can be made from it.
TEST(Compiled, KeepsTheSmallerOfTwo) {
  Tensor x = to(waves({64, 512}), DType::bf16), w = to(waves({512, 512}, 1), DType::bf16);
  Function f = [](TensorSpan in) -> TensorList {
    Tensor logits = to(matmul(in[0], in[1]), DType::f32);
    Tensor shifted = logits - amax(logits, Shape{1}, true);
    Tensor total = sum(exp(shifted), Shape{1}, true);
    // Of another shape of loop: sums over rows.
    return {total, sum(shifted * shifted, Shape{0})};
  };
  CompileReport report = expect_same(f, std::array{x, w}, 1e-3);
  EXPECT_LT(report.arena_bytes, 64 * 512 * 2 + 4096) << "the product in bf16, nothing as large in f32";
}

TEST(Compiled, LookingUpIsComparing) {
  Tensor x = waves({5, 7}), t = Tensor::of(std::vector<int64_t>{0, 6, -1, 3, 3}, Shape{5});
  set_requires_grad(x, true);
  Function f = [](TensorSpan in) -> TensorList {
    return {gather(in[0], 1, unsqueeze(in[1], 1)), scatter_add(in[0], 1, unsqueeze(in[1], 1), slice(in[0], 1, 0, 1)),
            cross_entropy(in[0] * 3.0, where(lt(in[1], Tensor::weak_scalar(0)), Tensor::weak_scalar(-100), in[1]))};
  };
  CompileReport report = expect_same(f, std::array{x.detach(), t});
  EXPECT_EQ(report.kernels, 0);
  CompiledGraph compiled(trace(f, std::array{x.detach(), t}));
  t.data<int64_t>()[2] = 7;
  try {
    compiled.run(std::array{x.detach(), t});
    FAIL() << "an index out of range";
  } catch (const IndexError& e) {
    EXPECT_NE(std::string(e.what()).find("index 7 is out of range for a dimension of size 7"), std::string::npos);
  }
}

TEST(Compiled, BodiesMakeTheirTensorsByOperators) {
  const OpDef& bad = op("test_makes_numbers(input)")
                         .types([](const TypeCall& c) -> std::vector<TensorType> { return {c.input(0)}; })
                         .body([](const Call& c) -> TensorList {
                           return {c.input(0) + Tensor::of(std::vector<float>{1, 2}, Shape{2})};
                         });
  Function f = [&](TensorSpan in) -> TensorList { return {call(bad, {in[0]}, {})[0] * 2.0}; };
  EXPECT_EQ(values(f(std::array{waves({2})})[0])[0], 2.0);
  try {
    CompiledGraph compiled(trace(f, std::array{waves({2})}));
    FAIL() << "a graph cannot hold numbers";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("makes a f32[2] of numbers"), std::string::npos) << e.what();
  }
}

TEST(MemoryPlan, ReusesWhatIsNotAliveTogether) {
  MemoryPlan p = plan_memory({{1000, 0, 1}, {1000, 1, 2}, {1000, 2, 3}, {500, 3, 4}});
  EXPECT_EQ(p.lower_bound, 2048);
  EXPECT_EQ(p.bytes, 2048);
  EXPECT_NE(p.offsets[0], p.offsets[1]);
}

}  // namespace
}  // namespace sorus
