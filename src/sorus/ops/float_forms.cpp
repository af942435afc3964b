// The forms in which small devices compute operators on floats (graph/device_form.h).
#include <algorithm>
#include <cmath>
#include <functional>

#include "sorus/base/error.h"
#include "sorus/ops/device_rules.h"

namespace sorus {
namespace {

bool real(const TensorType& t) { return t.dtype == DType::f32; }
int64_t at(const Shape& list, size_t i) { return list[list.size() == 1 ? 0 : i]; }

struct Sides {
  int64_t batch, h, w, c;
};
// `spatial` dimensions before the last; what stands before them is the batch.
Sides sides(const DeviceCall& c, const Shape& shape, int spatial) {
  Shape s = c.in_memory(shape);
  auto n = s.size();
  bool batched = n == static_cast<size_t>(spatial) + 2;
  return {batched ? s[0] : 1, spatial == 2 ? s[n - 3] : 1, s[n - 2], s[n - 1]};
}

Window window_of(const Sides& in, const Sides& out) {
  Window w;
  w.batch = in.batch, w.in_h = in.h, w.in_w = in.w, w.in_c = in.c;
  w.out_h = out.h, w.out_w = out.w, w.out_c = out.c;
  return w;
}

// Attributes by dimension; a window over one dimension is as wide as that, and one pixel high.
void set_steps(const DeviceCall& c, Window& w, int spatial, const Shape& kernel) {
  auto two = [&](const Shape& list, int64_t otherwise, int64_t& h, int64_t& v) {
    h = spatial == 2 ? at(list, 0) : otherwise, v = at(list, spatial == 2 ? 1 : 0);
  };
  two(kernel, 1, w.kernel_h, w.kernel_w);
  if (c.is_none("stride"))
    w.stride_h = w.kernel_h, w.stride_w = w.kernel_w;
  else
    two(c.integers("stride"), 1, w.stride_h, w.stride_w);
  two(c.integers("padding"), 0, w.pad_top, w.pad_left);
}

template <int spatial>
std::optional<DeviceForm> convolution(const DeviceCall& c) {
  if (!real(c.input(0)) || !real(c.outputs[0])) return std::nullopt;
  const Shape& k = c.input(1).shape;  // [o, c / groups, kh, kw]
  ConvForm f;
  f.is_float = true;
  Window& w = f.window = window_of(sides(c, c.input(0).shape, spatial), sides(c, c.outputs[0].shape, spatial));
  set_steps(c, w, spatial, {k.end() - spatial, k.end()});
  const Shape& dilation = c.integers("dilation");
  w.dilation_h = spatial == 2 ? at(dilation, 0) : 1, w.dilation_w = at(dilation, spatial == 2 ? 1 : 0);
  int64_t groups = c.integer("groups"), taps = w.kernel_h * w.kernel_w, inner = k[1];
  f.depthwise = groups > 1 && groups == w.in_c;
  std::vector<float> given = reals_of(c.constant(1));
  int64_t row = f.depthwise ? 1 : w.in_c;
  f.weight_f.assign(static_cast<size_t>(w.out_c * taps * row), 0);  // between groups there are zeros
  for (int64_t o = 0; o < w.out_c; ++o)
    for (int64_t i = 0; i < inner; ++i)
      for (int64_t t = 0; t < taps; ++t) {
        int64_t channel = f.depthwise ? 0 : o / (w.out_c / groups) * inner + i;
        f.weight_f[static_cast<size_t>(f.depthwise ? t * w.out_c + o : (o * taps + t) * row + channel)] =
            given[static_cast<size_t>((o * inner + i) * taps + t)];
      }
  f.bias_f = c.has(2) ? reals_of(c.constant(2)) : std::vector<float>(static_cast<size_t>(w.out_c), 0);
  return f;
}

// Rows times a constant matrix of `columns` columns, which is given as rows or as columns.
std::optional<DeviceForm> dense(const DeviceCall& c, int64_t columns, bool by_rows, int bias) {
  ConvForm f;
  f.is_float = true;
  Window& w = f.window;
  w.in_c = c.input(0).shape.back(), w.out_c = columns;
  w.in_h = w.out_h = numel(c.input(0).shape) / std::max<int64_t>(w.in_c, 1);  // rows are pixels of one column
  std::vector<float> given = reals_of(c.constant(1));
  f.weight_f.resize(given.size());
  for (int64_t o = 0; o < w.out_c; ++o)
    for (int64_t k = 0; k < w.in_c; ++k)
      f.weight_f[static_cast<size_t>(o * w.in_c + k)] =
          given[static_cast<size_t>(by_rows ? o * w.in_c + k : k * w.out_c + o)];
  f.bias_f = c.has(bias) ? reals_of(c.constant(bias)) : std::vector<float>(static_cast<size_t>(w.out_c), 0);
  return f;
}
std::optional<DeviceForm> linear(const DeviceCall& c) {
  if (!real(c.input(0)) || !real(c.input(1)) || !c.is_constant(1)) return std::nullopt;
  return dense(c, c.input(1).shape[0], true, 2);
}
std::optional<DeviceForm> product(const DeviceCall& c) {
  const Shape &a = c.input(0).shape, &b = c.input(1).shape;
  if (!real(c.input(0)) || !real(c.input(1)) || a.size() < 2) return std::nullopt;
  bool rows = c.is_constant(1) && numel(b) == b[b.size() - 2] * b.back() && b.size() <= a.size();
  if (rows) return dense(c, b.back(), false, 2);
  MatmulForm f = device_rules::matrices(a, b, c.outputs[0].shape);
  f.is_float = true;
  if (c.is_constant(0)) f.a_values = reals_of(c.constant(0));
  if (c.is_constant(1)) f.b_values = reals_of(c.constant(1));
  return f;
}

// [c, o / groups, kh, kw]: between groups there are zeros.
template <int spatial>
std::optional<DeviceForm> transposed(const DeviceCall& c) {
  if (!real(c.input(0)) || !real(c.outputs[0]) || !c.is_constant(1)) return std::nullopt;
  const Shape& k = c.input(1).shape;
  Sides in = sides(c, c.input(0).shape, spatial), out = sides(c, c.outputs[0].shape, spatial);
  Window w = window_of(in, out);
  set_steps(c, w, spatial, {k.end() - spatial, k.end()});
  const Shape& dilation = c.integers("dilation");
  TransposedForm f;
  f.is_float = true;
  f.batch = in.batch, f.in_h = in.h, f.in_w = in.w, f.in_c = in.c, f.out_h = out.h, f.out_w = out.w, f.out_c = out.c;
  f.kernel_h = w.kernel_h, f.kernel_w = w.kernel_w, f.stride_h = w.stride_h, f.stride_w = w.stride_w;
  f.pad_top = w.pad_top, f.pad_left = w.pad_left;
  f.dilation_h = spatial == 2 ? at(dilation, 0) : 1, f.dilation_w = at(dilation, spatial == 2 ? 1 : 0);
  int64_t groups = c.integer("groups"), taps = w.kernel_h * w.kernel_w, per_in = in.c / groups, per_out = k[1];
  std::vector<float> given = reals_of(c.constant(1));
  f.weight_f.assign(static_cast<size_t>(out.c * taps * in.c), 0);
  f.bias_f.assign(static_cast<size_t>(out.c), 0);
  for (int64_t i = 0; i < in.c; ++i)
    for (int64_t o = 0; o < per_out; ++o)
      for (int64_t t = 0; t < taps; ++t)
        f.weight_f[static_cast<size_t>(((i / per_in * per_out + o) * taps + t) * in.c + i)] =
            given[static_cast<size_t>((i * per_out + o) * taps + t)];
  return f;
}

// ---- Lines: what an operator does to x is scale * x + shift, clamped
// ----------------------------------------------------------------------------------------------------------------------

LineForm line_of(const DeviceCall& c) {
  LineForm f;
  Shape s = c.in_memory(c.outputs[0].shape);
  f.channels = s.empty() ? 1 : s.back();
  f.rows = numel(s) / std::max<int64_t>(f.channels, 1);
  return f;
}

// A constant operand as one number, or one for each index of the last dimension in memory.
std::optional<std::vector<float>> by_channel(const DeviceCall& c, int slot) {
  const Tensor& t = c.constant(slot);
  std::vector<float> values = reals_of(t);
  if (std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; }) && !values.empty())
    return std::vector<float>{values[0]};
  const Shape &shape = t.sizes(), &out = c.outputs[0].shape;
  if (shape.size() > out.size() || c.order.empty()) return std::nullopt;
  auto last = static_cast<size_t>(c.order.back());
  size_t lead = out.size() - shape.size();
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] != 1 && d + lead != last) return std::nullopt;
  return values;
}

