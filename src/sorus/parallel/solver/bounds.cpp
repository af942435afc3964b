#include "sorus/parallel/solver/bounds.h"

#include <algorithm>
#include <limits>

#include "sorus/parallel/solver/cuts.h"

namespace sorus::parallel {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// What every cut of a 1F1B or zero-bubble pipeline takes at least, in multiples of all work on one micro-batch: the
// inequality of solver/cuts.h of each device, weighted so that it does not matter where a unit is. `before` and
// `waits` are what a second of the stages before and behind counts.
double ramp(double m, int64_t p, double before, double waits) {
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

}  // namespace

const Bounds::Loads& Bounds::loads(const StepConfig& k) {
  // Of how many gradients of parameters a rank adds those of its micro-batches up.
  double added = k.micro_batches == 1 ? 0 : k.zero >= 2 ? 1 / static_cast<double>(k.replicas()) : 1;
  auto key = std::make_tuple(k.tensor, k.sequence, k.micro_batch, k.recompute, k.expert, k.context, added);
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

std::pair<double, double> Bounds::behind(const StepConfig& k) const {
  const Cluster& cluster = costs_.cluster();
  ParameterBytes bytes = parameter_bytes(costs_, k);
  double share = k.zero >= 1 ? 1 / static_cast<double>(k.replicas()) : 1;
  double finish = share * bytes.update() / (cluster.device.memory_bandwidth * cluster.efficiency.memory);
  if (k.offload.optimizer) finish += share * 2 * bytes.state / cluster.host.bandwidth;
  double reduce = 0;
  if (k.replicas() > 1 && k.zero < 3) {
    // Of very many bytes, so that latencies do not count.
    constexpr double kMany = 1e15;
    auto over = [&](Span span) {
      return k.zero == 0 ? collective_time(cluster, Collective::all_reduce, kMany, span)
                         : collective_time(cluster, Collective::reduce_scatter, kMany, span) +
                               collective_time(cluster, Collective::all_gather, kMany, span);
    };
    // Experts are reduced over fewer ranks; the least of both holds for any mixture.
    reduce = over({k.replicas(), k.tensor});
    if (k.expert > 1) reduce = std::min(reduce, over({k.replicas() / k.expert, k.tensor * k.expert}));
    reduce *= bytes.weight / kMany * (1 - 1e-6);
  }
  return {finish, reduce};
}

bool Bounds::quick(Candidate& c) {
  const StepConfig& k = c.config;
  const Loads& l = loads(k);
  const UnitLoad& t = l.total;
  auto m = static_cast<double>(k.micro_batches), p = static_cast<double>(k.pipeline),
       v = static_cast<double>(k.chunks);
  double total = t.forward + t.backward, wait = slowest_of(k.replicas(), costs_.cluster().efficiency.spread);
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

double Bounds::of_all_cuts(Candidate& c, double limit) {
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
  q.waiting = slowest_of(k.replicas(), costs_.cluster().efficiency.spread);
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
                           {k.pipeline, k.tensor * k.replicas()});
  q.finish = finish, q.reduce = reduce, q.exposed = kExposed;
  q.resident = parameter_bytes(costs_, k).resident(k), q.memory = memory_, q.slack = l.input_slack;
  CutBound found = bound_of_all_cuts(q, limit);
  if (found.time < kNever) c.cuts.push_back(found.cuts);
  return found.time;
}

}  // namespace sorus::parallel
