#include "sorus/parallel/solver/budget.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <random>

#include "sorus/base/error.h"
#include "sorus/parallel/solver/folded.h"
#include "sorus/parallel/solver/messages.h"
#include "sorus/parallel/solver/usage.h"

namespace sorus::parallel {
namespace {

BudgetedAssignment random_problem(std::mt19937& random, int nodes, int edges, bool forbid) {
  auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  BudgetedAssignment p;
  for (int v = 0; v < nodes; ++v) {
    std::vector<double> costs;
    std::vector<int64_t> usage;
    for (int k = 1 + below(4); k > 0; --k) costs.push_back(below(100)), usage.push_back(below(50));
    p.assignment.add(costs);
    p.usage.push_back(usage);
    int begin = below(10);
    p.interval.emplace_back(begin, begin + below(6));
  }
  for (int e = 0; e < edges; ++e) {
    int a = below(nodes), b = below(nodes);
    size_t rows = p.assignment.nodes[static_cast<size_t>(a)].size(),
           columns = p.assignment.nodes[static_cast<size_t>(b)].size();
    std::vector<double> costs;
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < columns; ++j) costs.push_back(forbid && (i + j) % 3 == 1 ? 1e18 : below(100));
    p.assignment.connect(a, b, costs);
  }
  return p;
}

struct Best {
  double cost = std::numeric_limits<double>::infinity();
  int64_t least_peak = std::numeric_limits<int64_t>::max();
};

Best tried_all(const BudgetedAssignment& p) {
  Best best;
  std::vector<int> choice(p.usage.size(), 0);
  for (;;) {
    double cost = p.assignment.cost_of(choice);
    if (cost < kForbidden) {
      int64_t peak = p.peak(choice);
      best.least_peak = std::min(best.least_peak, peak);
      if (p.limit < 0 || peak <= p.limit) best.cost = std::min(best.cost, cost);
    }
    size_t v = 0;
    while (v < choice.size() && ++choice[v] == static_cast<int>(p.usage[v].size())) choice[v++] = 0;
    if (v == choice.size()) return best;
  }
}

TEST(Budget, FindsTheBestOfSmallProblems) {
  std::mt19937 random(11);
  int solved = 0, tight = 0, best_found = 0;
  for (int round = 0; round < 24; ++round) {
    BudgetedAssignment p = random_problem(random, 3 + round % 5, round % 9, round % 2 == 1);
    Best any = tried_all(p);
    if (any.cost == std::numeric_limits<double>::infinity()) continue;
    p.limit = any.least_peak + static_cast<int64_t>(random() % 20);
    Best best = tried_all(p);
    BudgetedSolution s = solve(p, {.passes = 300});
    ASSERT_TRUE(s.feasible) << round;
    EXPECT_LE(p.peak(s.choice), p.limit);
    EXPECT_EQ(p.peak(s.choice), s.peak);
    EXPECT_DOUBLE_EQ(p.assignment.cost_of(s.choice), s.cost);
    EXPECT_GE(s.cost, best.cost);
    EXPECT_LE(s.cost, 1.6 * best.cost + 1) << round;
    ++solved, tight += best.cost > any.cost ? 1 : 0, best_found += s.cost == best.cost ? 1 : 0;
  }
  EXPECT_GT(tight, 4);  // the limit must matter
  EXPECT_GE(best_found * 10, solved * 9) << best_found << " of " << solved;
}

// Without cycles messages say what is best; with them, what is close to it, and they follow costs that change.
TEST(Messages, LeadToGoodChoices) {
  std::mt19937 random(17);
  double found = 0, least = 0;
  for (int round = 0; round < 30; ++round) {
    bool tree = round % 2 == 0;
    BudgetedAssignment p = random_problem(random, 40, 0, false);
    for (int v = 1; v < 40; ++v)
      for (int again = 0; again < (tree || v < 3 ? 1 : 2); ++again) {
        int u = again == 0 ? static_cast<int>(random() % static_cast<unsigned>(v)) : v - 2;
        std::vector<double> cost;
        for (size_t i = 0; i < p.usage[static_cast<size_t>(u)].size() * p.usage[static_cast<size_t>(v)].size(); ++i)
          cost.push_back(static_cast<double>(random() % 100));
        p.assignment.connect(u, v, cost);
      }
    Folded f = fold(p);  // each pair once
    Messages messages(f.sizes, f.edges);
    std::vector<int> choice(f.sizes.size(), 0);
    std::vector<std::vector<double>> other = f.unary;
    for (std::vector<double>& costs : other)
      for (double& c : costs) c += static_cast<double>(random() % 100);
    for (int sweep = 0; sweep < 30; ++sweep) messages.sweep(other);
    for (int sweep = 0; sweep < 60; ++sweep) messages.sweep(f.unary);
    messages.round(f.unary, choice);
    double cost = p.assignment.cost_of(f.unfold(choice)), best = solve(p.assignment).cost;
    EXPECT_GE(cost, best - 1e-6);
    EXPECT_LE(cost, tree ? best + 0.01 : 1e9) << round;
    found += cost, least += best;
  }
  EXPECT_LE(found, 1.1 * least);
}

TEST(Budget, ASeedAndANumberOfPassesGiveOneAnswer) {
  std::mt19937 random(13);
  BudgetedAssignment p = random_problem(random, 60, 90, false);
  p.limit = p.peak(std::vector<int>(p.usage.size(), 0));
  BudgetedSolution a = solve(p, {.passes = 60, .seed = 5}), b = solve(p, {.passes = 60, .seed = 5});
  EXPECT_EQ(a.choice, b.choice);
  EXPECT_EQ(a.passes, b.passes);
  EXPECT_TRUE(a.feasible);
  EXPECT_LE(p.peak(a.choice), p.limit);
}

TEST(Budget, UsageFollowsChanges) {
  std::mt19937 random(14);
  for (int round = 0; round < 20; ++round) {
    BudgetedAssignment p = random_problem(random, 400, 0, false);
    for (auto& [begin, end] : p.interval) begin = static_cast<int>(random() % 2000), end = begin + random() % 500;
    std::vector<int> choice(p.usage.size(), 0);
    p.limit = p.peak(choice) - (round % 3 == 0 ? 10 : 0);
    Usage usage(p), fresh(p);
    usage.measure(choice);
    for (int step = 0; step < 200; ++step) {
      std::vector<int> next = choice;
      for (int i = 0; i < 3; ++i) {
        size_t v = random() % choice.size();
        int before = next[v];
        next[v] = static_cast<int>(random() % p.usage[v].size());
        usage.change(v, p.usage[v][static_cast<size_t>(next[v])] - p.usage[v][static_cast<size_t>(before)]);
      }
      fresh.measure(next);
      double now = usage.excess(), after = usage.excess_after(now);
      EXPECT_EQ(after <= now, fresh.excess() <= now);
      if (after > now) {
        usage.forget();
        continue;
      }
      EXPECT_EQ(after, fresh.excess());
      usage.apply(after);
      choice = next;
      EXPECT_EQ(usage.peak(), p.peak(choice));
      EXPECT_EQ(usage.at_each_time(), fresh.at_each_time());
    }
  }
}

TEST(Budget, FoldingKeepsTheCost) {
  std::mt19937 random(12);
  int folded_away = 0;
  for (int round = 0; round < 100; ++round) {
    BudgetedAssignment p = random_problem(random, 6, 8, true);
    Folded f = fold(p);
    folded_away += static_cast<int>(p.usage.size() - f.sizes.size());
    std::vector<int> choice;
    for (int size : f.sizes) choice.push_back(static_cast<int>(random() % static_cast<unsigned>(size)));
    double cost = 0;
    for (size_t v = 0; v < choice.size(); ++v) cost += f.unary[v][static_cast<size_t>(choice[v])];
    for (const Assignment::Edge& e : f.edges)
      cost += e.cost[static_cast<size_t>(choice[static_cast<size_t>(e.a)]) *
                         static_cast<size_t>(f.sizes[static_cast<size_t>(e.b)]) +
                     static_cast<size_t>(choice[static_cast<size_t>(e.b)])];
    double whole = p.assignment.cost_of(f.unfold(choice));
    if (whole < kForbidden) {
      EXPECT_DOUBLE_EQ(cost, whole);
    } else {
      EXPECT_GE(cost, f.penalty);
    }
  }
  EXPECT_GT(folded_away, 50);
}

TEST(Budget, ReadsTheFormatOfTheContest) {
  std::string file = testing::TempDir() + "contest.json";
  auto write = [&](const std::string& text) { std::ofstream(file) << text; };
  write(R"({"problem": {"name": "small", "nodes": {"intervals": [[0, 4], [2, 6]], "costs": [[1, 5], [9, 2]],
    "usages": [[30, 10], [20, 30]]}, "edges": {"nodes": [[0, 1]], "costs": [[0, 7, 8, 0]]}, "usage_limit": 50}})");
  BudgetedAssignment p = read_contest(file);
  EXPECT_EQ(p.name, "small");
  EXPECT_EQ(p.limit, 50);
  BudgetedSolution s = solve(p, {.passes = 100});
  EXPECT_TRUE(s.feasible);
  EXPECT_EQ(s.choice, (std::vector<int>{1, 1}));
  EXPECT_EQ(s.cost, 7);
  write(R"({"problem": {"nodes": {"intervals": [[0, 4]], "costs": [[1, 5]], "usages": [[30]]},
    "edges": {"nodes": [], "costs": []}}})");
  EXPECT_THROW(read_contest(file), FileError);
  write(R"({"problem": {"nodes": {"intervals": [[0, 4]], "costs": [[1]], "usages": [[30]]},
    "edges": {"nodes": [[0, 3]], "costs": [[1]]}}})");
  EXPECT_THROW(read_contest(file), FileError);
}

TEST(Budget, SaysThatNothingFits) {
  BudgetedAssignment p;
  p.assignment.add({1, 2});
  p.usage = {{10, 20}};
  p.interval = {{0, 1}};
  p.limit = 5;
  BudgetedSolution s = solve(p, {.passes = 50});
  EXPECT_FALSE(s.feasible);
  EXPECT_EQ(s.peak, 10);
  p.usage.clear();
  EXPECT_THROW(solve(p, {.passes = 50}), ValueError);
}

}  // namespace
}  // namespace sorus::parallel
