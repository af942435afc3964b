// Tracer: runs ordinary code with tensors that have no memory and records a Graph.
//
//   Tracer tracer("step");
//   {
//     InterpreterScope scope(&tracer);
//     Tensor loss = model(x);            // x: an input made by tracer.input(type)
//     tracer.output(loss);
//   }
//   TracedGraph traced = tracer.finish();
//
// Graphs have no aliases and no writes, programs have both. The tracer keeps, for every storage that the program
// touches, the value that its memory stands for now: a write replaces that value, a view that was taken before is
// shown again from the new one. Real tensors that the program meets (parameters, buffers, the optimizer's state)
// become inputs; those it writes become outputs too, with the tensor to be written back (`captures`, `writes`).
#pragma once

#include <unordered_map>

#include "sorus/graph/call.h"
#include "sorus/graph/graph.h"

namespace sorus {

struct TracedGraph {
  Graph graph;
  /// Graph inputs: first the explicit ones, then the captured tensors in this order.
  std::vector<Tensor> captures;
  int explicit_inputs = 0;
  /// Graph outputs: first the explicit ones, then the new values of the graph inputs `write_targets[i]`, which are to
  /// be written back into their tensors.
  int explicit_outputs = 0;
  std::vector<int> write_targets;
};

class Tracer final : public Interpreter {
 public:
  explicit Tracer(std::string name = "main");
  ~Tracer() override;

  /// A tensor that stands for an input. `requires_grad` marks it as a leaf.
  Tensor input(const TensorType& type, std::string label = "");
  /// Makes an existing tensor stand for the next explicit input (arguments of a compiled function).
  void bind_input(const Tensor& tensor, std::string label = "");
  /// An input that turns up while recording; it comes after the captures that are there already, as one of them.
  Tensor late_input(const TensorType& type, std::string label = "");
  /// Real tensors that were used and through which gradients can flow on, as the program knows them.
  const std::vector<Tensor>& differentiable() const;
  Tensor constant(const Scalar& value, DType dtype, bool weak);
  void output(const Tensor& tensor);
  /// Which composites stay whole; by default all whose gradient does not look inside.
  void set_keep(std::function<bool(const OpDef&)> keep);
  /// The value a tensor stands for now (captures it if it is new).
  Value value_of(const Tensor& tensor);
  Tensor tensor_of(Value value);
  TracedGraph finish();

  void run(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorList& out) override;
  bool takes_whole(const OpDef& op, TensorSpan inputs, const Attrs& attrs, bool recording) override;

 private:
  struct Memory;
  Memory& memory_of(const Tensor& tensor);
  void write(const Tensor& target, Value value);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sorus
