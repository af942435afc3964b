#include "sorus/parallel/solver/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "sorus/base/text.h"

namespace sorus::parallel {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

std::vector<int64_t> divisors(int64_t n) {
  std::vector<int64_t> low, high;
  for (int64_t d = 1; d * d <= n; ++d)
    if (n % d == 0) {
      low.push_back(d);
      if (d != n / d) high.push_back(n / d);
    }
  low.insert(low.end(), high.rbegin(), high.rend());
  return low;
}

// Sums over all units for one (tensor, sequence, micro-batch).
struct Totals {
  double forward = 0, backward = 0, comm = 0, recompute_selective = 0, recompute_full = 0;
  double parameters = 0, saved = 0, saved_selective = 0, inputs = 0;
  double layer = 0, layer_selective = 0, layer_full = 0;  // one repeated layer, forward and backward
};

class Search {
 public:
  Search(UnitCosts& costs, const SearchRequest& request) : costs_(costs), chain_(costs.chain()), request_(request) {
    memory_ = request.memory_bytes > 0 ? request.memory_bytes : costs.cluster().device.memory_bytes;
    const auto& units = chain_.units;
    layers_ = 0;
    std::vector<int> cuts = equal_cuts(chain_, 1);
    for (size_t i = static_cast<size_t>(chain_.period); i < units.size(); ++i)
      if (units[i].type == units[i - static_cast<size_t>(chain_.period)].type) ++layers_;
    layers_ = layers_ > 0 ? layers_ / chain_.period + 1 : 0;
  }

  SearchResult run() {
    double start = now();
    SearchResult r;
    enumerate();
    r.space = list_.size();
    if (list_.empty()) {
      r.problem = why_empty();
      r.seconds = now() - start;
      return r;
    }
    std::stable_sort(list_.begin(), list_.end(),
                     [](const Candidate& a, const Candidate& b) { return a.bound < b.bound; });
    size_t at = 0;
    double bound = list_.front().bound;
    for (; at < list_.size(); ++at) {
      Candidate& c = list_[at];
      if (r.best && c.bound >= r.best->estimate.time) break;
      if (request_.time_limit > 0 && now() - start > request_.time_limit && (r.best || at > 2000)) {
        r.complete = false;
        break;
      }
      if (request_.progress && at % 64 == 0 &&
          !request_.progress(r.best ? r.best->estimate.time : 0, bound, list_.size() - at)) {
        r.complete = false;
        break;
      }
      if (!evaluate(c)) continue;
      ++r.estimated;
      remember_family(c);
      bool fits = this->fits(c.estimate);
      if (!r.nearest || c.estimate.memory < r.nearest->estimate.memory) r.nearest = c;
      if (!fits) continue;
      if (!r.best || c.estimate.time < r.best->estimate.time) r.best = c;
    }
    if (r.best) {
      double left = at < list_.size() ? list_[at].bound : r.best->estimate.time;
      r.lower_bound = std::min(r.best->estimate.time, left);
      r.relaxed_bound = std::min(r.best->estimate.time, list_.front().bound);
    }
    if (r.best && request_.families) others(r);
    if (!r.best && r.nearest)
      r.problem = fmt::format(
          "no plan fits: the smallest of {} needs {} on a device that has {} ({} too much)", r.estimated,
          human_bytes(static_cast<uint64_t>(r.nearest->estimate.memory)), human_bytes(static_cast<uint64_t>(memory_)),
          human_bytes(static_cast<uint64_t>(std::max(0.0, r.nearest->estimate.memory - memory_))));
    if (r.best) r.nearest.reset();
    r.seconds = now() - start;
    return r;
  }

 private:
  int64_t fixed(const char* name, int64_t otherwise = -1) const {
    auto it = request_.fix.find(name);
    return it == request_.fix.end() ? otherwise : it->second;
  }
  bool allowed(const char* name, int64_t value) const {
    int64_t f = fixed(name);
    return f < 0 || f == value;
  }

