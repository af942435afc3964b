// Converters of ONNX's quantised operators. QuantizeLinear and DequantizeLinear (QDQ) become operators on tensors of
// scales; weights that are dequantised become float parameters. QLinear operators become integer sums and
// `requantize_real`, which multiplies by a float and rounds half to even, as ONNX Runtime does.
#include "sorus/import/layers.h"
#include "sorus/import/onnx.h"
#include "sorus/import/quantize.h"
#include "sorus/ops.h"

namespace sorus::importer::onnx {
namespace {

// A scale or zero point along a dimension, so that it broadcasts.
Tensor along(const Tensor& v, int64_t dim, int64_t rank) {
  if (v.numel() == 1) return v.dim() == 0 ? v : reshape(v, Shape{});
  SORUS_CHECK(v.dim() == 1 && dim < rank, NotImplementedError, "with scales of shape {}", to_string(v.sizes()));
  Shape s(static_cast<size_t>(rank - dim), 1);
  s[0] = v.numel();
  return reshape(v, s);
}
// The zero point of a scale; 0 where it is left out.
Tensor zero_of(const Node& n, size_t i) { return n.has(i) ? n.in[i] : Tensor::zeros(Shape{}, DType::u8); }
template <class F>
Tensor prepared(const Tensor& t, F f) {
  return is_constant(t) ? computed([&] { return contiguous(f(t)); }) : f(t);
}

TensorList quantized(const Node& n) {
  const Tensor& x = n.at(0);
  SORUS_CHECK(n.integer("block_size", 0) == 0, NotImplementedError, "in blocks");
  Tensor zero = zero_of(n, 2);
  DType t = zero.dtype();
  auto [low, high] = code_range(t);
  int64_t axis = x.dim() == 0 ? 0 : n.dim(n.at(1).numel() == 1 ? 0 : n.integer("axis", 1), x);
  auto place = [&](const Tensor& v) { return prepared(v, [&](const Tensor& w) { return along(w, axis, x.dim()); }); };
  return {quantize_linear(x, place(n.at(1)), place(zero), low, high, t)};
}

TensorList dequantized(const Node& n) {
  const Tensor& x = n.at(0);
  SORUS_CHECK(n.integer("block_size", 0) == 0, NotImplementedError, "in blocks");
  int64_t axis = x.dim() == 0 ? 0 : n.dim(n.at(1).numel() == 1 ? 0 : n.integer("axis", 1), x);
  auto place = [&](const Tensor& v) { return prepared(v, [&](const Tensor& w) { return along(w, axis, x.dim()); }); };
  return {dequantize_linear(x, place(n.at(1)), place(zero_of(n, 2)))};
}

// Numbers less their zero point, as int32.
Tensor differences(const Tensor& x, const Tensor& zero, int64_t axis) {
  auto f = [&](const Tensor& v) { return to(v, DType::i32) - to(along(zero, axis, x.dim()), DType::i32); };
  return is_constant(x) && is_constant(zero) ? computed([&] { return contiguous(f(x)); }) : f(x);
}

// Sums, times the ratio of scales, as the type of the result's zero point.
Tensor scaled(const Tensor& sums, const Tensor& x_scale, const Tensor& w_scale, const Tensor& y_scale,
              const Tensor& y_zero, int64_t channel) {
  auto [low, high] = code_range(y_zero.dtype());
  auto factor = [&] { return along(x_scale * w_scale / y_scale, channel, sums.dim()); };
  bool constant = is_constant(x_scale) && is_constant(w_scale) && is_constant(y_scale);
  Tensor k = constant ? computed([&] { return contiguous(factor()); }) : factor();
  return requantize_real(sums, k, along(y_zero, 0, 1), low, high, y_zero.dtype());
}

Tensor integer_convolution(const Node& n, const Tensor& x, const Tensor& w, const Tensor& bias) {
  SORUS_CHECK(x.dim() == 4 && w.dim() == 4, NotImplementedError, "over {} dimensions", x.dim() - 2);
  SORUS_CHECK(n.text("auto_pad", "NOTSET") == "NOTSET", NotImplementedError, "with auto_pad");
  Shape stride = n.integers("strides"), dilation = n.integers("dilations"), p = n.integers("pads");
  if (stride.empty()) stride = {1, 1};
  if (dilation.empty()) dilation = {1, 1};
  if (p.empty()) p = {0, 0, 0, 0};
  SORUS_CHECK(stride.size() == 2 && dilation.size() == 2 && p.size() == 4, ValueError, "strides, dilations or pads");
  Shape last{0, 2, 3, 1};
  Tensor turned = prepared(w, [&](const Tensor& t) { return permute(t, last); });
  Tensor y = integer_conv2d(permute(x, last), turned, bias, stride, Shape{p[0], p[2], p[1], p[3]}, dilation,
                            n.integer("group", 1), 0, 0);
  return permute(y, Shape{0, 3, 1, 2});
}

TensorList qlinear_convolution(const Node& n) {
  Tensor x = differences(n.at(0), n.at(2), 0), w = differences(n.at(3), n.at(5), 0);
  Tensor sums = integer_convolution(n, x, w, n.has(8) ? n.in[8] : Tensor());
  return {scaled(sums, n.at(1), n.at(4), n.at(6), n.at(7), 1)};
}

TensorList qlinear_matmul(const Node& n) {
  SORUS_CHECK(n.at(1).numel() == 1 && n.at(4).numel() == 1, NotImplementedError, "with several scales");
  Tensor sums = matmul(differences(n.at(0), n.at(2), 0), differences(n.at(3), n.at(5), 0));
  return {scaled(sums, n.at(1), n.at(4), n.at(6), n.at(7), 0)};
}

TensorList convolution(const Node& n) {
  Tensor x = n.at(0), w = n.at(1);
  return {
      to(integer_convolution(n, differences(x, zero_of(n, 2), 0), differences(w, zero_of(n, 3), 0), {}), DType::i32)};
}

TensorList product(const Node& n) {
  return {matmul(differences(n.at(0), zero_of(n, 2), 0), differences(n.at(1), zero_of(n, 3), 0))};
}

const OpKind kinds[] = {
    {"QuantizeLinear", quantized},     {"DequantizeLinear", dequantized}, {"QLinearConv", qlinear_convolution},
    {"QLinearMatMul", qlinear_matmul}, {"ConvInteger", convolution},      {"MatMulInteger", product},
};

}  // namespace

std::span<const OpKind> quantized_kinds() { return kinds; }

}  // namespace sorus::importer::onnx
