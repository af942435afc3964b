// Quantised convolutions, products and pooling. Activations are channels-last ([n, h, w, c]) and weights [o, h, w,
// c], as on small devices and in TensorFlow Lite: a window's channels lie side by side, and factors by channel
// broadcast along the last dimension. `padding` is [top, bottom, left, right]; what is outside counts as the zero
// point.
//
// Each is a composite of a sum (index notation, in 64-bit integers) and `requantize`; hand-written kernels compute
// both at once on a host.
#include "sorus/kernels/quantized.h"
#include "sorus/ops.h"
#include "sorus/ops/apply.h"

namespace sorus {
namespace {

const OpDef& conv_sum =
    op("integer_conv2d(input, weight, bias: Tensor? = none, stride: int[2] = 1, padding: int[4] = 0, dilation: "
       "int[2] = 1, groups: int = 1, input_zero_point: int = 0, weight_zero_point: int = 0)")
        .index(
            "y[n, h : (size(input, 1) + padding[0] + padding[1] - dilation[0]*(size(weight, 1) - 1) - 1)/stride[0] + "
            "1,"
            " v : (size(input, 2) + padding[2] + padding[3] - dilation[1]*(size(weight, 2) - 1) - 1)/stride[1] + 1, "
            "g*O + o]"
            " = bias[g*O + o] + sum(i, j, c)"
            " (input[n, h*stride[0] + i*dilation[0] - padding[0]?, v*stride[1] + j*dilation[1] - padding[2]?, g*C + "
            "c]"
            " - input_zero_point) * (weight[g*O + o, i, j, c] - weight_zero_point)"
            " where g < groups, O = size(weight, 0) / groups, C = size(weight, 3),"
            " h < (size(input, 1) + padding[0] + padding[1] - dilation[0]*(size(weight, 1) - 1) - 1)/stride[0] + 1,"
            " v < (size(input, 2) + padding[2] + padding[3] - dilation[1]*(size(weight, 2) - 1) - 1)/stride[1] + 1",
            "i64")
        .not_differentiable()
        .doc("Sums of products of integers, less their zero points, over windows of a channels-last image.");

const OpDef& linear_sum =
    op("integer_linear(input, weight, bias: Tensor? = none, input_zero_point: int = 0, weight_zero_point: int = 0)")
        .index("y[.., o] = bias[o] + sum(i) (input[.., i] - input_zero_point) * (weight[o, i] - weight_zero_point)",
               "i64")
        .not_differentiable()
        .doc("Sums of products of integers, less their zero points.");

const OpDef& window_sum =
    op("window_sum2d(input, kernel_size: int[2], stride: int[2], padding: int[4] = 0)")
        .index(
            "y[n, h : (size(input, 1) + padding[0] + padding[1] - kernel_size[0])/stride[0] + 1,"
            " v : (size(input, 2) + padding[2] + padding[3] - kernel_size[1])/stride[1] + 1, c] = sum(i, j)"
            " input[n, h*stride[0] + i - padding[0]?, v*stride[1] + j - padding[2]?, c]"
            " where i < kernel_size[0], j < kernel_size[1],"
            " h < (size(input, 1) + padding[0] + padding[1] - kernel_size[0])/stride[0] + 1,"
            " v < (size(input, 2) + padding[2] + padding[3] - kernel_size[1])/stride[1] + 1",
            "i64")
        .not_differentiable()
        .doc("Sums over windows of a channels-last image of integers.");

const OpDef& window_max =
    op("window_max2d(input, kernel_size: int[2], stride: int[2], padding: int[4] = 0)")
        .index(
            "y[n, h : (size(input, 1) + padding[0] + padding[1] - kernel_size[0])/stride[0] + 1,"
            " v : (size(input, 2) + padding[2] + padding[3] - kernel_size[1])/stride[1] + 1, c] = max(i, j)"
            " input[n, h*stride[0] + i - padding[0]?, v*stride[1] + j - padding[2]?, c]"
            " where i < kernel_size[0], j < kernel_size[1],"
            " h < (size(input, 1) + padding[0] + padding[1] - kernel_size[0])/stride[0] + 1,"
            " v < (size(input, 2) + padding[2] + padding[3] - kernel_size[1])/stride[1] + 1")
        .not_differentiable()
        .doc("The largest of each window of a channels-last image.");

bool is_code(DType t) { return t == DType::i8 || t == DType::u8 || t == DType::i16; }

void check_codes(const TypeCall& c) {
  SORUS_CHECK(is_code(c.input(0).dtype), TypeError, "{}: expected an int8, uint8 or int16 input, got {}", c.op.name(),
              name(c.input(0).dtype));
}
void check_weights(const TypeCall& c, const TypesRule&) {
  check_codes(c);
  DType w = c.input(1).dtype;
  SORUS_CHECK(w == DType::i8 || w == DType::u8, TypeError, "{}: expected int8 or uint8 weights, got {}", c.op.name(),
              name(w));
  int64_t outputs = c.input(1).shape.empty() ? 0 : c.input(1).shape[0];
  for (int i : {2, 3}) {
    SORUS_CHECK(is_integral(c.input(i).dtype), TypeError, "{}: multiplier and shift are integers, not {}",
                c.op.name(), name(c.input(i).dtype));
    SORUS_CHECK(c.input(i).shape.size() == 1 && (c.input(i).shape[0] == 1 || c.input(i).shape[0] == outputs),
                ValueError, "{}: multiplier and shift are one number or one for each of {} outputs, not {}",
                c.op.name(), outputs, to_string(c.input(i).shape));
  }
  if (c.has(4))
    SORUS_CHECK(c.input(4).dtype == DType::i32 || c.input(4).dtype == DType::i64, TypeError,
                "{}: the bias must be int32 or int64, not {}", c.op.name(), name(c.input(4).dtype));
}

// The result's type, given that of the sum it comes from.
std::vector<TensorType> as_codes(const TypeCall& c, const OpDef& sums, int sum_attrs) {
  check_weights(c, nullptr);
  std::array<const TensorType*, 3> in{c.inputs[0], c.inputs[1], c.inputs[4]};
  Attrs attrs(c.attrs.begin(), c.attrs.begin() + sum_attrs);
  TensorType t = infer_types(TypeCall{sums, in, attrs})[0];
  return {{c.input(0).dtype, t.shape, false}};
}

// Sums with 16-bit inputs and a bias that is not 32-bit may need more than 32 bits.
bool is_wide(const Call& c) {
  return c.input(0).dtype() == DType::i16 && !(c.has(4) && c.input(4).dtype() == DType::i32);
}

// What follows the sum: attributes zero_point, quant_min, quant_max from `at` on.
TensorList requantized(const Call& c, const Tensor& sums, int at) {
  auto n = [&](int i) { return c.attr(at + i).to_int(); };
  DType t = c.input(0).dtype();
  return {is_wide(c) ? requantize_wide(sums, c.input(2), c.input(3), n(0), n(1), n(2), t)
                     : requantize(sums, c.input(2), c.input(3), n(0), n(1), n(2), t)};
}

TensorList conv_body(const Call& c) {
  Attrs attrs(c.attrs.begin(), c.attrs.begin() + 6);
  return requantized(c, call_one(conv_sum, {c.input(0), c.input(1), c.inputs[4]}, attrs), 6);
}
TensorList linear_body(const Call& c) {
  Attrs attrs(c.attrs.begin(), c.attrs.begin() + 2);
  return requantized(c, call_one(linear_sum, {c.input(0), c.input(1), c.inputs[4]}, attrs), 2);
}

kernels::QuantizedOutput output_of(const Call& c, int at) {
  const Tensor &m = c.input(2), &s = c.input(3);
  kernels::QuantizedOutput o;
  int64_t outputs = c.input(1).size(0);
  Tensor m32 = to(m, DType::i32), s32 = to(s, DType::i32);
  for (int64_t i = 0; i < outputs; ++i) {
    o.multiplier.push_back(m32.data<int32_t>()[m.numel() == 1 ? 0 : i]);
    o.shift.push_back(s32.data<int32_t>()[s.numel() == 1 ? 0 : i]);
  }
  if (c.has(4)) {
    Tensor bias = contiguous(to(c.input(4), DType::i64));
    o.bias.assign(bias.data<int64_t>(), bias.data<int64_t>() + outputs);
  }
  o.zero_point = c.attr(at).to_int(), o.low = c.attr(at + 1).to_int(), o.high = c.attr(at + 2).to_int();
  o.wide = is_wide(c);
  return o;
}

void conv_kernel(const Call& c, std::span<Tensor> out) {
  const Tensor &x = c.input(0), &w = c.input(1);
  kernels::QuantizedConv a;
  for (int i = 0; i < 4; ++i) {
    auto d = static_cast<size_t>(i);
    a.in[i] = x.sizes()[d], a.out[i] = out[0].sizes()[d], a.weight[i] = w.sizes()[d];
  }
  for (size_t i = 0; i < 2; ++i)
    a.stride[i] = c.attr(0).ints()[i], a.dilation[i] = c.attr(2).ints()[i], a.padding[i] = c.attr(1).ints()[2 * i];
  a.groups = c.attr(3).to_int(), a.input_zero_point = c.attr(4).to_int(), a.weight_zero_point = c.attr(5).to_int();
  kernels::quantized_conv(a, output_of(c, 6), x.dtype(), x.data(), w.dtype(), w.data(), out[0].data());
}

void linear_kernel(const Call& c, std::span<Tensor> out) {
  const Tensor &x = c.input(0), &w = c.input(1);
  kernels::QuantizedConv a;
  int64_t depth = w.sizes()[1],
          rows = depth > 0 ? x.numel() / depth : out[0].numel() / std::max<int64_t>(w.sizes()[0], 1);
  a.in[0] = a.out[0] = rows, a.in[3] = a.weight[3] = depth, a.out[3] = a.weight[0] = w.sizes()[0];
  a.input_zero_point = c.attr(0).to_int(), a.weight_zero_point = c.attr(1).to_int();
  kernels::quantized_conv(a, output_of(c, 2), x.dtype(), x.data(), w.dtype(), w.data(), out[0].data());
}

TensorList average_body(const Call& c) {
  const Tensor& x = c.input(0);
  const Shape &kernel = c.attr(0).ints(), &stride = c.attr(1).ints(), &padding = c.attr(2).ints();
  Tensor sums = window_sum2d(x, kernel, stride, padding);
  // A window over the edge is the mean of what is inside.
  Tensor count = window_sum2d(ones(Shape{1, x.size(1), x.size(2), 1}, DType::i64), kernel, stride, padding);
  return {to(clamp_range(rounded_divide(sums, count), c.attr(3).to_int(), c.attr(4).to_int()), x.dtype())};
}

// A result sums as many products as a row of the weights holds.
double product_cost(const TypeCall& c, std::span<const TensorType> outputs) {
  const Shape& w = c.input(1).shape;
  return 2 * static_cast<double>(numel(outputs[0].shape)) * static_cast<double>(numel(w)) /
         static_cast<double>(std::max<int64_t>(w[0], 1));
}

const bool entries = [] {
  op("quantized_conv2d(input, weight, multiplier: mask, shift: mask, bias: Tensor? = none, stride: int[2] = 1, "
     "padding: int[4] = 0, dilation: int[2] = 1, groups: int = 1, input_zero_point: int = 0, weight_zero_point: int "
     "= 0, zero_point: int = 0, quant_min: int = -128, quant_max: int = 127)")
      .types([](const TypeCall& c) { return as_codes(c, conv_sum, 6); })
      .body(conv_body)
      .kernel(conv_kernel)
      .cost(product_cost)
      .not_differentiable()
      .doc(
          "Convolution of a channels-last quantised image [n, h, w, c] with weights [o, kh, kw, c / groups]: "
          "`integer_conv2d`, then `requantize` by output channel. With groups = c it is a depthwise convolution.");
  op("quantized_linear(input, weight, multiplier: mask, shift: mask, bias: Tensor? = none, input_zero_point: int = "
     "0, weight_zero_point: int = 0, zero_point: int = 0, quant_min: int = -128, quant_max: int = 127)")
      .types([](const TypeCall& c) { return as_codes(c, linear_sum, 2); })
      .body(linear_body)
      .kernel(linear_kernel)
      .cost(product_cost)
      .not_differentiable()
      .doc("Quantised rows [.., i] times weights [o, i]: `integer_linear`, then `requantize`.");
  op("quantized_avg_pool2d(input, kernel_size: int[2], stride: int[2], padding: int[4] = 0, quant_min: int = -128, "
     "quant_max: int = 127)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_codes(c);
        Attrs attrs(c.attrs.begin(), c.attrs.begin() + 3);
        return {{c.input(0).dtype, infer_types(TypeCall{window_sum, c.inputs, attrs})[0].shape, false}};
      })
      .body(average_body)
      .not_differentiable()
      .doc(
          "Means over windows of a channels-last quantised image, rounded half away from zero; input and result have "
          "the "
          "same scale. What is outside does not count.");
  op("quantized_max_pool2d(input, kernel_size: int[2], stride: int[2], padding: int[4] = 0, quant_min: int = -128, "
     "quant_max: int = 127)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_codes(c);
        Attrs attrs(c.attrs.begin(), c.attrs.begin() + 3);
        return {{c.input(0).dtype, infer_types(TypeCall{window_max, c.inputs, attrs})[0].shape, false}};
      })
      .body([](const Call& c) -> TensorList {
        Tensor y = window_max2d(c.input(0), c.attr(0).ints(), c.attr(1).ints(), c.attr(2).ints());
        return {clamp_range(y, c.attr(3).to_int(), c.attr(4).to_int())};
      })
      .not_differentiable()
      .doc("The largest of each window of a channels-last quantised image; input and result have the same scale.");
  return true;
}();

}  // namespace
}  // namespace sorus
