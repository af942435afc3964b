#include "sorus/kernels/attention_blocks.h"

#include <algorithm>
#include <vector>

#include "sorus/base/threads.h"
#include "sorus/base/work_shares.h"
#include "sorus/kernels/gemm_isa.h"
#include "sorus/kernels/onednn.h"

namespace sorus::kernels {
namespace {

/// Key/value heads as tasks. The heads left over when threads share them evenly are cut into ranges of query blocks
/// with about the same work, so that no thread waits for another's whole head.
struct Tasks {
  const AttentionArgs& g;
  int64_t blocks, units, whole, cut = 0, parts = 1;
  std::vector<int64_t> bounds;  ///< parts + 1 of them, in units

  explicit Tasks(const AttentionArgs& args)
      : g(args),
        blocks((args.q_len + kAttentionQueries - 1) / kAttentionQueries),
        units(blocks * (args.heads / args.kv_heads)) {
    int64_t heads = g.batch * g.kv_heads, threads = num_threads(), left = heads < 8 * threads ? heads % threads : 0;
    whole = heads;
    if (left == 0) return;
    parts = std::min(units, (threads + left - 1) / left);
    if (parts < 2) return;
    whole = heads - left, cut = left;
    int64_t work = 0, done = 0;
    for (int64_t u = 0; u < units; ++u) work += weight(u);
    bounds.push_back(0);
    for (int64_t u = 0; u < units; ++u) {
      done += weight(u);
      int64_t next = static_cast<int64_t>(bounds.size());  // every part gets at least one unit
      if (next < parts && (done * parts >= work * next || units - u - 1 == parts - next)) bounds.push_back(u + 1);
    }
    bounds.push_back(units);
  }
  int64_t weight(int64_t unit) const {
    int64_t key_blocks = (g.kv_len + kAttentionQueries - 1) / kAttentionQueries;
    return g.causal ? std::min(unit % blocks + 1 + g.q_start / kAttentionQueries, key_blocks) : key_blocks;
  }
  int64_t count() const { return whole + cut * parts; }
  AttentionTask operator[](int64_t i) const {
    if (i < whole) return {i / g.kv_heads, i % g.kv_heads, 0, units};
    int64_t head = whole + (i - whole) / parts, part = (i - whole) % parts;
    return {head / g.kv_heads, head % g.kv_heads, bounds[static_cast<size_t>(part)],
            bounds[static_cast<size_t>(part + 1)]};
  }

  /// Calls f(task, its number, scratch) for all, each thread's own first.
  template <class F>
  void run(int64_t scratch_bytes, F&& f) const {
    const int64_t threads = std::min<int64_t>(count(), num_threads());
    WorkShares shares(count(), threads);
    parallel_for(threads, 1, [&](int64_t thread, int64_t) {
      FlushDenormals flush;
      thread_local Scratch scratch;
      void* memory = scratch.get(static_cast<size_t>(scratch_bytes));
      for (int64_t i; (i = shares.next(thread)) >= 0;) f((*this)[i], i, memory);
    });
  }
};

}  // namespace

void attention_forward_blocks(const AttentionArgs& g) {
  const GemmIsa& isa = gemm_isa();
  Tasks(g).run(isa.attention_scratch(g, false),
               [&](const AttentionTask& task, int64_t, void* memory) { isa.attention_forward(g, task, memory); });
}

void attention_backward_blocks(const AttentionArgs& g, const AttentionGradArgs& r) {
  const GemmIsa& isa = gemm_isa();
  Tasks tasks(g);
  thread_local Scratch shared;
  int64_t partial = isa.attention_partial(g);
  float* partials = tasks.cut
                        ? static_cast<float*>(shared.get(static_cast<size_t>(tasks.cut * tasks.parts * partial * 4)))
                        : nullptr;
  tasks.run(isa.attention_scratch(g, true), [&](AttentionTask task, int64_t i, void* memory) {
    if (i >= tasks.whole) task.partial = partials + (i - tasks.whole) * partial;
    isa.attention_backward(g, r, task, memory);
  });
  if (!tasks.cut) return;
  constexpr int64_t kRows = 64;
  int64_t ranges = (g.kv_len + kRows - 1) / kRows;
  parallel_for(tasks.cut * ranges, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t n = i / ranges, head = tasks.whole + n, first = i % ranges * kRows;
      isa.attention_join(g, r, head / g.kv_heads, head % g.kv_heads, first, std::min(g.kv_len, first + kRows),
                         partials + n * tasks.parts * partial, tasks.parts);
    }
  });
}

}  // namespace sorus::kernels
