// Where values of a graph lie, beyond "each in memory of its own, in order".
//
// A result may have a memory order that suits its readers (OpDef::memory_order), and the parts of a joined value
// (cat) can be written where they belong by the kernels that make them, so that joining them costs nothing:
//
//   grad_q, grad_k, grad_v = flash_attention_backward(...)    written straight into
//   grad_qkv = cat(grad_q', grad_k', grad_v')                 this one, through permuted views
#pragma once

#include <unordered_map>
#include <unordered_set>

#include "sorus/graph/graph.h"

namespace sorus {

/// A value seen through a view: memory of `source`, with strides.
struct Operand {
  Value source;
  Geometry view;
};

class Placement {
 public:
  explicit Placement(const Graph& graph);
  /// The memory of a value that no view makes: its own or a part of another one's.
  Operand home(const Value& v) const;
  /// A join all of whose parts are computed in place.
  bool is_assembled(const Node* join) const { return assembled_.contains(join); }
  /// For each input of such a join, the value that is written in its place.
  const std::vector<Value>& parts(const Node* join) const { return assembled_.at(join); }

 private:
  std::unordered_map<Value, Operand> homes_;
  std::unordered_map<const Node*, std::vector<Value>> assembled_;
};

}  // namespace sorus
