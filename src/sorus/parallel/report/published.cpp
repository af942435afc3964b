#include "sorus/parallel/report/published.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "sorus/graph/meta.h"
#include "sorus/io/json.h"
#include "sorus/models/decoder.h"
#include "sorus/parallel/simulator/step.h"
#include "sorus/parallel/solver/search.h"

namespace sorus::parallel {
namespace {

using io::Json;

// What is larger is a slip of the pen, and would take long to work out.
constexpr int64_t kMost = int64_t{1} << 24, kMostLayers = 4096;

class Row {
 public:
  explicit Row(const Json& j) : j_(j) {}
  bool has(const char* key) const { return j_.find(key) != j_.end(); }
  /// `otherwise` where the column is empty.
  double number(const char* key, double otherwise) const {
    auto it = j_.find(key);
    if (it == j_.end()) return otherwise;
    SORUS_CHECK(it->is_number(), ValueError, "{} is {}, expected a number", key, it->dump());
    double v = it->get<double>();
    SORUS_CHECK(v >= 0 && v <= 1e15, ValueError, "{} is {}, expected a number from 0 to 1e15", key, v);
    return v;
  }
  int64_t integer(const char* key, int64_t otherwise, int64_t most = kMost) const {
    double v = number(key, static_cast<double>(otherwise));
    SORUS_CHECK(v <= static_cast<double>(most) && v == std::floor(v), ValueError,
                "{} is {}, expected a whole number of at most {}", key, v, most);
    return static_cast<int64_t>(v);
  }
  /// A speed or a size: 0 says no more than an empty column.
  std::optional<double> physical(const char* key) const {
    double v = number(key, 0);
    SORUS_CHECK(v == 0 || v > 1e-6, ValueError, "{} is {}, which is too small to be one", key, v);
    return v > 0 ? std::optional(v) : std::nullopt;
  }
  std::string text(const char* key) const {
    auto it = j_.find(key);
    std::string s = it != j_.end() && it->is_string() ? it->get<std::string>() : "";
    std::transform(s.begin(), s.end(), s.begin(), [](unsigned char c) { return std::tolower(c); });
    return s;
  }