  const Totals& totals(int64_t tensor, bool sequence, int64_t micro_batch) {
    auto key = std::make_tuple(tensor, sequence, micro_batch);
    auto it = totals_.find(key);
    if (it != totals_.end()) return it->second;
    Totals t;
    UnitRequest q;
    q.batch_parts = costs_.model().batch / micro_batch, q.tensor = tensor, q.sequence = sequence && tensor > 1,
    q.span = {tensor, 1};
    for (size_t i = 0; i < chain_.types.size(); ++i) {
      q.type = static_cast<int>(i);
      const UnitCost& u = costs_.get(q);
      auto n = static_cast<double>(chain_.types[i].count);
      double f = u.forward + u.forward_comm, b = u.backward + u.backward_comm + u.regather;
      bool repeats = chain_.types[i].count > 1;
      t.forward += n * f, t.backward += n * b;
      t.parameters += n * u.parameters;
      t.saved += n * u.saved;
      t.saved_selective += n * (repeats ? u.saved_selective : u.saved);
      t.inputs += n * (repeats ? u.output / chain_.period : u.saved);
      if (repeats) t.recompute_selective += n * u.recompute_selective, t.recompute_full += n * (f - u.regather);
      if (repeats && chain_.types[i].count >= layers_ && layers_ > 0) {
        t.layer += f + b;
        t.layer_selective += f + b + u.recompute_selective;
        t.layer_full += 2 * f + b - u.regather;
      }
    }
    return totals_.emplace(key, t).first->second;
  }

  // Seconds that no cut of the pipeline can go below, and whether some cut may fit.
  bool bound(Candidate& c) {
    const StepConfig& k = c.config;
    const Totals& t = totals(k.tensor, k.sequence, k.micro_batch);
    auto m = static_cast<double>(k.micro_batches), p = static_cast<double>(k.pipeline),
         v = static_cast<double>(k.chunks);
    double total = t.forward + t.backward, layer = t.layer, saved = t.saved;
    if (k.recompute == Recompute::selective)
      total += t.recompute_selective, layer = t.layer_selective, saved = t.saved_selective;
    if (k.recompute == Recompute::full) total += t.recompute_full, layer = t.layer_full, saved = t.inputs;
    double slowest = std::max(total / p, layer * std::ceil(static_cast<double>(layers_) / p));
    double ramp = (p - 1) / p * total;  // the other stages' passes of one micro-batch
    if (k.schedule == Schedule::interleaved) ramp /= v;
    if (k.schedule == Schedule::zero_bubble) ramp /= 3;
    c.bound = (m * slowest + ramp) * slowest_of(k.data, costs_.cluster().efficiency.spread);
    // The optimizer on the device with most parameters has at least the average.
    double parameters = t.parameters / p, n = static_cast<double>(k.data);
    bool half = costs_.dtype() == "f16" || costs_.dtype() == "bf16";
    double weight = half ? 2 : 4, gradient = 4, state = half ? 12 : 8;
    double updated = k.zero >= 1 ? parameters / n : parameters;
    if (!k.offload.optimizer)
      c.bound += updated * (2 * gradient + 2 * state + weight) /
                 (costs_.cluster().device.memory_bandwidth * costs_.cluster().efficiency.memory);
    double memory = parameters * weight / (k.zero >= 3 ? n : 1) + parameters * gradient / (k.zero >= 2 ? n : 1) +
                    (k.offload.optimizer ? 0 : parameters * state / (k.zero >= 1 ? n : 1));
    // Device d keeps the activations of so many passes. However the layers are shared out, the fullest device has at
    // least what it has when all are equally full: the harmonic mean.
    double inverse = 0;
    for (int64_t d = 0; d < k.pipeline; ++d) {
      double behind = p - 1 - static_cast<double>(d), alive = std::min(m, behind + 1);
      if (k.schedule == Schedule::gpipe) alive = m;
      if (k.schedule == Schedule::interleaved) alive = std::min(m, (2 * behind + (v - 1) * p + 1) / v);
      inverse += 1 / (memory * p + saved * alive);
    }
    memory = 1 / inverse;
    return memory <= memory_;
  }

