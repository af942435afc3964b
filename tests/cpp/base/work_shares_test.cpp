#include "sorus/base/work_shares.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace sorus {
namespace {

TEST(WorkShares, AThreadTakesItsOwnPartInOrderAndThenTheEndsOfTheOthers) {
  WorkShares shares(7, 2);
  std::vector<int64_t> got;
  for (int64_t i; (i = shares.next(1)) >= 0;) got.push_back(i);
  EXPECT_EQ(got, (std::vector<int64_t>{3, 4, 5, 6, 2, 1, 0}));
  EXPECT_EQ(shares.next(0), -1);
}

TEST(WorkShares, NothingToShare) {
  WorkShares shares(0, 3);
  for (int thread = 0; thread < 3; ++thread) EXPECT_EQ(shares.next(thread), -1);
}

TEST(WorkShares, EveryPieceIsGivenOutOnce) {
  for (int threads : {1, 2, 3, 20}) {
    constexpr int64_t kPieces = 10007;
    WorkShares shares(kPieces, threads);
    std::vector<std::atomic<int>> times(kPieces);
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t)
      pool.emplace_back([&, t] {
        for (int64_t i; (i = shares.next(t)) >= 0;) ++times[static_cast<size_t>(i)];
      });
    for (std::thread& t : pool) t.join();
    for (const auto& n : times) ASSERT_EQ(n, 1) << threads << " threads";
  }
}

}  // namespace
}  // namespace sorus
