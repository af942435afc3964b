// Building one graph from another: what a pass does not change, it copies.
//
//   Graph out(graph.name());
//   ValueMap map = copy_inputs(graph, out);
//   for (const auto& node : graph.nodes())
//     if (!node->is_input()) copy_node(*node, out, map);      // or something else, and map_results(*node, made, map)
//   copy_outputs(graph, out, map);
#pragma once

#include "sorus/graph/graph.h"

namespace sorus {

/// From values of the one graph to those of the other.
using ValueMap = std::unordered_map<Value, Value>;

/// The inputs in order, so that callers can go on feeding the new graph as the old.
ValueMap copy_inputs(const Graph& from, Graph& to);
/// What `node` reads, in the new graph.
std::vector<Value> mapped_inputs(const Node& node, const ValueMap& map);
void map_results(const Node& node, Node* made, ValueMap& map);
/// An operator or a constant; what it reads has to be in `map`.
void copy_node(const Node& node, Graph& to, ValueMap& map);
void copy_outputs(const Graph& from, Graph& to, const ValueMap& map);

}  // namespace sorus
