// Storage: a piece of memory that tensors and their views share.
//
// Memory comes from a small caching allocator (64-byte aligned, huge pages for large blocks) because an eager
// training step frees and asks for the same sizes over and over. A storage may also wrap memory that somebody else
// owns (a NumPy array, a mapped file), or be abstract: it has a size and an identity but no memory, for tensors that
// only exist while a graph is recorded, and for models too large to allocate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "sorus/base/ref.h"

namespace sorus {

class Storage final : public RefCounted {
 public:
  static Ref<Storage> allocate(size_t nbytes);
  /// Memory of somebody else; `release` is called when the last tensor is gone.
  static Ref<Storage> wrap(void* data, size_t nbytes, std::function<void()> release, bool writable = true);
  static Ref<Storage> abstract(size_t nbytes);
  ~Storage() override;

  std::byte* data() const { return data_; }
  size_t nbytes() const { return nbytes_; }
  bool is_abstract() const { return kind_ == Kind::abstract; }
  bool writable() const { return writable_; }
  /// Counts in-place writes, so that a gradient can tell that a value it saved is gone.
  uint32_t version() const { return version_; }
  void bump_version() { ++version_; }

  static void* operator new(size_t size);
  static void operator delete(void* p);

 private:
  enum class Kind : uint8_t { owned, wrapped, abstract };
  Storage(Kind kind, std::byte* data, size_t nbytes, bool writable)
      : data_(data), nbytes_(nbytes), kind_(kind), writable_(writable) {}

  std::byte* data_;
  size_t nbytes_;
  uint32_t version_ = 0;
  Kind kind_;
  bool writable_;
  std::function<void()> release_;
};

/// What the allocator holds, in bytes.
struct MemoryStats {
  size_t in_use = 0;       ///< Storages that are alive.
  size_t peak_in_use = 0;  ///< The most since the start or `reset_peak_memory`.
  size_t cached = 0;       ///< Free blocks kept for reuse.
};
MemoryStats memory_stats();
void reset_peak_memory();
/// Gives the cached blocks back to the system.
void empty_cache();

/// Fixed-size objects (storages, tensors) come from per-thread free lists.
void* allocate_small(size_t size);
void free_small(void* p, size_t size);

}  // namespace sorus
