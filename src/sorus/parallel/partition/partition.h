// The partitioner: one graph of one device becomes one graph for each rank of a mesh.
//
//   Propagated p = propagate(graph, request);
//   Graph mine = partition(graph, p, rank);      // inputs and outputs are this rank's blocks
//
// All ranks do the same in the same order, with collectives along the axes of the mesh where a value is needed in
// another layout than it was made in; only places (where a slice starts, which block of a draw) differ. Every
// operator is split by its rule; none is named here. A parameter that is cut to save memory (ZeRO 3) is gathered for
// the forward pass and again for the backward pass, so that it is whole only while it is used. The collectives are
// operators like others (parallel/sharding/operators.cpp), in the group `mesh.group(axis)`.
//
// Micro-batches are an axis of time: the graph of a rank is then that of one of them, values that are cut or partial
// along it vary from one to the next, and its collectives are what happens over all of them: all_reduce adds up,
// all_gather joins (partition/segments.h takes the graph apart there).
#pragma once

#include <set>
#include <vector>

#include "sorus/graph/trace.h"
#include "sorus/parallel/sharding/propagate.h"

namespace sorus::parallel {

/// What a graph has to go through before: equal calls merged, composites expanded as far as they are not one kernel.
Graph prepare_for_partition(const Graph& graph);

struct LocalGraph {
  Graph graph;
  std::unordered_map<Value, Layout> layouts;
  /// Nodes that stand for collectives over the micro-batches.
  std::unordered_map<const Node*, Move> over_micro_batches;
  /// Axes whose ranks some collective is among, where it is more than one.
  std::set<std::vector<int>> joint_axes;
};
/// `rank` counts the micro-batch as well, if there is such an axis.
LocalGraph partition_local(const Graph& graph, const Propagated& propagated, int64_t rank);
Graph partition(const Graph& graph, const Propagated& propagated, int64_t rank);

}  // namespace sorus::parallel
