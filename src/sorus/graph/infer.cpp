// Result types of calls: what a scalar body, index notation or an operator's own rule implies.
#include "sorus/graph/op.h"
#include "sorus/graph/scalar.h"

namespace sorus {
namespace {

// PyTorch's order: tensors with dimensions decide; then 0-d tensors, then numbers, each only if of a higher kind.
struct Promotion {
  std::optional<DType> of[3];
  void see(const TensorType& t) {
    int rank = t.weak ? 2 : t.shape.empty() ? 1 : 0;
    of[rank] = of[rank] ? promote(*of[rank], t.dtype) : t.dtype;
  }
  static int kind(DType t) { return t == DType::boolean ? 0 : is_integral(t) ? 1 : is_floating(t) ? 2 : 3; }
  DType result() const {
    std::optional<DType> r;
    for (int rank = 0; rank < 3; ++rank) {
      if (!of[rank]) continue;
      DType t = *of[rank];
      if (rank == 2) t = t == DType::f64 ? default_dtype() : t == DType::c128 ? complex_of(default_dtype()) : t;
      if (!r) {
        r = t;
      } else if (kind(t) > kind(*r)) {
        r = is_complex(t) && is_floating(*r) ? complex_of(*r) : t;
      }
    }
    return r.value_or(default_dtype());
  }
};

DType scalar_param_kind(const TypeCall& call, DType t) {
  // A number given as an attribute (alpha, min, max) promotes like a Python number beside a tensor.
  int i = 0;
  for (const Param& p : call.op.signature.params) {
    if (p.is_tensor()) continue;
    const Attr& a = call.attrs[static_cast<size_t>(i++)];
    if (p.type != ParamType::scalar || !a.is_scalar() || !p.promotes) continue;
    DType s = a.scalar().dtype();
    if (t == DType::boolean && is_integral(s)) continue;  // True + 1 * True stays a truth value
    if (Promotion::kind(s) > Promotion::kind(t)) t = is_complex(s) && is_floating(t) ? complex_of(t) : s;
  }
  return t;
}

}  // namespace

DType promoted_type(const TypeCall& call) {
  Promotion p;
  int n = static_cast<int>(call.inputs.size());
  for (int i = 0; i < n; ++i)
    if (call.has(i) && call.op.signature.tensor_param(call.op.signature.tensor_param_of_slot(i, n)).promotes)
      p.see(call.input(i));
  return scalar_param_kind(call, p.result());
}

namespace {

DType result_type(const TypeCall& call, const std::string& rule, bool boolean) {
  if (boolean) return DType::boolean;
  DType t = promoted_type(call);
  if (rule == "promote") return t;
  if (rule == "number") return t == DType::boolean ? DType::i64 : t;
  if (rule == "float") return is_differentiable(t) ? t : default_dtype();
  if (rule == "real") return real_of(t);
  if (rule == "real float") return is_differentiable(t) ? real_of(t) : default_dtype();
  if (rule == "bool") return DType::boolean;
  return dtype_from_name(rule);
}

std::vector<TensorType> each_types(const TypeCall& call) {
  Shape shape;
  bool first = true;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    if (!call.inputs[i]) continue;
    shape = first ? call.inputs[i]->shape : broadcast_shapes(shape, call.inputs[i]->shape, call.op.name());
    first = false;
  }
  std::vector<TensorType> out;
  for (const Expr& e : call.op.each->results)
    out.push_back({result_type(call, call.op.result_text, e->is_boolean), shape, false});
  return out;
}

}  // namespace

std::vector<TensorType> infer_types(const TypeCall& call) {
  const Signature& s = call.op.signature;
  int slots = static_cast<int>(call.inputs.size());
  SORUS_CHECK(s.list_at >= 0 ? slots >= s.tensors - 1 : slots == s.tensors, TypeError,
              "{}: expected {} tensors, got {}", s.name, s.tensors, slots);
  for (int i = 0; i < slots; ++i)
    SORUS_CHECK(call.has(i) || s.tensor_param(s.tensor_param_of_slot(i, slots)).optional, TypeError,
                "{}: the tensor '{}' is missing", s.name, s.tensor_param(s.tensor_param_of_slot(i, slots)).name);
  SORUS_CHECK(static_cast<int>(call.attrs.size()) == s.attrs, TypeError, "{}: expected {} attributes, got {}", s.name,
              s.attrs, call.attrs.size());
  if (call.op.types) return call.op.types(call);
  if (call.op.each) return each_types(call);
  if (call.op.index && index_types_rule()) return index_types_rule()(call);
  if (call.op.view) {
    Geometry g{call.input(0).shape, contiguous_strides(call.input(0).shape), 0};
    auto view = call.op.view(call, g);
    SORUS_ASSERT(view.has_value());
    return {{call.input(0).dtype, view->sizes, false}};
  }
  fail<Error>("operator {} has no rule for the types of its results", s.name);
}

}  // namespace sorus
