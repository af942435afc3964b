// How the rows of a loop lie in the memory of an operand.
#pragma once

#include <optional>

#include "sorus/emit/fused_loop.h"
#include "sorus/tensor/shape.h"

namespace sorus {

/// Strides of an operand over the shape `o` it is broadcast to, split so that the last dimensions make up `columns`.
/// Nothing if the columns cannot be walked with one stride.
std::optional<RowAccess> access_rows(const Geometry& g, const Shape& o, int64_t columns);

/// Whether element i of shape `o` is element i of the memory.
bool is_linear(const Geometry& g, const Shape& o);

}  // namespace sorus
