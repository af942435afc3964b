#include "sorus/derive/index_plan.h"

#include <array>
#include <memory>

#include "sorus/derive/index_loops.h"

namespace sorus {

std::optional<ReductionPlan> plan_reduction(const LoopNest& nest, TensorSpan inputs, DType out_type) {
  using kernels::ReduceKind;
  const Expr& e = nest.body.results[0];
  if (nest.initial || nest.inputs.size() != 1 || e->kind != ScalarNode::Kind::argument || !nest.is_gather())
    return {};
  const Tensor& t = inputs[static_cast<size_t>(nest.inputs[0].slot)];
  ReductionPlan plan;
  plan.slot = nest.inputs[0].slot;
  plan.args.type = t.dtype();
  plan.args.out_type = out_type;
  switch (nest.reduction) {
    case Reduction::sum:
      plan.args.kind = ReduceKind::sum;
      break;
    case Reduction::prod:
      plan.args.kind = ReduceKind::prod;
      break;
    case Reduction::max:
      plan.args.kind = ReduceKind::max;
      break;
    case Reduction::min:
      plan.args.kind = ReduceKind::min;
      break;
    // Of truth values, some and all are the largest and the smallest; other types are compared with 0 first.
    case Reduction::any:
      plan.args.kind = ReduceKind::max;
      break;
    case Reduction::all:
      plan.args.kind = ReduceKind::min;
      break;
    default:
      return {};
  }
  bool logical = nest.reduction == Reduction::any || nest.reduction == Reduction::all;
  bool arithmetic = (is_floating(t.dtype()) && is_floating(out_type)) ||
                    (is_integral(t.dtype()) && is_integral(out_type) && out_type != DType::boolean) ||
                    (t.dtype() == DType::boolean && is_integral(out_type) && out_type != DType::boolean);
  bool truth = t.dtype() == DType::boolean && out_type == DType::boolean && nest.reduction != Reduction::sum &&
               nest.reduction != Reduction::prod;
  if (logical ? !truth : !(arithmetic || truth)) return {};
  // Each dimension of the input must be an axis of its own.
  std::vector<int64_t> stride(nest.axes.size(), 0);
  for (size_t d = 0; d < nest.inputs[0].dims.size(); ++d) {
    const AffineIndex& x = nest.inputs[0].dims[d];
    int axis = x.plain_axis();
    if (axis < 0 || x.guarded || nest.axes[static_cast<size_t>(axis)].extent != x.size) return {};
    stride[static_cast<size_t>(axis)] = t.strides()[d];
  }
  for (const AffineIndex& d : nest.output.dims)
    if (int a = d.plain_axis(); a >= 0)
      plan.args.kept.push_back({nest.axes[static_cast<size_t>(a)].extent, stride[static_cast<size_t>(a)]});
  for (size_t a = 0; a < nest.axes.size(); ++a)
    if (nest.is_reduced(static_cast<int>(a))) plan.args.reduced.push_back({nest.axes[a].extent, stride[a]});
  kernels::prepare(plan.args);
  return plan;
}

namespace {

// What a plan depends on.
struct Signature {
  struct Input {
    DType dtype;
    bool defined;
    Shape sizes, strides;
    bool operator==(const Input&) const = default;
  };
  const OpDef* op = nullptr;
  DType default_type = DType::f32;
  std::vector<Input> inputs;
  Attrs attrs;

  bool is_of(const Call& c) const {
    if (op != &c.op || default_type != default_dtype() || inputs.size() != c.inputs.size()) return false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Tensor& t = c.inputs[i];
      const Input& in = inputs[i];
      if (in.defined != t.defined()) return false;
      if (in.defined && !(in.dtype == t.dtype() && in.sizes == t.sizes() && in.strides == t.strides())) return false;
    }
    return attrs == c.attrs;
  }
};

size_t hash_of(const Call& c) {
  size_t h = reinterpret_cast<size_t>(&c.op) >> 4;
  auto mix = [&](size_t v) { h = (h ^ v) * 0x9e3779b97f4a7c15u; };
  for (const Tensor& t : c.inputs) {
    if (!t.defined()) {
      mix(1);
      continue;
    }
    mix(static_cast<size_t>(t.dtype()));
    for (int64_t s : t.sizes()) mix(static_cast<size_t>(s));
    for (int64_t s : t.strides()) mix(static_cast<size_t>(s));
  }
  for (const Attr& a : c.attrs) {
    mix(a.variant().index());
    if (a.is_scalar()) mix(static_cast<size_t>(a.to_double() * 1024));
    if (a.is_ints())
      for (int64_t s : a.ints()) mix(static_cast<size_t>(s));
  }
  return h ^ (h >> 32);
}

struct Slot {
  Signature signature;
  IndexPlan plan;
};

}  // namespace

