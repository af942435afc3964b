#include "sorus/parallel/report/report.h"

#include <algorithm>
#include <chrono>

#include "sorus/io/json.h"
#include "sorus/parallel/solver/search.h"

namespace sorus::parallel {
namespace {

using io::Json;

Json candidate_json(const Candidate& c) {
  const StepConfig& k = c.config;
  return {{"family", c.family},
          {"dp", k.data},
          {"ep", k.expert},
          {"cp", k.context},
          {"tp", k.tensor},
          {"pp", k.pipeline},
          {"micro_batch", k.micro_batch},
          {"micro_batches", k.micro_batches},
          {"schedule", k.pipeline > 1 ? name(k.schedule) : name(Schedule::none)},
          {"chunks", k.chunks},
          {"zero", k.zero},
          {"sp", k.sequence},
          {"recompute", name(k.recompute)},
          {"offload", k.offload.optimizer},
          {"step_time_s", c.estimate.time},
          {"memory_gb", c.estimate.memory / 1e9}};
}

// The searches beside the one that was asked for: each has a few seconds, and all together what that one left of its
// time limit.
class Allowance {
 public:
  explicit Allowance(double limit) : limit_(limit) {}
  double seconds() const {
    constexpr double kEach = 5;
    double gone = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    return limit_ > 0 ? std::min(kEach, limit_ - gone) : kEach;
  }
  bool is_up() const { return seconds() <= 0; }

