// Shapes and strides: arithmetic on the geometry of tensors, in elements, never in bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "sorus/base/small_vector.h"

namespace sorus {

using Shape = SmallVector<int64_t, 6>;
using IntSpan = std::span<const int64_t>;

/// Number of elements; throws ValueError on overflow of int64.
int64_t numel(IntSpan shape);
Shape contiguous_strides(IntSpan shape);
bool is_contiguous(IntSpan shape, IntSpan strides);
/// "[2, 3]"
std::string to_string(IntSpan shape);
/// The shape that both broadcast to; `what` names the operator in the error.
Shape broadcast_shapes(IntSpan a, IntSpan b, std::string_view what);
/// Strides that make `shape`/`strides` look like `target` (0 where it is broadcast). The shape must broadcast to it.
Shape broadcast_strides(IntSpan shape, IntSpan strides, IntSpan target);
/// Turns a dimension counted from the end into one counted from the start; IndexError if out of range.
int64_t wrap_dim(int64_t dim, int64_t rank, std::string_view what);
/// `size` at `dim` and 1 elsewhere: the shape in which a vector goes along that dimension of others.
Shape along_dim(int64_t rank, int64_t dim, int64_t size);
/// Strides of the same memory under another shape, if that needs no copy.
std::optional<Shape> reshape_strides(IntSpan shape, IntSpan strides, IntSpan target);
/// Replaces a -1 in `target` by what is left of `count` elements.
Shape infer_reshape(int64_t count, IntSpan target, std::string_view what);
/// Whether two different indices may lie on the same element.
bool may_overlap(IntSpan shape, IntSpan strides);

/// How a tensor lies in a storage.
struct Geometry {
  Shape sizes;
  Shape strides;
  int64_t offset = 0;
  bool operator==(const Geometry&) const = default;
};

}  // namespace sorus
