#include "sorus/compile/split.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace sorus {
namespace {

std::unordered_set<const Node*> ancestors(const std::vector<Value>& of) {
  std::unordered_set<const Node*> seen;
  std::vector<const Node*> pending;
  for (const Value& v : of) pending.push_back(v.node);
  while (!pending.empty()) {
    const Node* n = pending.back();
    pending.pop_back();
    if (!seen.insert(n).second) continue;
    for (const Value& v : n->inputs)
      if (v) pending.push_back(v.node);
  }
  return seen;
}

bool is_cheap(const Node& n) { return n.op && !n.op->random && (n.op->is_view() || n.op->each); }

}  // namespace

void copy_nodes(const Graph& from, const std::unordered_set<const Node*>& wanted, Graph& to, ValueMap& map) {
  for (const auto& node : from.nodes()) {
    if (!wanted.contains(node.get()) || node->is_input() || map.contains({node.get(), 0})) continue;
    copy_node(*node, to, map);
  }
}

SplitGraph split_joint(const TracedGraph& joint, int results, int gradients) {
  const Graph& g = joint.graph;
  auto first = g.outputs().begin();
  std::vector<Value> forward_outputs(first, first + results),
      gradient_outputs(first + results, first + results + gradients);
  forward_outputs.insert(forward_outputs.end(), first + results + gradients, g.outputs().end());
  std::unordered_set<const Node*> forward = ancestors(forward_outputs);

  std::unordered_map<const Node*, int> input_position;
  for (size_t i = 0; i < g.inputs().size(); ++i) input_position[g.inputs()[i]] = static_cast<int>(i);
  std::unordered_set<const Node*> written;
  for (int w : joint.write_targets) written.insert(g.inputs()[static_cast<size_t>(w)]);

  // Values of the forward part that the rest reads.
  std::unordered_set<const Node*> after;
  std::vector<Value> crossing;
  std::unordered_set<Value> known;
  auto cross = [&](const Value& v) {
    if (forward.contains(v.node) && !v.node->is_constant() && known.insert(v).second) crossing.push_back(v);
  };
  for (const Node* n : ancestors(gradient_outputs)) {
    if (forward.contains(n) && !n->is_constant()) continue;
    after.insert(n);
  }
  for (const auto& n : g.nodes())
    if (after.contains(n.get()))
      for (const Value& v : n->inputs)
        if (v) cross(v);
  for (const Value& v : gradient_outputs) cross(v);
  // Make again what is cheap and needs nothing that is not there: newest first, so that chains collapse.
  auto is_there = [&](const Value& v) {
    return v.node->is_constant() || (v.node->is_input() && !written.contains(v.node)) || known.contains(v);
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = crossing.size(); i-- > 0;) {
      const Node* n = crossing[i].node;
      if (!is_cheap(*n)) continue;
      bool possible =
          std::all_of(n->inputs.begin(), n->inputs.end(), [&](const Value& v) { return !v || is_there(v); });
      if (!possible) continue;
      after.insert(n);
      known.erase(crossing[i]);
      crossing.erase(crossing.begin() + static_cast<ptrdiff_t>(i));
      for (const Value& v : n->inputs)
        if (v && v.node->is_constant()) after.insert(v.node);
      changed = true;
    }
  }
  for (const Node* n : std::vector<const Node*>(after.begin(), after.end()))
    for (const Value& v : n->inputs)
      if (v && v.node->is_constant()) after.insert(v.node);

  SplitGraph out;
  out.forward.graph = Graph(g.name());
  ValueMap map;
  std::vector<int> kept;  // inputs of the forward graph, by their position in the joint one
  for (size_t i = 0; i < g.inputs().size(); ++i) {
    bool argument = static_cast<int>(i) < joint.explicit_inputs;
    if (!argument && !forward.contains(g.inputs()[i]) && !written.contains(g.inputs()[i])) continue;
    map[{g.inputs()[i], 0}] = out.forward.graph.add_input(g.inputs()[i]->outputs[0], g.inputs()[i]->label);
    kept.push_back(static_cast<int>(i));
    if (!argument) out.forward.captures.push_back(joint.captures[i - static_cast<size_t>(joint.explicit_inputs)]);
  }
  copy_nodes(g, forward, out.forward.graph, map);
  std::vector<Value> outputs;
  for (int i = 0; i < results; ++i) outputs.push_back(map.at(forward_outputs[static_cast<size_t>(i)]));

  out.backward = Graph(g.name() + "_backward");
  ValueMap back;
  std::vector<Value> saved;
  for (const Value& v : crossing)
    if (!v.node->is_input() || written.contains(v.node)) saved.push_back(v);
  for (const Value& v : saved) {
    back[v] = out.backward.add_input(v.type(), fmt::format("saved{}", out.saved++));
    outputs.push_back(map.at(v));
  }
  std::unordered_set<const Node*> wanted_inputs;
  auto want = [&](const Value& v) {
    if (v && v.node->is_input() && !back.contains(v)) wanted_inputs.insert(v.node);
  };
  for (const auto& n : g.nodes())
    if (after.contains(n.get()))
      for (const Value& v : n->inputs) want(v);
  for (const Value& v : gradient_outputs) want(v);
  for (size_t i = 0; i < g.inputs().size(); ++i) {
    if (!wanted_inputs.contains(g.inputs()[i])) continue;
    out.reads_inputs.push_back(static_cast<int>(i));
    back[{g.inputs()[i], 0}] = out.backward.add_input(g.inputs()[i]->outputs[0], g.inputs()[i]->label);
  }
  copy_nodes(g, after, out.backward, back);
  std::vector<Value> gradient_values;
  for (const Value& v : gradient_outputs) gradient_values.push_back(back.at(v));
  out.backward.set_outputs(std::move(gradient_values));

  for (size_t i = static_cast<size_t>(results); i < forward_outputs.size(); ++i)
    outputs.push_back(map.at(forward_outputs[i]));
  out.forward.graph.set_outputs(std::move(outputs));
  out.forward.explicit_inputs = joint.explicit_inputs;
  out.forward.explicit_outputs = results + out.saved;
  for (int w : joint.write_targets)
    out.forward.write_targets.push_back(static_cast<int>(std::find(kept.begin(), kept.end(), w) - kept.begin()));
  return out;
}

}  // namespace sorus
