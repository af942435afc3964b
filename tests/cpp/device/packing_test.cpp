#include "sorus/run/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace sorus {
namespace {

bool apart(const PackingProblem& p, const std::vector<int64_t>& offsets) {
  return std::all_of(p.conflicts.begin(), p.conflicts.end(), [&](const PackingConflict& c) {
    int64_t i = offsets[static_cast<size_t>(c.i)], j = offsets[static_cast<size_t>(c.j)];
    return i + c.gap_ij <= j || j + c.gap_ji <= i || (c.same && i == j);
  });
}

// The least height over all choices of direction: longest paths by repeated relaxation.
int64_t tried_all(const PackingProblem& p) {
  size_t n = p.sizes.size(), ways = 1;
  for (size_t k = 0; k < p.conflicts.size(); ++k) ways *= 3;
  int64_t best = std::numeric_limits<int64_t>::max();
  for (size_t w = 0; w < ways; ++w) {
    std::vector<int64_t> offset(n, 0);
    bool changed = true;
    for (size_t round = 0; changed && round <= 2 * n + 1; ++round) {
      changed = false;
      size_t rest = w;
      for (const PackingConflict& c : p.conflicts) {
        auto push = [&](int from, int to, int64_t gap) {
          int64_t least = offset[static_cast<size_t>(from)] + gap;
          if (offset[static_cast<size_t>(to)] < least) offset[static_cast<size_t>(to)] = least, changed = true;
        };
        size_t way = rest % 3;
        rest /= 3;
        if (way == 0) push(c.i, c.j, c.gap_ij);
        if (way == 1) push(c.j, c.i, c.gap_ji);
        if (way == 2 && c.same) push(c.i, c.j, 0), push(c.j, c.i, 0);
      }
    }
    if (changed || !apart(p, offset)) continue;
    int64_t height = 0;
    for (size_t b = 0; b < n; ++b) height = std::max(height, offset[b] + p.sizes[b]);
    best = std::min(best, height);
  }
  return best;
}

TEST(Packing, ResultThatSlidesBelowItsInput) {
  PackingProblem p;
  int in = p.add(8000), out = p.add(8000);
  p.conflict(in, out).gap_ji = 384;
  p.together = {{in, out}};
  Packing found = pack(p);
  EXPECT_EQ(found.bytes, 8384);
  EXPECT_EQ(found.lower_bound, 8384);
  EXPECT_TRUE(found.optimal);
  EXPECT_EQ(found.offsets[static_cast<size_t>(in)], 384);
}

TEST(Packing, ResultInPlace) {
  PackingProblem p;
  int a = p.add(100), b = p.add(60), c = p.add(40);
  p.conflict(a, b).same = true;
  p.conflict(b, c);
  p.conflict(a, c);
  Packing found = pack(p);
  EXPECT_EQ(found.bytes, 140);
  EXPECT_TRUE(apart(p, found.offsets));
}

TEST(Packing, RandomProblemsAgainstAllChoices) {
  std::mt19937 random(7);
  auto below = [&](int n) { return static_cast<int64_t>(random() % static_cast<unsigned>(n)); };
  for (int trial = 0; trial < 150; ++trial) {
    PackingProblem p;
    int n = 2 + static_cast<int>(below(4));
    for (int i = 0; i < n; ++i) p.add(1 + below(40));
    for (int i = 0; i < n; ++i)
      for (int j = i + 1; j < n && p.conflicts.size() < 8; ++j) {
        if (below(4) == 0) continue;
        PackingConflict& c = p.conflict(i, j);
        if (below(3) == 0) c.gap_ij = below(static_cast<int>(c.gap_ij) + 1) - 3;
        c.same = below(5) == 0;
      }
    Packing found = pack(p);
    EXPECT_TRUE(found.optimal);
    EXPECT_TRUE(apart(p, found.offsets)) << "trial " << trial;
    EXPECT_EQ(found.bytes, tried_all(p)) << "trial " << trial;
    EXPECT_LE(found.lower_bound, found.bytes);
  }
}

TEST(Packing, OffsetsAreAligned) {
  PackingProblem p;
  p.alignment = 16;
  int a = p.add(10), b = p.add(5), c = p.add(33);
  p.conflict(a, b), p.conflict(b, c), p.conflict(a, c);
  Packing found = pack(p);
  for (int64_t offset : found.offsets) EXPECT_EQ(offset % 16, 0);
  EXPECT_TRUE(apart(p, found.offsets));
}

TEST(Packing, LimitGivesAPackingAndSaysThatItIsNotProved) {
  PackingProblem p;
  std::mt19937 random(3);
  for (int i = 0; i < 14; ++i) p.add(1 + static_cast<int64_t>(random() % 1000));
  for (int i = 0; i < 14; ++i)
    for (int j = i + 1; j < 14; ++j)
      if (random() % 3) p.conflict(i, j);
  Packing found = pack(p, 5);
  EXPECT_TRUE(apart(p, found.offsets));
  EXPECT_FALSE(found.optimal);
}

}  // namespace
}  // namespace sorus
