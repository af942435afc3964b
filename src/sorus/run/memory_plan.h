// One arena for all temporaries: every buffer gets an offset so that buffers alive at the same time do not overlap.
#pragma once

#include <cstdint>
#include <vector>

namespace sorus {

struct Lifetime {
  int64_t bytes = 0;
  int first = 0, last = 0;  ///< steps, both included
};

struct MemoryPlan {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;        ///< of the arena
  int64_t lower_bound = 0;  ///< no plan needs less; at least the most that is alive at one step
};

/// Offsets aligned to 64 bytes: the best of several greedy orders, each buffer at the lowest offset that is free for
/// its whole life, and, where that is above the bound, a search (interval_packing.h).
MemoryPlan plan_memory(const std::vector<Lifetime>& buffers);

}  // namespace sorus