 private:
  double limit_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

SearchResult beside(const Model& model, const Chain& chain, const Cluster& cluster, SearchRequest request,
                    const Allowance& allowance) {
  request.families = false, request.progress = {};
  request.time_limit = allowance.seconds();
  UnitCosts costs(model, chain, cluster);
  return search(costs, request);
}

// What would help most: the same search with a quarter more of one thing. Without a number: there was no time for it.
Json sensitivities(const Model& model, const Chain& chain, const Cluster& cluster, const SearchRequest& request,
                   double time, const Allowance& allowance) {
  Json out = Json::array();
  auto add = [&](const char* what, const Cluster& c, const SearchRequest& r, double per) {
    const Json unknown = {{"what", what}, {"gain", nullptr}};
    if (allowance.is_up()) {
      out.push_back(unknown);
      return;
    }
    SearchResult found = beside(model, chain, c, r, allowance);
    double t = found.best ? found.best->estimate.time / per : 0;
    // A search that was stopped may not have come to what it would gain.
    if (!found.complete && (t == 0 || t > time))
      out.push_back(unknown);
    else if (t > 0)
      out.push_back({{"what", what}, {"step_time_s", t}, {"gain", 1 - t / time}});
  };
  SearchRequest more = request;
  more.memory_bytes = 1.25 * (request.memory_bytes > 0 ? request.memory_bytes : cluster.device.memory_bytes);
  add("25% more memory", cluster, more, 1);
  Cluster faster = cluster;
  for (Level& l : faster.levels) l.bandwidth *= 1.25;
  add("25% more bandwidth of the network", faster, request, 1);
  faster = cluster;
  for (auto& [type, flops] : faster.device.flops) flops *= 1.25;
  add("25% faster arithmetic", faster, request, 1);
  faster = cluster;
  faster.device.memory_bandwidth *= 1.25;
  add("25% more bandwidth of memory", faster, request, 1);
  SearchRequest twice = request;
  twice.batch *= 2;
  add("twice the batch (seconds for each half)", cluster, twice, 2);
  return out;
}

}  // namespace

std::string plan_report(const Model& model, const std::string& cluster_name, const std::string& request_text,
                        const std::function<bool(double, double, size_t)>& progress) {
  Json q = io::parse_json(request_text, "request");
  SearchRequest request;
  const Allowance allowance(q.value("time_limit", 0.0));
  request.devices = q.value("devices", int64_t{1}), request.batch = q.value("batch", int64_t{1});
  request.memory_bytes = q.value("memory_gb", 0.0) * 1e9, request.time_limit = q.value("time_limit", 0.0);
  if (q.contains("fix"))
    for (const auto& [key, value] : q["fix"].items()) request.fix[key] = value.get<int64_t>();
  request.families = q.value("families", true);
  request.progress = progress;
  Cluster cluster = find_cluster(cluster_name).as_used(request.devices);
  Chain chain = fold(model);
  UnitCosts costs(model, chain, cluster);
  SearchResult r = search(costs, request);
  Json out = {
      {"model", model.name},
      {"cluster", cluster.name},
      {"devices", request.devices},
      {"batch", request.batch},
      {"parameters", model.parameter_count()},
      {"dtype", costs.dtype()},
      {"search_s", r.seconds},
      {"space", r.space},
      {"estimated", r.estimated},
      {"complete", r.complete},
      {"device_memory_gb", (request.memory_bytes > 0 ? request.memory_bytes : cluster.device.memory_bytes) / 1e9}};
  if (!r.best) {
    out["problem"] = r.problem.empty() ? "the search was stopped before it found a plan" : r.problem;
    if (r.nearest) out["smallest"] = candidate_json(*r.nearest);
    if (!request.families || !r.complete) return out.dump();
    // The nearest that fits: without what was pinned, then on a few devices less if it is not for memory (of a prime
    // number of them), then on more.
    SearchRequest other = request;
    other.families = false;
    for (const auto& [key, value] : request.fix) {
      if (allowance.is_up()) break;
      other.time_limit = allowance.seconds();
      other.fix = request.fix;
      other.fix.erase(key);
      SearchResult without = search(costs, other);
      if (without.best) {
        out["would_fit"] = candidate_json(*without.best);
        out["would_fit"]["change"] = fmt::format("without --fix {}={}", key, value);
        break;
      }
    }
    other.fix = request.fix;
    auto on = [&](int64_t devices) {
      if (allowance.is_up()) return;
      other.devices = devices, other.time_limit = allowance.seconds();
      SearchResult found = search(costs, other);
      if (!found.best) return;
      out["would_fit"] = candidate_json(*found.best);
      out["would_fit"]["change"] = fmt::format("{} devices", devices);
    };
    constexpr int64_t kFewer = 8;
    for (int64_t less = 1; !r.nearest && less <= kFewer && less < request.devices && !out.contains("would_fit");
         ++less)
      on(request.devices - less);
    for (int64_t factor = 2; !out.contains("would_fit") && factor <= 64 && request.devices * factor <= (1 << 17);
         factor *= 2) {
      if (cluster.max_devices() && request.devices * factor > cluster.max_devices()) break;
      on(request.devices * factor);
    }
    return out.dump();
  }
  Plan plan = to_plan(costs, *r.best, request);
  plan.time.lower_bound = r.lower_bound, plan.time.search = r.seconds;
  const StepEstimate& e = r.best->estimate;
  out["step_time_s"] = e.time, out["lower_bound_s"] = r.lower_bound, out["gap"] = e.time / r.lower_bound - 1;
  out["lower_bound_any_cut_s"] = r.lower_bound_any_cut;
  out["memory_gb"] = e.memory / 1e9;
  out["model_flops"] = e.flops;
  out["utilization"] = e.flops / e.time / (cluster.device.peak(costs.dtype()) * static_cast<double>(request.devices));
  out["choice"] = candidate_json(*r.best);
  out["time"] = {{"compute", e.compute},
                 {"recompute", e.recompute},
                 {"tensor communication", e.tensor_comm},
                 {"pipeline communication", e.pipeline_comm},
                 {"data communication", e.data_comm},
                 {"bubble", e.bubble},
                 {"optimizer", e.optimizer},
                 {"offload", e.offload}};
  out["families"] = Json::array();
  for (const Candidate& c : r.families) out["families"].push_back(candidate_json(c));
  if (q.value("explain", false))
    out["sensitivity"] = sensitivities(model, chain, cluster, request, e.time, allowance);
  if (q.value("timeline", false)) {
    Timeline line;
    estimate(costs, r.best->config, &line);
    Json events = Json::array();
    // At most so many that a page can show them: the first and the last micro-batches tell the rest.
    int most = std::max(8, static_cast<int>(6000 / std::max<size_t>(1, e.stages.size())));
    int m = static_cast<int>(r.best->config.micro_batches);
    for (const Timeline::Event& v : line.events)
      if (m <= 2 * most || v.micro_batch < most || v.micro_batch >= m - most)
        events.push_back({v.device, v.stage, v.micro_batch, static_cast<int>(v.kind), v.begin, v.end});
    out["timeline"] = std::move(events);
  }
  out["plan"] = Json::parse(to_json(plan));
  return out.dump();
}

}  // namespace sorus::parallel