// `apply`: from a constant to scale and shift; `swapped`: the constant is the first operand.
using Apply = std::function<void(float constant, bool swapped, float& scale, float& shift)>;
std::optional<DeviceForm> line(const DeviceCall& c, const Apply& apply) {
  if (!real(c.outputs[0]) || c.is_constant(0) == c.is_constant(1)) return std::nullopt;
  int constant = c.is_constant(0) ? 0 : 1;
  const TensorType& x = c.input(1 - constant);
  if (!real(x) || x.shape != c.outputs[0].shape) return std::nullopt;
  auto values = by_channel(c, constant);
  if (!values) return std::nullopt;
  LineForm f = line_of(c);
  f.scale.assign(values->size(), 1), f.shift.assign(values->size(), 0);
  for (size_t i = 0; i < values->size(); ++i) {
    apply((*values)[i], constant == 0, f.scale[i], f.shift[i]);
    if (!std::isfinite(f.scale[i]) || !std::isfinite(f.shift[i])) return std::nullopt;
  }
  return f;
}

DeviceRule sum(double sign) {
  return [sign](const DeviceCall& c) -> std::optional<DeviceForm> {
    double alpha = c.number("alpha") * sign;
    auto other = static_cast<float>(alpha);
    if (c.is_constant(0) || c.is_constant(1))
      return line(c, [&](float v, bool swapped, float& scale, float& shift) {
        scale = swapped ? other : 1, shift = swapped ? v : v * other;
      });
    const TensorType &a = c.input(0), &b = c.input(1);
    if (!real(a) || !real(b) || a.shape != b.shape || std::abs(alpha) != 1) return std::nullopt;
    AddForm f;
    f.is_float = true;
    f.elements = numel(a.shape);
    f.negate_b = alpha < 0;
    return f;
  };
}
std::optional<DeviceForm> multiple(const DeviceCall& c) {
  return line(c, [](float v, bool, float& scale, float&) { scale = v; });
}
std::optional<DeviceForm> quotient(const DeviceCall& c) {
  if (!c.is_constant(1)) return std::nullopt;
  return line(c, [](float v, bool, float& scale, float&) { scale = 1 / v; });
}

