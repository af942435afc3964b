// Trains a small GPT on the text files of a folder and writes with it, in plain C++.
//
//   train_gpt FOLDER [--minutes 2] [--steps N] [--layers 4] [--heads 4] [--width 128] [--context 64] [--batch 12]
//
// The whole of it is here: reading text, the byte-pair tokenizer, the model (Radford et al. 2019, pre-norm, tied head),
// backward, AdamW, sampling. Ctrl-C stops training, keeps the model and still writes the sample.
#include <fmt/color.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>

#include "sorus/autodiff/tape.h"
#include "sorus/base/files.h"
#include "sorus/base/threads.h"
#include "sorus/data/tokenizer.h"
#include "sorus/emit/eager_kernels.h"
#include "sorus/io/safetensors.h"
#include "sorus/kernels/measure.h"
#include "sorus/ops.h"

using namespace sorus;
namespace fs = std::filesystem;

namespace {

volatile std::sig_atomic_t stopped = 0;

struct Options {
  std::string folder, out = "out/demo";
  double minutes = 2, lr = 1e-3;
  int64_t steps = 0, layers = 4, heads = 4, width = 128, context = 64, batch = 12, vocabulary = 1024;
};

Options parse(int argc, char** argv) {
  Options o;
  std::map<std::string, int64_t*> integers{{"--steps", &o.steps},   {"--layers", &o.layers}, {"--heads", &o.heads},
                                           {"--width", &o.width},   {"--context", &o.context}, {"--batch", &o.batch},
                                           {"--vocabulary", &o.vocabulary}};
  for (int i = 1; i < argc; ++i) {
    std::string a = argv[i];
    if (!a.starts_with("--")) {
      o.folder = a;
      continue;
    }
    SORUS_CHECK(i + 1 < argc, ValueError, "{} needs a value", a);
    std::string value = argv[++i];
    if (a == "--minutes") o.minutes = std::stod(value);
    else if (a == "--lr") o.lr = std::stod(value);
    else if (a == "--out") o.out = value;
    else if (integers.contains(a)) *integers[a] = std::stoll(value);
    else fail<ValueError>("unknown option {}; known are --minutes --lr --out --steps --layers --heads --width --context "
                          "--batch --vocabulary", a);
  }
  SORUS_CHECK(!o.folder.empty(), ValueError, "usage: train_gpt FOLDER [--minutes 2] [--steps N] ...");
  SORUS_CHECK(o.width % o.heads == 0, ValueError, "--width {} is not a multiple of --heads {}", o.width, o.heads);
  return o;
}

// Text of all .py, .txt and .md files; every file once, however many copies there are.
std::vector<std::string> read_texts(const std::string& folder) {
  std::vector<fs::path> paths;
  for (const auto& e : fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied)) {
    std::string extension = e.path().extension();
    bool wanted = extension == ".py" || extension == ".txt" || extension == ".md";
    if (wanted && e.is_regular_file() && e.path().string().find("/site-packages/") == std::string::npos &&
        e.path().string().find("/test/") == std::string::npos)
      paths.push_back(e.path());
  }
  std::sort(paths.begin(), paths.end());
  std::map<size_t, bool> seen;
  std::vector<std::string> texts;
  for (const auto& p : paths) {
    std::string text = read_file(p);
    if (!text.empty() && seen.emplace(std::hash<std::string>()(text), true).second) texts.push_back(std::move(text));
  }
  SORUS_CHECK(texts.size() >= 2, ValueError, "{}: expected at least two text files (.py .txt .md)", folder);
  return texts;
}

std::mt19937_64 rng(1337);

Tensor normal(Shape sizes, double deviation) {
  std::normal_distribution<float> draw(0, static_cast<float>(deviation));
  std::vector<float> v(static_cast<size_t>(numel(sizes)));
  for (float& f : v) f = draw(rng);
  return Tensor::of(v, sizes);
}

struct Gpt {
  Options o;
  std::map<std::string, Tensor> parameters;