 private:
  const Json& j_;
};

// Parameters of a decoder, for telling apart what a row does not say.
double parameters(const models::DecoderConfig& c) {
  auto h = static_cast<double>(c.hidden), f = static_cast<double>(c.inner()), v = static_cast<double>(c.vocab);
  double attention = h * h * (2 + 2.0 * static_cast<double>(c.kv()) / static_cast<double>(c.heads));
  double inner = h * f * (c.gated ? 3 : 2) * static_cast<double>(std::max<int64_t>(1, c.experts));
  return static_cast<double>(c.layers) * (attention + inner) + v * h * (c.tied ? 1 : 2);
}

// The architecture whose number of parameters is the printed one, among what is common: GPT, or Llama with grouped
// keys.
void guess_architecture(models::DecoderConfig& c, double printed, Json& defaults) {
  if (printed <= 0) return;
  models::DecoderConfig best = c;
  double least = 1e300;
  for (bool gated : {false, true})
    for (bool tied : {true, false})
      for (int64_t kv : {c.heads, c.heads / 2, c.heads / 4, c.heads / 8, int64_t{8}, int64_t{4}, int64_t{1}}) {
        if (kv < 1 || kv > c.heads || c.heads % kv != 0) continue;
        models::DecoderConfig t = c;
        t.gated = gated, t.tied = tied, t.kv_heads = kv == c.heads ? 0 : kv;
        if (!gated && !t.tied && t.kv_heads == 0 && c.inner() == 4 * c.hidden) continue;  // GPT ties its head
        // Printed numbers are rounded: the plainest one that is about right.
        double off = std::abs(parameters(t) / 1e9 / printed - 1);
        double plain =
            0.004 * (gated != (c.inner() != 4 * c.hidden)) + 0.004 * (t.kv_heads != 0) + 0.002 * (tied == gated);
        if (off + plain < least) least = off + plain, best = t;
      }
  if (least > 0.12) return;
  c = best;
  if (c.gated) c.rms = c.rotary = true, c.bias = false;
  if (c.gated) defaults.push_back("gated, RMSNorm and rotary, by the number of parameters");
  if (c.kv_heads) defaults.push_back(fmt::format("{} key/value heads, by the number of parameters", c.kv_heads));
}

std::string preset_of(const std::string& device, double memory_gb) {
  if (device.find("h100") != device.npos || device.find("h800") != device.npos || device.find("h200") != device.npos)
    return "dgx-h100";
  if (device.find("gb200") != device.npos || device.find("b200") != device.npos) return "gb200-nvl72";
  if (device.find("v100") != device.npos) return "dgx-v100";
  if (device.find("v5p") != device.npos) return "tpu-v5p";
  if (device.find("tpu") != device.npos) return "tpu-v4";
  if (device.find("a100") != device.npos || device.find("a800") != device.npos || device.empty())
    return memory_gb > 0 && memory_gb <= 40 ? "dgx-a100-40gb" : "dgx-a100";
  return "";
}

struct Traced {
  Model model;
  Chain chain;
};

// Rows of one paper share models: the last few traces are kept.
std::shared_ptr<const Traced> trace(const models::DecoderConfig& c, int64_t batch, DType dtype) {
  static std::mutex mutex;  // the default type belongs to the process
  static std::map<std::string, std::shared_ptr<const Traced>> kept;
  std::lock_guard lock(mutex);
  std::string key = fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}", c.layers, c.hidden, c.heads,
                                c.kv(), c.inner(), c.vocab, c.context, c.gated, c.rms, c.rotary, c.tied, c.bias,
                                c.fused_attention, c.fused_loss, c.dropout, c.experts, c.capacity_factor, batch) +
                    std::string(name(dtype));
  if (auto it = kept.find(key); it != kept.end()) return it->second;
  auto t = std::make_shared<Traced>();
  DType before = default_dtype();
  set_default_dtype(dtype);
  try {
    std::shared_ptr<models::Decoder> decoder;
    {
      MetaScope meta;
      decoder = std::make_shared<models::Decoder>(c);
    }
    TensorType ids{DType::i64, Shape{batch, c.context}, false};
    t->model = trace_model("row", {ids, ids}, decoder->named_parameters(),
                           [&](TensorSpan in) { return decoder->loss(in[0], in[1]); });
  } catch (...) {
    set_default_dtype(before);
    throw;
  }
  set_default_dtype(before);
  t->chain = fold(t->model);
  if (kept.size() >= 48) kept.clear();
  return kept[key] = t;
}

// A row in the planner's words.
struct Published {
  models::DecoderConfig model;
  DType dtype = DType::f16;
  Cluster cluster;
  StepConfig config;
  bool layer_only = false;
  std::string products;  ///< see CostOptions
  Json defaults = Json::array();
};

