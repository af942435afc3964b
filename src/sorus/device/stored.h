// Where a value of the graph lies: a tensor of the model and a geometry in its memory. An *order* is a list of
// dimensions from outermost to innermost.
#pragma once

#include "sorus/device/model.h"

namespace sorus::device {

struct Stored {
  int tensor = -1;
  Geometry geometry;  ///< dimensions as the graph numbers them
};

/// 0, 1, 2, ...
Shape natural(size_t rank);
/// Sizes, or a geometry, with the dimensions in this order.
Shape reordered(const Shape& shape, const Shape& order);
Geometry reordered(const Geometry& g, const Shape& order);
/// Contiguous, with the dimensions in this order in memory.
Geometry ordered_geometry(const Shape& shape, const Shape& order);
/// The order in which the dimensions lie: by falling strides. Dimensions of one element, which lie
/// nowhere, come first.
Shape order_of(const Geometry& g);
/// Whether the geometry is contiguous in this order and covers all of the memory's elements.
bool fills(const Geometry& g, const Shape& order, int64_t elements);
/// The type of elements as devices have them; TypeError, which says `what` it is, for types they have not.
Element element_of(DType t, const std::string& what);

}  // namespace sorus::device
