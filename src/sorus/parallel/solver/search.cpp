#include "sorus/parallel/solver/search.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "sorus/base/text.h"
#include "sorus/parallel/solver/cuts.h"

namespace sorus::parallel {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

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

// What the units of one (tensor, sequence, micro-batch, recomputation) cost, by type and all together.
struct Loads {
  std::vector<UnitLoad> types;
  UnitLoad total;  // of all units; `saved` has the layers' inputs that are kept
  double input_slack = 0;
  // Of the types that repeat: the least share of the forward pass in a unit's time, the most of weights' gradients;
  // and how much the other types take less or more of them.
  double forward_share = 1, weights_share = 0, forward_less = 0, weights_more = 0;
  double least_output = 0;
};

class Search {
 public:
  Search(UnitCosts& costs, const SearchRequest& request) : costs_(costs), chain_(costs.chain()), request_(request) {
    memory_ = request.memory_bytes > 0 ? request.memory_bytes : costs.cluster().device.memory_bytes;
  }

  SearchResult run() {
    double start = now();
    SearchResult r;
    enumerate();
    r.space = list_.size();
    if (list_.empty()) {
      r.problem = why_empty();
      r.nearest = nearest_;
      r.seconds = now() - start;
      return r;
    }
    std::stable_sort(list_.begin(), list_.end(),
                     [](const Candidate& a, const Candidate& b) { return a.bound < b.bound; });
    // The least bound first. A combination comes up twice: then its bound for all cuts is worked out, and only if
    // that is the least of all, its step is played.
    struct Open {
      double bound;
      size_t at;
      enum { fresh, refined, hopeless } state;  // hopeless: no cut fits
    };
    auto later = [](const Open& a, const Open& b) { return a.bound != b.bound ? a.bound > b.bound : a.at > b.at; };
    std::vector<Open> heap;
    for (size_t i = 0; i < list_.size(); ++i) heap.push_back({list_[i].bound, i, Open::fresh});
    std::vector<size_t> loose;
    double left = kNever;
    for (size_t round = 0; !heap.empty(); ++round) {
      double best = r.best ? r.best->estimate.time : kNever;
      left = heap.front().bound;
      if (left >= best) break;
      bool late = request_.time_limit > 0 && now() - start > request_.time_limit && (r.best || round > 2000);
      if (late ||
          (request_.progress && round % 64 == 0 && !request_.progress(r.best ? best : 0, left, heap.size()))) {
        r.complete = false;
        break;
      }
      std::pop_heap(heap.begin(), heap.end(), later);
      Open open = heap.back();
      heap.pop_back();
      left = kNever;
      Candidate& c = list_[open.at];
      if (open.state == Open::fresh) {
        double bound = std::max(c.bound, refine(c, best));
        // While nothing fits, what does not fit is looked at to say how much is missing.
        bool hopeless = bound == kNever && !r.best && r.estimated < 400;
        if (hopeless) bound = c.bound;
        if (bound >= best) continue;
        c.bound = bound;
        heap.push_back({bound, open.at, hopeless ? Open::hopeless : Open::refined});
        std::push_heap(heap.begin(), heap.end(), later);
        continue;
      }
      if (!evaluate(c)) continue;
      ++r.estimated;
      remember_family(c);
      if (!r.nearest || c.estimate.memory < r.nearest->estimate.memory) r.nearest = c;
      // Of these, cuts that were not tried may be faster, or fit where those that were tried do not.
      bool other_cuts =
          open.state == Open::refined && c.config.pipeline > 1 && c.config.schedule != Schedule::interleaved;
      if (other_cuts) loose.push_back(open.at);
      if (fits(c.estimate) && c.estimate.time < best) r.best = c;
    }
    if (r.best) {
      improve_cuts(r, loose);
      r.lower_bound = std::min(r.best->estimate.time, left);
      for (size_t i : loose) r.lower_bound = std::min(r.lower_bound, list_[i].bound);
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

  const Loads& loads(const StepConfig& k) {
    auto key = std::make_tuple(k.tensor, k.sequence, k.micro_batch, k.recompute, k.expert);
    auto it = loads_.find(key);
    if (it != loads_.end()) return it->second;
    Loads all;
    UnitLoad& t = all.total;
    double period = chain_.period;
    bool any = std::any_of(chain_.types.begin(), chain_.types.end(), [](const UnitType& u) { return u.count > 1; });
    double least_input = kNever;
    all.least_output = kNever;
    for (size_t i = 0; i < chain_.types.size(); ++i) {
      const UnitLoad& l = all.types.emplace_back(unit_load(costs_, k, static_cast<int>(i)));
      if (l.again) least_input = std::min(least_input, l.output);
    }
    for (size_t i = 0; i < chain_.types.size(); ++i) {
      UnitLoad& l = all.types[i];
      auto n = static_cast<double>(chain_.types[i].count);
      t.forward += n * l.forward, t.backward += n * l.backward, t.weights += n * l.weights;
      t.parameters += n * l.parameters;
      if (l.again) l.saved += least_input / period;
      t.saved += n * l.saved;
      if (l.again) all.input_slack = std::max(all.input_slack, l.output);
      if (static_cast<int>(i) != chain_.units.back().type) all.least_output = std::min(all.least_output, l.output);
      double time = l.forward + l.backward;
      if (time > 0 && (chain_.types[i].count > 1 || !any)) {
        all.forward_share = std::min(all.forward_share, l.forward / time);
        all.weights_share = std::max(all.weights_share, l.weights / time);
      }
    }
    for (size_t i = 0; i < chain_.types.size(); ++i) {
      const UnitLoad& l = all.types[i];
      double n = static_cast<double>(chain_.types[i].count), time = l.forward + l.backward;
      all.forward_less += n * std::max(0.0, all.forward_share * time - l.forward);
      all.weights_more += n * std::max(0.0, l.weights - all.weights_share * time);
    }
    return loads_.emplace(key, std::move(all)).first->second;
  }

  // Seconds of one device behind its last pass, and in reducing gradients, for each of its parameters.
  std::pair<double, double> behind(const StepConfig& k) {
    const Cluster& cluster = costs_.cluster();
    ParameterBytes bytes = parameter_bytes(costs_, k);
    double share = k.zero >= 1 ? 1 / static_cast<double>(k.data) : 1;
    double finish = share * bytes.update() / (cluster.device.memory_bandwidth * cluster.efficiency.memory);
    if (k.offload.optimizer) finish += share * 2 * bytes.state / cluster.host.bandwidth;
    double reduce = 0;
    if (k.data > 1 && k.zero < 3) {
      // Of very many bytes, so that latencies do not count.
      constexpr double kMany = 1e15;
      auto over = [&](Span span) {
        return k.zero == 0 ? collective_time(cluster, Collective::all_reduce, kMany, span)
                           : collective_time(cluster, Collective::reduce_scatter, kMany, span) +
                                 collective_time(cluster, Collective::all_gather, kMany, span);
      };
      // Experts are reduced over fewer ranks; the least of both holds for any mixture.
      reduce = over({k.data, k.tensor});
      if (k.expert > 1) reduce = std::min(reduce, over({k.data / k.expert, k.tensor * k.expert}));
      reduce *= bytes.weight / kMany * (1 - 1e-6);
    }
    return {finish, reduce};
  }

  // What every cut of a 1F1B or zero-bubble pipeline takes at least, in multiples of all work on one micro-batch: the
  // inequality of solver/cuts.h of each device, weighted so that it does not matter where a unit is. `before` and
  // `waits` are what a second of the stages before and behind counts.
  static double ramp(double m, int64_t p, double before, double waits) {
    auto devices = static_cast<double>(p);
    double a = m - devices, sum = 0, weight = 1, first = 1;
    if (a + 1 <= waits) return m / devices;
    for (int64_t j = 0; j < p; ++j) {
      sum += weight;
      auto x = static_cast<double>(j);
      weight *= (a + 1 + x - waits) / (a + 2 + x - before);
    }
    first /= sum;
    return before * (1 - first) + first * (a + 1);
  }

  // Seconds that no cut of the pipeline can go below, and whether some cut may fit.
  bool bound(Candidate& c) {
    const StepConfig& k = c.config;
    const Loads& l = loads(k);
    const UnitLoad& t = l.total;
    auto m = static_cast<double>(k.micro_batches), p = static_cast<double>(k.pipeline),
         v = static_cast<double>(k.chunks);
    double total = t.forward + t.backward, wait = slowest_of(k.data, costs_.cluster().efficiency.spread);
    auto [finish, reduce] = behind(k);
    c.bound = m * total / p * wait + t.parameters / p * (finish + kExposed * reduce);
    bool whole = k.micro_batches >= k.pipeline + 2;
    if (k.pipeline > 1 && k.schedule == Schedule::gpipe) c.bound = std::max(c.bound, (m + p - 1) / p * total * wait);
    if (k.pipeline > 1 && k.schedule == Schedule::one_f_one_b)
      c.bound = std::max(c.bound, (whole ? ramp(m, k.pipeline, 1, 2) : 1) * total * wait);
    if (k.pipeline > 1 && k.schedule == Schedule::zero_bubble && whole)
      c.bound = std::max(c.bound, (ramp(m, k.pipeline, l.forward_share, 2 * (1 - l.weights_share)) * total -
                                   l.forward_less - 2 * l.weights_more) *
                                      wait);
    // Device d keeps the activations of so many passes. However the units are shared out, the fullest device has at
    // least the average in which each weighs as much less as it would hold more of an even share; a unit weighs least
    // at one of the ends.
    double resident = parameter_bytes(costs_, k).resident(k), sum = 0;
    std::vector<double> alive, weight;
    for (int64_t d = 0; d < k.pipeline; ++d) {
      double behind = p - 1 - static_cast<double>(d), n = std::min(m, behind + 1);
      if (k.schedule == Schedule::gpipe) n = m;
      if (k.schedule == Schedule::interleaved) n = std::min(m, (2 * behind + (v - 1) * p + 1) / v);
      alive.push_back(n), weight.push_back(1 / std::max(1.0, t.parameters * resident + t.saved * n));
      sum += weight.back();
    }
    double memory = 0;
    for (size_t i = 0; i < l.types.size(); ++i) {
      auto at = [&](size_t d) {
        return weight[d] / sum * (l.types[i].parameters * resident + l.types[i].saved * alive[d]);
      };
      memory += chain_.types[i].count * std::min(at(0), at(alive.size() - 1));
    }
    return memory - l.input_slack * alive.front() <= memory_;
  }

  // The same for all cuts of this combination, more exactly; infinite if it is not below `limit` or nothing fits.
  // Leaves the cuts to try. Interleaved pipelines have two: equal numbers of layers, and balanced ones.
  double refine(Candidate& c, double limit) {
    const StepConfig& k = c.config;
    c.cuts.clear();
    if (k.pipeline == 1) return c.bound;
    if (static_cast<int64_t>(chain_.units.size()) < k.pipeline * k.chunks) return kNever;
    const Loads& l = loads(k);
    CutProblem q;
    q.schedule = k.schedule, q.stages = k.pipeline, q.micro_batches = k.micro_batches;
    std::vector<double> times;
    for (const Unit& u : chain_.units) {
      const UnitLoad& t = l.types[static_cast<size_t>(u.type)];
      q.units.push_back({t.forward, t.backward, t.weights, t.parameters, t.saved});
      times.push_back(t.forward + t.backward);
    }
    c.cuts = {equal_cuts(chain_, k.pipeline * k.chunks), balanced_cuts(times, k.pipeline * k.chunks)};
    auto [finish, reduce] = behind(k);
    q.waiting = slowest_of(k.data, costs_.cluster().efficiency.spread);
    if (k.schedule == Schedule::interleaved) {
      double least = kNever;
      for (const std::vector<int>& cut : c.cuts) {
        std::vector<CutUnit> devices(static_cast<size_t>(k.pipeline));
        double before = 0, most = 0;
        for (size_t s = 0; s + 1 < cut.size(); ++s)
          for (int u = cut[s]; u < cut[s + 1]; ++u) {
            CutUnit& d = devices[s % devices.size()];
            d.forward += times[static_cast<size_t>(u)], d.parameters += q.units[static_cast<size_t>(u)].parameters;
          }
        auto m = static_cast<double>(k.micro_batches);
        for (size_t d = 0; d < devices.size(); ++d) {
          double after = devices[d].parameters * (finish + kExposed * reduce);
          // The first pass waits for the stages before, and the last is followed by theirs.
          most = std::max(
              {most, m * devices[d].forward * q.waiting + after, (before + m * devices[d].forward) * q.waiting});
          for (int u = cut[d]; u < cut[d + 1]; ++u) before += times[static_cast<size_t>(u)];
        }
        least = std::min(least, most);
      }
      return least;
    }
    q.send = collective_time(costs_.cluster(), Collective::send,
                             k.sequence ? l.least_output : l.least_output / static_cast<double>(k.tensor),
                             {k.pipeline, k.tensor * k.data});
    q.finish = finish, q.reduce = reduce, q.exposed = kExposed;
    q.resident = parameter_bytes(costs_, k).resident(k), q.memory = memory_, q.slack = l.input_slack;
    CutBound found = bound_of_all_cuts(q, limit);
    if (found.time < kNever) c.cuts.push_back(found.cuts);
    return found.time;
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
        for (int64_t expert : divisors(std::gcd(costs_.experts(), data)))
          for (int64_t micro : divisors(batch / data)) {
            if (!allowed("ep", expert)) continue;
            if (traced % micro != 0 || !allowed("micro_batch", micro)) continue;
            int64_t m = batch / data / micro;
            for (Candidate& c : variants(data, tensor, pipeline, micro, m)) {
              c.config.expert = expert, c.family = family(c.config);

              if (bound(c))
                list_.push_back(std::move(c));
              else if (c.bound < kNever)
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
    add("data", c.data), add("expert", c.expert), add("tensor", c.tensor), add("pipeline", c.pipeline);
    if (s.empty()) s = "one device";
    if (c.zero > 0) s += fmt::format(", ZeRO {}", c.zero);
    if (c.offload.optimizer) s += ", offload";
    return s;
  }

  bool fits(const StepEstimate& e) const {
    return e.memory <= memory_ && e.host_memory <= costs_.cluster().host.memory_bytes;
  }

  bool evaluate(Candidate& c) {
    if (c.cuts.empty()) refine(c, kNever);
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
    for (size_t i = 0; i < std::min(kMost, loose.size()); ++i) {
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
            if (config.cuts[s] <= config.cuts[s - 1] || config.cuts[s] >= config.cuts[s + 1] || --tries < 0) continue;
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
    if (int64_t ep = fixed("ep", 1); costs_.experts() % std::max<int64_t>(1, ep) != 0 || ep < 1)
      return costs_.experts() == 1
                 ? fmt::format("ep = {}, but the model has no experts", ep)
                 : fmt::format("ep = {} does not divide the {} experts; the nearest that does is {}", ep,
                               costs_.experts(), nearest_divisor(costs_.experts(), ep));
    if (int64_t ep = fixed("ep", 1); dp > 0 && dp % ep != 0)
      return fmt::format("ep = {} does not divide the {} data-parallel ranks, among which experts are dealt out", ep,
                         dp);
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
  std::vector<Candidate> list_, tight_;
  std::map<std::tuple<int64_t, bool, int64_t, Recompute, int64_t>, Loads> loads_;
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
  static const std::set<std::string> names = {"dp",   "ep", "tp",        "pp",       "micro_batch", "chunks",
                                              "zero", "sp", "recompute", "schedule", "offload"};
  for (const auto& [name, value] : request.fix)
    SORUS_CHECK(names.contains(name), ValueError, "--fix {}: there are {}", name, fmt::join(names, ", "));
  return Search(costs, request).run();
}

}  // namespace sorus::parallel
