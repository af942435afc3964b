#include "sorus/run/schedule.h"

#include <gtest/gtest.h>

namespace sorus {
namespace {

// Values: 0 activation, 1 and 2 gradients, 3 and 4 weights of the caller, 5 and 6 their new values.
TEST(Schedule, UpdatesFollowTheirGradients) {
  std::vector<int64_t> bytes{10000, 10000, 10000, 0, 0, 0, 0};
  std::vector<ScheduleUnit> units{{{3}, {0}, {}},       // forward
                                  {{0}, {1}, {}},       // gradient of weight 3
                                  {{0}, {2}, {}},       // gradient of weight 4
                                  {{1, 3}, {5}, {3}},   // update of 3
                                  {{2, 4}, {6}, {4}}};  // update of 4
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 1, 3, 2, 4}));
  units[2].reads.push_back(
      3);  // now the gradient of 4 needs the old weight 3: its update waits, the other goes first
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 2, 4, 1, 3}));
}

// Values: 0 and 1 activations, 2 and 3 gradients of results, 4 and 5 of weights, larger than what they are made from;
// 6 and 7 weights of the caller, 8 and 9 their new values.
TEST(Schedule, TwoTogetherFreeMoreThanTheyNeed) {
  std::vector<int64_t> bytes{4000, 4000, 4000, 4000, 9000, 9000, 0, 0, 0, 0};
  std::vector<ScheduleUnit> units{{{6}, {0}, {}},                         // forward of both layers
                                  {{0, 7}, {1}, {}},  {{1}, {2}, {}},     // backward
                                  {{2, 7}, {3}, {}},  {{1, 2}, {4}, {}},  // gradient of weight 7
                                  {{0, 3}, {5}, {}},                      // gradient of weight 6
                                  {{4, 7}, {8}, {7}},                     // updates
                                  {{5, 6}, {9}, {6}}};
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 1, 2, 3, 4, 6, 5, 7}));
  units.push_back({{4}, {10}, {}});  // who else reads the gradient must have its place in time
  bytes.push_back(0);
  EXPECT_EQ(schedule(units, bytes).size(), 9u);
}

// Values: 0 activation, 1 gradient of the logits, 2 that of a tied weight by the head, 3 other gradients, 4 that by
// the embedding, 5 the weight of the caller, 6 its new value.
TEST(Schedule, WhatTakesMoreThanItFreesIsPutOff) {
  std::vector<int64_t> bytes{4000, 2000, 9000, 5000, 5000, 0, 0};
  std::vector<ScheduleUnit> units{{{5}, {0}, {}},    {{0}, {1}, {}}, {{1}, {2}, {}},
                                  {{0, 1}, {3}, {}}, {{3}, {4}, {}}, {{2, 4, 5}, {6}, {5}}};
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 1, 3, 4, 2, 5}));
  units[2].stays = true;
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 1, 2, 3, 4, 5}));
  units[2].stays = false;
  units[2].reads.push_back(7);  // what somebody overwrites on the way has to be read before
  units[4].overwrites.push_back(7);
  bytes.push_back(0);
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 1, 2, 3, 4, 5}));
}

// Two updates that read each other's old value cannot both be in place; the order is still one that respects reads.
TEST(Schedule, CyclesOfOverwritingEnd) {
  std::vector<ScheduleUnit> units{{{0}, {2}, {1}}, {{1}, {3}, {0}}};
  EXPECT_EQ(schedule(units, {0, 0, 0, 0}).size(), 2u);
}

}  // namespace
}  // namespace sorus
