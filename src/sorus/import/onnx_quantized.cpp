// Converters of ONNX's quantised operators. QuantizeLinear and DequantizeLinear (QDQ) become operators on tensors of
// scales; weights that are dequantised become float parameters. QLinear convolutions and products, and those between
// both (onnx_fold.cpp), become integer sums and `requantize_real`, which multiplies by a float and rounds half to
// even, as ONNX Runtime does. ONNX Runtime's other QLinear operators (com.microsoft) are defined by their floats.
#include <algorithm>

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

// The range of a result: that of its type, from the zero point on where there is a Relu.
std::pair<int64_t, int64_t> range_of(const Node& n, const Tensor& zero) {
  auto range = code_range(zero.dtype());
  if (n.integer("relu", 0)) {
    SORUS_CHECK(is_constant(zero) && zero.numel() == 1, NotImplementedError, "with a zero point that is computed");
    range.first = std::max(range.first, computed([&] { return to(zero, DType::i64); }).item().to_int());
  }
  return range;
}

// Sums, times the ratio of scales, as the type of the result's zero point; channels are dimension `channel`.
Tensor scaled(const Node& n, const Tensor& sums, const Tensor& x_scale, const Tensor& w_scale, const Tensor& y_scale,
              const Tensor& y_zero, int64_t channel) {
  auto [low, high] = range_of(n, y_zero);
  auto factor = [&] { return along(x_scale * w_scale / y_scale, channel, sums.dim()); };
  bool constant = is_constant(x_scale) && is_constant(w_scale) && is_constant(y_scale);
  Tensor k = constant ? computed([&] { return contiguous(factor()); }) : factor();
  return requantize_real(sums, k, along(y_zero, 0, 1), low, high, y_zero.dtype());
}

// The one number of a zero point that is constant and the same for all.
std::optional<int64_t> one_zero(const Tensor& zero) {
  if (!is_constant(zero) || zero.numel() == 0) return std::nullopt;
  Tensor wide = computed([&] { return contiguous(to(zero, DType::i64)); });
  const auto* v = wide.data<int64_t>();
  if (!std::all_of(v, v + wide.numel(), [&](int64_t z) { return z == v[0]; })) return std::nullopt;
  return v[0];
}

// Sums of an image [n, c, h, w], as [n, h, w, c]. Zero points that are known are attributes, others are taken off.
Tensor convolution_sums(const Node& n, Tensor x, const Tensor& x_zero, Tensor w, const Tensor& w_zero,
                        const Tensor& bias) {
  SORUS_CHECK(x.dim() == 4 && w.dim() == 4, NotImplementedError, "over {} dimensions", x.dim() - 2);
  Window2d g = window_of(n, x, {w.size(2), w.size(3)});
  auto xz = one_zero(x_zero), wz = one_zero(w_zero);
  if (!xz) x = differences(x, x_zero, 0);
  if (!wz) w = differences(w, w_zero, 0);
  Shape last{0, 2, 3, 1};
  Tensor turned = prepared(w, [&](const Tensor& t) { return permute(t, last); });
  return integer_conv2d(permute(x, last), turned, bias, g.stride, g.padding, g.dilation, n.integer("group", 1),
                        xz.value_or(0), wz.value_or(0));
}

TensorList qlinear_convolution(const Node& n) {
  Tensor sums = convolution_sums(n, n.at(0), n.at(2), n.at(3), n.at(5), n.has(8) ? n.in[8] : Tensor());
  return {permute(scaled(n, sums, n.at(1), n.at(4), n.at(6), n.at(7), 3), Shape{0, 3, 1, 2})};
}