Published read(const Row& r, const std::string& cluster_text) {
  Published out;
  models::DecoderConfig& d = out.model;
  StepConfig& c = out.config;
  Json& defaults = out.defaults;
  auto assume = [&](const std::string& what) { defaults.push_back(what); };
  for (const char* key : {"layers", "hidden", "heads"})
    SORUS_CHECK(r.has(key) && r.number(key, 0) > 0, ValueError, "'{}' is empty, and nothing says what it is", key);
  d.layers = r.integer("layers", 0, kMostLayers), d.hidden = r.integer("hidden", 0), d.heads = r.integer("heads", 0);
  d.ffn = r.integer("ffn", 0), d.context = r.integer("seq_len", 0), d.vocab = r.integer("vocab", 0);
  if (!d.context) d.context = 2048, assume("seq_len 2048");
  if (!d.vocab) d.vocab = 51200, assume("vocab 51200");
  d.experts = r.integer("experts", 0);
  if (d.experts == 1) d.experts = 0;
  // One kernel brings tokens to all of their experts: so many places for one choice, not a choice after the other.
  if (d.experts) d.top_k = 1, d.capacity_factor = static_cast<double>(std::max<int64_t>(1, r.integer("top_k", 2)));
  SORUS_CHECK(d.hidden % d.heads == 0, ValueError, "{} heads do not divide the hidden size {}", d.heads, d.hidden);
  guess_architecture(d, r.number("params_b", 0), defaults);

  std::string device = r.text("device");
  std::string preset = preset_of(device, r.number("dev_mem_gb", 0));
  Cluster& cluster = out.cluster;
  cluster = preset_cluster(preset.empty() ? "dgx-a100" : preset);
  if (!cluster_text.empty()) cluster.efficiency = parse_cluster(cluster_text, "cluster").efficiency;
  std::optional<double> peak = r.physical("peak_tflops");
  if (peak) {
    double printed = *peak * 1e12;
    // With 8 bits the printed peak may be that of 8 bits or of 16.
    bool eight = r.text("precision").find('8') != std::string::npos && printed > 1.4 * cluster.device.peak("bf16");
    for (auto& [type, flops] : cluster.device.flops)
      if (type != "f32") flops = type == "f8" ? (eight ? 1 : 2) * printed : printed / (eight ? 2 : 1);
  }
  if (preset.empty()) {
    SORUS_CHECK(peak, ValueError, "the device '{}' is not known and peak_tflops is empty", device);
    assume("the memory of an A100 for the unknown device");
  }
  if (auto memory = r.physical("dev_mem_gb")) cluster.device.memory_bytes = *memory * 1e9;
  if (auto rate = r.physical("intra_bw_GBps")) cluster.levels[0].bandwidth = *rate * 1e9;
  if (auto rate = r.physical("inter_bw_GBps_per_gpu")) cluster.levels.back().bandwidth = *rate * 1e9;
  cluster.check();

  // Attention that keeps its scores: what frameworks did before Dao et al. 2022, and what "selective" means.
  std::string recompute = r.text("recompute"), attention = r.text("attention"), notes = r.text("notes"),
              source = r.text("source_id");
  bool newer = preset == "dgx-h100" || preset == "gb200-nvl72" || preset == "tpu-v5p" || d.gated;
  bool flash = attention == "flash" || notes.find("flash") != notes.npos ||
               (attention.empty() && newer && recompute != "selective");
  d.fused_attention = flash;
  d.dropout = flash ? 0 : 0.1;
  assume(flash ? "attention in one kernel, no dropout" : "attention with stored scores, dropout 0.1");

  c.tensor = std::max<int64_t>(1, r.integer("tp", 1)), c.pipeline = std::max<int64_t>(1, r.integer("pp", 1));
  c.context = std::max<int64_t>(1, r.integer("cp", 1));
  int64_t gpus = r.integer("gpus", 0);
  c.data = r.integer("dp", 0);
  if (!c.data) {
    int64_t inside = c.tensor * c.pipeline * c.context;
    SORUS_CHECK(!gpus || gpus % inside == 0, ValueError, "{} devices are not a multiple of tp {} x pp {} x cp {}",
                gpus, c.tensor, c.pipeline, c.context);
    c.data = gpus ? gpus / inside : 1;
    assume(fmt::format("dp {}", c.data));
  }
  SORUS_CHECK(!gpus || gpus == c.tensor * c.pipeline * c.data * c.context, ValueError,
              "tp {} x pp {} x dp {} x cp {} are not the {} devices", c.tensor, c.pipeline, c.data, c.context, gpus);
  SORUS_CHECK(d.context % c.context == 0, ValueError, "cp {} does not divide the {} tokens", c.context, d.context);
  SORUS_CHECK(d.heads % c.tensor == 0, ValueError, "tp {} does not divide the {} heads", c.tensor, d.heads);
  int64_t expert = std::max<int64_t>(1, r.integer("ep", 1));
  SORUS_CHECK(expert == 1 || (d.experts && d.experts % expert == 0 && c.data % expert == 0), ValueError,
              "ep {} does not divide the {} experts and the {} data-parallel ranks", expert, d.experts, c.data);
  c.expert = expert;
  bool layer_only = out.layer_only = r.text("kind") == "layer_time";
  int64_t batch = r.integer("global_batch", 0);
  c.micro_batch = r.integer("micro_batch", 0);
  if (!batch && c.micro_batch) batch = c.micro_batch * c.data, assume("one micro-batch");
  SORUS_CHECK(batch > 0, ValueError, "'global_batch' and 'micro_batch' are empty");
  if (!c.micro_batch) {
    SORUS_CHECK(batch % c.data == 0, ValueError, "a batch of {} does not divide among {} data-parallel ranks", batch,
                c.data);
    c.micro_batch = c.pipeline > 1 ? 1 : batch / c.data;
    // Without a pipeline nothing asks for small parts but memory; a common choice is at most 16 at a time.
    while (c.micro_batch > 16 && c.micro_batch % 2 == 0) c.micro_batch /= 2;
    assume(fmt::format("micro_batch {}", c.micro_batch));
  }
  SORUS_CHECK(batch % (c.data * c.micro_batch) == 0, ValueError,
              "a batch of {} is not a multiple of dp {} x micro_batch {}", batch, c.data, c.micro_batch);
  c.micro_batches = batch / c.data / c.micro_batch;
  SORUS_CHECK(c.micro_batches * c.pipeline <= kMost, ValueError,
              "{} micro-batches in {} stages are too many to be played", c.micro_batches, c.pipeline);
  c.zero = static_cast<int>(std::min<int64_t>(3, r.integer("zero_stage", 0)));
  c.sequence = r.number("seq_parallel", 0) > 0;
  if (recompute.empty()) assume("no recomputation");
  c.recompute = recompute.find("full") != recompute.npos  ? Recompute::full
                : recompute.find("sel") != recompute.npos ? Recompute::selective
                                                          : Recompute::none;
  c.chunks = std::max<int64_t>(1, r.integer("interleave_v", 1));
  if (c.pipeline == 1) c.chunks = 1;
  std::string schedule = r.text("schedule");
  c.schedule = schedule.find("gpipe") != schedule.npos                                ? Schedule::gpipe
               : schedule.find("zero") != schedule.npos || schedule.starts_with("zb") ? Schedule::zero_bubble
               : c.chunks > 1                                                         ? Schedule::interleaved
                                                                                      : Schedule::one_f_one_b;
  if (c.schedule == Schedule::zero_bubble) c.chunks = 1;
  if (c.chunks > 1 && c.micro_batches % c.pipeline != 0)
    assume("no interleaving: the micro-batches do not divide"), c.chunks = 1, c.schedule = Schedule::one_f_one_b;
  c.overlap = c.zero > 0 || newer;
  // What split layers among devices of the last generations brought its own kernels: products that run while what
  // they read comes in, and an attention twice as fast as that of 2023 (cuDNN's in Shah et al. 2024, figure 5).
  bool hopper = preset == "dgx-h100" || preset == "gb200-nvl72", split = c.sequence || c.pipeline > 1;
  c.overlap_tensor = newer && c.sequence && (c.zero < 3 || preset.starts_with("tpu"));
  bool eight = r.text("precision").find('8') != std::string::npos;
  if (hopper && attention.empty() && notes.find("flash") == notes.npos && (eight || (split && c.zero < 3)))
    cluster.efficiency.composite *= 2, assume("the attention of later kernels");
  if (c.overlap_tensor) assume("tensor communication beside products");

  std::string precision = r.text("precision");
  if (precision.find('8') != precision.npos) out.products = "f8";
  out.dtype = precision.find("32") != precision.npos                              ? DType::f32
              : precision.find("bf16") != precision.npos || !out.products.empty() ? DType::bf16
                                                                                  : DType::f16;
  SORUS_CHECK(static_cast<double>(d.layers) >= static_cast<double>(c.pipeline * c.chunks) || layer_only, ValueError,
              "{} layers are fewer than pp {} x {} chunks", d.layers, c.pipeline, c.chunks);
  return out;
}

