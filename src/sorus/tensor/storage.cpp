#include "sorus/tensor/storage.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include "sorus/base/error.h"
#include "sorus/tensor/host_memory.h"
#include "sorus/tensor/memory_account.h"

namespace sorus {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

// Blocks are rounded up to one of four sizes per power of two: at most 25% is lost, and a freed block fits the next
// request of about its size.
size_t rounded(size_t n) {
  if (n <= kAlignment) return kAlignment;
  size_t quarter = std::max(kAlignment, std::bit_floor(n - 1) / 4);
  return (n + quarter - 1) / quarter * quarter;
}
size_t bin_of(size_t size) {  // size is a rounded one
  size_t power = std::bit_width(size) - 1;
  return power * 4 + ((size >> (power - 2)) & 3);
}

struct Arena {
  std::mutex mutex;
  std::array<std::vector<void*>, 256> bins;
  std::atomic<size_t> in_use{0}, peak{0}, cached{0};

  static Arena& instance() {
    static Arena* arena = new Arena;  // never destroyed: tensors in static storage may outlive everything
    return *arena;
  }

  void* allocate(size_t n) {
    size_t size = rounded(n);
    size_t now = in_use.fetch_add(size, std::memory_order_relaxed) + size;
    for (size_t p = peak.load(std::memory_order_relaxed); now > p && !peak.compare_exchange_weak(p, now);) {
    }
    {
      std::lock_guard lock(mutex);
      auto& bin = bins[bin_of(size)];
      if (!bin.empty()) {
        void* block = bin.back();
        bin.pop_back();
        cached.fetch_sub(size, std::memory_order_relaxed);
        return block;
      }
    }
    // What does not recur should not be kept beside what does: a miss while much lies unused gives it back.
    if (size >= kHugePage && cached > std::max<size_t>(size_t{128} << 20, now / 8)) empty();
    bool huge = size >= 2 * kHugePage;
    auto ask = [&] {
      return std::aligned_alloc(huge ? kHugePage : kAlignment,
                                huge ? (size + kHugePage - 1) / kHugePage * kHugePage : size);
    };
    void* block = ask();
    if (!block) {
      empty();
      block = ask();
    }
    if (!block) {
      in_use.fetch_sub(size);
      fail<Error>("out of memory: {} bytes asked for, {} in use", n, in_use.load());
    }
    // Only pages that are needed whole: a huge page is in memory as soon as one byte of it is touched.
    if (huge) madvise(block, n / kHugePage * kHugePage, MADV_HUGEPAGE);
    return block;
  }

  void free(void* block, size_t n) {
    size_t size = rounded(n);
    in_use.fetch_sub(size, std::memory_order_relaxed);
    std::lock_guard lock(mutex);
    bins[bin_of(size)].push_back(block);
    cached.fetch_add(size, std::memory_order_relaxed);
  }

  void empty() {
    std::lock_guard lock(mutex);
    for (auto& bin : bins) {
      for (void* block : bin) std::free(block);
      bin.clear();
    }
    cached = 0;
  }
};

// Blocks of up to 1 KiB that a thread freed, by size. A free block holds the address of the next one.
struct FreeList {
  static constexpr size_t kClasses = 17, kStep = 64;
  static constexpr int kKeep = 256;
  struct Bin {
    void* first = nullptr;
    int count = 0;
  };
  std::array<Bin, kClasses> bins;
  ~FreeList() {
    for (Bin& bin : bins)
      while (bin.first) ::operator delete(std::exchange(bin.first, *static_cast<void**>(bin.first)));
  }
};
// Constant at first, so that no call of an operator asks whether it was made already.
constinit thread_local FreeList* free_list = nullptr;

// A thread has lists from the first block that it frees until it ends.
constinit thread_local bool free_list_gone = false;
FreeList* new_free_list() {
  if (free_list_gone) return nullptr;
  struct Owner {
    FreeList lists;
    ~Owner() { free_list = nullptr, free_list_gone = true; }
  };
  thread_local Owner owner;
  return free_list = &owner.lists;
}
size_t class_of(size_t size) { return (size + FreeList::kStep - 1) / FreeList::kStep; }

}  // namespace

void* allocate_small(size_t size) {
  size_t c = class_of(size);
  if (c < FreeList::kClasses && free_list) [[likely]] {
    FreeList::Bin& bin = free_list->bins[c];
    if (bin.first) [[likely]] {
      --bin.count;
      return std::exchange(bin.first, *static_cast<void**>(bin.first));
    }
  }
  return ::operator new(c* FreeList::kStep);
}

void free_small(void* p, size_t size) {
  size_t c = class_of(size);
  if (c > 0 && c < FreeList::kClasses && (free_list || new_free_list())) [[likely]] {
    FreeList::Bin& bin = free_list->bins[c];
    if (bin.count < FreeList::kKeep) {
      ++bin.count;
      *static_cast<void**>(p) = std::exchange(bin.first, p);
      return;
    }
  }
  ::operator delete(p);
}

void* Storage::operator new(size_t size) { return allocate_small(size); }
void Storage::operator delete(void* p) { free_small(p, sizeof(Storage)); }

namespace {
// Tiny results (scalars, small vectors) live in the free lists too, without a lock.
constexpr size_t kTiny = 512;
}  // namespace

Ref<Storage> Storage::allocate(size_t nbytes) {
  if (HostMemory* host = nbytes >= HostMemory::kBlock ? HostMemory::active() : nullptr) {
    std::byte* data = host->allocate(nbytes);
    return wrap(data, nbytes, [host, data, nbytes] { host->free(data, nbytes); });
  }
  if (const auto* account = nbytes > kTiny ? MemoryAccount::current() : nullptr) {
    void* data = Arena::instance().allocate(nbytes);
    (*account)->add(static_cast<int64_t>(nbytes));
    return wrap(data, nbytes, [account = *account, data, nbytes] {
      Arena::instance().free(data, nbytes);
      account->add(-static_cast<int64_t>(nbytes));
    });
  }
  void* data = nbytes <= kTiny ? allocate_small(std::max<size_t>(nbytes, 1)) : Arena::instance().allocate(nbytes);
  return Ref<Storage>(new Storage(Kind::owned, static_cast<std::byte*>(data), nbytes, true));
}

Ref<Storage> Storage::wrap(void* data, size_t nbytes, std::function<void()> release, bool writable) {
  Ref<Storage> s(new Storage(Kind::wrapped, static_cast<std::byte*>(data), nbytes, writable));
  s->release_ = std::move(release);
  return s;
}

Ref<Storage> Storage::abstract(size_t nbytes) {
  return Ref<Storage>(new Storage(Kind::abstract, nullptr, nbytes, true));
}

Storage::~Storage() {
  if (kind_ == Kind::owned) {
    if (nbytes_ <= kTiny)
      free_small(data_, std::max<size_t>(nbytes_, 1));
    else
      Arena::instance().free(data_, nbytes_);
  } else if (release_) {
    release_();
  }
}

MemoryStats memory_stats() {
  Arena& a = Arena::instance();
  return {a.in_use, a.peak, a.cached};
}
void reset_peak_memory() { Arena::instance().peak = Arena::instance().in_use.load(); }
void empty_cache() { Arena::instance().empty(); }

}  // namespace sorus
