// An allocator for containers that an operator call makes and soon drops: their memory comes from the thread's lists
// of small blocks, without a lock.
//
//   std::vector<Edge, SmallAllocator<Edge>> edges;
#pragma once

#include <vector>

#include "sorus/tensor/storage.h"

namespace sorus {

template <class T>
struct SmallAllocator {
  using value_type = T;
  SmallAllocator() = default;
  template <class U>
  SmallAllocator(const SmallAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(allocate_small(n * sizeof(T))); }
  void deallocate(T* p, size_t n) { free_small(p, n * sizeof(T)); }
  template <class U>
  bool operator==(const SmallAllocator<U>&) const {
    return true;
  }
};

template <class T>
using SmallList = std::vector<T, SmallAllocator<T>>;

}  // namespace sorus
