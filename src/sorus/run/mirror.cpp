#include "sorus/run/mirror.h"

#include <algorithm>
#include <map>

#include "sorus/run/passes.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

const Tensor& capture(const TracedGraph& traced, int i) { return traced.captures[static_cast<size_t>(i)]; }

}  // namespace

void Mirror::refresh(const TracedGraph& traced) {
  const Tensor& from = capture(traced, original);
  if (valid && from.storage()->version() == version) return;
  copy_elements(capture(traced, copy), from);
  version = from.storage()->version();
  valid = true;
}

void Mirror::keep(const TracedGraph& traced) {
  uint32_t now = capture(traced, original).storage()->version();
  valid = updated || now == version;  // written here, but not into the copy: it is made again
  version = now;
}

std::vector<Mirror> mirror_casts(TracedGraph& traced) {
  Graph& g = traced.graph;
  std::map<const Node*, int> inputs;
  for (size_t i = static_cast<size_t>(traced.explicit_inputs); i < g.inputs().size(); ++i)
    inputs[g.inputs()[i]] = static_cast<int>(i);
  std::unordered_map<const Node*, Value> replaced;
  std::map<std::pair<int, DType>, Value> known;
  std::vector<Mirror> mirrors;
  std::vector<Node*> casts;
  for (const auto& node : g.nodes())
    if (is_conversion(*node) && inputs.contains(node->inputs[0].node)) casts.push_back(node.get());
  for (Node* node : casts) {
    int input = inputs.at(node->inputs[0].node);
    const TensorType& type = node->outputs[0];
    auto [it, fresh] = known.try_emplace({input, type.dtype});
    if (fresh) {
      Mirror m;
      m.original = input - traced.explicit_inputs;
      m.copy = static_cast<int>(traced.captures.size());
      it->second = g.add_input(type, g.inputs()[static_cast<size_t>(input)]->label + "_copy");
      traced.captures.push_back(Tensor::empty(type.shape, type.dtype));
      auto written = std::find(traced.write_targets.begin(), traced.write_targets.end(), input);
      if (written != traced.write_targets.end()) {
        Value now =
            g.outputs()[static_cast<size_t>(traced.explicit_outputs + (written - traced.write_targets.begin()))];
        g.outputs().push_back({g.add(*node->op, {now}, node->attrs, now.node->source), 0});
        traced.write_targets.push_back(static_cast<int>(g.inputs().size()) - 1);
        m.updated = true;
      }
      mirrors.push_back(m);
    }
    replaced[node] = it->second;
  }
  if (replaced.empty()) return mirrors;
  auto follow = [&](Value& v) {
    if (auto it = v ? replaced.find(v.node) : replaced.end(); it != replaced.end()) v = it->second;
  };
  for (const auto& node : g.nodes())
    for (Value& v : node->inputs) follow(v);
  for (Value& v : g.outputs()) follow(v);
  return mirrors;
}

}  // namespace sorus
