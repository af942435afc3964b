#include "sorus/run/loop_role.h"

#include <algorithm>

#include "sorus/derive/loop_nest.h"
#include "sorus/emit/c_scalar.h"

namespace sorus {

std::optional<Scalar> constant_of(const Value& v) {
  if (v.node->is_constant()) return v.node->constant.scalar();
  const Node& n = *v.node;
  if (!n.op || !n.op->each || !n.op->each->args.empty()) return std::nullopt;
  const Expr& e = n.op->each->results[static_cast<size_t>(v.index)];
  if (e->kind != ScalarNode::Kind::parameter) return std::nullopt;
  const Attr& a =
      n.attrs[static_cast<size_t>(n.op->signature.attr_index(n.op->each->params[static_cast<size_t>(e->index)]))];
  return a.is_scalar() ? std::optional(a.scalar()) : std::nullopt;
}

namespace {

// An operator with index notation whose loops are as good as a kernel: reductions, and products that use every
// element of their largest operand once (a matrix times a vector, outer products), which memory bounds.
Role index_role(const Node& node) {
  constexpr int64_t kFewPoints = 1024;
  auto types = node.input_types();
  for (const TensorType* t : types)
    if (t && numel(t->shape) == 0) return {};
  LoopNest nest = bind_index(TypeCall{*node.op, types, node.attrs});
  if (!nest.is_gather() || nest.inputs.empty()) return {};
  std::vector<int> kept, reduced;  // axes of more than one point
  int64_t points = 1, largest = numel(node.outputs[0].shape);
  for (size_t a = 0; a < nest.axes.size(); ++a) {
    points *= nest.axes[a].extent;
    if (nest.axes[a].extent != 1 && nest.is_reduced(static_cast<int>(a))) reduced.push_back(static_cast<int>(a));
  }
  for (const AffineIndex& d : nest.output.dims) {
    int axis = d.plain_axis();
    if (d.size == 1) continue;
    if (axis < 0 || nest.axes[static_cast<size_t>(axis)].extent != d.size) return {};
    kept.push_back(axis);
  }
  Role r;
  std::vector<const TensorType*> used;
  for (const LoopOperand& in : nest.inputs) {
    if (in.only_index || in.slot < 0) return {};
    const TensorType* t = types[static_cast<size_t>(in.slot)];
    for (const AffineIndex& d : in.dims) {
      int axis = d.plain_axis();
      if (d.size != 1 && (axis < 0 || nest.axes[static_cast<size_t>(axis)].extent != d.size)) return {};
      if (d.size == 1 && (d.data >= 0 || d.guarded)) return {};
    }
    largest = std::max(largest, numel(t->shape));
    used.push_back(t);
  }
  if (points > largest && points > kFewPoints) return {};
  r.compute = compute_type(is_differentiable(node.outputs[0].dtype) ? node.outputs[0].dtype : used[0]->dtype);
  for (const TensorType* t : used)
    if (is_complex(t->dtype)) return {};
  if (is_complex(r.compute) || !printable(nest.body, r.compute)) return {};
  for (const auto* body : {&nest.body, nest.initial ? &*nest.initial : nullptr})
    for (size_t p = 0; body && p < body->params.size(); ++p)
      if (depends_on_parameter(body->results[0], static_cast<int>(p))) return {};

  // Which of the two orders walks the largest operand along its memory?
  auto order = [&](bool rows_reduced) {
    std::vector<int> axes = rows_reduced ? reduced : kept;
    const std::vector<int>& last = rows_reduced ? kept : reduced;
    axes.insert(axes.end(), last.begin(), last.end());
    return axes;
  };
  auto strides_over = [&](const std::vector<int>& axes, const LoopOperand& in, const Shape& strides) {
    Shape out(axes.size(), 0);
    for (size_t d = 0; d < in.dims.size(); ++d)
      for (size_t a = 0; a < axes.size(); ++a)
        if (in.dims[d].size != 1 && in.dims[d].plain_axis() == axes[a]) out[a] += strides[d];
    return out;
  };
  std::vector<int> axes = order(false);
  if (!reduced.empty() && !kept.empty()) {
    size_t big = 0;
    for (size_t i = 0; i < used.size(); ++i)
      if (numel(used[i]->shape) > numel(used[big]->shape)) big = i;
    Shape contiguous = contiguous_strides(used[big]->shape);
    auto inner = [&](const std::vector<int>& a) { return strides_over(a, nest.inputs[big], contiguous).back(); };
    bool leading = inner(axes) != 1 && inner(order(true)) == 1;
    if (leading && nest.initial) return {};
    r.over_rows = leading;
    if (leading) axes = order(true);
  }
  for (int a : axes) r.points.push_back(nest.axes[static_cast<size_t>(a)].extent);
  for (const LoopOperand& in : nest.inputs) {
    r.slots.push_back(in.slot);
    std::vector<int> dims;
    for (const AffineIndex& d : in.dims) {
      int at = -1;
      for (size_t a = 0; a < axes.size(); ++a)
        if (d.size != 1 && d.plain_axis() == axes[a]) at = static_cast<int>(a);
      dims.push_back(at);
    }
    r.dims.push_back(std::move(dims));
  }
  if (reduced.empty()) {
    r.kind = Role::Kind::each;
    if (nest.initial) nest.body.results[0] = call("add", {nest.initial->results[0], nest.body.results[0]});
  } else {
    r.kind = Role::Kind::reduce;
    r.reduction = nest.reduction;
    int64_t results = numel(node.outputs[0].shape);
    r.columns = results == 1 ? 0 : r.over_rows ? results : points / results;
    if (nest.initial) {
      if (results == 1) return {};
      // sum + initial, for each row: the sum is one argument more.
      ScalarFunction whole = nest.body;
      whole.args.push_back("sum");
      whole.results = {call("add", {nest.initial->results[0], argument(static_cast<int>(nest.body.args.size()))})};
      r.after = std::make_shared<const ScalarFunction>(std::move(whole));
    }
  }
  r.body = std::make_shared<const ScalarFunction>(std::move(nest.body));
  return r;
}

Role loop_role(const Node& node) {
  auto types = node.input_types();
  auto form = node.op->loop(TypeCall{*node.op, types, node.attrs});
  Role r;
  if (!form || numel(form->points) == 0) return r;
  DType compute = compute_type(node.outputs[0].dtype);
  if (is_complex(compute) || is_integral(compute) || !printable(*form->body, compute)) return r;
  r.kind = form->sum_last ? Role::Kind::reduce : Role::Kind::each;
  r.reduction = form->sum_last ? Reduction::sum : Reduction::none;
  r.columns = form->points.back();
  r.body = form->body;
  r.compute = compute;
  r.points = form->points;
  r.slots = form->slots;
  r.dims = form->dims;
  r.position = true;
  r.index_slot = form->index_slot;
  r.index_size = form->index_size;
  return r;
}

}  // namespace

Role role_of(const Node& node) {
  Role r;
  if (!node.op || numel(node.outputs[0].shape) == 0 || node.op->random) return r;
  const OpDef& op = *node.op;
  if (op.each && !op.each->args.empty()) {
    auto types = node.input_types();
    for (auto* t : types)
      if (!t) return r;
    DType meet = promoted_type(TypeCall{op, types, node.attrs});
    if (!op.types && is_differentiable(node.outputs[0].dtype) && !is_differentiable(meet))
      meet = node.outputs[0].dtype;
    r.compute = compute_type(meet);
    if (is_complex(r.compute) || is_complex(node.outputs[0].dtype) || !printable(*op.each, r.compute)) return r;
    r.kind = Role::Kind::each;
    r.body = op.each;
    r.params = node.attrs;
    r.points = node.outputs[0].shape;
    return r;
  }
  if (op.index) return index_role(node);
  if (op.loop) return loop_role(node);
  return r;
}

}  // namespace sorus
