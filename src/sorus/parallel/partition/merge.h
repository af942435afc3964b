// Merging of collectives: small sums over the same ranks become one.
//
// A collective's level is how many of them lie on the longest way to it. Two of one level do not depend on each
// other, so they may run together: what they send is laid side by side, summed at once and taken apart again. The
// sums are taken element by element in the order of the ranks, so that the bits stay the same.
#pragma once

#include "sorus/graph/graph.h"

namespace sorus::parallel {

struct MergeOptions {
  int64_t small_bytes = 256 << 10;  ///< what is larger is not copied around
  int64_t bucket_bytes = 2 << 20;   ///< a bucket starts when its last part is ready
};

/// The same graph with fewer collectives; nodes are ordered by level.
Graph merge_collectives(const Graph& graph, const MergeOptions& options = {});

}  // namespace sorus::parallel
