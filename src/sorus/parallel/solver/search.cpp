#include "sorus/parallel/solver/search.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <set>

#include "sorus/base/text.h"
#include "sorus/parallel/solver/bounds.h"
#include "sorus/parallel/solver/combinations.h"

namespace sorus::parallel {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

class Search {
 public:
  Search(UnitCosts& costs, const SearchRequest& request)
      : costs_(costs),
        memory_(request.memory_bytes > 0 ? request.memory_bytes : costs.cluster().device.memory_bytes),
        request_(request),
        combinations_(costs, request),
        bounds_(costs, memory_) {}

  SearchResult run() {
    start_ = now();
    SearchResult r;
    for (Candidate& c : combinations_.all())
      if (bounds_.quick(c))
        list_.push_back(std::move(c));
      else if (c.bound < kNever)
        tight_.push_back(std::move(c));
    r.space = list_.size();
    if (list_.empty()) {
      r.problem = why_empty();
      r.nearest = nearest_;
      r.seconds = now() - start_;
      return r;
    }
    std::stable_sort(list_.begin(), list_.end(),
                     [](const Candidate& a, const Candidate& b) { return a.bound < b.bound; });
    double interleaved = kNever;
    for (const Candidate& c : list_)
      if (c.config.schedule == Schedule::interleaved) interleaved = std::min(interleaved, c.bound);
    // The least bound first. A combination comes up twice: then its bound for all cuts is worked out, and only if
    // that is the least of all, its step is played.
    struct Open {
      double bound;
      size_t at;
      bool refined;
    };
    auto later = [](const Open& a, const Open& b) { return a.bound != b.bound ? a.bound > b.bound : a.at > b.at; };
    std::vector<Open> heap;
    for (size_t i = 0; i < list_.size(); ++i) heap.push_back({list_[i].bound, i, false});
    std::vector<size_t> loose, hopeless;  // hopeless: no cut fits
    double left = kNever;
    for (size_t round = 0; !heap.empty(); ++round) {
      double best = r.best ? r.best->estimate.time : kNever;
      left = heap.front().bound;
      if (left >= best) break;
      if ((is_late() && (r.best || round > 2000)) ||
          (request_.progress && round % 64 == 0 && !request_.progress(r.best ? best : 0, left, heap.size()))) {
        r.complete = false;
        break;
      }
      std::pop_heap(heap.begin(), heap.end(), later);
      Open open = heap.back();
      heap.pop_back();
      left = kNever;
      Candidate& c = list_[open.at];
      if (!open.refined) {
        double bound = std::max(c.bound, bounds_.of_all_cuts(c, best));
        if (bound == kNever && !r.best) hopeless.push_back(open.at);
        if (bound >= best) continue;
        c.bound = bound;
        heap.push_back({bound, open.at, true});
        std::push_heap(heap.begin(), heap.end(), later);
        continue;
      }
      if (!evaluate(c)) continue;
      ++r.estimated;
      remember_family(c);
      if (!r.nearest || c.estimate.memory < r.nearest->estimate.memory) r.nearest = c;
      // Of these, cuts that were not tried may be faster, or fit where those that were tried do not.
      if (c.config.pipeline > 1 && c.config.schedule != Schedule::interleaved) loose.push_back(open.at);
      if (fits(c.estimate) && c.estimate.time < best) r.best = c;
    }
    if (r.best) {
      improve_cuts(r, loose);
      r.lower_bound = std::min(r.best->estimate.time, left);
      for (size_t i : loose) r.lower_bound = std::min(r.lower_bound, list_[i].bound);
      r.lower_bound_any_cut = std::min(r.lower_bound, interleaved);
    }
    if (r.best && request_.families) others(r);
    if (!r.best) explain(r, hopeless);
    if (r.best) r.nearest.reset();
    r.seconds = now() - start_;
    return r;
  }

 private:
  bool is_late() const { return request_.time_limit > 0 && now() - start_ > request_.time_limit; }
  bool fits(const StepEstimate& e) const {
    return e.memory <= memory_ && e.host_memory <= costs_.cluster().host.memory_bytes;
  }

  bool evaluate(Candidate& c) {
    if (c.cuts.empty()) bounds_.of_all_cuts(c, kNever);
    std::vector<std::vector<int>> cuts = c.cuts;
    if (cuts.empty()) cuts.emplace_back();
    bool any = false;
    for (std::vector<int>& cut : cuts) try {
        StepConfig config = c.config;
        config.cuts = std::move(cut);
        StepEstimate e = estimate(costs_, config);
        bool fits = this->fits(e), before = any && this->fits(c.estimate);
        if (!any || (fits && !before) || (fits == before && e.time < c.estimate.time))
          c.config = std::move(config), c.estimate = std::move(e);
        any = true;
      } catch (const ValueError&) {  // fewer layers than stages
      }
    return any;
  }