// Rows of integers times a matrix [depth, columns], less the zero points.
Tensor product_sums(const Tensor& x, const Tensor& x_zero, const Tensor& w, const Tensor& w_zero,
                    const Tensor& bias) {
  auto xz = one_zero(x_zero), wz = one_zero(w_zero);
  if (xz && wz && is_constant(w) && w.dim() == 2 && x.dim() > 0) {
    Tensor rows = prepared(w, [](const Tensor& t) { return transpose(t, 0, 1); });
    return integer_linear(x, rows, bias, *xz, *wz);
  }
  SORUS_CHECK(w_zero.numel() == 1 || (w.dim() == 2 && w_zero.dim() == 1), NotImplementedError,
              "with zero points of shape {}", to_string(w_zero.sizes()));
  Tensor sums = matmul(differences(x, x_zero, 0), differences(w, w_zero, std::max<int64_t>(w.dim() - 1, 0)));
  return bias.defined() ? sums + bias : sums;
}

TensorList qlinear_matmul(const Node& n) {
  SORUS_CHECK(n.at(1).numel() == 1, NotImplementedError, "with several scales");
  Tensor sums = product_sums(n.at(0), n.at(2), n.at(3), n.at(5), n.has(8) ? n.in[8] : Tensor());
  return {scaled(n, sums, n.at(1), n.at(4), n.at(6), n.at(7), std::max<int64_t>(sums.dim() - 1, 0))};
}

TensorList qlinear_gemm(const Node& n) {
  Tensor x = n.at(0), w = n.at(3);
  SORUS_CHECK(x.dim() == 2 && w.dim() == 2 && n.at(1).numel() == 1 && n.real("alpha", 1) == 1, NotImplementedError,
              "with several scales of rows, or alpha");
  SORUS_CHECK(n.has(7), NotImplementedError, "with a result of floats");
  if (n.integer("transA", 0)) x = prepared(x, [](const Tensor& t) { return transpose(t, 0, 1); });
  if (n.integer("transB", 0)) w = prepared(w, [](const Tensor& t) { return transpose(t, 0, 1); });
  Tensor sums = product_sums(x, n.at(2), w, n.at(5), n.has(6) ? n.in[6] : Tensor());
  return {scaled(n, sums, n.at(1), n.at(4), n.at(7), n.has(8) ? n.in[8] : Tensor::zeros(Shape{}, x.dtype()), 1)};
}

TensorList convolution(const Node& n) {
  Tensor y = convolution_sums(n, n.at(0), zero_of(n, 2), n.at(1), zero_of(n, 3), {});
  return {to(permute(y, Shape{0, 3, 1, 2}), DType::i32)};
}

TensorList product(const Node& n) {
  return {to(product_sums(n.at(0), zero_of(n, 2), n.at(1), zero_of(n, 3), {}), DType::i32)};
}

// ---- Operators of ONNX Runtime that are defined by their floats: inputs are values, each with scale and zero point.

Tensor real(const Node& n, size_t value) {
  SORUS_CHECK(n.at(value + 1).numel() == 1, NotImplementedError, "with several scales");
  return dequantize_linear(n.at(value), along(n.at(value + 1), 0, 1), along(zero_of(n, value + 2), 0, 1));
}
TensorList codes(const Node& n, const Tensor& y, size_t scale) {
  Tensor zero = n.has(scale + 1) ? n.in[scale + 1] : Tensor::zeros(Shape{}, n.at(0).dtype());
  auto [low, high] = code_range(zero.dtype());
  return {quantize_linear(y, along(n.at(scale), 0, 1), along(zero, 0, 1), low, high, zero.dtype())};
}

// Means are sums of integers, multiplied once: ties do not depend on the order of their terms.
TensorList mean_of(const Node& n, const Shape& dims, bool keep) {
  const Tensor& x = n.at(0);
  int64_t terms = 1;
  for (int64_t d : dims) terms *= x.size(d);
  SORUS_CHECK(n.at(1).numel() == 1 && n.at(3).numel() == 1 && terms > 0, NotImplementedError, "with several scales");
  Tensor sums = sum(x, dims, keep) - to(along(zero_of(n, 2), 0, 1), DType::i64) * Tensor::weak_scalar(terms);
  Tensor zero = n.has(4) ? n.in[4] : Tensor::zeros(Shape{}, x.dtype());
  auto factor = [&] { return along(n.at(1) / n.at(3), 0, 1) / static_cast<double>(terms); };
  Tensor k = is_constant(n.at(1)) && is_constant(n.at(3)) ? computed(factor) : factor();
  auto [low, high] = code_range(zero.dtype());
  return {requantize_real(sums, k, along(zero, 0, 1), low, high, zero.dtype())};
}

