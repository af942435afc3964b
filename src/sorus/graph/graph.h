// Graph: operators and the values between them, in an order in which they can be computed.
//
//   graph step(x: f32[8, 4], w: f32[4, 2]) {
//     %2 = matmul(%0, %1) : f32[8, 2]  # train.py:12
//     %3 = sum(%2, dim=[0, 1], keepdim=false) : f32[]
//     return %3
//   }
//
// That text is what `to_string` prints and `Graph::parse` reads back to the same graph. Compiled execution, parallel
// planning, device code and import all work on this one class. Nodes are immutable in meaning: a pass builds a new
// graph or replaces uses; nothing aliases. Memory, layouts and views are decided later, by who executes the graph.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>

#include "sorus/graph/op.h"

namespace sorus {

struct Node;

/// What the integers of a value stand for: real = scale * (q - zero_point). One scale for all, or one for each index
/// along `axis`. It is a note on a value, printed behind its type (`i8[1, 12] quantized(scale=[0.5], zero_point=[3],
/// axis=-1)`); the arithmetic itself is in the operators (ops/quantized.cpp), so nothing that runs a graph has to
/// look at it.
struct Quantization {
  std::vector<double> scale;
  Shape zero_point;  ///< as many as scales
  int axis = -1;     ///< -1: one scale
  bool known() const { return !scale.empty(); }
  bool operator==(const Quantization&) const = default;
  std::string to_string() const;  ///< "quantized(scale=[0.5], zero_point=[3], axis=-1)"
};

/// One result of a node.
struct Value {
  Node* node = nullptr;
  int index = 0;
  bool operator==(const Value&) const = default;
  explicit operator bool() const { return node != nullptr; }
  const TensorType& type() const;
  const Quantization& quantization() const;
  void set_quantization(Quantization q) const;
};

struct Node {
  int id = 0;                 ///< increases along the order
  const OpDef* op = nullptr;  ///< null for a graph input or a constant
  std::vector<Value> inputs;  ///< a null value is an optional tensor that is not given
  Attrs attrs;
  std::vector<TensorType> outputs;
  std::vector<Quantization> quantization;  ///< of each result; empty where none is known
  SourceLocation source;                   ///< the user's line
  std::string label;                       ///< inputs: their name
  Attr constant;                           ///< constants: the number (weak constants promote like Python numbers)

  bool is_input() const { return op == nullptr && constant.is_none(); }
  bool is_constant() const { return op == nullptr && !constant.is_none(); }
  std::vector<const TensorType*> input_types() const;
};

class Graph {
 public:
  explicit Graph(std::string name = "main") : name_(std::move(name)) {}
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

  Value add_input(TensorType type, std::string label = "");
  Value add_constant(const Scalar& value, DType dtype, bool weak = false);
  /// Appends a node; the result types are inferred, and wrong inputs are an error that names the user's line.
  Node* add(const OpDef& op, std::vector<Value> inputs, Attrs attrs, SourceLocation source = {});
  void set_outputs(std::vector<Value> outputs) { outputs_ = std::move(outputs); }

  const std::string& name() const { return name_; }
  const std::vector<Node*>& inputs() const { return inputs_; }
  const std::vector<Value>& outputs() const { return outputs_; }
  std::vector<Value>& outputs() { return outputs_; }
  /// In order.
  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  std::vector<std::unique_ptr<Node>>& nodes() { return nodes_; }
  size_t size() const { return nodes_.size(); }

  std::string to_string(bool with_sources = false) const;
  static Graph parse(std::string_view text);
  /// Throws an Error that names the first broken rule: order, types that are not what the operator implies, foreign
  /// values. Called after every pass in tests.
  void verify() const;

 private:
  std::string name_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Node*> inputs_;
  std::vector<Value> outputs_;
  int next_id_ = 0;
};

}  // namespace sorus

template <>
struct std::hash<sorus::Value> {
  size_t operator()(const sorus::Value& v) const {
    return std::hash<const void*>()(v.node) * 31 + static_cast<size_t>(v.index);
  }
};
