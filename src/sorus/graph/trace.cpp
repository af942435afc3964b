#include "sorus/graph/trace.h"

#include <algorithm>
#include <unordered_set>

namespace sorus {

// What a storage stands for: `base` is the geometry under which its memory is one value.
struct Tracer::Memory {
  Tensor owner;  // keeps the storage alive while the graph is recorded
  Geometry base;
  DType dtype = DType::f32;
  Value value;
  int version = 0;  // counts writes
  int input = -1;   // position among the graph's inputs, -1 for what the trace made itself
  bool written = false;
};

struct Tracer::State {
  struct Shown {
    Tensor tensor;  // keeps the key alive
    Value value;
    int version;
  };
  Graph graph;
  std::unordered_map<const Storage*, Memory> memories;
  std::unordered_map<const TensorImpl*, Shown> shown;
  std::vector<Tensor> captures;
  std::vector<Tensor> differentiable;
  std::unordered_set<const TensorImpl*> known_differentiable;
  std::vector<Tensor> outputs;
  std::function<bool(const OpDef&)> keep;
  int explicit_inputs = 0;
};

Tracer::Tracer(std::string name) : state_(std::make_unique<State>()) { state_->graph = Graph(std::move(name)); }
Tracer::~Tracer() = default;

Tensor Tracer::input(const TensorType& type, std::string label) {
  Tensor t = Tensor::abstract(type.shape, type.dtype);
  t.impl()->weak = type.weak;
  bind_input(t, std::move(label));
  return t;
}

void Tracer::bind_input(const Tensor& t, std::string label) {
  SORUS_CHECK(!state_->memories.contains(t.storage().get()), ValueError,
              "compile: two arguments share memory; pass one and make the other from it");
  SORUS_CHECK(state_->captures.empty(), Error, "compile: inputs must be bound before the function runs");
  Value v = state_->graph.add_input(t.type(), std::move(label));
  int position = state_->explicit_inputs++;
  Geometry whole{t.sizes(), contiguous_strides(t.sizes()), 0};
  Memory m{t, t.is_contiguous() ? t.geometry() : whole, t.dtype(), v, 0, position, false};
  state_->memories.emplace(t.storage().get(), m);
  state_->shown[t.impl()] = {t, v, 0};
}

Tensor Tracer::late_input(const TensorType& type, std::string label) {
  Tensor t = Tensor::abstract(type.shape, type.dtype);
  int position = state_->explicit_inputs + static_cast<int>(state_->captures.size());
  Value v = state_->graph.add_input(t.type(), std::move(label));
  state_->captures.push_back(t);
  state_->memories.emplace(t.storage().get(), Memory{t, t.geometry(), t.dtype(), v, 0, position, false});
  state_->shown[t.impl()] = {t, v, 0};
  return t;
}

const std::vector<Tensor>& Tracer::differentiable() const { return state_->differentiable; }

void Tracer::output(const Tensor& tensor) { state_->outputs.push_back(tensor); }

Tracer::Memory& Tracer::memory_of(const Tensor& t) {
  auto it = state_->memories.find(t.storage().get());
  if (it != state_->memories.end()) return it->second;
  SORUS_CHECK(
      !t.is_abstract(), Error,
      "compile: a tensor of shape {} comes from another recorded function; return it from there and pass it in",
      to_string(t.sizes()));
  // A real tensor: its whole storage becomes an input, in the tensor's own shape where that covers it.
  int64_t elements = static_cast<int64_t>(t.storage()->nbytes() / size_of(t.dtype()));
  bool whole = t.is_contiguous() && t.impl()->offset == 0 && t.numel() == elements;
  Tensor base = whole ? t.detach() : Tensor::from_storage(t.storage(), {Shape{elements}, Shape{1}, 0}, t.dtype());
  base.impl()->weak = false;
  int position = state_->explicit_inputs + static_cast<int>(state_->captures.size());
  Memory m{t, base.geometry(), t.dtype(), {}, 0, position, false};
  m.value = state_->graph.add_input(base.type(), fmt::format("captured{}", state_->captures.size()));
  state_->captures.push_back(base);
  return state_->memories.emplace(t.storage().get(), m).first->second;
}

Value Tracer::value_of(const Tensor& t) {
  if (t.impl()->weak && !t.is_abstract() && t.dim() == 0) {  // a Python number is a constant, not a captured tensor
    auto it = state_->shown.find(t.impl());
    if (it != state_->shown.end()) return it->second.value;
    Value v = state_->graph.add_constant(t.item(), t.dtype(), true);
    state_->shown[t.impl()] = {t, v, 0};
    return v;
  }
  Memory& m = memory_of(t);
  if (t.requires_grad() && !t.is_abstract() && !state_->shown.contains(t.impl()) &&
      state_->known_differentiable.insert(t.impl()).second)
    state_->differentiable.push_back(t);
  if (auto it = state_->shown.find(t.impl()); it != state_->shown.end() && it->second.version == m.version)
    return it->second.value;
  SORUS_CHECK(t.dtype() == m.dtype, NotImplementedError,
              "compile: one memory is used as {} and as {}; convert with .to() instead of a view of another type",
              name(m.dtype), name(t.dtype()));
  Value v = m.value;
  if (t.geometry() != m.base) {
    static const OpDef& as_strided = find_op("as_strided");
    Attrs where{Attr(t.sizes()), Attr(t.strides()), Attr(t.impl()->offset - m.base.offset)};
    v = {state_->graph.add(as_strided, {m.value}, where, current_source()), 0};
  }
  state_->shown[t.impl()] = {t, v, m.version};
  return v;
}

Tensor Tracer::tensor_of(Value value) {
  const TensorType& type = value.type();
  Tensor t = Tensor::abstract(type.shape, type.dtype);
  state_->memories.emplace(t.storage().get(), Memory{t, t.geometry(), type.dtype, value, 0, -1, false});
  state_->shown[t.impl()] = {t, value, 0};
  return t;
}

void Tracer::write(const Tensor& target, Value value) {
  Memory& m = memory_of(target);
  if (target.geometry() == m.base) {
    m.value = value;
  } else {
    static const OpDef& scatter = find_op("as_strided_scatter");
    Attrs where{Attr(target.sizes()), Attr(target.strides()), Attr(target.impl()->offset - m.base.offset)};
    m.value = {state_->graph.add(scatter, {m.value, value}, where, current_source()), 0};
  }
  ++m.version;
  m.written = true;
  state_->shown[target.impl()] = {target, value, m.version};
}

void Tracer::run(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorList& out) {
  SORUS_CHECK(!op.value_shaped, Error,
              "{}: the shape of the result depends on values, which are not known while a graph is recorded; use "
              "sorus.where, or leave this line outside of the compiled function",
              op.name());
  std::vector<Value> values;
  values.reserve(inputs.size());
  for (const Tensor& t : inputs) values.push_back(t.defined() ? value_of(t) : Value{});
  Node* node = state_->graph.add(op, std::move(values), attrs, current_source());
  if (!out.empty()) {
    for (size_t i = 0; i < out.size(); ++i) write(out[i], {node, static_cast<int>(i)});
    return;
  }
  if (op.is_view()) {
    // The result shares the input's memory as far as the program can tell: a later write shows in both.
    const Tensor& x = inputs[0];
    TensorType type = x.type();
    const TensorType* pointer = &type;
    if (auto g = op.view(TypeCall{op, {&pointer, 1}, attrs}, x.geometry())) {
      Tensor t = x.with_geometry(*g);
      state_->shown[t.impl()] = {t, {node, 0}, memory_of(x).version};
      out.push_back(t);
      return;
    }
  }
  for (size_t i = 0; i < node->outputs.size(); ++i) out.push_back(tensor_of({node, static_cast<int>(i)}));
}

void Tracer::set_keep(std::function<bool(const OpDef&)> keep) { state_->keep = std::move(keep); }

Tensor Tracer::constant(const Scalar& value, DType dtype, bool weak) {
  Tensor t = tensor_of(state_->graph.add_constant(value, dtype, weak));
  t.impl()->weak = weak;
  return t;
}

bool Tracer::takes_whole(const OpDef& op, TensorSpan, const Attrs&, bool recording) {
  if (state_->keep) return state_->keep(op);
  // A composite keeps its name as long as its gradient need not look inside.
  return !recording || op.gradient;
}

TracedGraph Tracer::finish() {
  TracedGraph traced;
  std::vector<Value> outputs;
  for (const Tensor& t : state_->outputs) outputs.push_back(value_of(t));
  traced.explicit_inputs = state_->explicit_inputs;
  traced.explicit_outputs = static_cast<int>(outputs.size());
  std::vector<const Memory*> written(state_->graph.inputs().size());
  for (auto& [storage, m] : state_->memories)
    if (m.input >= 0 && m.written) written[static_cast<size_t>(m.input)] = &m;
  for (size_t i = 0; i < written.size(); ++i) {
    if (!written[i]) continue;
    traced.write_targets.push_back(static_cast<int>(i));
    outputs.push_back(written[i]->value);
  }
  state_->graph.set_outputs(std::move(outputs));
  traced.captures = state_->captures;
  traced.graph = std::move(state_->graph);
  state_ = std::make_unique<State>();
  return traced;
}

}  // namespace sorus
