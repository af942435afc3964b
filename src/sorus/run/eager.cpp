// The eager interpreter: operators run as they are called.
#include <array>

#include "sorus/base/profile.h"
#include "sorus/base/threads.h"
#include "sorus/derive/cost.h"
#include "sorus/derive/index_loops.h"
#include "sorus/derive/index_plan.h"
#include "sorus/graph/call.h"
#include "sorus/run/each.h"

namespace sorus {
namespace {

class Eager final : public Interpreter {
 public:
  Eager() { set_eager_interpreter(this); }

  void run(const OpDef& op, TensorSpan inputs, const Attrs& attrs, TensorList& out) override {
    Call call{op, inputs, attrs};
    if (op.is_view()) return view(call, out);
    if (op.index && !op.kernel && !op.types) return index(call, out);
    if (out.empty()) {
      if (op.value_shaped) {  // the kernel allocates: the shape is a matter of values
        op.kernel(call, {});
        SORUS_ASSERT(!out.empty());
        return;
      }
      allocate(call, out);
    }
    FlushDenormals flush;
    ProfileSpan span("eager", [&](ProfileEvent& e) { describe(call, e); });
    if (op.kernel) {
      if (op.kernel_takes_strides || all_contiguous(inputs)) return op.kernel(call, out);
      TensorList packed = contiguous(inputs);
      return op.kernel(Call{op, packed, attrs}, out);
    }
    if (op.each) return run_each(call, out);
    if (op.index) return run_index(call, out);
    fail<NotImplementedError>("operator {} has no way to be executed", op.name());
  }

  bool takes_whole(const OpDef& op, TensorSpan, const Attrs&, bool recording) override {
    return op.kernel && (!recording || op.gradient);
  }

 private:
  static void index(const Call& call, TensorList& out) {
    const IndexPlan& plan = plan_index(call);
    if (out.empty()) out.push_back(Tensor::empty(plan.result.shape, plan.result.dtype));
    FlushDenormals flush;
    ProfileSpan span("eager", [&](ProfileEvent& e) { describe(call, e); });
    run_plan(plan, call.inputs, out[0], call.op.name());
  }
  static bool all_contiguous(TensorSpan inputs) {
    for (const Tensor& t : inputs)
      if (t.defined() && !t.is_contiguous()) return false;
    return true;
  }
  static TensorList contiguous(TensorSpan inputs) {
    static const OpDef& clone = find_op("clone");
    GradMode off(false);
    TensorList out(inputs.begin(), inputs.end());
    for (Tensor& t : out)
      if (t.defined() && !t.is_contiguous()) t = call_one(clone, {t});
    return out;
  }

  static void allocate(const Call& call, TensorList& out) {
    // The common case without looking at rules: inputs of one shape and type, result the same.
    const std::string& result = call.op.result_text;
    if (call.op.each && !call.op.types && (result == "promote" || result == "float" || result == "number")) {
      // Numbers beside them change neither, unless they are complex.
      const Tensor& first =
          call.inputs[call.inputs.size() > 1 && call.inputs[0].defined() && call.inputs[0].impl()->weak];
      bool same = first.defined() && !first.impl()->weak;
      for (const Tensor& t : call.inputs)
        same = same && t.defined() &&
               (t.impl()->weak ? t.dim() == 0 && !is_complex(t.dtype())
                               : t.dtype() == first.dtype() && t.sizes() == first.sizes());
      if (same && is_differentiable(first.dtype())) {
        for (const Expr& e : call.op.each->results)
          out.push_back(Tensor::empty(first.sizes(), e->is_boolean ? DType::boolean : first.dtype()));
        return;
      }
    }
    size_t n = call.inputs.size();
    std::array<TensorType, 16> small;
    std::array<const TensorType*, 16> small_pointers{};
    std::vector<TensorType> many;
    std::vector<const TensorType*> many_pointers;
    TensorType* types = small.data();
    const TensorType** pointers = small_pointers.data();
    if (n > small.size()) {
      many.resize(n);
      many_pointers.resize(n);
      types = many.data();
      pointers = many_pointers.data();
    }
    for (size_t i = 0; i < n; ++i) {
      if (!call.inputs[i].defined()) continue;
      types[i] = call.inputs[i].type();
      pointers[i] = &types[i];
    }
    for (const TensorType& t : infer_types(TypeCall{call.op, {pointers, n}, call.attrs})) {
      out.push_back(Tensor::empty(t.shape, t.dtype));
      if (call.op.memory_order.empty()) continue;
      Tensor& last = out.back();
      last = Tensor::from_storage(last.storage(), {t.shape, result_strides(call.op, out.size() - 1, t.shape), 0},
                                  t.dtype);
    }
  }

  static void describe(const Call& call, ProfileEvent& e) {
    e.name = call.op.name();
    std::vector<TensorType> types;
    std::vector<const TensorType*> pointers;
    types.reserve(call.inputs.size());
    for (const Tensor& t : call.inputs) {
      types.push_back(t.defined() ? t.type() : TensorType{});
      pointers.push_back(t.defined() ? &types.back() : nullptr);
      e.detail += (e.detail.empty() ? "" : ", ") + (t.defined() ? types.back().to_string() : "none");
    }
    e.source = current_source();
    if (call.op.value_shaped) return;
    Cost c = cost_of(TypeCall{call.op, pointers, call.attrs});
    e.flops = c.flops, e.bytes = c.bytes;
  }

  static void view(const Call& call, TensorList& out) {
    SORUS_CHECK(!call.inputs.empty() && call.has(0), TypeError, "{}: the input is missing", call.op.name());
    const Tensor& x = call.input(0);
    TensorType type = x.type();
    const TensorType* pointer = &type;
    TypeCall types{call.op, {&pointer, 1}, call.attrs};
    if (auto g = call.op.view(types, x.geometry())) {
      out.push_back(x.view_checked(*g, call.op.name()));
      return;
    }
    TensorList packed = contiguous(std::array{x});  // no view can show it: a copy in order can
    auto g = call.op.view(types, packed[0].geometry());
    SORUS_ASSERT(g.has_value());
    out.push_back(packed[0].view_checked(*g, call.op.name()));
  }
};

Eager eager;

}  // namespace
}  // namespace sorus