constexpr double kGiB = 1073741824.0;
CostOptions options_of(const Published& p) {
  return {.keeps_dropout_masks = true,
          .remakes_simple = p.model.fused_attention,
          .balanced_context = true,
          .products = p.products};
}

Json parts_of(const StepEstimate& e) {
  return {{"compute", e.compute},         {"recompute", e.recompute},
          {"tensor_comm", e.tensor_comm}, {"pipeline_comm", e.pipeline_comm},
          {"data_comm", e.data_comm},     {"bubble", e.bubble},
          {"optimizer", e.optimizer}};
}

Json simulate(const Published& p) {
  const StepConfig& c = p.config;
  models::DecoderConfig model = p.model;
  if (p.layer_only) model.layers = 2;  // what repeats is a layer
  std::shared_ptr<const Traced> traced = trace(model, c.micro_batch, p.dtype);
  UnitCosts costs(traced->model, traced->chain, p.cluster, options_of(p));
  SORUS_CHECK(costs.tokens() % c.context == 0, NotImplementedError,
              "cp {}: the model has an operator that needs all tokens of a sample at once", c.context);
  Json out;
  out["defaults"] = p.defaults;
  if (p.layer_only) {
    double time = 0;
    for (size_t t = 0; t < traced->chain.types.size(); ++t) {
      if (traced->chain.types[t].name.find("blocks") == std::string::npos) continue;
      UnitLoad load = unit_load(costs, c, static_cast<int>(t));
      time += load.forward + load.backward;
    }
    out["iter_time_s"] = time;
    return out;
  }
  StepEstimate e = estimate(costs, c);
  out["iter_time_s"] = e.time, out["mem_gb"] = e.memory / kGiB, out["parts"] = parts_of(e);
  return out;
}

