// Runs a graph node by node with eager kernels: what compiled execution falls back on without a compiler, and what it
// is compared with in tests.
#pragma once

#include "sorus/graph/graph.h"
#include "sorus/graph/trace.h"

namespace sorus {

/// `inputs` in the order of the graph's inputs. Values are freed after their last use.
TensorList run_graph(const Graph& graph, TensorSpan inputs);

/// Records f(inputs) without running it.
TracedGraph trace(const std::function<TensorList(TensorSpan)>& f, TensorSpan inputs, std::string name = "main");

/// Runs a traced function: writes captured tensors back, returns the explicit outputs.
TensorList run_traced(const TracedGraph& traced, TensorSpan inputs);

}  // namespace sorus