// `low`, `high`: numbers or attributes.
using Bound = std::function<float(const DeviceCall&)>;
DeviceRule clamp(const Bound& low, const Bound& high) {
  return [=](const DeviceCall& c) -> std::optional<DeviceForm> {
    if (!real(c.outputs[0]) || !real(c.input(0))) return std::nullopt;
    LineForm f = line_of(c);
    f.low = std::max(low(c), f.low), f.high = std::min(high(c), f.high);
    return f;
  };
}
Bound number(float v) {
  return [v](const DeviceCall&) { return v; };
}
Bound attribute(const char* name) {
  return [name](const DeviceCall& c) { return static_cast<float>(c.number(name)); };
}

// ---- Windows without weights, sums over dimensions, softmax
// ---------------------------------------------------------------------------------------------------------------------------

template <int spatial>
DeviceRule pool(PoolForm::Kind kind) {
  return [kind](const DeviceCall& c) -> std::optional<DeviceForm> {
    const TensorType& x = c.input(0);
    bool bytes = kind == PoolForm::Kind::maximum && (x.dtype == DType::i8 || x.dtype == DType::u8);
    if (!real(x) && !bytes) return std::nullopt;
    PoolForm f;
    f.is_float = !bytes;
    f.kind = kind;
    Window& w = f.window = window_of(sides(c, c.input(0).shape, spatial), sides(c, c.outputs[0].shape, spatial));
    set_steps(c, w, spatial, c.integers("kernel_size"));
    if (kind == PoolForm::Kind::maximum) {
      const Shape& d = c.integers("dilation");
      w.dilation_h = spatial == 2 ? at(d, 0) : 1, w.dilation_w = at(d, spatial == 2 ? 1 : 0);
    }
    return f;
  };
}

