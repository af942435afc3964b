#include "sorus/nn/convolution.h"

#include <algorithm>
#include <cmath>

#include "sorus/nn/basic.h"
#include "sorus/nn/random.h"
#include "sorus/ops.h"

namespace sorus::nn {
namespace {

Shape expanded(Shape s, int64_t spatial, const char* what) {
  if (s.size() == 1) s = Shape(static_cast<size_t>(spatial), s[0]);
  SORUS_CHECK(static_cast<int64_t>(s.size()) == spatial, ValueError, "{}: expected 1 or {} numbers, found {}", what,
              spatial, to_string(s));
  return s;
}

ConvOptions checked(ConvOptions o, int64_t spatial, int64_t in, int64_t out, const Shape& kernel) {
  SORUS_CHECK(o.groups > 0 && in % o.groups == 0 && out % o.groups == 0, ValueError,
              "Conv: in_channels {} and out_channels {} must be divisible by groups {}", in, out, o.groups);
  o.stride = expanded(o.stride, spatial, "Conv: stride");
  o.padding = expanded(o.padding, spatial, "Conv: padding");
  o.dilation = expanded(o.dilation, spatial, "Conv: dilation");
  const std::string& m = o.padding_mode;
  SORUS_CHECK(m == "zeros" || m == "reflect" || m == "replicate" || m == "circular", ValueError,
              "Conv: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', not '{}'", m);
  if (o.padding_name.empty()) return o;
  SORUS_CHECK(o.padding_name == "same" || o.padding_name == "valid", ValueError,
              "Conv: padding must be 'same', 'valid' or numbers, not '{}'", o.padding_name);
  o.padding = Shape(static_cast<size_t>(spatial), 0);
  if (o.padding_name == "valid") return o;
  for (size_t i = 0; i < o.stride.size(); ++i) {
    SORUS_CHECK(o.stride[i] == 1, ValueError, "Conv: padding 'same' needs stride 1, found {}", to_string(o.stride));
    o.padding[i] = o.dilation[i] * (kernel[i] - 1) / 2;
  }
  return o;
}

void init(const Tensor& weight, const Tensor& bias) {
  double fan_in = weight.size(0) ? static_cast<double>(weight.numel() / weight.size(0)) : 0;
  double bound = fan_in > 0 ? 1 / std::sqrt(fan_in) : 0;
  uniform_(weight, -bound, bound);
  if (bias.defined()) uniform_(bias, -bound, bound);
}

Shape weight_shape(int64_t first, int64_t second, const Shape& kernel) {
  Shape s{first, second};
  for (int64_t n : kernel) s.push_back(n);
  return s;
}

void check_input(const Tensor& x, int64_t channels, int64_t spatial, const std::string& who) {
  bool fits = (x.dim() == spatial + 1 || x.dim() == spatial + 2) && x.size(-spatial - 1) == channels;
  SORUS_CHECK(fits, Error, "{}: expected [batch, {}{}] or the same without batch, got shape {}", who, channels,
              spatial == 1   ? ", length"
              : spatial == 2 ? ", height, width"
                             : ", depth, height, width",
              to_string(x.sizes()));
}

bool all_are(const Shape& s, int64_t v) {
  return std::all_of(s.begin(), s.end(), [v](int64_t x) { return x == v; });
}

std::string conv_text(const std::string& head, const ConvOptions& o, const Shape& output_padding, bool has_bias) {
  std::string s = head + ", stride=" + python_text(o.stride);
  if (!o.padding_name.empty())
    s += ", padding=" + o.padding_name;
  else if (!all_are(o.padding, 0))
    s += ", padding=" + python_text(o.padding);
  if (!all_are(o.dilation, 1)) s += ", dilation=" + python_text(o.dilation);
  if (!all_are(output_padding, 0)) s += ", output_padding=" + python_text(output_padding);
  if (o.groups != 1) s += fmt::format(", groups={}", o.groups);
  if (!has_bias) s += ", bias=False";
  if (o.padding_mode != "zeros") s += ", padding_mode=" + o.padding_mode;
  return s;
}

}  // namespace

Conv::Conv(int64_t spatial, int64_t in, int64_t out, Shape kernel, ConvOptions o)
    : in_channels(in),
      out_channels(out),
      kernel_size(expanded(std::move(kernel), spatial, "Conv: kernel_size")),
      options(checked(std::move(o), spatial, in, out, kernel_size)) {
  register_parameter("weight", weight,
                     Tensor::empty(weight_shape(out, in / options.groups, kernel_size), default_dtype()));
  register_parameter("bias", bias, options.bias ? Tensor::empty({out}, default_dtype()) : Tensor());
  init(weight, bias);
  // Where a kernel of even size needs one more at the end, or the padding is not zeros, it is done beforehand.
  bool uneven = false;
  Shape around;
  for (int64_t i = spatial - 1; i >= 0; --i) {
    auto d = static_cast<size_t>(i);
    int64_t before = options.padding[d], after = before;
    if (options.padding_name == "same") after = options.dilation[d] * (kernel_size[d] - 1) - before;
    uneven |= before != after;
    around.push_back(before);
    around.push_back(after);
  }
  if (uneven || (options.padding_mode != "zeros" && !all_are(around, 0))) around_ = around;
}

Tensor Conv::forward(const Tensor& input) {
  auto spatial = static_cast<int64_t>(kernel_size.size());
  check_input(input, in_channels, spatial, class_name());
  Tensor x = input;
  Shape padding = options.padding;
  if (!around_.empty()) {
    x = pad(x, around_, options.padding_mode == "zeros" ? "constant" : options.padding_mode);
    padding = Shape(padding.size(), 0);
  }
  if (spatial == 1) return conv1d(x, weight, bias, options.stride, padding, options.dilation, options.groups);
  if (spatial == 2) return conv2d(x, weight, bias, options.stride, padding, options.dilation, options.groups);
  return conv3d(x, weight, bias, options.stride, padding, options.dilation, options.groups);
}
std::string Conv::extra_repr() const {
  std::string head = fmt::format("{}, {}, kernel_size={}", in_channels, out_channels, python_text(kernel_size));
  return conv_text(head, options, {}, bias.defined());
}

ConvTranspose::ConvTranspose(int64_t spatial, int64_t in, int64_t out, Shape kernel, ConvOptions o, Shape extra)
    : in_channels(in),
      out_channels(out),
      kernel_size(expanded(std::move(kernel), spatial, "ConvTranspose: kernel_size")),
      output_padding(expanded(std::move(extra), spatial, "ConvTranspose: output_padding")),
      options(checked(std::move(o), spatial, in, out, kernel_size)) {
  SORUS_CHECK(options.padding_mode == "zeros" && options.padding_name.empty(), ValueError,
              "ConvTranspose: padding must be numbers, of zeros");
  register_parameter("weight", weight,
                     Tensor::empty(weight_shape(in, out / options.groups, kernel_size), default_dtype()));
  register_parameter("bias", bias, options.bias ? Tensor::empty({out}, default_dtype()) : Tensor());
  init(weight, bias);
}
Tensor ConvTranspose::forward(const Tensor& x) {
  auto spatial = static_cast<int64_t>(kernel_size.size());
  check_input(x, in_channels, spatial, class_name());
  const ConvOptions& o = options;
  if (spatial == 1)
    return conv_transpose1d(x, weight, bias, o.stride, o.padding, output_padding, o.groups, o.dilation);
  if (spatial == 2)
    return conv_transpose2d(x, weight, bias, o.stride, o.padding, output_padding, o.groups, o.dilation);
  return conv_transpose3d(x, weight, bias, o.stride, o.padding, output_padding, o.groups, o.dilation);
}
std::string ConvTranspose::extra_repr() const {
  std::string head = fmt::format("{}, {}, kernel_size={}", in_channels, out_channels, python_text(kernel_size));
  return conv_text(head, options, output_padding, bias.defined());
}

Pool::Pool(Kind kind, int64_t spatial, Shape kernel, PoolOptions o)
    : kernel_size(std::move(kernel)), options(std::move(o)), kind_(kind), spatial_(spatial) {
  expanded(kernel_size, spatial, "Pool: kernel_size");
}
TensorList Pool::forward_with_indices(const Tensor& x) {
  SORUS_CHECK(kind_ == Kind::max, Error, "{}: a mean has no indices", class_name());
  auto wide = [&](const Shape& s) { return expanded(s, spatial_, "Pool"); };
  Shape k = wide(kernel_size), stride = options.stride ? wide(*options.stride) : k;
  auto both = [&](const auto& out) { return TensorList{out[0], out[1]}; };
  if (spatial_ == 1)
    return both(
        max_pool1d_with_indices(x, k, stride, wide(options.padding), wide(options.dilation), options.ceil_mode));
  return both(
      max_pool2d_with_indices(x, k, stride, wide(options.padding), wide(options.dilation), options.ceil_mode));
}
Tensor Pool::forward(const Tensor& x) {
  if (kind_ == Kind::max) return forward_with_indices(x)[0];
  auto wide = [&](const Shape& s) { return expanded(s, spatial_, "Pool"); };
  Shape k = wide(kernel_size), stride = options.stride ? wide(*options.stride) : k;
  const PoolOptions& o = options;
  if (spatial_ == 1) return avg_pool1d(x, k, stride, wide(o.padding), o.ceil_mode, o.count_include_pad);
  return avg_pool2d(x, k, stride, wide(o.padding), o.ceil_mode, o.count_include_pad, o.divisor_override);
}
std::string Pool::extra_repr() const {
  auto text = [](const Shape& s) { return s.size() == 1 ? fmt::format("{}", s[0]) : python_text(s); };
  std::string stride = text(options.stride.value_or(kernel_size));
  if (kind_ == Kind::max)
    return fmt::format("kernel_size={}, stride={}, padding={}, dilation={}, ceil_mode={}", text(kernel_size), stride,
                       text(options.padding), text(options.dilation), python_text(options.ceil_mode));
  // PyTorch shows means over one dimension as tuples.
  if (spatial_ == 1)
    return fmt::format("kernel_size={}, stride={}, padding={}", python_text(kernel_size),
                       python_text(options.stride.value_or(kernel_size)), python_text(options.padding));
  return fmt::format("kernel_size={}, stride={}, padding={}", text(kernel_size), stride, text(options.padding));
}

AdaptiveAvgPool::AdaptiveAvgPool(int64_t spatial, Shape size) : output_size(std::move(size)), spatial_(spatial) {
  expanded(output_size, spatial, "AdaptiveAvgPool: output_size");
}
Tensor AdaptiveAvgPool::forward(const Tensor& x) {
  Shape size = expanded(output_size, spatial_, "AdaptiveAvgPool");
  SORUS_CHECK(x.dim() > spatial_, ValueError, "{}: expected at least {} dimensions, got {}", class_name(),
              spatial_ + 1, to_string(x.sizes()));
  for (int64_t i = 0; i < spatial_; ++i)
    if (int64_t& n = size[static_cast<size_t>(i)]; n == -1) n = x.size(i - spatial_);
  return spatial_ == 1 ? adaptive_avg_pool1d(x, size) : adaptive_avg_pool2d(x, size);
}
std::string AdaptiveAvgPool::extra_repr() const {
  return "output_size=" + (output_size.size() == 1 ? fmt::format("{}", output_size[0]) : python_text(output_size));
}

}  // namespace sorus::nn
