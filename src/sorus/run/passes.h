// Passes over graphs, each from a graph to an equal, better one.
#pragma once

#include "sorus/graph/graph.h"

namespace sorus {

/// Replaces composites by their bodies, except those that `keep` wants whole.
Graph expand_composites(const Graph& graph, const std::function<bool(const OpDef&)>& keep);

/// Merges equal calls, drops what nothing reads, removes calls that change nothing (a reshape to the same shape, two
/// reshapes in a row, a cast to the same type).
Graph simplify_graph(const Graph& graph);

/// Whether a node gives its input's elements in another type, and does nothing else.
bool is_conversion(const Node& node);

/// Sums of values that are zero but for boxes which tile the result (gradients of slices) become joins of the boxes.
Graph join_insets(const Graph& graph);

}  // namespace sorus
