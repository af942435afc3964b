#include "sorus/run/interval_packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "sorus/base/error.h"
#include "sorus/run/memory_plan.h"

namespace sorus {
namespace {

using Buffers = std::vector<PackInterval>;

bool valid(const Buffers& buffers, const std::vector<int64_t>& offsets, int64_t capacity) {
  for (size_t a = 0; a < buffers.size(); ++a) {
    const PackInterval& x = buffers[a];
    if (offsets[a] < 0 || offsets[a] % x.alignment != 0 || offsets[a] + x.bytes > capacity) return false;
    for (size_t b = 0; b < a; ++b) {
      const PackInterval& y = buffers[b];
      bool together = x.first < y.end && y.first < x.end;
      if (together && offsets[a] < offsets[b] + y.bytes && offsets[b] < offsets[a] + x.bytes) return false;
    }
  }
  return true;
}

// The least height: every order of placing each buffer on top of those that it meets.
int64_t tried_all(const Buffers& buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), size_t{0});
  int64_t best = std::numeric_limits<int64_t>::max();
  do {
    std::vector<int64_t> tops(buffers.size(), 0);
    int64_t height = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      const PackInterval& x = buffers[order[i]];
      int64_t at = 0;
      for (size_t k = 0; k < i; ++k) {
        const PackInterval& y = buffers[order[k]];
        if (x.first < y.end && y.first < x.end) at = std::max(at, tops[order[k]]);
      }
      tops[order[i]] = (at + x.alignment - 1) / x.alignment * x.alignment + x.bytes;
      height = std::max(height, tops[order[i]]);
    }
    best = std::min(best, height);
  } while (std::next_permutation(order.begin(), order.end()));
  return best;
}

Buffers random_buffers(std::mt19937& random, int count, int times, int most_bytes, bool aligned) {
  Buffers buffers;
  for (int i = 0; i < count; ++i) {
    auto below = [&](int n) { return static_cast<int64_t>(random() % static_cast<unsigned>(n)); };
    int64_t first = below(times), length = 1 + below(times - static_cast<int>(first));
    buffers.push_back({1 + below(most_bytes), first, first + length, aligned ? int64_t{1} << below(3) : 1});
  }
  return buffers;
}

TEST(IntervalPacking, FindsTheLeastHeightAndProvesIt) {
  std::mt19937 random(1);
  int above_the_bound = 0;
  for (int round = 0; round < 400; ++round) {
    Buffers buffers = random_buffers(random, 2 + round % 6, 3 + round % 5, 2 + round % 9, round % 3 == 0);
    int64_t least = tried_all(buffers);
    IntervalPacking fits = pack_intervals(buffers, least);
    ASSERT_EQ(fits.state, PackState::solved) << round;
    EXPECT_TRUE(valid(buffers, fits.offsets, least));
    EXPECT_EQ(pack_intervals(buffers, least - 1).state, PackState::impossible) << round;
    IntervalPacking found = least_packing(buffers);
    EXPECT_EQ(found.bytes, least);
    EXPECT_EQ(found.lower_bound, least);
    EXPECT_TRUE(valid(buffers, found.offsets, least));
    above_the_bound += least > most_alive(buffers) ? 1 : 0;
  }
  EXPECT_GT(above_the_bound, 20);  // or the proofs were never needed
}

// A rectangle cut into pieces has a packing without any slack.
Buffers cut_rectangle(std::mt19937& random, int64_t width, int64_t height, int pieces) {
  Buffers buffers{{height, 0, width}};
  while (static_cast<int>(buffers.size()) < pieces) {
    PackInterval& b = buffers[random() % buffers.size()];
    PackInterval other = b;
    if (random() % 2 == 0 && b.bytes > 1) {
      other.bytes = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(b.bytes - 1));
      b.bytes -= other.bytes;
    } else if (b.end - b.first > 1) {
      b.end = other.first = b.first + 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(b.end - b.first - 1));
    } else {
      continue;
    }
    buffers.push_back(other);
  }
  std::shuffle(buffers.begin(), buffers.end(), random);
  return buffers;
}

TEST(IntervalPacking, SolvesRectanglesCutIntoPieces) {
  std::mt19937 random(2);
  for (int round = 0; round < 10; ++round) {
    Buffers buffers = cut_rectangle(random, 40, 1000, 60);
    ASSERT_EQ(most_alive(buffers), 1000);
    IntervalPacking found = pack_intervals(buffers, 1000, {.seconds = 20});
    ASSERT_EQ(found.state, PackState::solved) << round;
    EXPECT_TRUE(valid(buffers, found.offsets, 1000));
  }
}

TEST(IntervalPacking, TheExampleOfTheHeader) {
  Buffers buffers{{4, 0, 3}, {4, 3, 9}, {4, 0, 9}, {4, 9, 21}, {4, 0, 21}};
  EXPECT_EQ(pack_intervals(buffers, 12).state, PackState::solved);
  EXPECT_EQ(pack_intervals(buffers, 11).state, PackState::impossible);
  EXPECT_EQ(least_packing(buffers).bytes, 12);
}

TEST(IntervalPacking, EmptyBuffersAndNoBuffers) {
  EXPECT_EQ(pack_intervals({}, 0).state, PackState::solved);
  EXPECT_EQ(least_packing({}).bytes, 0);
  IntervalPacking found = pack_intervals({{0, 1, 5}, {7, 3, 3}, {5, 0, 9}}, 7);
  EXPECT_EQ(found.state, PackState::solved);
  EXPECT_THROW(pack_intervals({{-1, 0, 1}}, 5), ValueError);
  EXPECT_THROW(pack_intervals({{1, 3, 1}}, 5), ValueError);
  EXPECT_THROW(least_packing({{1, 0, 1}}, {0, 0}), ValueError);
}

TEST(IntervalPacking, LimitsEndTheSearch) {
  std::mt19937 random(4);
  Buffers buffers = cut_rectangle(random, 60, 4000, 150);
  IntervalPacking found = pack_intervals(buffers, 4000, {.nodes = 20});
  EXPECT_EQ(found.state, PackState::gave_up);
  EXPECT_LE(found.nodes, 300);
  std::vector<int64_t> stacked;
  int64_t top = 0;
  for (const PackInterval& b : buffers) stacked.push_back(top), top += b.bytes;
  IntervalPacking kept = least_packing(buffers, stacked, {.nodes = 20});
  EXPECT_TRUE(valid(buffers, kept.offsets, kept.bytes));
  EXPECT_LE(kept.bytes, top);
}

TEST(MemoryPlan, SearchesWhereGreedyOrdersLeaveSomething) {
  std::mt19937 random(6);
  for (int round = 0; round < 5; ++round) {
    std::vector<Lifetime> lives;
    for (const PackInterval& b : cut_rectangle(random, 30, 400, 40))
      lives.push_back({b.bytes * 64, static_cast<int>(b.first), static_cast<int>(b.end) - 1});
    MemoryPlan plan = plan_memory(lives);
    EXPECT_EQ(plan.lower_bound, 400 * 64);
    EXPECT_EQ(plan.bytes, plan.lower_bound);
  }
}

}  // namespace
}  // namespace sorus