  Gpt(const Options& options, int64_t vocabulary) : o(options) {
    auto add = [&](std::string name, Tensor t) {
      set_requires_grad(t, true);
      parameters.emplace(std::move(name), t);
    };
    int64_t d = o.width;
    double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(o.layers));
    add("wte", normal({vocabulary, d}, 0.02));
    add("wpe", normal({o.context, d}, 0.02));
    for (int64_t i = 0; i < o.layers; ++i) {
      std::string h = fmt::format("h.{}.", i);
      for (const char* norm : {"ln_1", "ln_2"}) {
        add(h + norm + ".weight", ones(Shape{d}));
        add(h + norm + ".bias", zeros(Shape{d}));
      }
      add(h + "qkv.weight", normal({3 * d, d}, 0.02));
      add(h + "qkv.bias", zeros(Shape{3 * d}));
      add(h + "proj.weight", normal({d, d}, residual));
      add(h + "proj.bias", zeros(Shape{d}));
      add(h + "fc.weight", normal({4 * d, d}, 0.02));
      add(h + "fc.bias", zeros(Shape{4 * d}));
      add(h + "out.weight", normal({d, 4 * d}, residual));
      add(h + "out.bias", zeros(Shape{d}));
    }
    add("ln_f.weight", ones(Shape{d}));
    add("ln_f.bias", zeros(Shape{d}));
  }

  const Tensor& p(const std::string& name) const { return parameters.at(name); }
  Tensor affine(const Tensor& x, const std::string& name) const {
    return linear(x, p(name + ".weight"), p(name + ".bias"));
  }
  Tensor norm(const Tensor& x, const std::string& name) const {
    return layer_norm(x, Shape{o.width}, p(name + ".weight"), p(name + ".bias"));
  }

  // [batch, time] token ids to [batch, time, vocabulary] logits
  Tensor operator()(const Tensor& ids) const {
    int64_t b = ids.size(0), t = ids.size(1), d = o.width;
    Tensor x = embedding(ids, p("wte")) + slice(p("wpe"), 0, 0, t);
    for (int64_t i = 0; i < o.layers; ++i) {
      std::string h = fmt::format("h.{}.", i);
      Tensor qkv = reshape(affine(norm(x, h + "ln_1"), h + "qkv"), Shape{b, t, 3, o.heads, d / o.heads});
      auto part = [&](int64_t k) { return transpose(select(qkv, 2, k), 1, 2); };
      Tensor y = scaled_dot_product_attention(part(0), part(1), part(2), {}, 0.0, true);
      x = x + affine(reshape(transpose(y, 1, 2), Shape{b, t, d}), h + "proj");
      x = x + affine(gelu(affine(norm(x, h + "ln_2"), h + "fc"), "tanh"), h + "out");
    }
    return linear(norm(x, "ln_f"), p("wte"));
  }

  Tensor loss(const Tensor& x, const Tensor& y) const {
    Tensor logits = (*this)(x);
    return cross_entropy(reshape(logits, Shape{-1, logits.size(-1)}), reshape(y, Shape{-1}));
  }
};

class AdamW {
 public:
  explicit AdamW(const std::map<std::string, Tensor>& parameters) {
    for (auto& [name, t] : parameters)
      slots_.push_back({t, zeros_like(t), zeros_like(t), t.dim() >= 2 ? 0.1 : 0.0});
  }
  void step(double lr) {
    GradMode off(false);
    ++steps_;
    auto number = [](double v) { return Tensor::scalar(v, DType::f32); };
    Tensor rate = number(lr), c1 = number(1 - std::pow(0.9, steps_)), c2 = number(1 - std::pow(0.95, steps_));
    static const OpDef& adamw = find_op("adamw");
    for (Slot& s : slots_) {
      Tensor g = grad_of(s.p);
      if (!g.defined()) continue;
      call_into(adamw, std::array{s.p.detach(), g, s.m, s.v, rate, c1, c2}, {0.9, 0.95, 1e-8, s.decay},
                std::array{s.p.detach(), s.m, s.v});
      set_grad(s.p, {});
    }
  }

 private:
  struct Slot {
    Tensor p, m, v;
    double decay;
  };
  std::vector<Slot> slots_;
  int steps_ = 0;
};

struct Corpus {
  std::vector<int32_t> ids;
  // Random windows, and the same shifted by one: what is to be predicted.
  std::array<Tensor, 2> batch(int64_t n, int64_t length) const {
    Tensor x = Tensor::empty({n, length}, DType::i64), y = Tensor::empty({n, length}, DType::i64);
    for (int64_t i = 0; i < n; ++i) {
      size_t at = rng() % (ids.size() - static_cast<size_t>(length) - 1);
      for (int64_t k = 0; k < length; ++k) {
        x.data<int64_t>()[i * length + k] = ids[at + static_cast<size_t>(k)];
        y.data<int64_t>()[i * length + k] = ids[at + static_cast<size_t>(k) + 1];
      }
    }
    return {x, y};
  }
};

double validation_loss(const Gpt& model, const Corpus& corpus) {
  GradMode off(false);
  double total = 0;
  for (int i = 0; i < 8; ++i) {
    auto [x, y] = corpus.batch(model.o.batch, model.o.context);
    total += model.loss(x, y).item().to_double() / 8;
  }
  return total;
}

std::string write(const Gpt& model, const data::Tokenizer& tokenizer, const std::string& prompt, int count) {
  GradMode off(false);
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  for (int i = 0; i < count; ++i) {
    size_t n = std::min<size_t>(ids.size(), static_cast<size_t>(model.o.context));
    std::vector<int64_t> window(ids.end() - static_cast<ptrdiff_t>(n), ids.end());
    Tensor logits = select(select(model(Tensor::of(window, Shape{1, static_cast<int64_t>(n)})), 0, 0), 0, -1);
    Tensor p = softmax(logits / 0.8, -1);
    const float* f = p.data<float>();
    std::discrete_distribution<int32_t> draw(f, f + p.numel());
    ids.push_back(draw(rng));
  }
  return tokenizer.decode(ids);
}

