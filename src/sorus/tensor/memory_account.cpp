#include "sorus/tensor/memory_account.h"

#include <utility>

namespace sorus {
namespace {

// Constant at first, so that no allocation asks whether it was made already.
constinit thread_local const std::shared_ptr<MemoryAccount>* of_thread = nullptr;

}  // namespace

void MemoryAccount::add(int64_t bytes) {
  int64_t now = held_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  for (int64_t p = peak(); now > p && !peak_.compare_exchange_weak(p, now, std::memory_order_relaxed);) {
  }
}

const std::shared_ptr<MemoryAccount>* MemoryAccount::current() { return of_thread; }

AccountScope::AccountScope(std::shared_ptr<MemoryAccount> account)
    : account_(std::move(account)), before_(std::exchange(of_thread, &account_)) {}
AccountScope::~AccountScope() { of_thread = before_; }

}  // namespace sorus
