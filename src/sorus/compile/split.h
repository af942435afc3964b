// Cuts a recording of a function together with its gradient into the part that makes the results and the part that
// waits for their gradients.
#pragma once

#include <unordered_set>

#include "sorus/graph/copy.h"
#include "sorus/graph/trace.h"

namespace sorus {

struct SplitGraph {
  /// The first `explicit_outputs - saved` outputs are the results, then come the values that `backward` reads.
  TracedGraph forward;
  int saved = 0;
  /// Inputs: the saved values, then the graph inputs `reads_inputs` of the joint graph (which no run writes).
  Graph backward;
  std::vector<int> reads_inputs;
};

/// Outputs of the joint graph: `results` explicit ones, then `gradients` explicit ones, then the written values.
/// Values that are cheap to make again (views, conversions, elementwise from what is there anyway) are not saved.
SplitGraph split_joint(const TracedGraph& joint, int results, int gradients);

/// Appends to `to` those nodes of `from` that `wanted` holds, in order. `map`: from values of the one to values of
/// the other, those that the nodes read first, and those they make after.
void copy_nodes(const Graph& from, const std::unordered_set<const Node*>& wanted, Graph& to, ValueMap& map);

}  // namespace sorus
