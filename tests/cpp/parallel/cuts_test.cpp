// Bounds on all cuts of a pipeline, against playing every cut.
#include "sorus/parallel/solver/cuts.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <numeric>
#include <random>

#include "sorus/parallel/schedule/schedule.h"

namespace sorus::parallel {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

CutProblem random_problem(std::mt19937& random, int units) {
  auto number = [&](unsigned most) { return static_cast<double>(random() % most + 1); };
  CutProblem p;
  for (int i = 0; i < units; ++i) {
    CutUnit u;
    u.forward = number(10), u.backward = number(20), u.weights = u.backward * number(10) / 12;
    u.parameters = number(20), u.saved = number(10);
    p.units.push_back(u);
  }
  p.memory = kNever;
  return p;
}

void for_each_cut(int units, int64_t stages, const std::function<void(const std::vector<int>&)>& see) {
  std::vector<int> cuts = {0};
  std::function<void()> next = [&] {
    auto used = static_cast<int64_t>(cuts.size());
    if (used == stages) {
      cuts.push_back(units);
      see(cuts);
      cuts.pop_back();
      return;
    }
    for (int at = cuts.back() + 1; at <= units - (stages - used); ++at) {
      cuts.push_back(at);
      next();
      cuts.pop_back();
    }
  };
  next();
}

// One unit for each stage.
CutProblem merged(const CutProblem& p, const std::vector<int>& cuts) {
  CutProblem out = p;
  out.units.clear();
  for (size_t s = 0; s + 1 < cuts.size(); ++s) {
    CutUnit sum;
    for (int i = cuts[s]; i < cuts[s + 1]; ++i) {
      const CutUnit& u = p.units[static_cast<size_t>(i)];
      sum.forward += u.forward, sum.backward += u.backward, sum.weights += u.weights;
      sum.parameters += u.parameters, sum.saved += u.saved;
    }
    out.units.push_back(sum);
  }
  return out;
}

// The step of this cut; infinite where it does not fit.
double played(const CutProblem& p, const std::vector<int>& cuts) {
  std::vector<StageTime> stages;
  std::vector<CutUnit> units = merged(p, cuts).units;
  for (const CutUnit& u : units) stages.push_back({u.forward, u.backward, u.weights, 0});
  Timeline line = run(p.schedule, stages, static_cast<int>(p.stages), static_cast<int>(p.micro_batches));
  double time = 0;
  for (size_t d = 0; d < units.size(); ++d) {
    if (units[d].parameters * p.resident + units[d].saved * static_cast<double>(line.most_alive[d]) > p.memory)
      return kNever;
    double reduce = units[d].parameters * p.reduce;
    double after = units[d].parameters * p.finish + std::max(reduce * p.exposed, reduce - units[d].backward);
    time = std::max(time, line.last_end[d] * p.waiting + after);
  }
  return time;
}

constexpr Schedule kSchedules[] = {Schedule::gpipe, Schedule::one_f_one_b, Schedule::zero_bubble};

TEST(Cuts, NoCutIsFasterThanTheBound) {
  std::mt19937 random(11);
  int tight = 0, feasible = 0;
  for (int round = 0; round < 3000; ++round) {
    int units = 4 + round % 5;
    CutProblem p = random_problem(random, units);
    p.schedule = kSchedules[random() % 3];
    p.stages = 2 + static_cast<int64_t>(random() % 3), p.micro_batches = 1 + static_cast<int64_t>(random() % 12);
    p.waiting = 1 + static_cast<double>(random() % 3) / 10;
    p.finish = static_cast<double>(random() % 4) / 2, p.reduce = static_cast<double>(random() % 4), p.exposed = 0.1;
    if (round % 2) p.resident = 1, p.memory = 20 + static_cast<double>(random() % 120);
    double best = kNever;
    for_each_cut(units, p.stages, [&](const std::vector<int>& cuts) { best = std::min(best, played(p, cuts)); });
    CutBound bound = bound_of_all_cuts(p, kNever);
    EXPECT_LE(bound.time, best * (1 + 1e-9)) << "round " << round;
    if (bound.time == kNever) continue;
    ASSERT_EQ(static_cast<int64_t>(bound.cuts.size()), p.stages + 1);
    EXPECT_EQ(bound.cuts.back(), units);
    feasible += best < kNever;
    tight += best < kNever && bound.time > 0.95 * best;
    // What is above the bound is found below a higher limit, and what is not is not found.
    EXPECT_LT(bound_of_all_cuts(p, bound.time * 1.01).time, kNever);
    EXPECT_EQ(bound_of_all_cuts(p, bound.time * 0.99).time, kNever);
  }
  EXPECT_GT(feasible, 2000);
  EXPECT_GT(tight, feasible / 2) << "of " << feasible;  // few and very unequal units
}

TEST(Cuts, TheBoundIsTheLeastOfAllCuts) {
  std::mt19937 random(12);
  for (int round = 0; round < 300; ++round) {
    int units = 4 + round % 5;
    CutProblem p = random_problem(random, units);
    p.schedule = kSchedules[random() % 3];
    p.stages = 2 + static_cast<int64_t>(random() % 3), p.micro_batches = 1 + static_cast<int64_t>(random() % 12);
    p.finish = 0.5, p.reduce = 2, p.exposed = 0.1, p.send = 1, p.waiting = 1.1;
    if (round % 2) p.resident = 1, p.memory = 100;
    double least = kNever;
    for_each_cut(units, p.stages, [&](const std::vector<int>& cuts) {
      least = std::min(least, bound_of_all_cuts(merged(p, cuts), kNever).time);
    });
    double bound = bound_of_all_cuts(p, kNever).time;
    if (least == kNever)
      EXPECT_EQ(bound, kNever);
    else
      EXPECT_NEAR(bound / least, 1, 1e-5) << "round " << round;
  }
}

TEST(Cuts, EqualStagesAttainTheFormulas) {
  for (int64_t p : {2, 4, 8})
    for (int64_t m : {8, 16, 64}) {
      CutProblem q;
      q.stages = p, q.micro_batches = m, q.memory = kNever;
      q.units.assign(static_cast<size_t>(p), {1, 2, 1, 0, 0});
      auto n = static_cast<double>(m + p - 1);
      EXPECT_NEAR(bound_of_all_cuts(q, kNever).time, 3 * n, 1e-4 * n);
      // Narayanan et al. 2019 and Qi et al. 2024 (H1).
      q.schedule = Schedule::zero_bubble;
      EXPECT_NEAR(bound_of_all_cuts(q, kNever).time, static_cast<double>(3 * m + p - 1), 1e-4 * n);
    }
}

TEST(Cuts, BalancedPartsHaveTheLeastMaximum) {
  std::mt19937 random(13);
  for (int round = 0; round < 200; ++round) {
    int units = 3 + round % 7;
    int64_t parts = 1 + static_cast<int64_t>(random() % static_cast<unsigned>(units));
    std::vector<double> cost;
    for (int i = 0; i < units; ++i) cost.push_back(static_cast<double>(random() % 50 + 1));
    auto largest = [&](const std::vector<int>& cuts) {
      double most = 0;
      for (size_t s = 0; s + 1 < cuts.size(); ++s)
        most = std::max(most, std::accumulate(cost.begin() + cuts[s], cost.begin() + cuts[s + 1], 0.0));
      return most;
    };
    double best = kNever;
    for_each_cut(units, parts, [&](const std::vector<int>& cuts) { best = std::min(best, largest(cuts)); });
    std::vector<int> cuts = balanced_cuts(cost, parts);
    ASSERT_EQ(static_cast<int64_t>(cuts.size()), parts + 1);
    for (size_t s = 0; s + 1 < cuts.size(); ++s) EXPECT_LT(cuts[s], cuts[s + 1]);
    EXPECT_DOUBLE_EQ(largest(cuts), best);
  }
}

}  // namespace
}  // namespace sorus::parallel
