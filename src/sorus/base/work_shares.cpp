#include "sorus/base/work_shares.h"

#include <algorithm>

#include "sorus/base/error.h"

namespace sorus {
namespace {
constexpr uint64_t pack(uint64_t first, uint64_t last) { return first << 32 | last; }
}  // namespace

WorkShares::WorkShares(int64_t n, int64_t threads) : count_(std::clamp<int64_t>(threads, 1, kMostShares)) {
  SORUS_ASSERT(n >= 0 && n <= UINT32_MAX);
  for (int64_t i = 0; i < count_; ++i)
    shares_[static_cast<size_t>(i)].left.store(
        pack(static_cast<uint64_t>(n * i / count_), static_cast<uint64_t>(n * (i + 1) / count_)),
        std::memory_order_relaxed);
}

int64_t WorkShares::next(int64_t thread) {
  for (int64_t k = 0; k < count_; ++k) {
    std::atomic<uint64_t>& left = shares_[static_cast<size_t>((thread + k) % count_)].left;
    uint64_t old = left.load(std::memory_order_relaxed);
    while (true) {
      const uint64_t first = old >> 32, last = old & UINT32_MAX;
      if (first == last) break;
      const bool own = k == 0;
      if (left.compare_exchange_weak(old, own ? pack(first + 1, last) : pack(first, last - 1),
                                     std::memory_order_relaxed))
        return static_cast<int64_t>(own ? first : last - 1);
    }
  }
  return -1;
}

}  // namespace sorus