TensorList global_mean(const Node& n) {
  const Tensor& x = n.at(0);
  bool last = n.integer("channels_last", 0) != 0;
  SORUS_CHECK(x.dim() > 2, ValueError, "expected an image, found {}", x.type().to_string());
  Shape dims;
  for (int64_t d = last ? 1 : 2; d < x.dim() - (last ? 1 : 0); ++d) dims.push_back(d);
  return mean_of(n, dims, true);
}

TensorList reduced_mean(const Node& n) {
  Shape dims = n.integers("axes");
  for (int64_t& d : dims) d = n.dim(d, n.at(0));
  SORUS_CHECK(!dims.empty(), NotImplementedError, "over all dimensions");
  return mean_of(n, dims, n.integer("keepdims", 1) != 0);
}

// An operator that is linear, on whole numbers, and the scale behind it: what lies half way between two results is
// then seen as that, whatever the scale.
TensorList linear_operator(const Node& n, Converter convert) {
  SORUS_CHECK(n.at(1).numel() == 1, NotImplementedError, "with several scales");
  Node floats = n;
  Tensor one = Tensor::of(std::vector<float>{1}, Shape{});
  floats.in = {dequantize_linear(n.at(0), one, along(zero_of(n, 2), 0, 1))};
  for (size_t i = 5; i < n.in.size(); ++i) floats.in.push_back(n.in[i]);
  return codes(n, convert(floats)[0] * along(n.at(1), 0, 1), 3);
}
TensorList average(const Node& n) {
  SORUS_CHECK(!n.integer("channels_last", 0), NotImplementedError, "with channels last");
  return linear_operator(n, [](const Node& floats) { return pool(floats, false); });
}

TensorList qlinear_softmax(const Node& n) {
  SORUS_CHECK(n.integer("opset", 13) >= 13, NotImplementedError, "of versions before 13");
  return codes(n, softmax(real(n, 0), n.dim(n.integer("axis", -1), n.at(0))), 3);
}

// The result's scale and zero point come first.
TensorList qlinear_concat(const Node& n) {
  TensorList parts;
  for (size_t i = 2; i + 2 < n.in.size(); i += 3) parts.push_back(real(n, i));
  SORUS_CHECK(!parts.empty(), ValueError, "there is no input");
  auto [low, high] = code_range(n.at(1).dtype());
  return {quantize_linear(cat(parts, n.dim(n.integer("axis", 0), n.at(2))), along(n.at(0), 0, 1),
                          along(n.at(1), 0, 1), low, high, n.at(1).dtype())};
}

const OpKind kinds[] = {
    {"QuantizeLinear", quantized},
    {"DequantizeLinear", dequantized},
    {"QLinearConv", qlinear_convolution},
    {"QLinearMatMul", qlinear_matmul},
    {"QGemm", qlinear_gemm},
    {"ConvInteger", convolution},
    {"MatMulInteger", product},
    {"QLinearAdd", [](const Node& n) { return codes(n, real(n, 0) + real(n, 3), 6); }},
    {"QLinearMul", [](const Node& n) { return codes(n, real(n, 0) * real(n, 3), 6); }},
    {"QLinearAveragePool", average},
    {"QLinearGlobalAveragePool", global_mean},
    {"QLinearReduceMean", reduced_mean},
    {"QLinearResize", [](const Node& n) { return linear_operator(n, resized); }},
    {"QLinearSigmoid", [](const Node& n) { return codes(n, sigmoid(real(n, 0)), 3); }},
    {"QLinearLeakyRelu", [](const Node& n) { return codes(n, leaky_relu(real(n, 0), n.real("alpha", 0.01)), 3); }},
    {"QLinearSoftmax", qlinear_softmax},
    {"QLinearConcat", qlinear_concat},
};

}  // namespace

std::span<const OpKind> quantized_kinds() { return kinds; }

}  // namespace sorus::importer::onnx
