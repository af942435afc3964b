#include "sorus/run/memory_plan.h"

#include <algorithm>
#include <numeric>

namespace sorus {
namespace {
int64_t aligned(int64_t n) { return (n + 63) / 64 * 64; }
}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& buffers) {
  MemoryPlan plan;
  plan.offsets.assign(buffers.size(), 0);
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  std::vector<size_t> placed;  // by offset
  for (size_t i : order) {
    int64_t need = aligned(buffers[i].bytes), at = 0;
    for (size_t k : placed) {
      bool together = buffers[k].first <= buffers[i].last && buffers[i].first <= buffers[k].last;
      if (!together) continue;
      if (plan.offsets[k] >= at + need) break;  // the gap before it is large enough
      at = std::max(at, plan.offsets[k] + aligned(buffers[k].bytes));
    }
    plan.offsets[i] = at;
    plan.bytes = std::max(plan.bytes, at + need);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), at,
                                   [&](int64_t offset, size_t k) { return offset < plan.offsets[k]; }),
                  i);
  }
  int steps = 0;
  for (const Lifetime& b : buffers) steps = std::max(steps, b.last + 1);
  std::vector<int64_t> change(static_cast<size_t>(steps) + 1, 0);
  for (const Lifetime& b : buffers) {
    change[static_cast<size_t>(b.first)] += aligned(b.bytes);
    change[static_cast<size_t>(b.last) + 1] -= aligned(b.bytes);
  }
  int64_t alive = 0;
  for (int64_t c : change) plan.lower_bound = std::max(plan.lower_bound, alive += c);
  return plan;
}

}  // namespace sorus
