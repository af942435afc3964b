#include "sorus/run/memory_plan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "sorus/run/interval_packing.h"

namespace sorus {
namespace {

constexpr size_t kMostSearched = 1000;

int64_t aligned(int64_t n) { return (n + 63) / 64 * 64; }

// First fit in the given order.
MemoryPlan place(const std::vector<Lifetime>& buffers, const std::vector<size_t>& order) {
  MemoryPlan plan;
  plan.offsets.assign(buffers.size(), 0);
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
  return plan;
}

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& buffers) {
  std::vector<size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  auto length = [&](size_t i) { return static_cast<double>(buffers[i].last - buffers[i].first + 1); };
  auto bytes = [&](size_t i) { return static_cast<double>(buffers[i].bytes); };
  // No one order is best for all programs, and trying another costs a millisecond.
  const std::array<std::function<bool(size_t, size_t)>, 4> orders{
      [&](size_t a, size_t b) { return bytes(a) > bytes(b); },
      [&](size_t a, size_t b) { return bytes(a) * length(a) > bytes(b) * length(b); },
      [&](size_t a, size_t b) { return length(a) > length(b); },
      [&](size_t a, size_t b) { return buffers[a].first < buffers[b].first; }};
  MemoryPlan plan;
  for (const auto& before : orders) {
    std::stable_sort(order.begin(), order.end(), before);
    MemoryPlan next = place(buffers, order);
    if (plan.offsets.empty() || next.bytes < plan.bytes) plan = std::move(next);
  }
  std::vector<PackInterval> intervals;
  for (const Lifetime& b : buffers) intervals.push_back({aligned(b.bytes), b.first, int64_t{b.last} + 1});
  plan.lower_bound = most_alive(intervals);
  // Where the orders leave something, a search of bounded work: about a tenth of a second for hundreds of buffers.
  if (plan.bytes > plan.lower_bound && buffers.size() <= kMostSearched) {
    auto n = static_cast<int64_t>(buffers.size());
    IntervalPacking better = least_packing(intervals, plan.offsets, {.nodes = 4 * n + 2000000 / n});
    plan.offsets = better.offsets, plan.bytes = better.bytes, plan.lower_bound = better.lower_bound;
  }
  return plan;
}

}  // namespace sorus
