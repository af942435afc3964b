// Exact packing: offsets in one block of memory, with a proof of how good they are.
//
// Two buffers alive at the same time must lie apart, or may share bytes in ways that their operator allows: a
// convolution that writes rows upwards may start its result `gap` bytes below its input, where that is less than the
// result's size; an elementwise operator may write exactly where it reads. All of this is one kind of statement:
//
//   PackingProblem p;
//   int a = p.add(8000), b = p.add(8000);
//   p.conflict(a, b);                      // apart: offset(a) + 8000 <= offset(b), or the other way round
//   p.conflicts.back().gap_ji = 384;       // or offset(b) + 384 <= offset(a)
//   pack(p).bytes                          // 8384
//
// So a packing is a choice of direction for each conflict, and offsets are longest paths. `pack` branches on
// directions with the peak as bound; it ends with the optimum, or, after `node_limit` choices, with the best found
// and a bound. The bound is the least height of the buffers alive at one step, over all their orders: no packing
// needs less.
#pragma once

#include <cstdint>
#include <vector>

namespace sorus {

struct PackingConflict {
  int i = 0, j = 0;
  int64_t gap_ij = 0;  ///< offset(i) + gap_ij <= offset(j) keeps them apart
  int64_t gap_ji = 0;  ///< offset(j) + gap_ji <= offset(i) does too
  bool same = false;   ///< and so does offset(i) == offset(j)
};

struct PackingProblem {
  std::vector<int64_t> sizes;
  std::vector<PackingConflict> conflicts;
  /// Sets of buffers alive at one time; all pairs in a set conflict. Used for the bound only.
  std::vector<std::vector<int>> together;
  int64_t alignment = 1;

  int add(int64_t bytes) {
    sizes.push_back(bytes);
    return static_cast<int>(sizes.size()) - 1;
  }
  PackingConflict& conflict(int i, int j);
};

struct Packing {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;
  int64_t lower_bound = 0;
  bool optimal = false;  ///< proved: by the bound, or by having tried everything
  int64_t nodes = 0;     ///< choices that were tried
};

/// `known`: offsets to begin from, if they are valid; a better start leaves less to try.
Packing pack(const PackingProblem& problem, int64_t node_limit = 200000, const std::vector<int64_t>& known = {});

}  // namespace sorus
