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
  units[2].reads.push_back(3);  // now the gradient of 4 needs the old weight 3: the update waits
  EXPECT_EQ(schedule(units, bytes), (std::vector<int>{0, 1, 2, 3, 4}));
}

// Two updates that read each other's old value cannot both be in place; the order is still one that respects reads.
TEST(Schedule, CyclesOfOverwritingEnd) {
  std::vector<ScheduleUnit> units{{{0}, {2}, {1}}, {{1}, {3}, {0}}};
  EXPECT_EQ(schedule(units, {0, 0, 0, 0}).size(), 2u);
}

}  // namespace
}  // namespace sorus