Json compare(const Published& p, double time_limit) {
  SORUS_CHECK(!p.layer_only, ValueError, "the row is of one layer, not of a step");
  // Micro-batches are parts of the traced batch: as `sorus plan` traces, and at least the row's.
  int64_t batch = p.config.batch(), traced_batch = p.config.micro_batch;
  while (traced_batch * 2 <= 16 && batch % (traced_batch * 2) == 0) traced_batch *= 2;
  std::shared_ptr<const Traced> traced = trace(p.model, traced_batch, p.dtype);
  UnitCosts costs(traced->model, traced->chain, p.cluster, options_of(p));
  StepEstimate printed = estimate(costs, p.config);
  SearchRequest request;
  request.devices = p.config.devices(), request.batch = batch;
  request.families = false, request.time_limit = time_limit, request.overlap_tensor = p.config.overlap_tensor;
  SearchResult found = search(costs, request);
  Json out;
  out["published"] = {{"iter_time_s", printed.time}, {"mem_gb", printed.memory / kGiB}};
  out["fits"] = printed.memory <= p.cluster.device.memory_bytes;
  out["search_s"] = found.seconds, out["complete"] = found.complete;
  if (!found.best) {
    out["problem"] = found.problem;
    return out;
  }
  const StepEstimate& e = found.best->estimate;
  out["found"] = {{"iter_time_s", e.time},
                  {"mem_gb", e.memory / kGiB},
                  {"plan", to_plan(costs, *found.best, request).to_string()},
                  {"lower_bound_s", found.lower_bound}};
  return out;
}

template <class F>
std::string answer(const std::string& row, const F& of) {
  Json j = io::parse_json(row, "row");
  Json out;
  try {
    SORUS_CHECK(j.is_object(), ValueError, "expected an object");
    out = of(Row(j));
  } catch (const std::exception& e) {  // a row never ends the table
    out = {{"note", std::string(e.what())}};
  }
  return out.dump();
}

}  // namespace

std::string simulate_published(const std::string& row, const std::string& cluster) {
  return answer(row, [&](const Row& r) { return simulate(read(r, cluster)); });
}

std::string compare_published(const std::string& row, const std::string& cluster, double time_limit) {
  return answer(row, [&](const Row& r) { return compare(read(r, cluster), time_limit); });
}

}  // namespace sorus::parallel
