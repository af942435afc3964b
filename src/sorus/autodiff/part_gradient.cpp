#include "sorus/autodiff/part_gradient.h"

#include <array>

#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

// Nobody else sees its memory, and it lies as the view rule assumes.
bool is_own(const Tensor& t) {
  return t.is_contiguous() && !t.impl()->base && t.ref()->use_count() == 1 && t.storage()->use_count() == 1 &&
         t.impl()->offset == 0;
}

}  // namespace

bool add_part_gradient(const OpDef& op, const Attrs& attrs, const TensorType& input, const Tensor& grad,
                       Tensor& sum) {
  if (!grad.defined() || grad.dtype() != input.dtype || numel(grad.sizes()) >= numel(input.shape)) return false;
  const TensorType* type = &input;
  auto part = op.view(TypeCall{op, {&type, 1}, attrs}, {input.shape, contiguous_strides(input.shape), 0});
  if (!part || part->sizes != grad.sizes() || may_overlap(part->sizes, part->strides)) return false;
  GradMode off(false);
  const bool first = !sum.defined();
  if (first)
    sum = zeros(input.shape, input.dtype);
  else if (!is_own(sum))
    sum = clone(sum);
  Tensor inside = sum.with_geometry(*part);
  if (first) {
    copy_elements(inside, grad);
  } else {
    static const OpDef& add = find_op("add");
    call_into(add, std::array{inside, grad}, add.signature.default_attrs(), std::array{inside});
  }
  return true;
}

}  // namespace sorus
