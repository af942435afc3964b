#include "sorus/kernels/attention_blocks.h"

#include <algorithm>
#include <atomic>

#include "sorus/base/threads.h"
#include "sorus/kernels/gemm_isa.h"
#include "sorus/kernels/onednn.h"

namespace sorus::kernels {
namespace {

/// Calls f(task number, scratch) for all tasks, on threads that take the next one when they are done.
template <class F>
void run_tasks(int64_t tasks, int64_t scratch_bytes, F&& f) {
  std::atomic<int64_t> next{0};
  parallel_for(std::min<int64_t>(tasks, num_threads()), 1, [&](int64_t, int64_t) {
    FlushDenormals flush;
    thread_local Scratch scratch;
    void* memory = scratch.get(static_cast<size_t>(scratch_bytes));
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) f(i, memory);
  });
}

}  // namespace

void attention_forward_blocks(const AttentionArgs& g) {
  const GemmIsa& isa = gemm_isa();
  // With few key/value heads, the heads that share one are tasks of their own and copy it again.
  bool apart = g.batch * g.kv_heads < 2 * num_threads();
  int64_t per = apart ? 1 : g.heads / g.kv_heads, count = g.heads / per;
  run_tasks(g.batch * count, isa.attention_scratch(g, false), [&](int64_t i, void* memory) {
    int64_t first = i % count * per;
    isa.attention_forward(g, {i / count, first, first + per, 0, g.q_len}, memory);
  });
}

void attention_backward_blocks(const AttentionArgs& g, const AttentionGradArgs& r) {
  const GemmIsa& isa = gemm_isa();
  int64_t group = g.heads / g.kv_heads;
  run_tasks(g.batch * g.kv_heads, isa.attention_scratch(g, true), [&](int64_t i, void* memory) {
    int64_t first = i % g.kv_heads * group;
    isa.attention_backward(g, r, {i / g.kv_heads, first, first + group, 0, g.q_len}, memory);
  });
}

}  // namespace sorus::kernels
