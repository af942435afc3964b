// Work that threads share: each has a part of its own, one after another, and helps the others when it is done.
//
//   WorkShares shares(strips, threads);
//   parallel_for(threads, 1, [&](int64_t thread, int64_t) {
//     for (int64_t i; (i = shares.next(thread)) >= 0;) pack(i);
//   });
//
// A thread's part is the one that an even division of the whole gives it, as in parallel_for and in printed loops:
// what it finds there, it has often written itself a moment ago, and it still lies in the cache of its core. Handing
// out pieces to whoever asks first moves everything between the cores; an even division alone waits for the slowest
// core.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace sorus {

class WorkShares {
 public:
  WorkShares(int64_t n, int64_t threads);

  /// A piece that nobody else has got or will get; -1 when all are given out.
  int64_t next(int64_t thread);

 private:
  static constexpr int64_t kMostShares = 16;  // more threads than that use one together

  /// [first, last) that is left, in one word so that its owner takes from the front while others take from the back.
  struct alignas(64) Share {
    Share() = default;
    Share(const Share& other) : left(other.left.load(std::memory_order_relaxed)) {}
    std::atomic<uint64_t> left{0};
  };

  std::array<Share, kMostShares> shares_;
  int64_t count_;
};

}  // namespace sorus