  // Better cuts for the combinations whose bounds are below the best time: each boundary moves by a unit as long as
  // that helps.
  void improve_cuts(SearchResult& r, std::vector<size_t> loose) {
    std::stable_sort(loose.begin(), loose.end(),
                     [&](size_t a, size_t b) { return list_[a].estimate.time < list_[b].estimate.time; });
    constexpr size_t kMost = 8;
    for (size_t i = 0; i < std::min(kMost, loose.size()) && !is_late(); ++i) {
      Candidate c = list_[loose[i]];
      if (c.bound >= r.best->estimate.time) continue;
      auto better = [&](const StepEstimate& e) {
        bool fits = this->fits(e), before = this->fits(c.estimate);
        return fits != before ? fits : fits ? e.time < c.estimate.time : e.memory < c.estimate.memory;
      };
      int64_t tries = 20000000 / (c.config.pipeline * c.config.micro_batches * 3);
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t s = 1; s + 1 < c.config.cuts.size(); ++s)
          for (int step : {-1, 1}) {
            StepConfig config = c.config;
            config.cuts[s] += step;
            if (config.cuts[s] <= config.cuts[s - 1] || config.cuts[s] >= config.cuts[s + 1]) continue;
            if (--tries < 0 || is_late()) continue;
            StepEstimate e = estimate(costs_, config);
            if (!better(e)) continue;
            c.config = std::move(config), c.estimate = std::move(e);
            moved = true;
          }
      }
      remember_family(c);
      if (fits(c.estimate) && c.estimate.time < r.best->estimate.time) r.best = std::move(c);
    }
  }

  // Without a plan: how much is missing, also of what no cut makes fit. A search that was stopped proves nothing.
  void explain(SearchResult& r, const std::vector<size_t>& hopeless) {
    constexpr size_t kMost = 400;
    for (size_t i = 0; i < std::min(kMost, hopeless.size()) && (!is_late() || !r.nearest); ++i) {
      Candidate& c = list_[hopeless[i]];
      if (!evaluate(c)) continue;
      ++r.estimated;
      if (!r.nearest || c.estimate.memory < r.nearest->estimate.memory) r.nearest = c;
    }
    if (!r.nearest) return;
    std::string smallest = fmt::format(
        "the smallest of {} needs {} on a device that has {} ({} too much)", r.estimated,
        human_bytes(static_cast<uint64_t>(r.nearest->estimate.memory)), human_bytes(static_cast<uint64_t>(memory_)),
        human_bytes(static_cast<uint64_t>(std::max(0.0, r.nearest->estimate.memory - memory_))));
    r.problem = r.complete ? "no plan fits: " + smallest
                           : fmt::format(
                                 "the search was stopped after {:.3g} s, before it found a plan that fits: {}; "
                                 "a longer time limit may find one",
                                 now() - start_, smallest);
  }

  void remember_family(const Candidate& c) {
    if (!fits(c.estimate)) return;
    auto [it, fresh] = families_.try_emplace(c.family, c);
    if (!fresh && c.estimate.time < it->second.estimate.time) it->second = c;
  }

  void others(SearchResult& r) {
    std::map<std::string, int> tried;
    for (Candidate& c : list_) {
      if (is_late()) break;
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
    if (std::string why = combinations_.contradiction(); !why.empty()) return why;
    Candidate* least = nullptr;
    for (Candidate& c : tight_) {
      // What a pipeline holds does not grow once it is full, so that a few micro-batches tell it.
      int64_t micro_batches = c.config.micro_batches, p = c.config.pipeline;
      if (c.config.schedule != Schedule::gpipe)
        c.config.micro_batches = std::min(micro_batches, 4 * p + micro_batches % p);
      bool any = evaluate(c);
      c.config.micro_batches = micro_batches;
      if (!any) continue;
      if (!least || c.estimate.memory < least->estimate.memory) least = &c;
      if (&c - tight_.data() > 3000 || is_late()) break;
    }
    if (least) evaluate(*least);
    if (!least) return combinations_.nearest_batch();
    nearest_ = *least;
    return fmt::format("no plan fits: the smallest ({}) needs {} on a device that has {}, {} too much", least->family,
                       human_bytes(static_cast<uint64_t>(least->estimate.memory)),
                       human_bytes(static_cast<uint64_t>(memory_)),
                       human_bytes(static_cast<uint64_t>(std::max(0.0, least->estimate.memory - memory_))));
  }

  UnitCosts& costs_;
  double memory_, start_ = 0;
  const SearchRequest& request_;
  Combinations combinations_;
  Bounds bounds_;
  std::vector<Candidate> list_, tight_;  ///< tight: what cannot fit
  std::map<std::string, Candidate> families_;
  std::optional<Candidate> nearest_;
};

}  // namespace

SearchResult search(UnitCosts& costs, const SearchRequest& request) {
  SORUS_CHECK(request.devices > 0 && request.devices <= (1 << 20), ValueError, "devices: {} is not between 1 and {}",
              request.devices, 1 << 20);
  SORUS_CHECK(request.batch > 0, ValueError, "batch: must be positive, not {}", request.batch);
  int64_t most = costs.cluster().max_devices();
  SORUS_CHECK(most == 0 || request.devices <= most, ValueError, "the cluster '{}' has {} devices, {} are asked for",
              costs.cluster().name, most, request.devices);
  static const std::set<std::string> names = {"dp",     "ep",   "cp", "tp",        "pp",       "micro_batch",
                                              "chunks", "zero", "sp", "recompute", "schedule", "offload"};
  for (const auto& [name, value] : request.fix)
    SORUS_CHECK(names.contains(name), ValueError, "--fix {}: there are {}", name, fmt::join(names, ", "));
  return Search(costs, request).run();
}

}  // namespace sorus::parallel
