#include "sorus/parallel/solver/budget.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "sorus/base/error.h"
#include "sorus/parallel/solver/conditioned.h"
#include "sorus/parallel/solver/folded.h"
#include "sorus/parallel/solver/messages.h"
#include "sorus/parallel/solver/usage.h"

namespace sorus::parallel {
namespace {

constexpr double kPriceShare = 0.3;  // of the time; the rest improves what was found
constexpr double kNearShare = 0.5;   // of the rest
constexpr size_t kMostNear = 5;
constexpr double kNear = 1.1;  // of the limit
constexpr double kSpread = 10;
constexpr double kAim = 0.998;  // of the limit; prices that aim at all of it end above it half of the time
constexpr int kRounds = 200;
constexpr int kWarm = 20;         // sweeps at the start
constexpr int kRounded = 4;       // rounds of prices for each that is improved by a pass
constexpr double kNoise = 0.05;   // of prices, by variable
constexpr double kHeat = 0.1;     // at first, of what parts that were looked at cost more on average
constexpr size_t kHub = 64;       // neighbours
constexpr double kTry = 1. / 64;  // of a pass over all variables, where passes are counted

// Seconds of the processor: how good the answer is does not depend on who else uses the machine.
double now() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class Solver {
 public:
  Solver(const BudgetedAssignment& p, const BudgetedOptions& options)
      : p_(p),
        options_(options),
        start_(now()),
        random_(options.seed),
        usage_(p),
        folded_(fold(p)),
        passes_(folded_.sizes, folded_.edges),
        messages_(folded_.sizes, folded_.edges) {
    best_.choice.assign(p.assignment.nodes.size(), 0);
    prices_.assign(usage_.count(), 0);
  }

  BudgetedSolution run() {
    begin(true);
    if (p_.limit >= 0) price();
    for (int pass = 0; pass < 20 && p_.limit < 0; ++pass) pass_all(folded_.unary);
    prepare();
    // What does not fit yet may lie closer to the best than what fits: it gets its time first.
    std::sort(near_.begin(), near_.end(), [](const Near& a, const Near& b) { return a.cost < b.cost; });
    if (near_.size() > kMostNear) near_.resize(kMostNear);
    for (size_t i = 0; i < near_.size(); ++i)
      if (!best_.feasible || near_[i].cost < best_.cost)
        improve(near_[i].choice, near_[i].prices,
                spent() + kNearShare * (1 - spent()) / static_cast<double>(near_.size() - i));
    improve(best_folded_, best_prices_, 1);
    best_.seconds = seconds();
    return best_;
  }

 private:
  double seconds() const { return now() - start_; }
  /// Of what may be spent, how much is.
  double spent() const {
    if (options_.passes > 0)
      return (static_cast<double>(best_.passes) + kTry * static_cast<double>(tries_)) / options_.passes;
    return seconds() / options_.seconds;
  }

  // Measures the present choice and keeps it if it is the best.
  void note() {
    all_ = folded_.unfold(choice_);
    usage_.measure(all_);
    ++best_.passes;
    double cost = p_.assignment.cost_of(all_);
    int64_t peak = usage_.peak();
    bool feasible = cost < kForbidden && (p_.limit < 0 || peak <= p_.limit);
    if (pricing_ && !feasible && cost < kForbidden &&
        static_cast<double>(peak) < kNear * static_cast<double>(p_.limit) &&
        (nearest_.choice.empty() || peak < nearest_.peak))
      nearest_ = {choice_, prices_, cost, peak};
    bool better =
        feasible ? !best_.feasible || cost < best_.cost : !best_.feasible && (best_.passes == 1 || peak < best_.peak);
    if (!better) return;
    best_.choice = all_, best_.cost = cost, best_.peak = peak, best_.feasible = feasible;
    best_folded_ = choice_, best_prices_ = prices_;
    if (options_.progress) options_.progress(seconds(), cost);
  }

  // Over all variables.
  void pass_all(const std::vector<std::vector<double>>& unary, bool first = false) {
    passes_.pass(unary, choice_, {.first = first, .table_limit = table_limit(), .spread = kSpread}, random_);
    note();
  }

  std::vector<std::vector<double>> priced() const {
    std::vector<double> sum(prices_.size() + 1, 0);
    for (size_t t = 0; t < prices_.size(); ++t) sum[t + 1] = sum[t] + prices_[t];
    std::vector<std::vector<double>> unary = folded_.unary;
    for (size_t v = 0; v < p_.usage.size(); ++v) {
      auto [first, end] = usage_.of(v);
      auto of = static_cast<size_t>(folded_.of[v]);
      double price = (sum[end] - sum[first]) * noise_[of];
      if (first >= end || price <= 0) continue;
      std::vector<double>& into = unary[of];
      for (size_t k = 0; k < into.size(); ++k)
        into[k] += price * static_cast<double>(p_.usage[v][static_cast<size_t>(folded_.choice_of[v][k])]);
    }
    return unary;
  }

  // Prices that make the memory fit, several times from the beginning: where they end depends on chance. Repeated
  // layers would all change their minds at the same price; a little noise lets some go first. Choices are read off
  // messages, which see the whole problem; every other time they come from passes alone, which end elsewhere.
  void price() {
    for (int start = 0; spent() < kPriceShare; ++start) {
      bool by_messages = start % 2 == 0;
      noise_.assign(folded_.sizes.size(), 1);
      for (double& n : noise_) n += kNoise * (static_cast<double>(random_() % 1024) / 512 - 1);
      begin(by_messages);
      double scale = folded_.penalty / 1000 / static_cast<double>(p_.limit);
      prices_.assign(usage_.count(), 1e-4 * scale / static_cast<double>(usage_.count()));
      double speed = 0.3;
      pricing_ = true, nearest_ = {};
      for (int round = 0; round < kRounds && spent() < kPriceShare; ++round) {
        std::vector<int64_t> use = usage_.at_each_time();
        for (size_t t = 0; t < prices_.size(); ++t) {
          double over = static_cast<double>(use[t]) / (kAim * static_cast<double>(p_.limit)) - 1;
          prices_[t] *= std::exp(speed * std::clamp(over * 3, -0.5, 1.0));
        }
        std::vector<std::vector<double>> unary = priced();
        if (by_messages) {
          messages_.sweep(unary);
          messages_.round(unary, choice_);
        }
        if (!by_messages || round % kRounded == 0)
          pass_all(unary);
        else
          note();
        if (round > 30) speed = std::max(0.02, speed * 0.98);
      }
      pricing_ = false;
      if (!nearest_.choice.empty()) near_.push_back(std::move(nearest_));
    }
  }

  // A choice at which memory has no price.
  void begin(bool by_messages) {
    choice_.assign(folded_.sizes.size(), 0);
    if (by_messages) {
      messages_.reset();
      for (int sweep = 0; sweep < kWarm; ++sweep) messages_.sweep(folded_.unary);
      messages_.round(folded_.unary, choice_);
    }
    pass_all(folded_.unary, !by_messages);
  }

  // Small problems can afford larger tables.
  size_t table_limit() const { return folded_.sizes.size() > 1000 ? 1024 : 16384; }

  // The cost of the folded problem that the variables have a part in.
  double cost_around(const std::vector<int>& some) {
    double sum = 0;
    ++marks_;
    for (int v : some) mark_[static_cast<size_t>(v)] = marks_;
    for (int v : some) {
      sum += folded_.unary[static_cast<size_t>(v)][static_cast<size_t>(choice_[static_cast<size_t>(v)])];
      for (int id : edges_of_[static_cast<size_t>(v)]) {
        const Assignment::Edge& e = folded_.edges[static_cast<size_t>(id)];
        int other = e.a == v ? e.b : e.a;
        if (mark_[static_cast<size_t>(other)] == marks_ && other < v) continue;
        sum += e.cost[static_cast<size_t>(choice_[static_cast<size_t>(e.a)]) *
                          static_cast<size_t>(folded_.sizes[static_cast<size_t>(e.b)]) +
                      static_cast<size_t>(choice_[static_cast<size_t>(e.b)])];
      }
    }
    return sum;
  }

  // A part of the graph, grown from a random variable in random order.
  std::vector<int> region(size_t most) {
    std::vector<int> part{static_cast<int>(random_() % folded_.sizes.size())};
    ++marks_;
    mark_[static_cast<size_t>(part[0])] = marks_;
    std::vector<int> edge = part;
    while (part.size() < most && !edge.empty()) {
      size_t at = random_() % edge.size();
      const std::vector<int>& near = passes_.neighbours(edge[at]);
      int found = -1;
      for (size_t tries = 0; tries < 4 && found < 0 && !near.empty(); ++tries) {
        int u = near[random_() % near.size()];
        if (mark_[static_cast<size_t>(u)] != marks_) found = u;
      }
      if (found < 0) {
        edge[at] = edge.back();
        edge.pop_back();
        continue;
      }
      mark_[static_cast<size_t>(found)] = marks_;
      edge.push_back(found);
      // What thousands read takes as long to look at as all the rest: mostly it stays as it is, and joins what is
      // around.
      bool hub = passes_.neighbours(found).size() > kHub;
      if (!hub || random_() % 8 == 0) part.push_back(found);
    }
    return part;
  }

  void take_back(const std::vector<int>& part, const std::vector<int>& before) {
    usage_.forget();
    for (size_t i = 0; i < part.size(); ++i) choice_[static_cast<size_t>(part[i])] = before[i];
  }

  // Bytes by which a part's choices change the use, gathered in usage_; whether any changed.
  bool gather(const std::vector<int>& part, const std::vector<int>& before) {
    bool moved = false;
    for (size_t i = 0; i < part.size(); ++i) {
      auto v = static_cast<size_t>(part[i]);
      if (choice_[v] == before[i]) continue;
      moved = true;
      for (int m : members_[v]) {
        const std::vector<int>& choices = folded_.choice_of[static_cast<size_t>(m)];
        const std::vector<int64_t>& usage = p_.usage[static_cast<size_t>(m)];
        usage_.change(static_cast<size_t>(m),
                      usage[static_cast<size_t>(choices[static_cast<size_t>(choice_[v])])] -
                          usage[static_cast<size_t>(choices[static_cast<size_t>(before[i])])]);
      }
    }
    return moved;
  }

  // Costs of a part's choices, with memory at `sum` (prices before each time).
  std::vector<std::vector<double>> priced(const std::vector<int>& part, const std::vector<double>& sum) const {
    std::vector<std::vector<double>> unary;
    for (int v : part) {
      unary.push_back(folded_.unary[static_cast<size_t>(v)]);
      for (int m : members_[static_cast<size_t>(v)]) {
        auto [first, end] = usage_.of(static_cast<size_t>(m));
        double price = sum[end] - sum[first];
        const std::vector<int>& choices = folded_.choice_of[static_cast<size_t>(m)];
        for (size_t k = 0; k < choices.size(); ++k)
          unary.back()[k] +=
              price * static_cast<double>(p_.usage[static_cast<size_t>(m)][static_cast<size_t>(choices[k])]);
      }
    }
    return unary;
  }

  // For `improve`: who is joined in a variable, and its edges.
  void prepare() {
    members_.resize(folded_.sizes.size()), edges_of_.resize(folded_.sizes.size());
    mark_.assign(folded_.sizes.size(), 0);
    for (size_t v = 0; v < folded_.of.size(); ++v)
      if (auto [first, end] = usage_.of(v); first < end)
        members_[static_cast<size_t>(folded_.of[v])].push_back(static_cast<int>(v));
    for (size_t e = 0; e < folded_.edges.size(); ++e) {
      edges_of_[static_cast<size_t>(folded_.edges[e].a)].push_back(static_cast<int>(e));
      edges_of_[static_cast<size_t>(folded_.edges[e].b)].push_back(static_cast<int>(e));
    }
  }

  // Passes over parts, at prices drawn at random around those that the best choice came from: a part that takes less
  // memory than before makes room for one that takes more. Nothing may end above the limit, or, while something is,
  // no further above it; more cost is taken now and then, ever less (simulated annealing).
  void improve(const std::vector<int>& start, const std::vector<double>& prices, double until) {
    choice_ = start, prices_ = prices;
    all_ = folded_.unfold(choice_);
    usage_.measure(all_);
    std::vector<int> least_choice = choice_;
    std::vector<double> sum(usage_.count() + 1, 0);
    double from = spent(), cost = p_.assignment.cost_of(all_), least = cost;
    // Seen so far: what a part that was looked at would have cost more, on average.
    double more = 0, seen = 0;
    bool fresh = true;  // the present choice is the best
    for (; spent() < until; ++tries_) {
      std::vector<int> part = region(size_t{2} << (random_() % 8));
      if (tries_ % 64 == 0) {
        double factor = std::exp2(static_cast<double>(random_() % 9) - 6);
        if (random_() % 8 == 0) factor = 0;
        for (size_t t = 0; t < usage_.count(); ++t) sum[t + 1] = sum[t] + factor * prices_[t];
      }
      std::vector<int> before;
      for (int v : part) before.push_back(choice_[static_cast<size_t>(v)]);
      double old = cost_around(part);
      if (part.size() <= 2 && random_() % 2 == 0) {  // any choice at all: what prices never lead to
        for (int v : part)
          choice_[static_cast<size_t>(v)] =
              static_cast<int>(random_() % static_cast<unsigned>(folded_.sizes[static_cast<size_t>(v)]));
      } else {
        passes_.pass(priced(part, sum), choice_, {.table_limit = 4096, .spread = kSpread, .only = &part}, random_);
      }
      double delta = cost_around(part) - old, now = usage_.excess();
      bool moved = gather(part, before);
      double left = (until - spent()) / (until - from),
             heat = kHeat * left * left * left * (seen > 0 ? more / seen : 0);
      if (delta > 0 && delta < folded_.penalty / 2) more += delta, ++seen;
      bool cheap = delta <= 0 || (delta < folded_.penalty / 2 && heat > 0 &&
                                  std::exp(-delta / heat) * 4294967296.0 > static_cast<double>(random_()));
      if (!moved || (now == 0 && !cheap)) {
        take_back(part, before);
        continue;
      }
      double next = usage_.excess_after(now);
      if (next > now || (next == now && !cheap)) {
        take_back(part, before);
        continue;
      }
      if (now == 0 && delta > 0 && fresh) {  // the best so far is left
        least_choice = choice_;
        for (size_t i = 0; i < part.size(); ++i) least_choice[static_cast<size_t>(part[i])] = before[i];
        fresh = false;
      }
      usage_.apply(next);
      cost += delta;
      if (now > 0 || cost < least) least = cost, fresh = true;
    }
    if (!fresh) choice_ = least_choice;
    note();
  }

  const BudgetedAssignment& p_;
  const BudgetedOptions& options_;
  std::vector<std::vector<int>> members_, edges_of_;
  std::vector<int> mark_;
  int marks_ = 0;
  int64_t tries_ = 0;
  double start_;
  std::mt19937 random_;
  Usage usage_;
  Folded folded_;
  ConditionedElimination passes_;
  Messages messages_;
  std::vector<int> choice_, best_folded_, all_;
  std::vector<double> prices_, best_prices_;
  struct Near {
    std::vector<int> choice;
    std::vector<double> prices;
    double cost = 0;
    int64_t peak = 0;
  };
  Near nearest_;            ///< to fitting, since the prices began
  std::vector<Near> near_;  ///< the same of each beginning
  bool pricing_ = false;
  std::vector<double> noise_;  ///< by variable: how much dearer memory looks to it
  BudgetedSolution best_;
};

}  // namespace

void BudgetedAssignment::check() const {
  size_t n = assignment.nodes.size();
  SORUS_CHECK(usage.size() == n && interval.size() == n, ValueError,
              "assignment: {} variables, but usage of {} and intervals of {}", n, usage.size(), interval.size());
  for (size_t v = 0; v < n; ++v)
    SORUS_CHECK(usage[v].size() == assignment.nodes[v].size(), ValueError,
                "assignment: variable {} has {} choices, but usage of {}", v, assignment.nodes[v].size(),
                usage[v].size());
}

int64_t BudgetedAssignment::peak(const std::vector<int>& choice) const {
  std::vector<std::pair<int64_t, int64_t>> changes;
  for (size_t v = 0; v < usage.size(); ++v) {
    int64_t u = usage[v][static_cast<size_t>(choice[v])];
    if (interval[v].first < interval[v].second)
      changes.emplace_back(interval[v].first, u), changes.emplace_back(interval[v].second, -u);
  }
  std::sort(changes.begin(), changes.end());
  int64_t now = 0, most = 0;
  for (size_t i = 0; i < changes.size(); ++i) {
    now += changes[i].second;
    if (i + 1 == changes.size() || changes[i + 1].first > changes[i].first) most = std::max(most, now);
  }
  return most;
}

BudgetedSolution solve(const BudgetedAssignment& problem, const BudgetedOptions& options) {
  problem.check();
  return Solver(problem, options).run();
}

}  // namespace sorus::parallel
