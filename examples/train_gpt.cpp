// Trains a small GPT on the text files of a folder and writes with it, in plain C++.
//
//   train_gpt FOLDER [--minutes 2] [--steps N] [--layers 4] [--heads 4] [--width 128] [--context 64] [--batch 12]
//             [--seed 1337] [--out out/demo] [--resume out/demo/checkpoint.safetensors]
//
// A checkpoint (model, optimizer, random state) is written at each validation and at the end, in place of the one
// before it only when it is complete; Ctrl-C stops training, writes it and still shows the sample. With --steps, a run
// that was stopped and resumed gives the same numbers, to the bit, as one that was not.
#include <fmt/color.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <map>

#include "sorus/autodiff/tape.h"
#include "sorus/base/files.h"
#include "sorus/base/threads.h"
#include "sorus/data/tokenizer.h"
#include "sorus/emit/eager_kernels.h"
#include "sorus/io/safetensors.h"
#include "sorus/kernels/measure.h"
#include "sorus/nn/gpt.h"
#include "sorus/nn/random.h"
#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"

using namespace sorus;
namespace fs = std::filesystem;

namespace {

volatile std::sig_atomic_t stopped = 0;

struct Options {
  std::string folder, out = "out/demo", resume;
  double minutes = 2, lr = 1e-3;
  int64_t steps = 0, layers = 4, heads = 4, width = 128, context = 64, batch = 12, vocabulary = 1024, seed = 1337;
};

Options parse(int argc, char** argv) {
  Options o;
  std::map<std::string, int64_t*> integers{{"--steps", &o.steps},   {"--layers", &o.layers}, {"--heads", &o.heads},
                                           {"--width", &o.width},   {"--context", &o.context}, {"--batch", &o.batch},
                                           {"--vocabulary", &o.vocabulary}, {"--seed", &o.seed}};
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
    else if (a == "--resume") o.resume = value;
    else if (integers.contains(a)) *integers[a] = std::stoll(value);
    else fail<ValueError>("unknown option {}; known are --minutes --lr --out --steps --layers --heads --width --context "
                          "--batch --vocabulary --seed --resume", a);
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

struct Corpus {
  std::vector<int32_t> ids;
  // Random windows, and the same shifted by one: what is to be predicted.
  std::array<Tensor, 2> batch(int64_t n, int64_t length, nn::Generator& generator) const {
    Tensor x = Tensor::empty({n, length}, DType::i64), y = Tensor::empty({n, length}, DType::i64);
    for (int64_t i = 0; i < n; ++i) {
      size_t at = static_cast<size_t>(generator.next_bits()) % (ids.size() - static_cast<size_t>(length) - 1);
      for (int64_t k = 0; k < length; ++k) {
        x.data<int64_t>()[i * length + k] = ids[at + static_cast<size_t>(k)];
        y.data<int64_t>()[i * length + k] = ids[at + static_cast<size_t>(k) + 1];
      }
    }
    return {x, y};
  }
};

// Always the same windows.
double validation_loss(nn::GPT& model, const Corpus& corpus, int64_t batch) {
  GradMode off(false);
  nn::Generator generator(1);
  double total = 0;
  for (int i = 0; i < 8; ++i) {
    auto [x, y] = corpus.batch(batch, model.config().block_size, generator);
    total += model.loss(x, y).item().to_double() / 8;
  }
  return total;
}

std::string write(nn::GPT& model, const data::Tokenizer& tokenizer, const std::string& prompt, int count) {
  GradMode off(false);
  nn::Generator generator(2);
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  for (int i = 0; i < count; ++i) {
    size_t n = std::min<size_t>(ids.size(), static_cast<size_t>(model.config().block_size));
    std::vector<int64_t> window(ids.end() - static_cast<ptrdiff_t>(n), ids.end());
    Tensor logits = select(select(model(Tensor::of(window, Shape{1, static_cast<int64_t>(n)})), 0, 0), 0, -1);
    Tensor p = softmax(logits / 0.8, -1);
    const float* f = p.data<float>();
    double left = nn::rand(Shape{1}, DType::f32, generator).item().to_double();
    int32_t id = 0;
    while (id + 1 < p.numel() && (left -= static_cast<double>(f[id])) >= 0) ++id;
    ids.push_back(id);
  }
  return tokenizer.decode(ids);
}

// "model.wte.weight", "optimizer.steps", "generator": all that training needs to go on.
io::TensorMap checkpoint(const nn::GPT& model, const optim::Optimizer& optimizer, const nn::Generator& generator) {
  io::TensorMap all{{"generator", generator.state()}};
  for (auto& [name, t] : model.state_dict()) all.emplace("model." + name, t);
  for (auto& [name, t] : optimizer.state_dict()) all.emplace("optimizer." + name, t);
  return all;
}

void resume(const std::string& path, nn::GPT& model, optim::Optimizer& optimizer, nn::Generator& generator) {
  std::map<std::string, Tensor> weights, state;
  io::TensorMap all = io::load_safetensors(path);
  SORUS_CHECK(all.contains("generator"), FileError, "{}: not a checkpoint of train_gpt: 'generator' is missing", path);
  for (auto& [name, t] : all) {
    if (name.starts_with("model.")) weights.emplace(name.substr(6), t);
    if (name.starts_with("optimizer.")) state.emplace(name.substr(10), t);
  }
  model.load_state_dict(weights);
  optimizer.load_state_dict(state);
  generator.set_state(all.at("generator"));
}

int run(const Options& o) {
  using Clock = std::chrono::steady_clock;
  auto seconds_since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  auto start = Clock::now();
  std::vector<std::string> texts = read_texts(o.folder);
  std::string train_text, val_text;
  for (size_t i = 0; i < texts.size(); ++i) (i % 20 == 19 || (texts.size() < 20 && i == 0) ? val_text : train_text) += texts[i];
  // Numbers of tokens must mean the same as when the checkpoint was written.
  std::string_view sample = std::string_view(train_text).substr(0, 8 << 20);
  std::shared_ptr<data::Tokenizer> tokenizer;
  if (o.resume.empty()) tokenizer = data::BpeTokenizer::train(std::array{sample}, {.vocab_size = o.vocabulary, .special_tokens = {}});
  else tokenizer = data::load_tokenizer(fs::path(o.resume).replace_filename("tokenizer.json"));
  Corpus train{tokenizer->encode(train_text)}, val{tokenizer->encode(val_text)};
  SORUS_CHECK(static_cast<int64_t>(std::min(train.ids.size(), val.ids.size())) > o.context + 1, ValueError,
              "{}: too little text for a context of {} tokens", o.folder, o.context);
  fmt::print("{} files, {} tokens to train on, {} to validate ({:.1f} s)\n", texts.size(), train.ids.size(),
             val.ids.size(), seconds_since(start));

  nn::manual_seed(o.seed);
  nn::GPT model({.vocab_size = tokenizer->vocab_size(), .block_size = o.context, .n_layer = o.layers, .n_head = o.heads,
                 .n_embd = o.width});
  int64_t count = model.num_parameters();
  fmt::print("GPT of {:.2f} million parameters; {}, {} threads, {} kernels, float32, eager\n",
             static_cast<double>(count) / 1e6, kernels::cpu_name(), num_threads(), kernel_variant());
  TensorList matrices, vectors;
  for (const Tensor& t : model.parameters()) (t.dim() >= 2 ? matrices : vectors).push_back(t);
  optim::AdamW optimizer({{.parameters = matrices, .weight_decay = 0.1}, {.parameters = vectors, .weight_decay = 0}},
                         {.lr = o.lr, .beta2 = 0.95});
  nn::Generator generator(o.seed);
  if (!o.resume.empty()) resume(o.resume, model, optimizer, generator);
  std::signal(SIGINT, [](int) { stopped = 1; });
  fs::create_directories(o.out);
  tokenizer->save(o.out + "/tokenizer.json");
  std::string csv = "step,loss,val_loss,tokens_per_s\n";
  std::string kept = o.out + "/checkpoint.safetensors";
  start = Clock::now();
  double limit = o.minutes * 60, shown = -1, val_loss = validation_loss(model, val, o.batch);
  int64_t first = optimizer.steps(), step = first;
  for (; !stopped && (o.steps ? step < o.steps : seconds_since(start) < limit); ++step) {
    double done = o.steps ? static_cast<double>(step) / static_cast<double>(o.steps) : seconds_since(start) / limit;
    double lr = o.lr * std::min(1.0, static_cast<double>(step + 1) / 50) * (0.55 + 0.45 * std::cos(3.14159265 * done));
    auto [x, y] = train.batch(o.batch, o.context, generator);
    Tensor loss = model.loss(x, y);
    backward(loss);
    optimizer.set_lr(lr);
    optimizer.step();
    optimizer.zero_grad();
    double spent = seconds_since(start), value = loss.item().to_double();
    SORUS_CHECK(std::isfinite(value), Error, "the loss became {} at step {}; try a smaller --lr", value, step);
    double rate = static_cast<double>((step + 1 - first) * o.batch * o.context) / spent;
    bool measure = step % 200 == 199;
    if (measure) {
      val_loss = validation_loss(model, val, o.batch);
      io::save_safetensors(kept, checkpoint(model, optimizer, generator));
    }
    csv += fmt::format("{},{:.5f},{},{:.0f}\n", step, value, measure ? fmt::format("{:.5f}", val_loss) : "", rate);
    if (spent - shown < 0.2) continue;
    shown = spent;
    std::string bar(static_cast<size_t>(30 * done), '=');
    double left = done > 0 ? spent / done - spent : 0;
    fmt::print("\r[{:<30}] step {:>5}  loss {:.3f}  validation {:.3f}  {:>7.0f} tokens/s  {:>3.0f} s left  {:.0f} MB ", bar, step,
               value, val_loss, rate, left, static_cast<double>(memory_stats().peak_in_use) / 1e6);
    std::fflush(stdout);
  }
  double spent = seconds_since(start), rate = static_cast<double>((step - first) * o.batch * o.context) / spent;
  io::save_safetensors(kept, checkpoint(model, optimizer, generator));
  val_loss = validation_loss(model, val, o.batch);
  double flops = 6.0 * static_cast<double>(count) + 12.0 * static_cast<double>(o.layers * o.width * o.context);
  double gemm = kernels::measure_gemm_gflops(DType::f32);
  fmt::print("\n{} steps, {:.0f} tokens/s, validation loss {:.3f}; {:.0f} GFLOP/s, {:.0f}% of this machine's own GEMM ({:.0f})\n",
             step, rate, val_loss, rate * flops / 1e9, 100 * rate * flops / 1e9 / gemm, gemm);
  io::save_safetensors(o.out + "/model.safetensors", model.state_dict());
  write_file(o.out + "/loss.csv", csv);
  fmt::print("checkpoint, model, tokenizer and losses are in {}\n\n{}\n", o.out, write(model, *tokenizer, "def ", 200));
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
