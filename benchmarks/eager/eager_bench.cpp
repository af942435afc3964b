// Eager mode, measured from C++: what one small operator costs, alone and with its backward; operators on 3 million
// elements; a step of SGD on an MLP of one sample; a training step of a GPT. eager_torch.py prints the same lines for
// PyTorch. Each line is the median of rounds, in microseconds of wall time, and of process CPU time beside it.
//
//   eager_bench [start of a name] [--threads N]
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "sorus/autodiff/tape.h"
#include "sorus/base/threads.h"
#include "sorus/nn/gpt.h"
#include "sorus/nn/layers.h"
#include "sorus/nn/random.h"
#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"

using namespace sorus;

namespace {

std::string wanted;

double wall() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
double cpu() {
  rusage r;
  getrusage(RUSAGE_SELF, &r);
  return static_cast<double>(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

void line(const std::string& name, const std::function<void()>& f) {
  if (!name.starts_with(wanted)) return;
  f();
  double start = wall();
  f();
  int inner = std::clamp(static_cast<int>(0.02 / std::max(wall() - start, 1e-7)), 1, 100000);
  std::vector<double> rounds;
  double c0 = cpu();
  for (int r = 0; r < 9; ++r) {
    start = wall();
    for (int i = 0; i < inner; ++i) f();
    rounds.push_back((wall() - start) / inner * 1e6);
  }
  double process = (cpu() - c0) / (9 * inner) * 1e6;
  std::sort(rounds.begin(), rounds.end());
  std::printf("%-44s %12.3f us   (best %.3f, cpu %.3f)\n", name.c_str(), rounds[4], rounds[0], process);
  std::fflush(stdout);
}

Tensor leaf(Tensor t) {
  set_requires_grad(t, true);
  return t;
}

void small() {
  Tensor x = nn::randn({4}), y = nn::randn({4}), w = leaf(nn::randn({4})), g = ones(Shape{4});
  line("4: mul", [&] { mul(x, y); });
  line("4: add", [&] { add(x, y); });
  line("4: sum", [&] { sum(x); });
  line("4: softmax", [&] { softmax(x, -1); });
  line("4: mul, recorded", [&] { mul(x, w); });
  line("4: mul, backward", [&] {
    backward(mul(x, w), g);
    set_grad(w, {});
  });
  line("4: mul, sum, backward", [&] {
    backward(sum(mul(x, w)));
    set_grad(w, {});
  });
  Tensor a = nn::randn({4, 4}), b = leaf(nn::randn({4, 4}));
  line("4x4: matmul", [&] { matmul(a, a); });
  line("4x4: linear, backward", [&] {
    backward(linear(a, b), a);
    set_grad(b, {});
  });
}

void large(DType t) {
  std::string p = std::string(short_name(t)) + " 4096x768: ";
  Tensor x = to(nn::randn({4096, 768}), t), y = to(nn::randn({4096, 768}), t), xg = leaf(clone(x));
  Tensor w = leaf(to(ones(Shape{768}), t)), b = leaf(to(zeros(Shape{768}), t)), row = to(nn::randn({768}), t);
  auto with_backward = [&](const std::string& name, const std::function<Tensor()>& f) {
    line(p + name, [&] {
      GradMode off(false);
      f();
    });
    line(p + name + ", with backward", [&] {
      backward(f(), y);
      for (const Tensor& l : {xg, w, b}) set_grad(l, {});
    });
  };
  line(p + "add", [&] { add(x, y); });
  line(p + "add a row", [&] { add(x, row); });
  line(p + "gelu", [&] { gelu(x); });
  line(p + "to f32 or bf16", [&] { to(x, t == DType::bf16 ? DType::f32 : DType::bf16); });
  line(p + "transposed copy", [&] { clone(transpose(x, 0, 1)); });
  line(p + "sum of rows", [&] { sum(x, Shape{1}); });
  line(p + "sum of columns", [&] { sum(x, Shape{0}); });
  line(p + "sum of all", [&] { sum(x); });
  line(p + "amax of rows", [&] { amax(x, Shape{1}); });
  with_backward("gelu tanh", [&] { return gelu(xg, "tanh"); });
  with_backward("softmax", [&] { return softmax(xg, -1); });
  with_backward("log_softmax", [&] { return log_softmax(xg, -1); });
  with_backward("layer_norm", [&] { return layer_norm(xg, {768}, w, b); });
  with_backward("rms_norm", [&] { return rms_norm(xg, {768}, w); });
  Tensor targets = to(ge(nn::rand({4096}), Tensor::weak_scalar(0.5)), DType::i64);
  line(p + "cross_entropy, with backward", [&] {
    backward(cross_entropy(xg, targets));
    set_grad(xg, {});
  });
}

void mlp() {
  nn::manual_seed(1);
  nn::Linear first(784, 128), second(128, 10);
  TensorList p{first.weight, first.bias, second.weight, second.bias};
  optim::SGD sgd({{.parameters = p}}, {.lr = 0.01});
  Tensor x = nn::randn({1, 784}), target = zeros(Shape{1}, DType::i64);
  line("mlp 784-128-10, 1 sample: forward", [&] {
    GradMode off(false);
    second.forward(relu(first.forward(x)));
  });
  line("mlp 784-128-10, 1 sample: loss", [&] { cross_entropy(second.forward(relu(first.forward(x))), target); });
  line("mlp 784-128-10, 1 sample: SGD step", [&] {
    sgd.zero_grad();
    backward(cross_entropy(second.forward(relu(first.forward(x))), target));
    sgd.step();
  });
}

void gpt(const char* name, nn::GPTConfig c, int64_t batch, int64_t time) {
  nn::manual_seed(1);
  nn::GPT model(c);
  optim::AdamW adam({{.parameters = model.parameters()}}, {.lr = 1e-4});
  Tensor ids = to(nn::rand({batch, time + 1}) * static_cast<double>(c.vocab_size), DType::i64);
  Tensor x = clone(slice(ids, 1, 0, time)), y = clone(slice(ids, 1, 1, time + 1));
  for (std::string part : {"loss", "step"})
    line(fmt::format("gpt {}: {}", name, part), [&] {
      Tensor loss = model.loss(x, y);
      if (part == "loss") return;
      adam.zero_grad();
      backward(loss);
      adam.step();
    });
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--threads") && i + 1 < argc)
      set_num_threads(std::atoi(argv[++i]));
    else
      wanted = argv[i];
  }
  // What is asked for decides what is built: "gpt" makes no operands of the other groups.
  auto group = [](std::string_view name) { return name.starts_with(wanted) || wanted.starts_with(name); };
  if (group("4")) small();
  if (group("mlp")) mlp();
  if (group("f32")) large(DType::f32);
  if (group("bf16")) large(DType::bf16);
  if (group("gpt nano"))
    gpt("nano", {.vocab_size = 65, .block_size = 64, .n_layer = 4, .n_head = 4, .n_embd = 128}, 12, 64);
  if (group("gpt small"))
    gpt("small", {.vocab_size = 65, .block_size = 256, .n_layer = 6, .n_head = 6, .n_embd = 384}, 8, 256);
}
