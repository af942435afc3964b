// Quantise and dequantise in one: numbers on the grid of some integers, still as floats, for training that has to
// learn with them (sorus.quantization.prepare_qat). A step function has no useful derivative, so the gradient goes
// straight through where the number lies in the integers' range, and stops where it is cut off.
//
// PyTorch's two names are one operator: `fake_quantize`, whose scales and zero points broadcast.
#include "sorus/base/error.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

Tensor by_channel(const Tensor& v, const Tensor& input, int64_t axis, const char* what) {
  int64_t d = wrap_dim(axis, std::max<int64_t>(input.dim(), 1), "fake_quantize_per_channel_affine");
  SORUS_CHECK(v.dim() == 1 && input.dim() > 0 && v.size(0) == input.size(d), ValueError,
              "fake_quantize_per_channel_affine: expected {} to be one number for each of the {} channels of "
              "dimension {} of the input {}, found {}",
              what, input.dim() > 0 ? input.size(d) : 0, d, to_string(input.sizes()), to_string(v.sizes()));
  Shape wide(input.sizes().size(), 1);
  wide[static_cast<size_t>(d)] = v.size(0);
  return reshape(v, wide);
}

// Half types are too narrow for scales and codes.
DType wide(const Tensor& input) { return input.dtype() == DType::f64 ? DType::f64 : DType::f32; }

TensorList on_grid(const Call& c, const Tensor& input, const Tensor& scale, const Tensor& zero_point) {
  int64_t low = c.attr("quant_min").to_int(), high = c.attr("quant_max").to_int();
  SORUS_CHECK(low <= high, ValueError, "{}: expected quant_min to be at most quant_max, found {} and {}", c.op.name(),
              low, high);
  SORUS_CHECK(is_floating(input.dtype()), TypeError, "{}: expected numbers with a fraction, found {}", c.op.name(),
              name(input.dtype()));
  DType t = wide(input);
  return {to(fake_quantize(to(input, t), to(scale, t), to(zero_point, t), low, high), input.dtype())};
}

const bool registered = [] {
  op("fake_quantize(input, scale, zero_point, quant_min: int, quant_max: int)")
      .each("(min(max(round(input * (1 / scale)) + zero_point, quant_min), quant_max) - zero_point) * scale", "float")
      .gradient(
          [](const GradCall& c) -> TensorList {
            return {fake_quantize_backward(c.grad(), c.input(0), c.input(1), c.input(2), c.attr("quant_min").to_int(),
                                           c.attr("quant_max").to_int()),
                    Tensor(), Tensor()};
          },
          "input scale zero_point")
      .doc(
          "The number nearest to the input of those that integers from quant_min to quant_max stand for: "
          "(code - zero_point) * scale. The gradient is 1 where the code is in the range, 0 elsewhere.");
  op("fake_quantize_backward(grad, input, scale, zero_point, quant_min: int, quant_max: int)")
      .each("code = round(input * (1 / scale)) + zero_point; code >= quant_min ? code <= quant_max ? grad : 0 : 0",
            "float")
      .doc("The gradient of `fake_quantize`: straight through, but for what was cut off.");
  op("fake_quantize_per_tensor_affine(input, scale: float, zero_point: int, quant_min: int, quant_max: int)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        return on_grid(c, x, full(Shape{}, c.attr("scale").scalar(), wide(x)),
                       full(Shape{}, c.attr("zero_point").scalar(), wide(x)));
      })
      .doc("`fake_quantize` with one scale and zero point.");
  op("fake_quantize_per_tensor_affine.tensors(input, scale: mask, zero_point: mask, quant_min: int, quant_max: int)")
      .expand([](const Call& c) -> TensorList { return on_grid(c, c.input(0), c.input(1), c.input(2)); })
      .doc("The same with tensors of one element.");
  op("fake_quantize_per_channel_affine(input, scale: mask, zero_point: mask, axis: int, quant_min: int, quant_max: "
     "int)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        int64_t axis = c.attr("axis").to_int();
        return on_grid(c, x, by_channel(c.input(1), x, axis, "scale"), by_channel(c.input(2), x, axis, "zero_point"));
      })
      .doc("`fake_quantize` with a scale and zero point for each index of dimension `axis`.");
  return true;
}();

}  // namespace
}  // namespace sorus
