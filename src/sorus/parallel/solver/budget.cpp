#include "sorus/parallel/solver/budget.h"

#include <algorithm>
#include <cmath>
#include <ctime>

#include "sorus/base/error.h"
#include "sorus/parallel/solver/conditioned.h"
#include "sorus/parallel/solver/folded.h"

namespace sorus::parallel {
namespace {

constexpr double kPriceShare = 0.75;  // of the time; the rest improves what was found
constexpr double kSpread = 10;
constexpr double kAim = 0.998;  // of the limit; prices that aim at all of it end above it half of the time
constexpr int kRounds = 400;

// Seconds of the processor: how good the answer is does not depend on who else uses the machine.
double now() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Times at which use can be highest: after the last begin before an end. Others need no price.
class Times {
 public:
  explicit Times(const BudgetedAssignment& p) {
    std::vector<std::pair<int64_t, int>> events;
    for (const auto& [begin, end] : p.interval)
      if (begin < end) events.emplace_back(begin, 1), events.emplace_back(end, 0);
    std::sort(events.begin(), events.end());
    for (size_t i = 0; i < events.size(); ++i)
      if (events[i].second == 1 && (i + 1 == events.size() || events[i + 1].second == 0))
        times_.push_back(events[i].first);
    for (const auto& [begin, end] : p.interval) {
      auto place = [&](int64_t t) {
        return static_cast<int>(std::lower_bound(times_.begin(), times_.end(), t) - times_.begin());
      };
      ranges_.emplace_back(place(begin), begin < end ? place(end) : place(begin));
    }
  }
  size_t count() const { return times_.size(); }
  std::pair<size_t, size_t> of(size_t v) const {
    return {static_cast<size_t>(ranges_[v].first), static_cast<size_t>(ranges_[v].second)};
  }

 private:
  std::vector<int64_t> times_;
  std::vector<std::pair<int, int>> ranges_;
};

class Solver {
 public:
  Solver(const BudgetedAssignment& p, const BudgetedOptions& options)
      : p_(p),
        options_(options),
        start_(now()),
        random_(options.seed),
        times_(p),
        folded_(fold(p)),
        passes_(folded_.sizes, folded_.edges) {
    best_.choice.assign(p.assignment.nodes.size(), 0);
    prices_.assign(times_.count(), 0);
  }

  BudgetedSolution run() {
    choice_.assign(folded_.sizes.size(), 0);
    pass_all(folded_.unary, true);
    if (p_.limit >= 0) price();
    for (int pass = 0; pass < 20 && p_.limit < 0; ++pass) {
      pass_all(folded_.unary);
    }
    improve();
    best_.seconds = seconds();
    return best_;
  }

 private:
  double seconds() const { return now() - start_; }

  // Use at each time under the present choice.
  void measure() {
    std::vector<int64_t> change(times_.count() + 1, 0);
    for (size_t v = 0; v < p_.usage.size(); ++v) {
      auto [first, end] = times_.of(v);
      if (first >= end) continue;
      int64_t u = p_.usage[v][static_cast<size_t>(all_[v])];
      change[first] += u, change[end] -= u;
    }
    use_.assign(times_.count(), 0);
    int64_t sum = 0;
    peak_ = 0;
    for (size_t t = 0; t < times_.count(); ++t) peak_ = std::max(peak_, use_[t] = sum += change[t]);
  }

  // Measures the present choice and keeps it if it is the best.
  void note() {
    all_ = folded_.unfold(choice_);
    measure();
    ++best_.passes;
    double cost = p_.assignment.cost_of(all_);
    bool feasible = cost < kForbidden && (p_.limit < 0 || peak_ <= p_.limit);
    bool better = feasible ? !best_.feasible || cost < best_.cost
                           : !best_.feasible && (best_.passes == 1 || peak_ < best_.peak);
    if (!better) return;
    best_.choice = all_, best_.cost = cost, best_.peak = peak_, best_.feasible = feasible;
    best_folded_ = choice_;
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
      auto [first, end] = times_.of(v);
      double price = sum[end] - sum[first];
      if (first >= end || price <= 0) continue;
      std::vector<double>& into = unary[static_cast<size_t>(folded_.of[v])];
      for (size_t k = 0; k < into.size(); ++k)
        into[k] += price * static_cast<double>(p_.usage[v][static_cast<size_t>(folded_.choice_of[v][k])]);
    }
    return unary;
  }

  // Prices that make the memory fit, several times from the beginning: where they end depends on chance.
  void price() {
    double until = options_.seconds * kPriceShare;
    for (int start = 0; seconds() < until; ++start) {
      if (start > 0) {
        choice_.assign(folded_.sizes.size(), 0);
        pass_all(folded_.unary, true);
      }
      double scale = folded_.penalty / 1000 / static_cast<double>(p_.limit);
      prices_.assign(times_.count(), 1e-4 * scale / static_cast<double>(times_.count()));
      double speed = 0.3;
      for (int round = 0; round < kRounds && seconds() < until; ++round) {
        for (size_t t = 0; t < times_.count(); ++t) {
          double over = static_cast<double>(use_[t]) / (kAim * static_cast<double>(p_.limit)) - 1;
          prices_[t] *= std::exp(speed * std::clamp(over * 3, -0.5, 1.0));
        }
        pass_all(priced());
        if (round > 30) speed = std::max(0.02, speed * 0.98);
      }
    }
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

  // A connected part of the graph, grown from a random variable in random order.
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
      part.push_back(found), edge.push_back(found);
    }
    return part;
  }

