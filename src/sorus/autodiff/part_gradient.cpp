#include "sorus/autodiff/part_gradient.h"

#include <algorithm>
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

std::optional<PartGradients::Block> PartGradients::block_of(const Geometry& part, const Shape& whole) {
  const Shape strides = contiguous_strides(whole);
  if (part.sizes.size() != whole.size() || part.strides != strides) return {};
  std::optional<Block> block;
  for (size_t d = 0; d < whole.size(); ++d) {
    if (part.sizes[d] == whole[d]) continue;
    if (block) return {};
    block = Block{d, part.offset / strides[d], part.offset / strides[d] + part.sizes[d]};
  }
  return block;
}

PartGradients::Open* PartGradients::find(const Tensor& sum) {
  auto found = std::find_if(open_.begin(), open_.end(), [&](const Open& o) { return o.sum.is(sum); });
  return found == open_.end() ? nullptr : &*found;
}

void PartGradients::fill_gaps(const Tensor& sum) {
  Open* open = find(sum);
  if (!open) return;
  std::vector<Block>& written = open->written;
  std::sort(written.begin(), written.end(), [](const Block& a, const Block& b) { return a.begin < b.begin; });
  const size_t dim = written[0].dim;
  const Geometry whole = sum.geometry();
  const Tensor zero = zeros({}, sum.dtype());
  written.push_back({dim, whole.sizes[dim], whole.sizes[dim]});
  int64_t at = 0;
  for (const Block& b : written) {
    if (b.begin > at) {
      Geometry gap = whole;
      gap.sizes[dim] = b.begin - at;
      gap.offset += at * whole.strides[dim];
      copy_elements(sum.with_geometry(gap), zero);
    }
    at = b.end;
  }
  std::swap(*open, open_.back());
  open_.pop_back();
}

bool PartGradients::add(const OpDef& op, const Attrs& attrs, const TensorType& input, const Tensor& grad,
                        Tensor& sum) {
  if (!grad.defined() || grad.dtype() != input.dtype || numel(grad.sizes()) >= numel(input.shape)) return false;
  const TensorType* type = &input;
  auto part = op.view(TypeCall{op, {&type, 1}, attrs}, {input.shape, contiguous_strides(input.shape), 0});
  if (!part || part->sizes != grad.sizes() || may_overlap(part->sizes, part->strides)) return false;
  GradMode off(false);
  const std::optional<Block> block = block_of(*part, input.shape);
  if (!sum.defined() && block) {
    sum = Tensor::empty(input.shape, input.dtype);
    open_.push_back({sum, {*block}});
    copy_elements(sum.with_geometry(*part), grad);
    return true;
  }
  if (Open* open = sum.defined() ? find(sum) : nullptr) {
    const bool beside = block && std::none_of(open->written.begin(), open->written.end(), [&](const Block& b) {
                          return b.dim != block->dim || (block->begin < b.end && b.begin < block->end);
                        });
    if (beside) {
      open->written.push_back(*block);
      copy_elements(sum.with_geometry(*part), grad);
      return true;
    }
    fill_gaps(sum);
  }
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
