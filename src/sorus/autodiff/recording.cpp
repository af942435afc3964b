// The tape as it is written: every call whose inputs require gradients leaves a node.
#include <algorithm>
#include <array>

#include "sorus/autodiff/tape_node.h"
#include "sorus/derive/gradient.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

// A stand-in for a value that the rule does not read: it has a type, and asking for data is an error.
Tensor type_only(const Tensor& t) {
  static const Ref<Storage> nowhere = Storage::abstract(0);
  if (!t.defined()) return {};
  return Tensor::from_storage(nowhere, {t.sizes(), contiguous_strides(t.sizes()), 0}, t.dtype());
}

// The first operator that makes a NaN of numbers. A NaN that comes from outside of the tape is reported where it
// enters.
void check_results(const OpDef& op, TensorSpan inputs, TensorSpan outputs) {
  if (std::none_of(outputs.begin(), outputs.end(), has_nan)) return;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (has_nan(inputs[i])) fail<Error>("anomaly mode: input {} of {} is NaN already", i, op.name());
  fail<Error>("anomaly mode: the result of {} is NaN, its inputs are not", op.name());
}

Ref<GradNode> make_node(const OpDef& op, TensorSpan inputs, const Attrs& attrs) {
  auto node = make_ref<GradNode>();
  node->op = &op;
  node->attrs = attrs;
  if (tape_state.anomaly) node->source = current_source();
  node->edges.reserve(inputs.size());
  for (const Tensor& t : inputs) node->edges.push_back(edge_of(t));
  return node;
}

// Bits of the values that the gradients wanted from this call read.
uint64_t reads_of(const GradNode& node) {
  const Signature& s = node.op->signature;
  uint64_t needs = 0;
  int n = static_cast<int>(node.edges.size());
  for (int i = 0; i < n; ++i)
    if (node.edges[static_cast<size_t>(i)].node || node.edges[static_cast<size_t>(i)].leaf)
      needs |= uint64_t{1} << s.tensor_param_of_slot(i, n);
  return gradient_reads(*node.op, needs);
}

void save(GradNode& node, TensorSpan inputs, std::span<Tensor> outputs) {
  const Signature& s = node.op->signature;
  uint64_t reads = reads_of(node);
  // A rule that was written may ask for any type; derived ones ask for those of the inputs that want a gradient.
  bool by_hand = static_cast<bool>(node.op->gradient);
  int n = static_cast<int>(inputs.size());
  node.inputs.reserve(inputs.size());
  node.outputs.reserve(outputs.size());
  node.results = outputs.size();
  for (int i = 0; i < n; ++i) {
    const Tensor& t = inputs[static_cast<size_t>(i)];
    bool keep = t.defined() && (reads >> s.tensor_param_of_slot(i, n) & 1);
    const Edge& e = node.edges[static_cast<size_t>(i)];
    bool typed = !keep && (by_hand || e.node || e.leaf);
    node.inputs.push_back({keep    ? t
                           : typed ? type_only(t)
                                   : Tensor(),
                           keep ? t.storage()->version() : 0, false, keep});
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    bool keep = reads >> (32 + i) & 1;
    node.outputs.push_back({keep      ? outputs[i].detach()
                            : by_hand ? type_only(outputs[i])
                                      : Tensor(),
                            keep ? outputs[i].storage()->version() : 0, true, keep});
  }
}

void record(const OpDef& op, TensorSpan inputs, const Attrs& attrs, std::span<Tensor> outputs) {
  if (tape_state.anomaly) [[unlikely]]
    check_results(op, inputs, outputs);
  Ref<GradNode> node = make_node(op, inputs, attrs);
  save(*node, inputs, outputs);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (is_differentiable(outputs[i].dtype())) link(outputs[i], node, static_cast<int>(i));
}

// The old value of the target of the write that comes next, where its gradient reads that.
thread_local std::pair<const TensorImpl*, Tensor> overwritten;

void before_write(const OpDef& op, const Tensor& target) {
  overwritten = {};
  if (!grad_enabled() || !target.requires_grad()) return;
  GradMeta* m = meta_of(target);
  SORUS_CHECK(m && m->node, Error,
              "{}: a leaf that requires gradients cannot be changed in place; do it under no_grad, or on a copy",
              op.name());
  // What the gradient reads of the old value is kept: it is about to go.
  if (!op.differentiable || op.expand || op.body || !(gradient_reads(op, 1) & 1)) return;
  GradMode off(false);
  overwritten = {target.impl(), clone(target)};
}

// An in-place write makes the target a result of this call; if it is a view, the tensor it shows gets the written
// part as a new value of its own history.
void record_write(const OpDef& op, TensorSpan inputs, const Attrs& attrs, std::span<const Tensor> targets,
                  TensorSpan) {
  Ref<GradNode> node = make_node(op, inputs, attrs);
  TensorList outs(targets.begin(), targets.end()), values(inputs.begin(), inputs.end());
  for (Tensor& v : values)
    if (v.defined() && v.impl() == overwritten.first) v = overwritten.second;
  overwritten = {};
  save(*node, values, outs);
  // The old value of another input that shares the memory is gone; a rule that reads it finds a newer version and
  // says so.
  for (size_t i = 0; i < values.size(); ++i)
    for (const Tensor& t : targets)
      if (node->inputs[i].kept && values[i].storage() == t.storage()) --node->inputs[i].version;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!is_differentiable(targets[i].dtype())) continue;
    Tensor base(targets[i].impl()->base);
    bool leaf_base = base.defined() && base.requires_grad() && !meta_of(base)->node;
    SORUS_CHECK(!leaf_base || !grad_enabled(), Error,
                "{}: a view of a leaf that requires gradients cannot be changed in place", op.name());
    if (base.defined() && base.is_contiguous()) {
      static const OpDef& scatter = find_op("as_strided_scatter");
      Tensor fresh = targets[i].detach();
      link(fresh, node, static_cast<int>(i));
      Geometry g = targets[i].geometry();
      std::array<Tensor, 2> in{base, fresh};
      Attrs where{Attr(g.sizes), Attr(g.strides), Attr(g.offset - base.geometry().offset)};
      Ref<GradNode> whole = make_node(scatter, in, where);
      std::array<Tensor, 1> out{base};
      save(*whole, in, out);
      link(base, whole, 0);
    }
    link(targets[i], node, static_cast<int>(i));
  }
}

const bool installed = [] {
  set_tape_hooks({record, before_write, record_write});
  return true;
}();

}  // namespace

TensorList custom_function(TensorSpan inputs, const std::function<TensorList()>& forward,
                           std::function<TensorList(TensorSpan)> back, std::string name) {
  bool wanted = grad_enabled() && std::any_of(inputs.begin(), inputs.end(),
                                              [](const Tensor& t) { return t.defined() && t.requires_grad(); });
  TensorList out;
  {
    GradMode off(false);
    out = forward();
  }
  if (!wanted) return out;
  auto node = make_ref<GradNode>();
  node->custom = std::move(back);
  node->custom_name = std::move(name);
  for (const Tensor& t : inputs) node->edges.push_back(edge_of(t));
  node->results = out.size();
  for (size_t i = 0; i < out.size(); ++i) {
    for (const Tensor& in : inputs)
      if (in.is(out[i])) out[i] = out[i].detach();
    if (is_differentiable(out[i].dtype())) link(out[i], node, static_cast<int>(i));
  }
  return out;
}

}  // namespace sorus