  void take_back(const std::vector<int>& part, const std::vector<int>& before) {
    for (size_t i = 0; i < part.size(); ++i) choice_[static_cast<size_t>(part[i])] = before[i];
  }

  // Passes over parts that must stay within the limit, or come nearer to it.
  void improve() {
    choice_ = best_folded_;
    all_ = best_.choice;
    measure();
    members_.resize(folded_.sizes.size()), edges_of_.resize(folded_.sizes.size());
    mark_.assign(folded_.sizes.size(), 0);
    for (size_t v = 0; v < folded_.of.size(); ++v)
      if (auto [first, end] = times_.of(v); first < end)
        members_[static_cast<size_t>(folded_.of[v])].push_back(static_cast<int>(v));
    for (size_t e = 0; e < folded_.edges.size(); ++e) {
      edges_of_[static_cast<size_t>(folded_.edges[e].a)].push_back(static_cast<int>(e));
      edges_of_[static_cast<size_t>(folded_.edges[e].b)].push_back(static_cast<int>(e));
    }
    int64_t tried = 0;
    double excess = 0;
    for (int64_t u : use_) excess += p_.limit < 0 ? 0 : static_cast<double>(std::max<int64_t>(u - p_.limit, 0));
    std::vector<int64_t> change(times_.count() + 1, 0);
    std::vector<double> sum(times_.count() + 1, 0);
    while (seconds() < options_.seconds) {
      size_t most = size_t{2} << (random_() % 8);
      std::vector<int> part = region(most);
      if (tried % 64 == 0) {
        double factor = std::exp2(static_cast<double>(random_() % 9) - 6);
        if (random_() % 8 == 0) factor = 0;
        for (size_t t = 0; t < times_.count(); ++t) sum[t + 1] = sum[t] + factor * prices_[t];
      }
      ++tried;
      std::vector<std::vector<double>> unary;
      for (int v : part) {
        unary.push_back(folded_.unary[static_cast<size_t>(v)]);
        for (int m : members_[static_cast<size_t>(v)]) {
          auto [first, end] = times_.of(static_cast<size_t>(m));
          double price = sum[end] - sum[first];
          const std::vector<int>& choices = folded_.choice_of[static_cast<size_t>(m)];
          for (size_t k = 0; k < choices.size(); ++k)
            unary.back()[k] +=
                price * static_cast<double>(p_.usage[static_cast<size_t>(m)][static_cast<size_t>(choices[k])]);
        }
      }
      std::vector<int> before;
      for (int v : part) before.push_back(choice_[static_cast<size_t>(v)]);
      double old = cost_around(part);
      if (part.size() <= 2 && random_() % 2 == 0) {  // any choice at all: what prices never lead to
        for (int v : part)
          choice_[static_cast<size_t>(v)] =
              static_cast<int>(random_() % static_cast<unsigned>(folded_.sizes[static_cast<size_t>(v)]));
      } else {
        passes_.pass(unary, choice_, {.table_limit = 4096, .spread = kSpread, .only = &part}, random_);
      }
      double after = cost_around(part);
      bool moved = false;
      std::fill(change.begin(), change.end(), 0);
      for (size_t i = 0; i < part.size(); ++i) {
        auto v = static_cast<size_t>(part[i]);
        if (choice_[v] == before[i]) continue;
        moved = true;
        for (int m : members_[v]) {
          auto [first, end] = times_.of(static_cast<size_t>(m));
          const std::vector<int>& choices = folded_.choice_of[static_cast<size_t>(m)];
          const std::vector<int64_t>& usage = p_.usage[static_cast<size_t>(m)];
          int64_t delta = usage[static_cast<size_t>(choices[static_cast<size_t>(choice_[v])])] -
                          usage[static_cast<size_t>(choices[static_cast<size_t>(before[i])])];
          change[first] += delta, change[end] -= delta;
        }
      }
      if (!moved || (excess == 0 && after > old)) {
        take_back(part, before);
        continue;
      }
      // First of all less above the limit, then less cost.
      double next = 0;
      int64_t more = 0;
      for (size_t t = 0; t < times_.count() && p_.limit >= 0 && next <= excess; ++t)
        next += static_cast<double>(std::max<int64_t>(use_[t] + (more += change[t]) - p_.limit, 0));
      if (next > excess || (next == excess && after > old)) {
        take_back(part, before);
        continue;
      }
      excess = next;
      more = 0;
      for (size_t t = 0; t < times_.count(); ++t) use_[t] += more += change[t];
    }
    best_folded_ = choice_;
    note();
  }

  const BudgetedAssignment& p_;
  const BudgetedOptions& options_;
  std::vector<std::vector<int>> members_, edges_of_;
  std::vector<int> mark_;
  int marks_ = 0;
  double start_;
  std::mt19937 random_;
  Times times_;
  Folded folded_;
  ConditionedElimination passes_;
  std::vector<int> choice_, best_folded_, all_;
  std::vector<double> prices_;
  std::vector<int64_t> use_;
  int64_t peak_ = 0;
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
