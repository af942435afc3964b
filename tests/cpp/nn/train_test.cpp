// Layers and optimizers: names, initialisation, state, and that a tiny GPT learns and resumes to the bit.
#include <gtest/gtest.h>

#include <cstring>

#include "sorus/autodiff/tape.h"
#include "sorus/nn/gpt.h"
#include "sorus/nn/random.h"
#include "sorus/nn/utils.h"
#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

const nn::GPTConfig kTiny{.vocab_size = 11, .block_size = 8, .n_layer = 2, .n_head = 2, .n_embd = 16};

Tensor ids(int64_t shift) {
  std::vector<int64_t> v;
  for (int64_t i = 0; i < 16; ++i) v.push_back((i + shift) % 11);
  return Tensor::of(v, Shape{2, 8});
}

std::map<std::string, Tensor> copies(const std::map<std::string, Tensor>& state) {
  std::map<std::string, Tensor> out;
  for (auto& [name, t] : state) {
    Tensor c = Tensor::empty(t.sizes(), t.dtype());
    copy_elements(c, t);
    out.emplace(name, c);
  }
  return out;
}

double train_step(nn::GPT& model, optim::Optimizer& optimizer, int64_t step) {
  Tensor loss = model.loss(ids(step), ids(step + 1));
  backward(loss);
  optimizer.step();
  optimizer.zero_grad();
  return loss.item().to_double();
}

TEST(Random, DrawsAreUniformAndNormal) {
  nn::Generator g(7), same(7);
  Tensor u = nn::rand({20000}, DType::f32, g), again = nn::rand({20000}, DType::f32, same);
  EXPECT_EQ(std::memcmp(u.data(), again.data(), u.nbytes()), 0);
  EXPECT_NEAR(mean(u).item().to_double(), 0.5, 0.01);
  EXPECT_LT(amax(u).item().to_double(), 1.0);
  Tensor n = nn::randn({20000}, DType::f32, g);
  EXPECT_NEAR(mean(n).item().to_double(), 0, 0.03);
  EXPECT_NEAR(mean(square(n)).item().to_double(), 1, 0.05);
  g.set_state(same.state());
  EXPECT_EQ(std::memcmp(nn::randn({20000}, DType::f32, g).data(), n.data(), n.nbytes()), 0);
}

TEST(Random, DropoutKeepsTheMean) {
  nn::Dropout dropout(0.25);
  Tensor y = dropout(ones(Shape{20000}));
  EXPECT_NEAR(mean(y).item().to_double(), 1, 0.02);
  dropout.eval();
  EXPECT_EQ(mean(dropout(ones(Shape{10}))).item().to_double(), 1);
}

TEST(Module, NamesParametersAndSaysWhatDoesNotFit) {
  nn::GPT model(kTiny);
  std::map<std::string, Tensor> state = model.state_dict();
  EXPECT_TRUE(state.count("h.1.attn.c_proj.weight"));
  state.erase("wpe.weight");
  state.emplace("other", ones(Shape{1}));
  try {
    model.load_state_dict(state);
    FAIL();
  } catch (const Error& e) {
    std::string what = e.what();
    EXPECT_NE(what.find("Missing key(s) in state_dict: \"wpe.weight\""), std::string::npos) << what;
    EXPECT_NE(what.find("Unexpected key(s) in state_dict: \"other\""), std::string::npos) << what;
  }
  state["ln_f.weight"] = ones(Shape{3});
  EXPECT_THROW(model.load_state_dict(state), Error);
}

TEST(Training, LossFalls) {
  nn::manual_seed(1);
  nn::GPT model(kTiny);
  optim::AdamW optimizer({{.parameters = model.parameters()}}, {.lr = 1e-2});
  double first = train_step(model, optimizer, 0), last = first;
  EXPECT_NEAR(first, std::log(11.0), 0.2);
  for (int64_t i = 1; i < 60; ++i) last = train_step(model, optimizer, i);
  EXPECT_LT(last, 0.5 * first);
}

TEST(Training, ResumesToTheBit) {
  nn::manual_seed(2);
  nn::GPT model(kTiny), other(kTiny);
  optim::AdamW a({{.parameters = model.parameters(), .weight_decay = 0.1}}),
      b({{.parameters = other.parameters(), .weight_decay = 0.1}});
  for (int64_t i = 0; i < 5; ++i) train_step(model, a, i);
  other.load_state_dict(copies(model.state_dict()));
  b.load_state_dict(copies(a.state_dict()));
  for (int64_t i = 5; i < 10; ++i) EXPECT_EQ(train_step(model, a, i), train_step(other, b, i));
}

TEST(Optimizer, SgdWithMomentum) {
  Tensor p = Tensor::of(std::vector<float>{1}, Shape{1});
  set_requires_grad(p, true);
  optim::SGD sgd({{.parameters = {p}}}, {.lr = 0.1, .momentum = 0.9});
  for (int i = 0; i < 2; ++i) {
    set_grad(p, ones(Shape{1}));
    sgd.step();
  }
  EXPECT_NEAR(p.data<float>()[0], 1 - 0.1 - 0.19, 1e-6);
}

TEST(Optimizer, ClipsByNorm) {
  Tensor p = Tensor::of(std::vector<float>{0, 0}, Shape{2});
  set_requires_grad(p, true);
  set_grad(p, Tensor::of(std::vector<float>{3, 4}, Shape{2}));
  EXPECT_NEAR(nn::clip_grad_norm(std::array{p}, 1).item().to_double(), 5, 1e-6);
  EXPECT_NEAR(grad_of(p).data<float>()[1], 0.8, 1e-5);
}

}  // namespace
}  // namespace sorus
