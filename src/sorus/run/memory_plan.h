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
  int64_t lower_bound = 0;  ///< the most that is alive at one step: no plan needs less
};

/// Largest first, each at the lowest offset that is free for its whole life, all aligned to 64 bytes.
MemoryPlan plan_memory(const std::vector<Lifetime>& buffers);

}  // namespace sorus
