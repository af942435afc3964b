// The forms in which small devices compute the operators of quantized_image.cpp, and extrema and their places.
#include <algorithm>
#include <cmath>

#include "sorus/base/error.h"
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace {

using namespace quantized_rules;

std::optional<DeviceForm> transposed(const DeviceCall& c) {
  bool halves = c.input(0).dtype == DType::i16;
  if (!(bytes(c.input(0)) || halves) || !bytes(c.input(1)) || !c.is_constant(1)) return std::nullopt;
  const Shape &x = c.input(0).shape, &y = c.outputs[0].shape, &k = c.input(1).shape;
  TransposedForm f;
  f.batch = x[0], f.in_h = x[1], f.in_w = x[2], f.in_c = x[3];
  f.out_h = y[1], f.out_w = y[2], f.out_c = y[3], f.kernel_h = k[1], f.kernel_w = k[2];
  f.stride_h = c.integers("stride")[0], f.stride_w = c.integers("stride")[1];
  f.pad_top = c.integers("padding")[0], f.pad_left = c.integers("padding")[1];
  for (int64_t w : integers_of(c.constant(1))) f.weight.push_back(static_cast<int8_t>(w - offset_of(c.input(1))));
  auto channels = static_cast<size_t>(f.out_c);
  f.bias = c.has(4) ? integers_of(c.constant(4)) : std::vector<int64_t>(channels, 0);
  if (f.bias.size() == 1) f.bias.resize(channels, f.bias[0]);
  f.halves = halves, f.rescale.wide = halves && !(c.has(4) && c.input(4).dtype == DType::i32);
  f.rescale.multiplier = small(integers_of(c.constant(2))), f.rescale.shift = small(integers_of(c.constant(3)));
  f.input_zero = static_cast<int32_t>(c.integer("input_zero_point")) - offset_of(c.input(0));
  f.weight_zero = static_cast<int32_t>(c.integer("weight_zero_point")) - offset_of(c.input(1));
  set_range(c, f.rescale);
  if (f.rescale.wide)
    for (int32_t s : f.rescale.shift)
      if (s >= 15) return std::nullopt;
  // Sums of int16 with a bias of 32 bits have no more than those.
  int64_t taps = f.kernel_h * f.kernel_w * f.in_c;
  if (halves && !f.rescale.wide && taps * 255 * 65535 > INT32_MAX / 2) return std::nullopt;
  return f;
}

std::vector<BlendForm::Place> places(int64_t in, int64_t out, bool align_corners, bool half_pixel_centers) {
  Between found = between(in, out, align_corners, half_pixel_centers);
  std::vector<int32_t> low = small(integers_of(found.low)), high = small(integers_of(found.high)),
                       part = small(integers_of(found.part));
  std::vector<BlendForm::Place> list;
  for (size_t i = 0; i < low.size(); ++i) list.push_back({low[i], high[i], part[i]});
  return list;
}

// How many binary places the weights have; 11 where there are more than ten.
int binary_places(const std::vector<float>& weights) {
  int most = 0;
  for (float v : weights) {
    int n = 0;
    while (n < 11 && std::ldexp(v, n) != std::nearbyint(std::ldexp(v, n))) ++n;
    most = std::max(most, n);
  }
  return most;
}
// Places, and the weights of both, one pair a result.
std::vector<float> set_places(std::vector<BlendForm::Place>& list, const Weighted& w) {
  std::vector<int32_t> low = small(integers_of(w.low)), high = small(integers_of(w.high));
  std::vector<float> rest = reals_of(w.rest), part = reals_of(w.part), weights;
  for (size_t i = 0; i < low.size(); ++i) {
    list.push_back({low[i], high[i], static_cast<int32_t>(std::ldexp(part[i], 10))});
    weights.insert(weights.end(), {rest[i], part[i]});
  }
  return weights;
}

std::optional<DeviceForm> blended(const DeviceCall& c) {
  if (!bytes(c.input(0))) return std::nullopt;
  const Shape &x = c.input(0).shape, &size = c.integers("size");
  bool corners = c.integer("align_corners") != 0, half = c.integer("half_pixel_centers") != 0;
  BlendForm f;
  f.batch = x[0], f.in_h = x[1], f.in_w = x[2], f.channels = x[3];
  if (c.input(0).dtype == DType::u8) {
    std::vector<float> h = set_places(f.rows, weighted(f.in_h, size[0], corners, half)),
                       w = set_places(f.columns, weighted(f.in_w, size[1], corners, half));
    // With so few places no sum of floats is rounded (they are below 2^9), and integers give the same.
    int down = binary_places(h), right = binary_places(w);
    if (down > 10 || right > 10 || down + right > 15) f.row_weights = h, f.column_weights = w;
  } else {
    f.rows = places(f.in_h, size[0], corners, half), f.columns = places(f.in_w, size[1], corners, half);
  }
  // Where the picture is stretched over its edge a row beyond the last one would be read.
  for (const auto& [list, n] : {std::pair{&f.rows, f.in_h}, std::pair{&f.columns, f.in_w}})
    for (const BlendForm::Place& p : *list)
      if (p.low >= n || p.high < 0) return std::nullopt;
  f.rounding_zero = -offset_of(c.input(0));
  return f;
}

std::vector<char> reduced_dims(const Shape& shape, const Shape& dims) {
  std::vector<char> reduced(shape.size(), dims.empty());
  for (int64_t d : dims) reduced[static_cast<size_t>(d < 0 ? d + static_cast<int64_t>(shape.size()) : d)] = 1;
  return reduced;
}

std::optional<DeviceForm> summed(const DeviceCall& c) {
  const TensorType& x = c.input(0);
  if (!bytes(x) && x.dtype != DType::i16) return std::nullopt;
  ReduceForm f;
  f.sizes = x.shape, f.reduced = reduced_dims(x.shape, c.integers("dim"));
  if (c.integers("dim").empty()) f.reduced.assign(x.shape.size(), 0);  // no dimension, not all
  int64_t terms = 1;
  for (size_t d = 0; d < f.sizes.size(); ++d) terms *= f.reduced[d] ? f.sizes[d] : 1;
  std::optional<Rescale> r = rescale_of(c, terms * (bytes(x) ? 255 : 65535));
  if (!r) return std::nullopt;
  f.rescale = *r;
  f.input_zero = static_cast<int32_t>(c.integer("input_zero_point")) - offset_of(x);
  return f;
}

DeviceRule extremum(ReduceForm::Kind kind) {
  return [kind](const DeviceCall& c) -> std::optional<DeviceForm> {
    const TensorType& x = c.input(0);
    if (!bytes(x) && x.dtype != DType::f32) return std::nullopt;
    ReduceForm f;
    f.kind = kind, f.sizes = c.in_memory(x.shape), f.is_float = !bytes(x);
    bool place = kind == ReduceForm::Kind::place_of_maximum || kind == ReduceForm::Kind::place_of_minimum;
    Shape dims;
    if (!c.is_none("dim"))
      for (int64_t d : place ? Shape{c.integer("dim")} : c.integers("dim")) dims.push_back(c.place(d));
    f.reduced = reduced_dims(f.sizes, dims);
    c.result_order = device_rules::kept_order(c, f.reduced);
    return f;
  };
}

std::optional<DeviceForm> multiplied(const DeviceCall& c) {
  if (!bytes(c.input(0)) || !bytes(c.input(1)) || c.is_constant(0) || c.is_constant(1)) return std::nullopt;
  MatmulForm f = device_rules::matrices(c.input(0).shape, c.input(1).shape, c.outputs[0].shape);
  f.zero_a = static_cast<int32_t>(c.integer("input_zero_point")) - offset_of(c.input(0));
  f.zero_b = static_cast<int32_t>(c.integer("other_zero_point")) - offset_of(c.input(1));
  std::optional<Rescale> r = rescale_of(c, f.depth * 255 * 255);
  if (!r) return std::nullopt;
  f.rescale = *r;
  return f;
}

// Places along one dimension: nearest neighbours, reversed order, a table of rows, what an index says.
std::optional<DeviceForm> taken(const DeviceCall& c) {
  const Shape& dims = c.integers("dims");
  DType t = c.input(0).dtype, index = c.input(1).dtype;
  if (dims.size() != 1 || c.inputs.size() != 2 || c.input(1).shape.size() != 1) return std::nullopt;
  if (c.is_constant(0) && t != DType::f32 && !bytes(c.input(0)) && t != DType::i16 && t != DType::i32)
    return std::nullopt;
  if (!c.is_constant(1) && index != DType::i32 && index != DType::i64) return std::nullopt;
  const Shape& x = c.input(0).shape;
  auto d = static_cast<size_t>(dims[0] < 0 ? dims[0] + static_cast<int64_t>(x.size()) : dims[0]);
  TakeForm f;
  f.input = x[d];
  for (size_t i = 0; i < x.size(); ++i) (i < d ? f.outer : f.inner) *= i == d ? 1 : x[i];
  f.count = numel(c.input(1).shape);
  if (c.is_constant(0)) f.table = c.constant(0);
  if (!c.is_constant(1)) return f;
  for (int64_t p : integers_of(c.constant(1))) {
    int64_t place = p < 0 ? p + f.input : p;
    SORUS_CHECK(place >= 0 && place < f.input, IndexError, "codegen: place {} of {} elements", p, f.input);
    f.places.push_back(static_cast<int32_t>(place));
  }
  return f;
}

std::optional<DeviceForm> filtered(const DeviceCall& c) {
  if (!bytes(c.input(0)) || c.is_constant(1) || !c.is_constant(2) || !c.is_constant(3)) return std::nullopt;
  const Shape &w = c.input(2).shape, &t = c.input(3).shape;
  SvdfForm f;
  f.rows = c.input(0).shape[0], f.features = w[1], f.filters = t[0], f.memory = t[1], f.rank = c.integer("rank");
  for (int64_t v : integers_of(c.constant(2))) f.feature.push_back(static_cast<int8_t>(v));
  for (int64_t v : integers_of(c.constant(3))) f.time.push_back(static_cast<int16_t>(v));
  auto units = static_cast<size_t>(f.filters / f.rank);
  f.bias = c.has(4) ? small(integers_of(c.constant(4))) : std::vector<int32_t>(units, 0);
  f.input_zero = static_cast<int32_t>(c.integer("input_zero_point")) - offset_of(c.input(0));
  f.fresh = {{static_cast<int32_t>(c.integer("feature_multiplier"))},
             {static_cast<int32_t>(c.integer("feature_shift"))},
             0,
             -32768,
             32767};
  int64_t largest = 0;  // sum of products over time, of all units
  for (size_t u = 0; u < units; ++u) {
    int64_t sum = std::abs(int64_t{f.bias[u]});
    for (int64_t k = 0; k < f.rank * f.memory; ++k)
      sum += 32768 * std::abs(int64_t{f.time[u * static_cast<size_t>(f.rank * f.memory) + static_cast<size_t>(k)]});
    largest = std::max(largest, sum);
  }
  int64_t shift = c.integer("shift"), limit = (int64_t{1} << (31 - std::clamp<int64_t>(shift, 0, 30))) - 1;
  // A sum that is kept below its own size must still be one that is out of the result's range.
  if (largest > limit && std::ldexp(static_cast<double>(limit), static_cast<int>(shift)) >= 4096) {
    f.limit = limit;
    largest = limit;
  }
  std::optional<Rescale> r = rescale_of(c, largest);
  if (!r || f.features * 255 * 128 >= int64_t{1} << (31 - std::max(f.fresh.shift[0], 0))) return std::nullopt;
  f.rescale = *r;
  return f;
}

[[maybe_unused]] const bool forms =
    device_form("quantized_conv_transpose2d", transposed) && device_form("quantized_resize_bilinear", blended) &&
    device_form("quantized_sum", summed) && device_form("quantized_matmul", multiplied) &&
    device_form("amax", extremum(ReduceForm::Kind::maximum), as_it_is) &&
    device_form("amin", extremum(ReduceForm::Kind::minimum), as_it_is) &&
    device_form("argmax", extremum(ReduceForm::Kind::place_of_maximum)) &&
    device_form("argmin", extremum(ReduceForm::Kind::place_of_minimum)) && device_form("index", taken) &&
    device_form("quantized_svdf", filtered);

}  // namespace
}  // namespace sorus