const IndexPlan& plan_index(const Call& call) {
  // A table without chains: what falls on a taken place replaces it. One for each thread, so nobody waits.
  constexpr size_t kSlots = 1024;
  thread_local std::vector<std::unique_ptr<Slot>> slots(kSlots);
  std::unique_ptr<Slot>& slot = slots[hash_of(call) % kSlots];
  if (slot && slot->signature.is_of(call)) return slot->plan;

  auto fresh = std::make_unique<Slot>();
  fresh->signature.op = &call.op;
  fresh->signature.default_type = default_dtype();
  fresh->signature.attrs = call.attrs;
  std::vector<TensorType> types(call.inputs.size());
  std::vector<const TensorType*> pointers(call.inputs.size(), nullptr);
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const Tensor& t = call.inputs[i];
    if (!t.defined()) {
      fresh->signature.inputs.push_back({DType::f32, false, {}, {}});
      continue;
    }
    fresh->signature.inputs.push_back({t.dtype(), true, t.sizes(), t.strides()});
    types[i] = t.type();
    pointers[i] = &types[i];
  }
  TypeCall typed{call.op, pointers, call.attrs};
  fresh->plan.result = infer_types(typed)[0];
  fresh->plan.nest = bind_index(typed);
  DType out_type = fresh->plan.result.dtype;
  fresh->plan.contraction = plan_contraction(fresh->plan.nest, call.inputs, out_type);
  if (!fresh->plan.contraction) fresh->plan.reduction = plan_reduction(fresh->plan.nest, call.inputs, out_type);
  slot = std::move(fresh);
  return slot->plan;
}

namespace {
/// The first product as `g` says, the others added to it.
void add_products(kernels::GemmArgs& g, std::span<const ContractionPlan::Outer> loops) {
  if (loops.empty()) {
    kernels::gemm(g);
    g.beta = 1, g.bias = nullptr;
    return;
  }
  const ContractionPlan::Outer& loop = loops.front();
  const void *a = g.a, *b = g.b;
  const int64_t size = static_cast<int64_t>(size_of(g.type));
  for (int64_t i = 0; i < loop.extent; ++i) {
    g.a = static_cast<const char*>(a) + i * loop.a * size;
    g.b = static_cast<const char*>(b) + i * loop.b * size;
    add_products(g, loops.subspan(1));
  }
}
}  // namespace

void run_plan(const IndexPlan& plan, TensorSpan inputs, Tensor& out, std::string_view who) {
  if (plan.contraction && out.dtype() == plan.result.dtype) {
    if (out.numel() == 0) return;
    const ContractionPlan& c = *plan.contraction;
    kernels::GemmArgs g = c.gemm;
    g.a = inputs[static_cast<size_t>(c.a)].data();
    g.b = inputs[static_cast<size_t>(c.b)].data();
    g.c = out.data();
    if (c.bias >= 0) g.bias = inputs[static_cast<size_t>(c.bias)].data();
    if (c.initial) run_initial(plan.nest, inputs, out);
    return add_products(g, c.outer);
  }
  if (plan.reduction && out.dtype() == plan.result.dtype) {
    kernels::ReduceArgs r = plan.reduction->args;
    r.in = inputs[static_cast<size_t>(plan.reduction->slot)].data();
    r.out = out.data();
    return kernels::reduce(r);
  }
  run_nest(plan.nest, inputs, out, who);
}

void run_index(const Call& call, std::span<Tensor> out) {
  run_plan(plan_index(call), call.inputs, out[0], call.op.name());
}

}  // namespace sorus
