// MemoryAccount: what one rank holds.
//
//   auto mine = std::make_shared<MemoryAccount>();
//   {
//     AccountScope scope(mine);  // tensors that this thread makes from here on are charged to it
//     ...
//   }
//   mine->peak();
//
// Ranks may be threads of one process, whose allocator cannot say which of them a block belongs to. So a thread names
// the account of its rank, and every storage that it makes meanwhile is charged there until it is gone, whoever drops
// it. Storages of up to 512 bytes are not counted: there are many, and they weigh nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace sorus {

class MemoryAccount {
 public:
  int64_t held() const { return held_.load(std::memory_order_relaxed); }
  /// The most that was held since the last `reset_peak`.
  int64_t peak() const { return peak_.load(std::memory_order_relaxed); }
  void reset_peak() { peak_.store(held(), std::memory_order_relaxed); }
  /// Bytes more, or less.
  void add(int64_t bytes);

  /// Of the calling thread; null outside of every scope.
  static const std::shared_ptr<MemoryAccount>* current();

 private:
  std::atomic<int64_t> held_{0}, peak_{0};
};

/// The account of what the calling thread makes, for as long as the scope lives.
class AccountScope {
 public:
  explicit AccountScope(std::shared_ptr<MemoryAccount> account);
  ~AccountScope();
  AccountScope(const AccountScope&) = delete;
  AccountScope& operator=(const AccountScope&) = delete;

 private:
  std::shared_ptr<MemoryAccount> account_;
  const std::shared_ptr<MemoryAccount>* before_;
};

}  // namespace sorus