int run(const Options& o) {
  using Clock = std::chrono::steady_clock;
  auto seconds_since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  auto start = Clock::now();
  std::vector<std::string> texts = read_texts(o.folder);
  std::string train_text, val_text;
  for (size_t i = 0; i < texts.size(); ++i) (i % 20 == 19 || (texts.size() < 20 && i == 0) ? val_text : train_text) += texts[i];
  std::string_view sample = train_text;
  auto tokenizer = data::BpeTokenizer::train(std::array{sample.substr(0, 8 << 20)}, {.vocab_size = o.vocabulary, .special_tokens = {}});
  Corpus train{tokenizer->encode(train_text)}, val{tokenizer->encode(val_text)};
  SORUS_CHECK(static_cast<int64_t>(std::min(train.ids.size(), val.ids.size())) > o.context + 1, ValueError,
              "{}: too little text for a context of {} tokens", o.folder, o.context);
  fmt::print("{} files, {} tokens to train on, {} to validate ({:.1f} s)\n", texts.size(), train.ids.size(),
             val.ids.size(), seconds_since(start));

  Gpt model(o, tokenizer->vocab_size());
  int64_t count = 0;
  for (auto& [name, t] : model.parameters) count += t.numel();
  fmt::print("GPT of {:.2f} million parameters; {}, {} threads, {} kernels, float32, eager\n",
             static_cast<double>(count) / 1e6, kernels::cpu_name(), num_threads(), kernel_variant());
  AdamW optimizer(model.parameters);
  std::signal(SIGINT, [](int) { stopped = 1; });
  fs::create_directories(o.out);
  std::string csv = "step,loss,val_loss,tokens_per_s\n";
  start = Clock::now();
  double limit = o.minutes * 60, shown = -1, val_loss = validation_loss(model, val);
  int64_t step = 0;
  for (; !stopped && (o.steps ? step < o.steps : seconds_since(start) < limit); ++step) {
    double done = o.steps ? static_cast<double>(step) / static_cast<double>(o.steps) : seconds_since(start) / limit;
    double lr = o.lr * std::min(1.0, static_cast<double>(step + 1) / 50) * (0.55 + 0.45 * std::cos(3.14159265 * done));
    auto [x, y] = train.batch(o.batch, o.context);
    Tensor loss = model.loss(x, y);
    backward(loss);
    optimizer.step(lr);
    double spent = seconds_since(start), value = loss.item().to_double();
    SORUS_CHECK(std::isfinite(value), Error, "the loss became {} at step {}; try a smaller --lr", value, step);
    double rate = static_cast<double>((step + 1) * o.batch * o.context) / spent;
    bool measure = step % 200 == 199;
    if (measure) val_loss = validation_loss(model, val);
    csv += fmt::format("{},{:.5f},{},{:.0f}\n", step, value, measure ? fmt::format("{:.5f}", val_loss) : "", rate);
    if (spent - shown < 0.2) continue;
    shown = spent;
    std::string bar(static_cast<size_t>(30 * done), '=');
    double left = done > 0 ? spent / done - spent : 0;
    fmt::print("\r[{:<30}] step {:>5}  loss {:.3f}  validation {:.3f}  {:>7.0f} tokens/s  {:>3.0f} s left  {:.0f} MB ", bar, step,
               value, val_loss, rate, left, static_cast<double>(memory_stats().peak_in_use) / 1e6);
    std::fflush(stdout);
  }
  double spent = seconds_since(start), rate = static_cast<double>(step * o.batch * o.context) / spent;
  val_loss = validation_loss(model, val);
  double flops = 6.0 * static_cast<double>(count) + 12.0 * static_cast<double>(o.layers * o.width * o.context);
  double gemm = kernels::measure_gemm_gflops(DType::f32);
  fmt::print("\n{} steps, {:.0f} tokens/s, validation loss {:.3f}; {:.0f} GFLOP/s, {:.0f}% of this machine's own GEMM ({:.0f})\n",
             step, rate, val_loss, rate * flops / 1e9, 100 * rate * flops / 1e9 / gemm, gemm);
  std::map<std::string, Tensor> weights;
  for (auto& [name, t] : model.parameters) weights.emplace(name, t.detach());
  io::save_safetensors(o.out + "/model.safetensors", weights);
  tokenizer->save(o.out + "/tokenizer.json");
  write_file(o.out + "/loss.csv", csv);
  fmt::print("model, tokenizer and losses are in {}\n\n{}\n", o.out, write(model, *tokenizer, "def ", 200));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& e) {
    fmt::print(stderr, "train_gpt: {}\n", e.what());
    return 1;
  }
}
