#include "sorus/run/passes.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include "sorus/graph/copy.h"
#include "sorus/graph/evaluate.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/trace.h"

namespace sorus {
namespace {

std::optional<Expr> constant_expression(const Attr& a) {
  if (!a.is_scalar()) return std::nullopt;
  const Scalar& s = a.scalar();
  switch (s.kind()) {
    case Scalar::Kind::boolean:
      return constant(s.to_bool());
    case Scalar::Kind::integer:
      return constant(s.to_int());
    case Scalar::Kind::real:
      return constant(s.to_double());
    default:
      return std::nullopt;
  }
}

// What an elementwise node computes, its attributes put in; nothing if it is not one of one result.
std::optional<Expr> computes(const Node& node) {
  if (!node.op || !node.op->each || node.outputs.size() != 1 || node.op->random) return std::nullopt;
  const ScalarFunction& body = *node.op->each;
  std::vector<Expr> params;
  for (size_t p = 0; p < body.params.size(); ++p) {
    int at = node.op->signature.attr_index(body.params[p]);
    std::optional<Expr> e = constant_expression(node.attrs[static_cast<size_t>(at)]);
    if (!e && depends_on_parameter(body.results[0], static_cast<int>(p))) return std::nullopt;
    params.push_back(e ? *e : constant(0));
  }
  return simplify(substitute(body.results[0], {}, params));
}

// The input that an elementwise operator hands on unchanged (clone, a cast to the same type, a product with 1), or
// -1. In a graph values never change, so a copy is as good as the original.
int hands_on(const Node& node) {
  std::optional<Expr> found = computes(node);
  if (!found || (*found)->kind != ScalarNode::Kind::argument) return -1;
  const Expr& result = *found;
  const Value& in = node.inputs[static_cast<size_t>(result->index)];
  if (!in || in.type().weak || in.type().dtype != node.outputs[0].dtype || in.type().shape != node.outputs[0].shape)
    return -1;
  return result->index;
}

// A view that shows its input unchanged, whatever the operator is called.
bool changes_nothing(const Node& node) {
  if (!node.op || node.outputs.size() != 1 || node.inputs.empty() || !node.inputs[0]) return false;
  const TensorType &in = node.inputs[0].type(), &out = node.outputs[0];
  if (in.dtype != out.dtype || in.shape != out.shape || in.weak) return false;
  if (!node.op->is_view()) return false;
  Geometry g{in.shape, contiguous_strides(in.shape), 0};
  auto types = node.input_types();
  auto shown = node.op->view(TypeCall{*node.op, types, node.attrs}, g);
  if (!shown || shown->offset != 0) return false;
  for (size_t d = 0; d < g.sizes.size(); ++d)
    if (g.sizes[d] != 1 && shown->strides[d] != g.strides[d]) return false;
  return true;
}

// A view that shows the same elements in the same order: only the shape is another.
bool is_reshape(const Node& node) {
  if (!node.op || !node.op->is_view() || !node.inputs[0]) return false;
  const TensorType& in = node.inputs[0].type();
  if (numel(in.shape) != numel(node.outputs[0].shape)) return false;
  Geometry g{in.shape, contiguous_strides(in.shape), 0};
  auto types = node.input_types();
  auto shown = node.op->view(TypeCall{*node.op, types, node.attrs}, g);
  return shown && shown->offset == 0 && is_contiguous(shown->sizes, shown->strides);
}

std::string key_of(const Node& node, const std::vector<Value>& inputs) {
  std::string key = node.op ? node.op->name()
                            : "constant " + node.constant.to_string() + node.outputs[0].to_string() +
                                  (node.outputs[0].weak ? "w" : "");
  for (const Value& v : inputs) key += v ? fmt::format(",{}.{}", v.node->id, v.index) : ",none";
  for (const Attr& a : node.attrs) key += ";" + a.to_string();
  return key;
}

}  // namespace

bool is_conversion(const Node& node) {
  if (node.inputs.size() != 1 || !node.inputs[0]) return false;
  const TensorType &in = node.inputs[0].type(), &out = node.outputs[0];
  if (in.weak || in.shape != out.shape || in.dtype == out.dtype) return false;
  std::optional<Expr> e = computes(node);
  return e && (*e)->kind == ScalarNode::Kind::argument;
}

Graph expand_composites(const Graph& graph, const std::function<bool(const OpDef&)>& keep) {
  Tracer tracer(graph.name());
  tracer.set_keep(keep);
  TensorList inputs;
  for (Node* in : graph.inputs()) inputs.push_back(tracer.input(in->outputs[0], in->label));
  InterpreterScope scope(&tracer);
  GradMode off(false);
  auto constant = [&](const Node& node) {
    const TensorType& t = node.outputs[0];
    return tracer.constant(node.constant.scalar(), t.dtype, t.weak);
  };
  for (const Tensor& t : evaluate(graph, inputs, constant)) tracer.output(t);
  TracedGraph opened = tracer.finish();
  SORUS_CHECK(
      opened.captures.empty(), Error,
      "compiled {}: the body of an operator in it makes a {} of numbers, which a graph cannot hold; let operators "
      "make it (full, arange)",
      graph.name(), opened.captures[0].type().to_string());
  return std::move(opened.graph);
}

Graph simplify_graph(const Graph& graph) {
  std::unordered_set<const Node*> live;
  std::vector<const Node*> pending;
  for (const Value& v : graph.outputs()) pending.push_back(v.node);
  while (!pending.empty()) {
    const Node* n = pending.back();
    pending.pop_back();
    if (!live.insert(n).second) continue;
    for (const Value& v : n->inputs)
      if (v) pending.push_back(v.node);
  }
  Graph out(graph.name());
  ValueMap map = copy_inputs(graph, out);
  std::unordered_map<std::string, Node*> seen;
  static const OpDef& reshape = find_op("reshape");
  for (const auto& node : graph.nodes()) {
    if (node->is_input() || !live.contains(node.get())) continue;
    std::vector<Value> inputs = mapped_inputs(*node, map);
    if (changes_nothing(*node)) {
      map[{node.get(), 0}] = inputs[0];
      continue;
    }
    if (int same = hands_on(*node); same >= 0) {
      map[{node.get(), 0}] = inputs[static_cast<size_t>(same)];
      continue;
    }
    const OpDef* op = node->op;
    Attrs attrs = node->attrs;
    if (is_reshape(*node)) {  // one way to say it, and only the last of several counts
      op = &reshape;
      attrs = {Attr(node->outputs[0].shape)};
      while (inputs[0].node->op == &reshape) inputs[0] = inputs[0].node->inputs[0];
      if (inputs[0].type().shape == node->outputs[0].shape) {
        map[{node.get(), 0}] = inputs[0];
        continue;
      }
    }
    Node probe;
    probe.op = op;
    probe.attrs = attrs;
    probe.constant = node->constant;
    probe.outputs = node->outputs;
    std::string key = key_of(probe, inputs);
    bool shared = !op || !op->random;
    auto it = seen.find(key);
    Node* made = nullptr;
    if (shared && it != seen.end()) {
      made = it->second;
    } else if (node->is_constant()) {
      const TensorType& t = node->outputs[0];
      made = out.add_constant(node->constant.scalar(), t.dtype, t.weak).node;
    } else {
      made = out.add(*op, inputs, attrs, node->source);
    }
    seen.emplace(std::move(key), made);
    map_results(*node, made, map);
  }
  copy_outputs(graph, out, map);
  return out;
}

namespace {

// Appends the summands of `v`, as far as inner sums have no other reader.
void summands(const Value& v, const std::unordered_map<const Node*, int>& readers, bool root,
              std::vector<Value>& out) {
  const Node& n = *v.node;
  std::optional<Expr> e = computes(n);
  bool sum = e && (*e)->is_call("add") && n.inputs.size() == 2 && n.inputs[0] && n.inputs[1] &&
             (*e)->inputs[0]->kind == ScalarNode::Kind::argument &&
             (*e)->inputs[1]->kind == ScalarNode::Kind::argument && (*e)->inputs[0] != (*e)->inputs[1];
  for (const Value& in : n.inputs)
    sum = sum && in && in.type().shape == v.type().shape && in.type().dtype == v.type().dtype;
  if (!sum || (!root && readers.at(&n) != 1)) {
    out.push_back(v);
    return;
  }
  for (const Value& in : n.inputs) summands(in, readers, false, out);
}

// The boxes in order and their dimension, if all summands have one and together they tile the result.
std::optional<std::pair<int64_t, std::vector<Value>>> tiles(const std::vector<Value>& parts, const Shape& shape) {
  std::vector<std::pair<int64_t, Value>> boxes;
  int64_t dim = -1;
  for (const Value& v : parts) {
    if (!v.node->op || !v.node->op->inset) return std::nullopt;
    auto types = v.node->input_types();
    auto inset = v.node->op->inset(TypeCall{*v.node->op, types, v.node->attrs});
    if (!inset || (dim >= 0 && inset->dim != dim)) return std::nullopt;
    dim = inset->dim;
    boxes.emplace_back(inset->start, v.node->inputs[0]);
  }
  std::stable_sort(boxes.begin(), boxes.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Value> inside;
  int64_t at = 0;
  for (const auto& [start, v] : boxes) {
    if (start != at) return std::nullopt;
    at += v.type().shape[static_cast<size_t>(dim)];
    inside.push_back(v);
  }
  if (dim < 0 || at != shape[static_cast<size_t>(dim)]) return std::nullopt;
  return std::pair(dim, std::move(inside));
}

}  // namespace

Graph join_insets(const Graph& graph) {
  std::unordered_map<const Node*, int> readers;
  for (const auto& node : graph.nodes())
    for (const Value& v : node->inputs)
      if (v) ++readers[v.node];
  for (const Value& v : graph.outputs()) readers[v.node] += 2;
  Graph out(graph.name());
  ValueMap map = copy_inputs(graph, out);
  static const OpDef& cat = find_op("cat");
  for (const auto& node : graph.nodes()) {
    if (node->is_input()) continue;
    Value v{node.get(), 0};
    if (node->is_constant()) {
      copy_node(*node, out, map);
      continue;
    }
    std::vector<Value> parts;
    summands(v, readers, true, parts);
    if (auto joined = tiles(parts, v.type().shape)) {
      std::vector<Value> inside;
      for (const Value& p : joined->second) inside.push_back(map.at(p));
      map[v] = inside.size() == 1 ? inside[0]
                                  : Value{out.add(cat, std::move(inside), {Attr(joined->first)}, node->source), 0};
      continue;
    }
    copy_node(*node, out, map);
  }
  copy_outputs(graph, out, map);
  return out;
}

}  // namespace sorus