  void enumerate() {
    int64_t n = request_.devices, batch = request_.batch, traced = costs_.model().batch;
    int64_t node = costs_.cluster().levels[0].count ? costs_.cluster().levels[0].count : n;
    for (int64_t tensor : divisors(n)) {
      if (!allowed("tp", tensor) || (tensor > std::max<int64_t>(node, 16) && fixed("tp") < 0)) continue;
      for (int64_t pipeline : divisors(n / tensor)) {
        int64_t data = n / tensor / pipeline;
        if (!allowed("pp", pipeline) || !allowed("dp", data) || batch % data != 0) continue;
        if (pipeline > static_cast<int64_t>(chain_.units.size())) continue;
        for (int64_t micro : divisors(batch / data)) {
          if (traced % micro != 0 || !allowed("micro_batch", micro)) continue;
          int64_t m = batch / data / micro;
          for (Candidate& c : variants(data, tensor, pipeline, micro, m)) {
            if (bound(c))
              list_.push_back(std::move(c));
            else
              tight_.push_back(std::move(c));
          }
        }
      }
    }
  }

  std::vector<Candidate> variants(int64_t data, int64_t tensor, int64_t pipeline, int64_t micro, int64_t m) {
    std::vector<Candidate> out;
    std::vector<std::pair<Schedule, int64_t>> schedules;
    if (pipeline == 1) {
      schedules = {{Schedule::none, 1}};
    } else {
      // GPipe takes as long as 1F1B and holds more: only on request.
      if (fixed("schedule") == static_cast<int64_t>(Schedule::gpipe)) schedules.push_back({Schedule::gpipe, 1});
      schedules.push_back({Schedule::one_f_one_b, 1});
      schedules.push_back({Schedule::zero_bubble, 1});
      if (m % pipeline == 0)
        for (int64_t v = 2; v <= 8 && pipeline * v <= static_cast<int64_t>(chain_.units.size()) / chain_.period; ++v)
          schedules.push_back({Schedule::interleaved, v});
    }
    for (auto [schedule, chunks] : schedules) {
      if (!allowed("chunks", chunks)) continue;
      if (pipeline > 1 && !allowed("schedule", static_cast<int64_t>(schedule))) continue;
      for (int zero = 0; zero <= (data > 1 ? 3 : 0); ++zero) {
        // Gradients or parameters that are split do not go with a pipeline that keeps them for the whole step.
        if (!allowed("zero", zero) || (zero >= 2 && pipeline > 1 && fixed("zero") < 0)) continue;
        for (Recompute r : {Recompute::none, Recompute::selective, Recompute::full}) {
          if (!allowed("recompute", static_cast<int64_t>(r))) continue;
          for (bool sequence : {false, true}) {
            if ((sequence && tensor == 1) || !allowed("sp", sequence)) continue;
            for (int offload = 0; offload <= (costs_.cluster().host.bandwidth > 0 ? 1 : 0); ++offload) {
              if (!allowed("offload", offload)) continue;
              Candidate c;
              c.config.data = data, c.config.tensor = tensor, c.config.pipeline = pipeline, c.config.chunks = chunks;
              c.config.micro_batch = micro, c.config.micro_batches = m, c.config.schedule = schedule,
              c.config.zero = zero;
              c.config.sequence = sequence, c.config.recompute = r, c.config.overlap = true;
              c.config.offload.optimizer = offload;
              c.family = family(c.config);
              out.push_back(std::move(c));
            }
          }
        }
      }
    }
    return out;
  }

  static std::string family(const StepConfig& c) {
    std::string s;
    auto add = [&](const char* name, int64_t size) {
      if (size > 1) s += (s.empty() ? "" : " + ") + std::string(name);
    };
    add("data", c.data), add("tensor", c.tensor), add("pipeline", c.pipeline);
    if (s.empty()) s = "one device";
    if (c.zero > 0) s += fmt::format(", ZeRO {}", c.zero);
    if (c.offload.optimizer) s += ", offload";
    return s;
  }

  bool fits(const StepEstimate& e) const {
    return e.memory <= memory_ && e.host_memory <= costs_.cluster().host.memory_bytes;
  }

  bool evaluate(Candidate& c) {
    try {
      c.config.cuts.clear();
      c.estimate = estimate(costs_, c.config);
      if (c.config.pipeline > 1) {
        // Unequal stages: balanced by what units cost, where that is better.
        StepConfig other = c.config;
        other.cuts = balanced_cuts(unit_times(c.config), c.config.pipeline * c.config.chunks);
        StepEstimate e = estimate(costs_, other);
        bool fits = this->fits(e), before = this->fits(c.estimate);
        if ((fits && !before) || (fits == before && e.time < c.estimate.time))
          c.config = other, c.estimate = std::move(e);
      }
      return true;
    } catch (const ValueError&) {
      return false;
    }
  }

