// The loops of rules that are derived from others: gradients, in which the result and an input exchange their roles,
// and counts of the points that hold an extremum.
#include <algorithm>
#include <numeric>

#include "sorus/derive/loop_nest.h"
#include "sorus/derive/scalar_derivative.h"

namespace sorus {
namespace {

// Keeps the axes that the operands mention; a gradient of a bias never runs over the products.
void drop_unused_axes(LoopNest& nest) {
  std::vector<LoopAxis> axes;
  std::vector<size_t> keep;
  auto mentions = [](const LoopOperand& o, size_t a) {
    for (const AffineIndex& d : o.dims)
      if (d.coefficients[a] != 0) return true;
    return false;
  };
  for (size_t a = 0; a < nest.axes.size(); ++a) {
    bool used = mentions(nest.output, a);
    for (const LoopOperand& o : nest.inputs) used |= mentions(o, a);
    if (used) {
      keep.push_back(a);
      axes.push_back(nest.axes[a]);
    }
  }
  auto shrink = [&](LoopOperand& o) {
    for (AffineIndex& d : o.dims) {
      SmallVector<int64_t, 8> c;
      for (size_t a : keep) c.push_back(d.coefficients[a]);
      d.coefficients = c;
    }
  };
  for (LoopOperand& o : nest.inputs) shrink(o);
  shrink(nest.output);
  nest.axes = std::move(axes);
}

// The loops of a gradient: roles of the result and of input `k` exchanged.
LoopNest exchange(const LoopNest& base, const IndexRule& rule, int k) {
  const bool in_initial = base.initial && depends_on_argument(base.initial->results[0], k);
  const ScalarFunction& f = in_initial ? *base.initial : base.body;
  LoopNest nest;
  nest.axes = base.axes;
  nest.params = base.params;
  nest.reduction = Reduction::sum;
  Expr body = gradient(f, k).results[0];  // of (g, args...)
  bool extremum = base.reduction == Reduction::max || base.reduction == Reduction::min;
  int extra = static_cast<int>(base.inputs.size()) + 1;
  if (extremum) {
    std::vector<Expr> shifted;
    for (size_t i = 0; i < base.inputs.size(); ++i) shifted.push_back(argument(static_cast<int>(i) + 1));
    body = call("select", {call("eq", {substitute(f.results[0], shifted), argument(extra)}), body, constant(0)});
  }
  // What the body or an index reads, as inputs of the derived call.
  std::vector<Expr> to(static_cast<size_t>(extra) + 1, constant(0));
  std::vector<int> moved(base.inputs.size(), -1);
  auto slot_of = [&](int base_slot) {
    for (size_t s = 0; s < rule.base_slots.size(); ++s)
      if (rule.base_slots[s] == base_slot) return static_cast<int>(s);
    return -1;
  };
  auto add = [&](const LoopOperand& operand, int base_slot, size_t position, std::string name) {
    LoopOperand o = operand;
    o.slot = slot_of(base_slot);
    o.only_index = false;
    to[position] = argument(static_cast<int>(nest.inputs.size()));
    nest.inputs.push_back(std::move(o));
    nest.body.args.push_back(std::move(name));
  };
  add(base.output, -1, 0, "grad");
  for (size_t i = 0; i < base.inputs.size(); ++i) {
    bool needed = depends_on_argument(body, static_cast<int>(i) + 1);
    if (!needed && !(base.inputs[i].only_index && !in_initial)) continue;
    moved[i] = static_cast<int>(nest.inputs.size());
    add(base.inputs[i], base.inputs[i].slot, i + 1, base.body.args[i]);
  }
  if (extremum) add(base.output, -2, static_cast<size_t>(extra), "output");
  nest.body.params = f.params;
  nest.body.results = {simplify(substitute(body, to))};
  nest.output = base.inputs[static_cast<size_t>(k)];
  nest.output.slot = -1;
  auto redirect = [&](LoopOperand& o) {
    for (AffineIndex& d : o.dims)
      if (d.data >= 0) {
        d.data = moved[static_cast<size_t>(d.data)];
        nest.inputs[static_cast<size_t>(d.data)].only_index = true;
      }
  };
  for (LoopOperand& o : nest.inputs) redirect(o);
  redirect(nest.output);
  drop_unused_axes(nest);
  return nest;
}

// How many points hold the extremum: sum of (body == y).
LoopNest count_ties(const LoopNest& base, const IndexRule& rule) {
  LoopNest nest = base;
  nest.reduction = Reduction::sum;
  for (LoopOperand& o : nest.inputs)
    for (size_t s = 0; s < rule.base_slots.size(); ++s)
      if (rule.base_slots[s] == o.slot) {
        o.slot = static_cast<int>(s);
        break;
      }
  LoopOperand y = base.output;
  for (size_t s = 0; s < rule.base_slots.size(); ++s)
    if (rule.base_slots[s] == -2) y.slot = static_cast<int>(s);
  Expr same = call("eq", {base.body.results[0], argument(static_cast<int>(nest.inputs.size()))});
  nest.body.results = {call("select", {same, constant(1), constant(0)})};
  nest.body.args.push_back("output");
  nest.inputs.push_back(std::move(y));
  return nest;
}

}  // namespace

LoopNest bind_rule(const IndexRule& rule, std::string_view who, const OptionalShapes& inputs, const Attrs& attrs,
                   const std::optional<Shape>& result) {
  if (rule.derived == IndexRule::Derived::no) return bind_own(rule, who, inputs, attrs, result);
  const IndexRule& base = *rule.base;
  OptionalShapes base_inputs(static_cast<size_t>(base.tensor_count));
  std::optional<Shape> base_result;
  for (size_t s = 0; s < rule.base_slots.size(); ++s) {
    if (s >= inputs.size() || !inputs[s]) continue;
    if (rule.base_slots[s] >= 0) {
      base_inputs[static_cast<size_t>(rule.base_slots[s])] = inputs[s];
    } else {
      base_result = inputs[s];
    }
  }
  if (rule.derived == IndexRule::Derived::ties)
    return count_ties(bind_rule(base, who, base_inputs, attrs, base_result), rule);
  // The last attribute of a gradient is the shape of its result.
  const Shape& sizes = attrs.back().ints();
  base_inputs[static_cast<size_t>(rule.target)] = sizes;
  Attrs base_attrs(attrs.begin(), attrs.end() - 1);
  LoopNest nest = bind_rule(base, who, base_inputs, base_attrs, base_result);
  for (size_t k = 0; k < nest.inputs.size(); ++k)
    if (nest.inputs[k].slot == rule.target) return exchange(nest, rule, static_cast<int>(k));
  fail<Error>("{}: has no such gradient", who);
}

LoopNest bind_index(const TypeCall& call) {
  OptionalShapes shapes(static_cast<size_t>(call.op.signature.tensors));
  for (size_t i = 0; i < call.inputs.size() && i < shapes.size(); ++i)
    if (call.inputs[i]) shapes[i] = call.inputs[i]->shape;
  return bind_rule(*call.op.index, call.op.name(), shapes, call.attrs, std::nullopt);
}

}  // namespace sorus
