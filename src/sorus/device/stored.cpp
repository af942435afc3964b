#include "sorus/device/stored.h"

#include <algorithm>
#include <limits>

#include "sorus/base/error.h"

namespace sorus::device {

Shape natural(size_t rank) {
  Shape order;
  for (size_t d = 0; d < rank; ++d) order.push_back(static_cast<int64_t>(d));
  return order;
}

Shape reordered(const Shape& shape, const Shape& order) {
  Shape result;
  for (int64_t d : order) result.push_back(shape[static_cast<size_t>(d)]);
  return result;
}

Geometry reordered(const Geometry& g, const Shape& order) {
  return {reordered(g.sizes, order), reordered(g.strides, order), g.offset};
}

Geometry ordered_geometry(const Shape& shape, const Shape& order) {
  Shape inner = contiguous_strides(reordered(shape, order)), strides(shape.size());
  for (size_t p = 0; p < order.size(); ++p) strides[static_cast<size_t>(order[p])] = inner[p];
  return {shape, strides, 0};
}

Shape order_of(const Geometry& g) {
  Shape order = natural(g.sizes.size());
  auto stride = [&](int64_t d) {
    auto i = static_cast<size_t>(d);
    return g.sizes[i] == 1 ? std::numeric_limits<int64_t>::max() : g.strides[i];
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return stride(a) > stride(b); });
  return order;
}

bool fills(const Geometry& g, const Shape& order, int64_t elements) {
  if (numel(g.sizes) != elements || g.offset != 0) return false;
  Geometry wanted = ordered_geometry(g.sizes, order);
  for (size_t d = 0; d < g.sizes.size(); ++d)
    if (g.sizes[d] != 1 && g.strides[d] != wanted.strides[d]) return false;
  return true;
}

Element element_of(DType t, const std::string& what) {
  switch (t) {
    case DType::i8:
    case DType::boolean:
      return Element::i8;
    case DType::u8:
      return Element::u8;
    case DType::i32:
      return Element::i32;
    case DType::i16:
      return Element::i16;
    case DType::i64:
      return Element::i64;
    case DType::f32:
      return Element::f32;
    default:
      fail<TypeError>("codegen: {} has the type {}; generated code has int8 to int64, uint8 and float32", what,
                      name(t));
  }
}

}  // namespace sorus::device