  std::vector<double> unit_times(const StepConfig& k) {
    UnitRequest q;
    q.batch_parts = costs_.model().batch / k.micro_batch, q.tensor = k.tensor,
    q.sequence = k.sequence && k.tensor > 1;
    q.span = {k.tensor, 1};
    std::vector<double> out;
    for (const Unit& u : chain_.units) {
      q.type = u.type;
      const UnitCost& c = costs_.get(q);
      double f = c.forward + c.forward_comm, t = f + c.backward + c.backward_comm;
      bool repeats = chain_.types[static_cast<size_t>(u.type)].count > 1;
      t += repeats && k.recompute == Recompute::full ? f : c.regather;
      if (repeats && k.recompute == Recompute::selective) t += c.recompute_selective;
      out.push_back(t);
    }
    return out;
  }

  void remember_family(const Candidate& c) {
    if (!fits(c.estimate)) return;
    auto [it, fresh] = families_.try_emplace(c.family, c);
    if (!fresh && c.estimate.time < it->second.estimate.time) it->second = c;
  }

  void others(SearchResult& r) {
    std::map<std::string, int> tried;
    for (Candidate& c : list_) {
      if (families_.contains(c.family) || c.family == r.best->family) continue;
      if (tried[c.family]++ >= 12) continue;
      if (c.estimate.time == 0 && !evaluate(c)) continue;
      remember_family(c);
    }
    for (auto& [name, c] : families_)
      if (name != r.best->family) r.families.push_back(c);
    std::sort(r.families.begin(), r.families.end(),
              [](const Candidate& a, const Candidate& b) { return a.estimate.time < b.estimate.time; });
  }

  std::string why_empty() {
    int64_t n = request_.devices, batch = request_.batch;
    int64_t tp = fixed("tp", 1), pp = fixed("pp", 1), dp = fixed("dp");
    for (auto [name, value] : {std::pair<const char*, int64_t>{"tp", tp}, {"pp", pp}, {"dp", dp < 0 ? 1 : dp}})
      if (value < 1 || n % value != 0)
        return fmt::format("{} = {} does not divide the {} devices; the nearest that does is {}", name, value, n,
                           nearest_divisor(n, value));
    if (n % (tp * pp) != 0 || (dp > 0 && dp * tp * pp > n))
      return fmt::format("the given dimensions need {} devices, there are {}", tp * pp * std::max<int64_t>(1, dp), n);
    if (dp > 0 && fixed("tp") > 0 && fixed("pp") > 0 && dp * tp * pp != n)
      return fmt::format("dp {} x tp {} x pp {} are {} devices, not {}", dp, tp, pp, dp * tp * pp, n);
    if (pp > static_cast<int64_t>(chain_.units.size()))
      return fmt::format("pp = {} stages, but the model has {} layers", pp, chain_.units.size());
    if (!tight_.empty()) {
      const Candidate* least = nullptr;
      for (Candidate& c : tight_) {
        if (!evaluate(c)) continue;
        if (!least || c.estimate.memory < least->estimate.memory) least = &c;
        if (&c - tight_.data() > 3000) break;
      }
      if (least) {
        nearest_ = *least;
        return fmt::format("no plan fits: the smallest ({}) needs {} on a device that has {}, {} too much",
                           least->family, human_bytes(static_cast<uint64_t>(least->estimate.memory)),
                           human_bytes(static_cast<uint64_t>(memory_)),
                           human_bytes(static_cast<uint64_t>(std::max(0.0, least->estimate.memory - memory_))));
      }
    }
    std::vector<int64_t> data;
    for (int64_t d : divisors(n))
      if (batch % d == 0) data.push_back(d);
    int64_t least = n / data.back();
    return fmt::format(
        "{} devices cannot share a batch of {}: data parallelism can be at most {} (it divides both), and the other "
        "{} devices "
        "would have to split {} layers; the nearest batch that works is {}",
        n, batch, data.back(), least, chain_.units.size(), std::max<int64_t>(n, (batch + n - 1) / n * n));
  }
  static int64_t nearest_divisor(int64_t n, int64_t wanted) {
    int64_t best = 1;
    for (int64_t d : divisors(n))
      if (std::abs(d - wanted) < std::abs(best - wanted)) best = d;
    return best;
  }

