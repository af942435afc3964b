// Softmax and its logarithm: composites that widen halves; and the sum that undoes a broadcast.
#include "sorus/ops/wide.h"

namespace sorus {
namespace {

Shape last_dim(const Call& c) { return Shape{wrap_dim(c.attr("dim").to_int(), c.input(0).dim(), c.op.name())}; }

// What keeps exp from overflowing. The result does not depend on it, so no gradient goes through it.
Tensor row_maximum(const Tensor& x, const Shape& d) {
  GradMode off(false);
  return amax(x, d, true);
}

TensorList softmax_body(const Call& c) {
  Tensor x = c.attr(1).is_none() ? c.input(0) : to(c.input(0), c.attr(1).dtype());
  Shape d = last_dim(c);
  Tensor w = widened(x), e = exp(w - row_maximum(w, d));
  return {to(e / sum(e, d, true), x.dtype())};
}

TensorList log_softmax_body(const Call& c) {
  Tensor x = c.attr(1).is_none() ? c.input(0) : to(c.input(0), c.attr(1).dtype());
  Shape d = last_dim(c);
  Tensor w = widened(x), shifted = w - row_maximum(w, d);
  return {to(shifted - log(sum(exp(shifted), d, true)), x.dtype())};
}

TypesRule softmax_types = [](const TypeCall& c) -> std::vector<TensorType> {
  wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(c.input(0).shape.size()), c.op.name());
  DType t = c.attr(1).is_none() ? c.input(0).dtype : c.attr(1).dtype();
  SORUS_CHECK(is_floating(t), TypeError, "{}: expected a floating type, got {}", c.op.name(), name(t));
  return {{c.attr(1).is_none() ? c.input(0).dtype : c.attr(1).dtype(), c.input(0).shape, false}};
};

const bool softmaxes = [] {
  op("softmax(input, dim: int, dtype: dtype? = none)")
      .types(softmax_types)
      .body(softmax_body)
      .axes("input[a..; dim d!] -> output[a..; dim d!]")
      .doc("exp(x) / sum(exp(x)) along `dim`, computed from x - max(x).");
  op("log_softmax(input, dim: int, dtype: dtype? = none)").types(softmax_types).body(log_softmax_body);
  op("sum_to_size(input, size: int[])").expand([](const Call& c) -> TensorList {
    const Shape &from = c.input(0).sizes(), &target = c.attr(0).ints();
    // As in PyTorch, the sum of a single number too has the type of a sum: i64 for truth values and integers.
    bool counts = target.empty() && !is_differentiable(c.input(0).dtype());
    if (from == target && !counts) return {c.input(0)};
    SORUS_CHECK(broadcast_shapes(from, target, "sum_to_size") == from, ValueError,
                "sum_to_size: {} is not what {} broadcasts to", to_string(from), to_string(target));
    Shape dims;
    int64_t lead = static_cast<int64_t>(from.size() - target.size());
    for (int64_t i = 0; i < static_cast<int64_t>(from.size()); ++i)
      if (i < lead || (target[i - lead] == 1 && from[i] != 1)) dims.push_back(i);
    return {reshape(dims.empty() ? to(c.input(0), DType::i64) : sum(c.input(0), dims, true), target)};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
