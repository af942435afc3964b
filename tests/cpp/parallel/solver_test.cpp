#include <gtest/gtest.h>

#include <random>

#include "sorus/base/error.h"
#include "sorus/parallel/schedule/schedule.h"
#include "sorus/parallel/solver/assignment.h"

namespace sorus::parallel {
namespace {

Assignment random_problem(std::mt19937& random, int nodes, int edges) {
  auto number = [&] { return static_cast<double>(random() % 1000) / 10; };
  Assignment a;
  for (int i = 0; i < nodes; ++i) {
    std::vector<double> costs(1 + random() % 4);
    for (double& c : costs) c = number();
    a.add(costs);
  }
  for (int e = 0; e < edges; ++e) {
    int x = static_cast<int>(random() % static_cast<unsigned>(nodes)),
        y = static_cast<int>(random() % static_cast<unsigned>(nodes));
    if (x == y) continue;
    std::vector<double> costs(a.nodes[static_cast<size_t>(x)].size() * a.nodes[static_cast<size_t>(y)].size());
    for (double& c : costs) c = number();
    a.connect(x, y, costs);
  }
  return a;
}

double brute_force(const Assignment& a) {
  std::vector<int> choice(a.nodes.size(), 0);
  double best = 1e300;
  for (;;) {
    best = std::min(best, a.cost_of(choice));
    size_t i = 0;
    while (i < choice.size() && ++choice[i] == static_cast<int>(a.nodes[i].size())) choice[i++] = 0;
    if (i == choice.size()) return best;
  }
}

TEST(Assignment, IsExactOnSmallProblems) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    Assignment a = random_problem(random, 2 + round % 7, round % 15);
    Solution s = solve(a);
    EXPECT_NEAR(s.cost, brute_force(a), 1e-9);
    EXPECT_DOUBLE_EQ(s.cost, s.bound);
    EXPECT_DOUBLE_EQ(a.cost_of(s.choice), s.cost);
  }
}

TEST(Assignment, BoundsHoldWhenTablesAreTooLarge) {
  std::mt19937 random(5);
  for (int round = 0; round < 40; ++round) {
    Assignment a = random_problem(random, 8, 24);
    Solution s = solve(a, 8);
    double best = brute_force(a);
    EXPECT_LE(s.bound, best + 1e-9);
    EXPECT_GE(s.cost, best - 1e-9);
    EXPECT_LE(s.cost, best * 1.5);
  }
}

TEST(Schedule, BubblesAreThoseOfThePapers) {
  auto bubble = [](Schedule s, int p, int m, int v) {
    std::vector<StageTime> stages(static_cast<size_t>(p * v), StageTime{1.0 / v, 2.0 / v, 1.0 / v, 0});
    return run(s, stages, p, m).time / (3.0 * m) - 1;
  };
  EXPECT_NEAR(bubble(Schedule::gpipe, 4, 8, 1), 3.0 / 8, 1e-9);
  EXPECT_NEAR(bubble(Schedule::one_f_one_b, 4, 8, 1), 3.0 / 8, 1e-9);
  EXPECT_NEAR(bubble(Schedule::interleaved, 4, 8, 2), 3.0 / 16, 1e-9);
  EXPECT_NEAR(bubble(Schedule::interleaved, 8, 32, 4), 7.0 / 128, 1e-9);
  EXPECT_NEAR(bubble(Schedule::zero_bubble, 4, 8, 1), 3.0 / 8 / 3, 1e-9);  // ZB-H1: a third of 1F1B
}

TEST(Schedule, MemoryIsThatOfThePapers) {
  std::vector<StageTime> stages(4, StageTime{1, 2, 1, 0});
  EXPECT_EQ(run(Schedule::gpipe, stages, 4, 16).most_alive, (std::vector<int64_t>{16, 16, 16, 16}));
  EXPECT_EQ(run(Schedule::one_f_one_b, stages, 4, 16).most_alive, (std::vector<int64_t>{4, 3, 2, 1}));
  EXPECT_EQ(run(Schedule::zero_bubble, stages, 4, 16).most_alive, (std::vector<int64_t>{4, 3, 2, 1}));
}