  UnitCosts& costs_;
  const Chain& chain_;
  const SearchRequest& request_;
  double memory_;
  int64_t layers_;
  std::vector<Candidate> list_, tight_;
  std::map<std::tuple<int64_t, bool, int64_t>, Totals> totals_;
  std::map<std::string, Candidate> families_;
  std::optional<Candidate> nearest_;
};

}  // namespace

std::vector<int> balanced_cuts(const std::vector<double>& cost, int64_t parts) {
  auto n = static_cast<int64_t>(cost.size());
  SORUS_CHECK(parts >= 1 && parts <= n, ValueError, "{} layers cannot be cut into {} stages", n, parts);
  // The least limit under which greedy filling needs no more parts; each part has at least one unit.
  auto fill = [&](double limit, std::vector<int>* cuts) {
    int64_t used = 1;
    double sum = 0;
    if (cuts) *cuts = {0};
    for (int64_t i = 0; i < n; ++i) {
      double c = cost[static_cast<size_t>(i)];
      bool must = n - i == parts - used && i > 0 && (!cuts || cuts->back() != i);
      if ((sum + c > limit && sum > 0) || (must && sum > 0)) {
        ++used, sum = 0;
        if (cuts) cuts->push_back(static_cast<int>(i));
      }
      sum += c;
      if (c > limit) return false;
    }
    if (cuts) cuts->push_back(static_cast<int>(n));
    return used <= parts;
  };
  double low = 0, high = 0;
  for (double c : cost) low = std::max(low, c), high += c;
  for (int i = 0; i < 60 && high - low > 1e-12 * high; ++i) {
    double middle = (low + high) / 2;
    (fill(middle, nullptr) ? high : low) = middle;
  }
  std::vector<int> cuts;
  fill(high * (1 + 1e-12), &cuts);
  // Greedy may need fewer parts: split the largest ones.
  while (static_cast<int64_t>(cuts.size()) - 1 < parts) {
    size_t best = 0;
    double most = -1;
    for (size_t s = 0; s + 1 < cuts.size(); ++s) {
      double sum = 0;
      for (int i = cuts[s]; i < cuts[s + 1]; ++i) sum += cost[static_cast<size_t>(i)];
      if (cuts[s + 1] - cuts[s] > 1 && sum > most) most = sum, best = s;
    }
    double half = 0;
    int at = cuts[best] + 1;
    for (int i = cuts[best]; i < cuts[best + 1] - 1; ++i) {
      half += cost[static_cast<size_t>(i)];
      at = i + 1;
      if (half >= most / 2) break;
    }
    cuts.insert(cuts.begin() + static_cast<ptrdiff_t>(best) + 1, at);
  }
  return cuts;
}

SearchResult search(UnitCosts& costs, const SearchRequest& request) {
  SORUS_CHECK(request.devices > 0 && request.devices <= (1 << 20), ValueError, "devices: {} is not between 1 and {}",
              request.devices, 1 << 20);
  SORUS_CHECK(request.batch > 0, ValueError, "batch: must be positive, not {}", request.batch);
  int64_t most = costs.cluster().max_devices();
  SORUS_CHECK(most == 0 || request.devices <= most, ValueError, "the cluster '{}' has {} devices, {} are asked for",
              costs.cluster().name, most, request.devices);
  static const std::set<std::string> names = {"dp",   "tp", "pp",        "micro_batch", "chunks",
                                              "zero", "sp", "recompute", "schedule",    "offload"};
  for (const auto& [name, value] : request.fix)
    SORUS_CHECK(names.contains(name), ValueError, "--fix {}: there are {}", name, fmt::join(names, ", "));
  return Search(costs, request).run();
}

