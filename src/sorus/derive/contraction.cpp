// Contractions as matrix products. Every axis of a sum of products of two inputs is one of four kinds: in both inputs
// and the result (batch), in the first and the result (m), in the second and the result (n), in both inputs (k).
// Where k is several axes that do not lie behind each other (the gradient of an operand that was broadcast over a
// batch), the inner one is a product's and the others add products up.
#include <algorithm>

#include "sorus/derive/index_loops.h"
#include "sorus/derive/index_plan.h"

namespace sorus {
namespace {

struct Axis {
  int64_t extent, a, b, c;
};

// Merges axes into as few as possible; the last is the innermost.
std::vector<Axis> merge(std::vector<Axis> axes) {
  std::erase_if(axes, [](const Axis& x) { return x.extent == 1; });
  std::sort(axes.begin(), axes.end(), [](const Axis& x, const Axis& y) {
    return std::max({x.a, x.b, x.c}) > std::max({y.a, y.b, y.c});
  });
  std::vector<Axis> out;
  for (const Axis& x : axes) {
    if (!out.empty()) {
      Axis& o = out.back();
      if (o.a == x.a * x.extent && o.b == x.b * x.extent && o.c == x.c * x.extent) {
        o = {o.extent * x.extent, x.a, x.b, x.c};
        continue;
      }
    }
    out.push_back(x);
  }
  return out;
}

SmallVector<int64_t, 8> steps(const LoopOperand& o, IntSpan strides, size_t axes) {
  SmallVector<int64_t, 8> s(axes, 0);
  for (size_t d = 0; d < o.dims.size(); ++d)
    for (size_t a = 0; a < axes; ++a) s[a] += o.dims[d].coefficients[a] * strides[d];
  return s;
}

}  // namespace

bool is_contraction(const LoopNest& nest) {
  if (nest.reduction != Reduction::sum || !nest.is_gather()) return false;
  const Expr& e = nest.body.results[0];
  if (!e->is_call("mul")) return false;
  for (const Expr& x : e->inputs)
    if (x->kind != ScalarNode::Kind::argument) return false;
  if (e->inputs[0]->index == e->inputs[1]->index) return false;
  for (const LoopOperand& o : nest.inputs)
    for (const AffineIndex& d : o.dims)
      if (d.data >= 0 || d.guarded || d.constant != 0) return false;
  return true;
}

std::optional<ContractionPlan> plan_contraction(const LoopNest& nest, TensorSpan inputs, DType out_type) {
  LoopNest specialized;
  const LoopNest* n = &nest;
  // Gradients of products say conj(x), which means nothing for real numbers.
  if (!is_complex(out_type) && nest.reduction == Reduction::sum) {
    specialized = nest;
    specialized.body = specialize(nest.body, compute_type(out_type));
    n = &specialized;
  }
  if (!is_contraction(*n)) return {};
  const Expr& e = n->body.results[0];
  const LoopOperand& oa = n->inputs[static_cast<size_t>(e->inputs[0]->index)];
  const LoopOperand& ob = n->inputs[static_cast<size_t>(e->inputs[1]->index)];
  const Tensor &ta = inputs[static_cast<size_t>(oa.slot)], &tb = inputs[static_cast<size_t>(ob.slot)];
  if (ta.dtype() != tb.dtype() || ta.dtype() != out_type || out_type == DType::boolean) return {};
  if (n->points() == 0) return {};

  if (n->initial && !is_floating(out_type)) return {};

  size_t count = n->axes.size();
  auto sa = steps(oa, ta.strides(), count), sb = steps(ob, tb.strides(), count),
       sc = steps(n->output, contiguous_strides(n->output_shape()), count);
  auto mentioned = [](const LoopOperand& o, size_t a) {
    for (const AffineIndex& d : o.dims)
      if (d.coefficients[a] != 0) return true;
    return false;
  };
  std::vector<Axis> kinds[4];  // batch, m, n, k
  for (size_t a = 0; a < count; ++a) {
    bool in_a = mentioned(oa, a), in_b = mentioned(ob, a), in_c = mentioned(n->output, a);
    int kind = in_c ? (in_a && in_b ? 0 : in_a ? 1 : in_b ? 2 : -1) : (in_a && in_b ? 3 : -1);
    if (kind < 0 && n->axes[a].extent != 1) return {};
    if (kind >= 0) kinds[kind].push_back({n->axes[a].extent, sa[a], sb[a], sc[a]});
  }
  for (auto& k : kinds) k = merge(std::move(k));
  if (kinds[3].size() > 1 && is_half(out_type)) return {};  // products added one after another would be rounded each
  // The innermost axis of the result has to be n: the product is transposed if it is m.
  bool swap = !kinds[1].empty() && kinds[1].back().c == 1 && (kinds[2].empty() || kinds[2].back().c != 1);
  if (swap) std::swap(kinds[1], kinds[2]);
  auto last = [](std::vector<Axis>& list) {
    Axis x{1, 0, 0, 0};
    if (!list.empty()) {
      x = list.back();
      list.pop_back();
    }
    return x;
  };
  Axis am = last(kinds[1]), an = last(kinds[2]), ak = last(kinds[3]);
  if (an.extent != 1 && an.c != 1) return {};
  std::vector<Axis> batch = kinds[0];
  batch.insert(batch.end(), kinds[1].begin(), kinds[1].end());
  batch.insert(batch.end(), kinds[2].begin(), kinds[2].end());
  if (batch.size() > kernels::GemmArgs::kMaxBatch) return {};

  ContractionPlan plan;
  plan.a = swap ? ob.slot : oa.slot;
  plan.b = swap ? oa.slot : ob.slot;
  for (const Axis& x : kinds[3]) plan.outer.push_back({x.extent, swap ? x.b : x.a, swap ? x.a : x.b});
  kernels::GemmArgs& g = plan.gemm;
  g.type = g.out_type = out_type;
  g.m = am.extent, g.n = an.extent, g.k = ak.extent;
  g.a_row = swap ? am.b : am.a;
  g.a_col = swap ? ak.b : ak.a;
  g.b_row = swap ? ak.a : ak.b;
  g.b_col = swap ? an.a : an.b;
  // Strides of loops with one step mean nothing, but must not look odd to the kernels.
  if (g.k == 1) g.a_col = 1, g.b_row = std::max<int64_t>(g.n, 1);
  if (g.n == 1) g.b_col = g.b_row == 1 ? std::max<int64_t>(g.k, 1) : 1;
  if (g.m == 1) g.a_row = std::max<int64_t>(g.k, 1);
  g.c_row = g.m == 1 ? std::max<int64_t>(g.n, 1) : am.c;
  g.batch_dims = static_cast<int>(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    g.batch[i] = batch[i].extent;
    g.a_batch[i] = swap ? batch[i].b : batch[i].a;
    g.b_batch[i] = swap ? batch[i].a : batch[i].b;
    g.c_batch[i] = batch[i].c;
  }
  if (n->initial) {
    // A row vector is added by the kernel itself (in f32); anything else is there before, and the product is added to
    // it.
    const Expr& first = n->initial->results[0];
    const LoopOperand* bias =
        first->kind == ScalarNode::Kind::argument ? &n->inputs[static_cast<size_t>(first->index)] : nullptr;
    bool row = bias && !swap && bias->dims.size() == 1 && bias->dims[0].plain_axis() >= 0 && g.n > 1 &&
               sc[static_cast<size_t>(bias->dims[0].plain_axis())] == 1 && bias->dims[0].size == g.n;
    const Tensor* t = row ? &inputs[static_cast<size_t>(bias->slot)] : nullptr;
    if (t && is_floating(t->dtype()) && t->dtype() != DType::f64 && t->strides()[0] == 1) {
      plan.bias = bias->slot;
      g.bias_type = t->dtype();
    } else {
      plan.initial = true;
      g.beta = 1;
    }
  }
  return plan;
}

}  // namespace sorus
