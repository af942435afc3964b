#include "sorus/run/placement.h"

#include <optional>

namespace sorus {
namespace {

struct Part {
  Value source;
  Geometry view;  // of the source, inside the joined value
};

// The value behind `v`, which fills the box `box` of the joined one, if only its dimensions are permuted on the way.
std::optional<Part> part_of(Value v, const Geometry& box) {
  std::vector<const Node*> views;
  while (v.node->op && v.node->op->is_view()) {
    views.push_back(v.node);
    v = v.node->inputs[0];
  }
  if (!v.node->op || !v.node->op->kernel_writes_strides) return std::nullopt;
  const Shape& shape = v.type().shape;
  Geometry seen{shape, contiguous_strides(shape), 0};
  for (size_t i = views.size(); i-- > 0;) {
    auto types = views[i]->input_types();
    auto next = views[i]->op->view(TypeCall{*views[i]->op, types, views[i]->attrs}, seen);
    if (!next) return std::nullopt;
    seen = *next;
  }
  if (seen.offset != 0 || numel(seen.sizes) != numel(shape) || seen.sizes != box.sizes) return std::nullopt;
  // Sizes above one have different strides in a contiguous tensor, so they tell which dimension went where.
  Part part{v, {shape, Shape(shape.size(), 0), box.offset}};
  Shape own = contiguous_strides(shape);
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    bool found = false;
    for (size_t j = 0; j < seen.sizes.size() && !found; ++j) {
      if (seen.sizes[j] != shape[d] || seen.strides[j] != own[d]) continue;
      part.view.strides[d] = box.strides[j];
      found = true;
    }
    if (!found) return std::nullopt;
  }
  bool rows = shape.empty() || shape.back() == 1 || part.view.strides.back() == 1;
  return rows ? std::optional(part) : std::nullopt;
}

}  // namespace

Placement::Placement(const Graph& graph) {
  std::unordered_set<Value> returned;
  for (Value v : graph.outputs()) {
    returned.insert(v);
    while (v.node->op && v.node->op->is_view()) returned.insert(v = v.node->inputs[0]);
  }
  for (const auto& node : graph.nodes()) {
    if (!node->op || !node->op->joins) continue;
    auto types = node->input_types();
    int64_t dim = node->op->joins(TypeCall{*node->op, types, node->attrs}), at = 0;
    if (dim < 0) continue;  // more than a join
    Value whole{node.get(), 0};
    Shape strides = contiguous_strides(whole.type().shape);
    std::vector<Value> sources;
    std::unordered_map<Value, Operand> homes;
    for (const Value& v : node->inputs) {
      Geometry box{v.type().shape, strides, at * strides[static_cast<size_t>(dim)]};
      at += v.type().shape[static_cast<size_t>(dim)];
      auto part = part_of(v, box);
      if (!part || v.type().dtype != whole.type().dtype || returned.contains(part->source) ||
          homes_.contains(part->source) || homes.contains(part->source))
        break;
      homes[part->source] = {whole, part->view};
      sources.push_back(part->source);
    }
    if (sources.size() != node->inputs.size()) continue;
    homes_.insert(homes.begin(), homes.end());
    assembled_[node.get()] = std::move(sources);
  }
}

Operand Placement::home(const Value& v) const {
  if (auto it = homes_.find(v); it != homes_.end()) return it->second;
  const Shape& shape = v.type().shape;
  bool ordered = v.node->op && v.node->op->kernel && !v.node->op->memory_order.empty();
  return {
      v,
      {shape, ordered ? result_strides(*v.node->op, static_cast<size_t>(v.index), shape) : contiguous_strides(shape),
       0}};
}

}  // namespace sorus