Plan to_plan(UnitCosts& costs, const Candidate& c, const SearchRequest& request) {
  const StepConfig& k = c.config;
  const Cluster& cluster = costs.cluster();
  const Chain& chain = costs.chain();
  Plan p;
  p.model = costs.model().name, p.cluster = cluster.name, p.devices = request.devices;
  auto axis = [&](const char* name, AxisKind kind, int64_t size, int64_t stride) {
    PlanAxis a{name, kind, size, "", ""};
    const char* algorithm = "";
    int level = widest_level(cluster, {size, stride});
    if (level >= 0) a.level = cluster.levels[static_cast<size_t>(level)].name;
    if (kind != AxisKind::pipeline)
      collective_time(cluster, Collective::all_reduce, 64e6, {size, stride}, &algorithm);
    a.collective = algorithm;
    p.mesh.push_back(a);
  };
  axis("pp", AxisKind::pipeline, k.pipeline, k.tensor * k.data);
  axis("dp", AxisKind::data, k.data, k.tensor);
  axis("tp", AxisKind::tensor, k.tensor, 1);
  if (!cluster.exceptions.empty()) p.device_of_rank = cluster.usable(request.devices);
  p.global_batch = request.batch, p.micro_batch = k.micro_batch, p.micro_batches = k.micro_batches;
  p.schedule = k.pipeline > 1 ? k.schedule : Schedule::none, p.chunks = k.chunks, p.zero = k.zero;
  p.sequence_parallel = k.sequence, p.overlap = k.overlap, p.offload = k.offload;
  const StepEstimate& e = c.estimate;
  for (size_t s = 0; s + 1 < e.cuts.size(); ++s) {
    PlanStage stage;
    int first = e.cuts[s], end = e.cuts[s + 1];
    stage.first_node = s == 0 ? 0 : chain.units[static_cast<size_t>(first)].first;
    stage.end_node = chain.units[static_cast<size_t>(end) - 1].end;
    stage.from = chain.units[static_cast<size_t>(first)].name,
    stage.to = chain.units[static_cast<size_t>(end) - 1].name;
    stage.device = static_cast<int64_t>(s) % k.pipeline;
    stage.recompute = k.recompute;
    if (k.recompute == Recompute::full)
      for (int u = first; u < end; u += chain.period) {
        int last = std::min(end, u + chain.period);
        if (chain.types[static_cast<size_t>(chain.units[static_cast<size_t>(u)].type)].count > 1)
          stage.recomputed.emplace_back(chain.units[static_cast<size_t>(u)].first,
                                        chain.units[static_cast<size_t>(last) - 1].end);
      }
    stage.memory = e.stage_memory[static_cast<size_t>(stage.device)];
    stage.forward_s = e.stages[s].forward, stage.backward_s = e.stages[s].backward;
    p.stages.push_back(std::move(stage));
  }
  // Parameters that the tensor axis splits, by the strategies of the operators that read them.
  if (k.tensor > 1) {
    UnitRequest q;
    q.batch_parts = costs.model().batch / k.micro_batch, q.tensor = k.tensor, q.sequence = k.sequence,
    q.span = {k.tensor, 1};
    std::set<std::string> marked;
    for (const Unit& unit : chain.units) {
      q.type = unit.type;
      const UnitCost& cost = costs.get(q);
      for (int i = unit.first; i < unit.end; ++i) {
        const Node& n = *costs.model().graph.nodes()[static_cast<size_t>(i)];
        const Strategy& s = cost.strategy[static_cast<size_t>(i - unit.first)];
        for (size_t j = 0; j < n.inputs.size() && j < s.inputs.size(); ++j)
          if (n.inputs[j] && s.inputs[j] >= 0 && costs.model().is_parameter(*n.inputs[j].node) &&
              marked.insert(n.inputs[j].node->label).second)
            p.marks.push_back({Mark::Of::parameter,
                               n.inputs[j].node->label,
                               0,
                               0,
                               {{"tp", {AxisPlacement::Kind::shard, s.inputs[j]}}}});
      }
    }
  }
  p.time.step = e.time, p.time.compute = e.compute, p.time.recompute = e.recompute;
  p.time.communication = e.tensor_comm + e.pipeline_comm + e.data_comm, p.time.bubble = e.bubble,
  p.time.optimizer = e.optimizer;
  p.time.offload = e.offload;
  p.memory_bytes = e.memory;
  return p;
}

}  // namespace sorus::parallel