// A sum of floats over dimensions that lie side by side in memory, or of bytes over any.
std::optional<DeviceForm> total(const DeviceCall& c) {
  const TensorType& x = c.input(0);
  bool bytes = (x.dtype == DType::i8 || x.dtype == DType::u8) && c.outputs[0].dtype == DType::i64;
  if (!bytes && (!real(x) || !real(c.outputs[0]))) return std::nullopt;
  auto rank = static_cast<int64_t>(x.shape.size());
  std::vector<char> reduced(static_cast<size_t>(rank), c.is_none("dim"));
  if (!c.is_none("dim"))
    for (int64_t d : c.integers("dim")) reduced[static_cast<size_t>(c.place(d))] = 1;
  Shape s = c.in_memory(x.shape);
  if (bytes) {
    ReduceForm f;
    f.kind = ReduceForm::Kind::sum, f.sums = true, f.sizes = s, f.reduced = reduced;
    f.input_zero = x.dtype == DType::u8 ? -128 : 0;  // how uint8 lies on devices
    if (numel(s) >= 1 << 23) return std::nullopt;
    c.result_order = device_rules::kept_order(c, reduced);
    return f;
  }
  PoolForm f;
  f.is_float = true;
  f.kind = PoolForm::Kind::sum;
  Window& w = f.window;
  int64_t last = -1;
  for (int64_t p = 0; p < rank; ++p) {
    int64_t n = s[static_cast<size_t>(p)];
    if (!reduced[static_cast<size_t>(p)]) {
      (last < 0 ? w.batch : w.in_c) *= n;
    } else if (n != 1) {
      if (last >= 0 && w.in_c != 1) return std::nullopt;  // something that stays lies between
      w.in_h *= n, last = p;
    }
  }
  w.kernel_h = w.in_h, w.out_c = w.in_c;
  c.result_order = device_rules::kept_order(c, reduced);
  return f;
}

std::optional<DeviceForm> softmax(const DeviceCall& c) {
  if (!real(c.input(0)) || !real(c.outputs[0])) return std::nullopt;
  SoftmaxForm f;
  f.is_float = true;
  Shape s = c.in_memory(c.input(0).shape);
  f.columns = s.empty() ? 1 : s.back();
  f.rows = numel(s) / std::max<int64_t>(f.columns, 1);
  return f;
}
// The dimension of the sums last.
Shape summed_last(const DeviceCall& c, const Shape& now) {
  auto rank = static_cast<int64_t>(now.size());
  int64_t dim = c.integer("dim") < 0 ? c.integer("dim") + rank : c.integer("dim");
  Shape order;
  for (int64_t d : now)
    if (d != dim) order.push_back(d);
  if (rank) order.push_back(dim);
  return order;
}

[[maybe_unused]] const bool forms =
    device_form("conv2d", convolution<2>, channels_last(2)) &&
    device_form("conv1d", convolution<1>, channels_last(1)) &&
    device_form("conv_transpose2d_product", transposed<2>, channels_last(2)) &&
    device_form("conv_transpose1d_product", transposed<1>, channels_last(1)) && device_form("linear", linear) &&
    device_form("matmul_batched", product) && device_form("mm", product) && device_form("bmm", product) &&
    device_form("add", sum(1), as_it_is) && device_form("sub", sum(-1), as_it_is) &&
    device_form("mul", multiple, as_it_is) && device_form("div", quotient, as_it_is) &&
    device_form("relu", clamp(number(0), number(kNoBound)), as_it_is) &&
    device_form("relu6", clamp(number(0), number(6)), as_it_is) &&
    device_form("hardtanh", clamp(attribute("min_val"), attribute("max_val")), as_it_is) &&
    device_form("clamp_range", clamp(attribute("low"), attribute("high")), as_it_is) &&
    device_form("clamp_low", clamp(attribute("low"), number(kNoBound)), as_it_is) &&
    device_form("clamp_high", clamp(number(-kNoBound), attribute("high")), as_it_is) &&
    device_form("max_pool2d_with_indices", pool<2>(PoolForm::Kind::maximum), channels_last(2)) &&
    device_form("max_pool1d_with_indices", pool<1>(PoolForm::Kind::maximum), channels_last(1)) &&
    device_form("window_sum", pool<2>(PoolForm::Kind::sum), channels_last(2)) &&
    device_form("sum", total, as_it_is) && device_form("softmax", softmax, summed_last);

}  // namespace
}  // namespace sorus
