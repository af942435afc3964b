// A graph as a list of calls: each operator goes through call(), so whoever interprets calls (eager execution, the
// tracer that records another graph) meets those of the graph one after another.
#pragma once

#include <functional>

#include "sorus/graph/call.h"
#include "sorus/graph/graph.h"

namespace sorus {

/// The outputs of `graph` for its inputs, in order. Values are let go after their last use. `constant` makes the
/// tensors of constants; without it they are tensors of the eager world.
TensorList evaluate(const Graph& graph, TensorSpan inputs, const std::function<Tensor(const Node&)>& constant = {});

}  // namespace sorus
