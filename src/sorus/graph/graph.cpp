#include "sorus/graph/graph.h"

#include <unordered_set>

namespace sorus {

const TensorType& Value::type() const { return node->outputs[static_cast<size_t>(index)]; }

const Quantization& Value::quantization() const {
  static const Quantization none{};
  return static_cast<size_t>(index) < node->quantization.size() ? node->quantization[static_cast<size_t>(index)]
                                                                : none;
}

void Value::set_quantization(Quantization q) const {
  node->quantization.resize(node->outputs.size());
  node->quantization[static_cast<size_t>(index)] = std::move(q);
}

std::string Quantization::to_string() const {
  return fmt::format("quantized(scale={}, zero_point={}, axis={})", Attr(scale).to_string(),
                     Attr(zero_point).to_string(), axis);
}

std::vector<const TensorType*> Node::input_types() const {
  std::vector<const TensorType*> out;
  out.reserve(inputs.size());
  for (const Value& v : inputs) out.push_back(v ? &v.type() : nullptr);
  return out;
}

Value Graph::add_input(TensorType type, std::string label) {
  auto node = std::make_unique<Node>();
  node->id = next_id_++;
  node->outputs = {std::move(type)};
  node->label = std::move(label);
  inputs_.push_back(node.get());
  nodes_.push_back(std::move(node));
  return {nodes_.back().get(), 0};
}

Value Graph::add_constant(const Scalar& value, DType dtype, bool weak) {
  auto node = std::make_unique<Node>();
  node->id = next_id_++;
  node->outputs = {TensorType{dtype, {}, weak}};
  node->constant = Attr(value);
  nodes_.push_back(std::move(node));
  return {nodes_.back().get(), 0};
}

Node* Graph::add(const OpDef& op, std::vector<Value> inputs, Attrs attrs, SourceLocation source) {
  auto node = std::make_unique<Node>();
  node->id = next_id_++;
  node->op = &op;
  node->inputs = std::move(inputs);
  node->attrs = std::move(attrs);
  node->source = std::move(source);
  auto types = node->input_types();
  if (node->source.known()) {
    SourceScope scope(node->source);
    node->outputs = infer_types(TypeCall{op, types, node->attrs});
  } else {
    node->outputs = infer_types(TypeCall{op, types, node->attrs});
  }
  nodes_.push_back(std::move(node));
  return nodes_.back().get();
}

void Graph::verify() const {
  std::unordered_set<const Node*> seen;
  auto check_use = [&](const Value& v, const std::string& user) {
    SORUS_CHECK(seen.contains(v.node), Error, "graph {}: {} uses a value that is not computed before it", name_,
                user);
    SORUS_CHECK(v.index >= 0 && static_cast<size_t>(v.index) < v.node->outputs.size(), Error,
                "graph {}: {} uses result {} of %{}, which has {}", name_, user, v.index, v.node->id,
                v.node->outputs.size());
  };
  int last = -1;
  for (const auto& node : nodes_) {
    std::string user = fmt::format("%{}", node->id);
    SORUS_CHECK(node->id > last, Error, "graph {}: the numbers of its nodes do not increase at {}", name_, user);
    last = node->id;
    for (const Value& v : node->inputs)
      if (v) check_use(v, user);
    if (node->op) {
      auto types = node->input_types();
      auto expected = infer_types(TypeCall{*node->op, types, node->attrs});
      SORUS_CHECK(expected.size() == node->outputs.size(), Error, "graph {}: {} has {} results, {} implies {}", name_,
                  user, node->outputs.size(), node->op->name(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i)
        SORUS_CHECK(expected[i].dtype == node->outputs[i].dtype && expected[i].shape == node->outputs[i].shape, Error,
                    "graph {}: result {} of {} is {}, but {} implies {}", name_, i, user,
                    node->outputs[i].to_string(), node->op->name(), expected[i].to_string());
    }
    for (const Quantization& q : node->quantization)
      SORUS_CHECK(q.scale.size() == q.zero_point.size() && (q.scale.size() <= 1 || q.axis >= 0), Error,
                  "graph {}: a result of {} has {} scales and {} zero points along axis {}", name_, user,
                  q.scale.size(), q.zero_point.size(), q.axis);
    seen.insert(node.get());
  }
  for (const Value& v : outputs_) {
    SORUS_CHECK(v.node, Error, "graph {}: an output is missing", name_);
    check_use(v, "the return");
  }
}

}  // namespace sorus
