// What rules for quantised operators share: of types, and of their forms on devices (graph/device_form.h). A device
// works on int8: uint8 numbers are stored less 128, and so are their zero points and ranges.
#pragma once

#include <cstdlib>

#include "sorus/ops/device_rules.h"

namespace sorus::quantized_rules {

/// Integers of the first input's type, in the shape that all inputs broadcast to.
inline std::vector<TensorType> integers_like_input(const TypeCall& c) {
  Shape s = c.input(0).shape;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const TensorType& t = c.input(static_cast<int>(i));
    SORUS_CHECK(is_integral(t.dtype), TypeError, "{}: expected integers, got {}", c.op.name(), name(t.dtype));
    s = broadcast_shapes(s, t.shape, c.op.name());
  }
  return {{c.input(0).dtype, s, false}};
}

inline int32_t offset_of(const TensorType& t) { return t.dtype == DType::u8 ? 128 : 0; }
inline bool bytes(const TensorType& t) { return t.dtype == DType::i8 || t.dtype == DType::u8; }

inline std::vector<int32_t> small(const std::vector<int64_t>& list) { return {list.begin(), list.end()}; }

/// Attributes zero_point, quant_min and quant_max.
inline void set_range(const DeviceCall& c, Rescale& r) {
  int32_t offset = offset_of(c.outputs[0]);
  r.zero_point = static_cast<int32_t>(c.integer("zero_point")) - offset;
  r.low = static_cast<int32_t>(c.integer("quant_min")) - offset;
  r.high = static_cast<int32_t>(c.integer("quant_max")) - offset;
}

/// Attributes multiplier and shift as well, for sums that are at most `largest` in size: nothing if one could leave
/// 32 bits where it is shifted left.
inline std::optional<Rescale> rescale_of(const DeviceCall& c, int64_t largest) {
  Rescale r;
  r.multiplier = {static_cast<int32_t>(c.integer("multiplier"))};
  r.shift = {static_cast<int32_t>(c.integer("shift"))};
  if (r.shift[0] > 30 || r.shift[0] < -31 || largest >= int64_t{1} << (31 - std::max(r.shift[0], 0)))
    return std::nullopt;
  set_range(c, r);
  return r;
}

/// Resizing along one dimension: between which two elements each result lies, and how far, in 1024ths. On devices the
/// operator's own arithmetic gives the tables.
struct Between {
  Tensor low, high, part;
};
Between between(int64_t in, int64_t out, bool align_corners, bool half_pixel_centers);
/// The same in floats, for uint8: how much of the low and how much of the high element.
struct Weighted {
  Tensor low, high, rest, part;
};
Weighted weighted(int64_t in, int64_t out, bool align_corners, bool half_pixel_centers);

}  // namespace sorus::quantized_rules