// Of very many micro-batches only some are played. The rest adds what its slowest stage takes, and exactly its work.
TEST(Schedule, AnyNumberOfMicroBatchesIsPlayedAtOnce) {
  std::vector<StageTime> stages = {{1, 2, 1, 0.25}, {2, 4, 2, 0.25}, {1.5, 2, 1, 0}};
  for (Schedule s : {Schedule::gpipe, Schedule::one_f_one_b, Schedule::zero_bubble}) {
    int64_t few = kMostPlayed / 3, many = int64_t{1} << 31;
    many -= (many - few) % 3;
    Timeline a = run(s, stages, 3, few), b = run(s, stages, 3, many);
    EXPECT_NEAR(b.time - a.time, static_cast<double>(many - few) * 6, 1e-6 * b.time);
    for (size_t d = 0; d < 3; ++d) {
      double work = stages[d].forward + stages[d].backward;
      EXPECT_NEAR(b.busy[d], static_cast<double>(many) * work, 1e-9 * b.busy[d]);
      EXPECT_EQ(b.most_alive[d], s == Schedule::gpipe ? many : a.most_alive[d]);
    }
  }
  EXPECT_NEAR(run(Schedule::one_f_one_b, {{1, 2, 1, 0}}, 1, 3000000017).time, 9000000051, 1);
}

// What a few groups tell is what playing all of them does: with events all are played.
TEST(Schedule, WhatIsCountedIsWhatWouldBePlayed) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> part(0, 1);
  for (int i = 0; i < 2000; ++i) {
    int p = 1 + static_cast<int>(random() % 6);
    Schedule s = std::array{Schedule::gpipe, Schedule::one_f_one_b, Schedule::zero_bubble,
                            Schedule::interleaved}[random() % 4];
    int v = s == Schedule::interleaved ? 2 : 1;
    int64_t m = 60 * p + static_cast<int64_t>(random() % 300);
    if (v > 1) m -= m % p;
    std::vector<StageTime> stages;
    double spread = std::array{0.0, 0.01, 1.0}[random() % 3];  // nearly equal stages take long to become steady
    for (int k = 0; k < p * v; ++k) {
      double f = 1 + spread * part(random), w = f * part(random);
      stages.push_back({f, f + w, w, 0.5 * part(random)});
    }
    Timeline few = run(s, stages, p, m), all = run(s, stages, p, m, true);
    EXPECT_NEAR(few.time, all.time, 1e-9 * all.time) << i;
    EXPECT_EQ(few.most_alive, all.most_alive) << i;
    for (int d = 0; d < p; ++d) {
      auto at = static_cast<size_t>(d);
      EXPECT_NEAR(few.busy[at], all.busy[at], 1e-9 * all.busy[at]) << i;
      EXPECT_NEAR(few.last_end[at], all.last_end[at], 1e-9 * all.time) << i;
    }
  }
}

TEST(Schedule, EveryPassRunsOnce) {
  for (Schedule s : {Schedule::gpipe, Schedule::one_f_one_b, Schedule::interleaved, Schedule::zero_bubble})
    for (int p : {1, 2, 3, 5})
      for (int v : {1, 3}) {
        if (v > 1 && s != Schedule::interleaved) continue;
        std::vector<StageTime> stages(static_cast<size_t>(p * v), StageTime{1, 2, 1, 0.1});
        Timeline t = run(s, stages, p, 2 * p, true);
        std::vector<int> count(static_cast<size_t>(p * v * 2 * p), 0);
        for (const auto& e : t.events)
          if (e.kind != Timeline::Kind::weights) ++count[static_cast<size_t>(e.stage * 2 * p + e.micro_batch)];
        for (int c : count) EXPECT_EQ(c, 2);
      }
  EXPECT_THROW(run(Schedule::interleaved, std::vector<StageTime>(8, StageTime{1, 2, 1, 0}), 4, 6), ValueError);
}

}  // namespace
}  // namespace sorus::parallel
