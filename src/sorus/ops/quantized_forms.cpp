// The forms in which small devices compute quantised operators (graph/device_form.h). A device works on int8: uint8
// numbers are stored less 128, and so are their zero points and ranges.
#include <algorithm>

#include "sorus/base/error.h"
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace {

using namespace quantized_rules;

bool codes(const TensorType& t) { return bytes(t) || t.dtype == DType::i16; }

// Weights and bias, a sum of products each, in slots 1 and `bias`.
void set_weights(const DeviceCall& c, ConvForm& f, int bias) {
  int32_t offset = offset_of(c.input(1));
  for (int64_t w : integers_of(c.constant(1))) f.weight.push_back(static_cast<int8_t>(w - offset));
  f.bias = c.has(bias) ? integers_of(c.constant(bias)) : std::vector<int64_t>(static_cast<size_t>(f.window.out_c), 0);
  if (f.bias.size() == 1) f.bias.resize(static_cast<size_t>(f.window.out_c), f.bias[0]);
  f.input_zero = static_cast<int32_t>(c.integer("input_zero_point")) - offset_of(c.input(0));
  f.weight_zero = static_cast<int32_t>(c.integer("weight_zero_point")) - offset;
}

// Whether no sum leaves 32 bits.
bool fits(const DeviceCall& c, const ConvForm& f) {
  int64_t largest = c.input(0).dtype == DType::i16 ? 65535 : 255, row = 1;
  for (int64_t o = 0; o < f.window.out_c; ++o) row = std::max(row, std::abs(f.bias[static_cast<size_t>(o)]));
  return row + largest * 255 * (numel(c.input(1).shape) / std::max<int64_t>(f.window.out_c, 1)) <= INT32_MAX;
}

// Multipliers and shifts in slots 2 and 3, and a bias in slot 4; nothing if a sum may be too large.
bool set_rescaled(const DeviceCall& c, ConvForm& f) {
  set_weights(c, f, 4);
  f.halves = c.input(0).dtype == DType::i16;
  f.rescale.multiplier = small(integers_of(c.constant(2)));
  f.rescale.shift = small(integers_of(c.constant(3)));
  set_range(c, f.rescale);
  if (!f.halves) return true;
  f.rescale.wide = !(c.has(4) && c.input(4).dtype == DType::i32);
  return f.rescale.wide
             ? std::all_of(f.rescale.shift.begin(), f.rescale.shift.end(), [](int32_t s) { return s < 15; })
             : fits(c, f);
}

int64_t at(const Shape& list, size_t i) { return list[list.size() == 1 ? 0 : i]; }

Window window_of(const Shape& in, const Shape& out) {
  Window w;
  w.batch = in[0], w.in_h = in[1], w.in_w = in[2], w.in_c = in[3];
  w.out_h = out[1], w.out_w = out[2], w.out_c = out[3];
  return w;
}

// Groups as one convolution of all channels, whose weights are zero (their zero point) outside of their group: no
// target has a kernel of its own for them.
void widen_groups(ConvForm& f, int64_t groups, int64_t channels) {
  const Window& w = f.window;
  int64_t taps = w.kernel_h * w.kernel_w, outputs = w.out_c / groups;
  std::vector<int8_t> wide(static_cast<size_t>(w.out_c * taps * w.in_c), static_cast<int8_t>(f.weight_zero));
  for (int64_t o = 0; o < w.out_c; ++o)
    for (int64_t t = 0; t < taps; ++t)
      for (int64_t i = 0; i < channels; ++i)
        wide[static_cast<size_t>((o * taps + t) * w.in_c + o / outputs * channels + i)] =
            f.weight[static_cast<size_t>((o * taps + t) * channels + i)];
  f.weight = std::move(wide);
}

// Here and below, `sums`: the sums themselves are the result.

/// The weights, and what becomes of the sums. False: there is no such form.
template <bool sums>
bool set_outcome(const DeviceCall& c, ConvForm& f) {
  f.sums = sums;
  if (!sums) return set_rescaled(c, f);
  set_weights(c, f, 2);
  return fits(c, f);
}

template <bool sums>
std::optional<DeviceForm> convolution(const DeviceCall& c) {
  const Shape& k = c.input(1).shape;
  if (!(sums ? bytes(c.input(0)) : codes(c.input(0))) || !bytes(c.input(1)) || !c.is_constant(1)) return std::nullopt;
  ConvForm f;
  Window& w = f.window = window_of(c.input(0).shape, c.outputs[0].shape);
  w.kernel_h = k[1], w.kernel_w = k[2];
  w.stride_h = at(c.integers("stride"), 0), w.stride_w = at(c.integers("stride"), 1);
  w.dilation_h = at(c.integers("dilation"), 0), w.dilation_w = at(c.integers("dilation"), 1);
  w.pad_top = at(c.integers("padding"), 0), w.pad_left = at(c.integers("padding"), 2);
  int64_t groups = c.integer("groups");
  f.depthwise = groups > 1 && groups == w.in_c;
  if (!set_outcome<sums>(c, f)) return std::nullopt;
  if (groups > 1 && !f.depthwise) widen_groups(f, groups, k[3]);
  if (f.depthwise) {  // from [channel, place] to [place, channel]
    int64_t places = k[1] * k[2];
    std::vector<int8_t> turned(f.weight.size());
    for (int64_t o = 0; o < w.out_c; ++o)
      for (int64_t p = 0; p < places; ++p)
        turned[static_cast<size_t>(p * w.out_c + o)] = f.weight[static_cast<size_t>(o * places + p)];
    f.weight = std::move(turned);
  }
  return f;
}

template <bool sums>
std::optional<DeviceForm> product(const DeviceCall& c) {
  if (!(sums ? bytes(c.input(0)) : codes(c.input(0))) || !bytes(c.input(1)) || !c.is_constant(1)) return std::nullopt;
  ConvForm f;
  f.window.in_c = c.input(1).shape[1], f.window.out_c = c.input(1).shape[0];
  f.window.in_h = f.window.out_h = numel(c.input(0).shape) / f.window.in_c;  // rows are pixels of one column
  if (!set_outcome<sums>(c, f)) return std::nullopt;
  return f;
}

// requantize_real of sums with constant factors, one for all or one by channel.
std::optional<DeviceForm> rescaled_sums(const DeviceCall& c) {
  const TensorType &x = c.input(0), &y = c.outputs[0];
  if (!bytes(y) || (x.dtype != DType::i32 && x.dtype != DType::i64) || x.shape != y.shape || !c.is_constant(1) ||
      !c.is_constant(2) || c.constant(2).numel() != 1)
    return std::nullopt;
  RescaleForm f;
  f.channels = x.shape.empty() ? 1 : x.shape.back();
  f.rows = numel(x.shape) / std::max<int64_t>(f.channels, 1);
  f.rescale.real = reals_of(c.constant(1));
  const Shape& s = c.input(1).shape;
  if (f.rescale.real.size() != 1 && (s.back() != f.channels || numel(s) != f.channels)) return std::nullopt;
  int32_t offset = offset_of(y);
  f.rescale.zero_point = static_cast<int32_t>(integers_of(c.constant(2))[0]) - offset;
  f.rescale.low = static_cast<int32_t>(c.integer("quant_min")) - offset;
  f.rescale.high = static_cast<int32_t>(c.integer("quant_max")) - offset;
  return f;
}

DeviceRule pool(PoolForm::Kind kind) {
  return [kind](const DeviceCall& c) -> std::optional<DeviceForm> {
    if (!codes(c.input(0))) return std::nullopt;
    PoolForm f;
    f.kind = kind;
    f.halves = c.input(0).dtype == DType::i16;
    Window& w = f.window = window_of(c.input(0).shape, c.outputs[0].shape);
    w.kernel_h = at(c.integers("kernel_size"), 0), w.kernel_w = at(c.integers("kernel_size"), 1);
    w.stride_h = at(c.integers("stride"), 0), w.stride_w = at(c.integers("stride"), 1);
    w.pad_top = at(c.integers("padding"), 0), w.pad_left = at(c.integers("padding"), 2);
    int32_t offset = offset_of(c.input(0));
    // A mean of uint8 is rounded from zero, which is not where the mean of int8 is rounded from.
    if (offset && kind == PoolForm::Kind::average) f.rounding_zero = -offset;
    f.low = static_cast<int32_t>(c.integer("quant_min")) - offset;
    f.high = static_cast<int32_t>(c.integer("quant_max")) - offset;
    return f;
  };
}

DeviceRule sum(bool negate) {
  return [negate](const DeviceCall& c) -> std::optional<DeviceForm> {
    const TensorType &a = c.input(0), &b = c.input(1);
    if (!bytes(a) || a.shape != b.shape || c.is_constant(0) || c.is_constant(1)) return std::nullopt;
    AddForm f;
    auto number = [&](const char* name) { return static_cast<int32_t>(c.integer(name)); };
    f.elements = numel(a.shape);
    f.negate_b = negate;
    f.left_shift = number("left_shift");
    f.zero_a = number("input_zero_point") - offset_of(a), f.zero_b = number("other_zero_point") - offset_of(b);
    f.multiplier_a = number("input_multiplier"), f.shift_a = number("input_shift");
    f.multiplier_b = number("other_multiplier"), f.shift_b = number("other_shift");
    f.rescale.multiplier = {number("multiplier")}, f.rescale.shift = {number("shift")};
    set_range(c, f.rescale);
    return f;
  };
}

// Two computed tensors of one shape; of others the scalar body is printed.
std::optional<DeviceForm> multiple(const DeviceCall& c) {
  const TensorType &a = c.input(0), &b = c.input(1);
  if (!bytes(a) || a.dtype != b.dtype || a.shape != b.shape || c.is_constant(0) || c.is_constant(1))
    return std::nullopt;
  ProductForm f;
  f.elements = numel(a.shape);
  f.zero_a = static_cast<int32_t>(c.integer("input_zero_point")) - offset_of(a);
  f.zero_b = static_cast<int32_t>(c.integer("other_zero_point")) - offset_of(b);
  std::optional<Rescale> r = rescale_of(c, int64_t{1} << 16);
  if (!r) return std::nullopt;
  f.rescale = *r;
  return f;
}

std::optional<DeviceForm> softmax(const DeviceCall& c) {
  if (!bytes(c.input(0)) || (!bytes(c.outputs[0]) && c.outputs[0].dtype != DType::i16)) return std::nullopt;
  SoftmaxForm f;
  f.columns = c.input(0).shape.back();
  f.rows = numel(c.input(0).shape) / std::max<int64_t>(f.columns, 1);
  f.multiplier = static_cast<int32_t>(c.integer("multiplier")),
  f.shift = static_cast<int32_t>(c.integer("left_shift"));
  return f;
}

[[maybe_unused]] const bool forms =
    device_form("quantized_conv2d", convolution<false>) && device_form("quantized_linear", product<false>) &&
    device_form("integer_conv2d", convolution<true>) && device_form("integer_linear", product<true>) &&
    device_form("requantize_real", rescaled_sums) &&
    device_form("quantized_avg_pool2d", pool(PoolForm::Kind::average)) &&
    device_form("quantized_max_pool2d", pool(PoolForm::Kind::maximum)) && device_form("quantized_add", sum(false)) &&
    device_form("quantized_sub", sum(true)) && device_form("quantized_mul", multiple) &&
    device_form("quantized_softmax", softmax);

}  // namespace
}  // namespace sorus
