// Quantised operators on single elements. An integer q stands for scale * (q - zero_point); the operators are given
// the zero points and the ratios of scales, as multiplier and shift (ops/fixed_point.h), and never see a scale. Their
// bodies are integer arithmetic in the scalar language, so loops, fusion and C for devices follow as for any other
// operator.
//
// `quant_min` and `quant_max` are the range of the result: that of its type, or less where an activation is part of
// it.
#include "sorus/ops.h"
#include "sorus/ops/fixed_point.h"
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace {

using fixed::clamped, fixed::product;

// The type is the attribute `dtype`; the shape is what the tensors broadcast to.
TypesRule given_type = [](const TypeCall& c) -> std::vector<TensorType> {
  Shape s = c.input(0).shape;
  for (size_t i = 1; i < c.inputs.size(); ++i)
    if (c.has(static_cast<int>(i))) s = broadcast_shapes(s, c.input(static_cast<int>(i)).shape, c.op.name());
  return {{c.attr("dtype").dtype(), s, false}};
};

const bool conversions = [] {
  op("requantize(input, multiplier: mask, shift: mask, zero_point: int, quant_min: int, quant_max: int, dtype: "
     "dtype)")
      .each(product("y", "input", "multiplier", "shift") + clamped("y"))
      .types(given_type)
      .not_differentiable()
      .doc(
          "Integers times real factors (multiplier / 2^31 * 2^shift, one for all or one a channel, which is the last "
          "dimension), rounded twice, plus the zero point, clamped: how sums of products become int8.");
  op("requantize_wide(input, multiplier: mask, shift: mask, zero_point: int, quant_min: int, quant_max: int, dtype: "
     "dtype)")
      .each(
          "m = multiplier < 2147418112 ? (multiplier + 32768) >> 16 : 32767; s = 15 - shift;"
          "y = (input * m + (1 << s - 1)) >> s;" +
          clamped("y"))
      .types(given_type)
      .not_differentiable()
      .doc("`requantize` for 64-bit sums: the multiplier is rounded to 16 bits and there is one rounding.");
  op("quantize(input, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: dtype)")
      .each("x = input / scale; t = trunc(x); y = t + (abs(x - t) >= 0.5 ? sign(x) : 0);" + clamped("y"))
      .types(given_type)
      .not_differentiable()
      .doc("round(input / scale) + zero_point, half away from zero, clamped.");
  op("requantize_real(input, scale: Tensor, zero_point: mask, quant_min: int, quant_max: int, dtype: dtype)")
      .each("max(quant_min, min(quant_max, round(input * scale) + zero_point))")
      .types(given_type)
      .not_differentiable()
      .doc(
          "Integers times real factors, rounded half to even, plus a zero point, clamped, as ONNX's QLinear "
          "operators.");
  op("quantize_linear(input, scale: Tensor, zero_point: mask, quant_min: int, quant_max: int, dtype: dtype)")
      .each("max(quant_min, min(quant_max, round(input / scale) + zero_point))")
      .types(given_type)
      .not_differentiable()
      .doc("ONNX's QuantizeLinear: rounded half to even; scales and zero points broadcast.");
  op("dequantize_linear(input, scale: Tensor, zero_point: mask)")
      .each("(input - zero_point) * scale")
      .not_differentiable()
      .doc("ONNX's DequantizeLinear; scales and zero points broadcast.");
  op("dequantize(input, scale: float, zero_point: int)")
      .each("scale * (input - zero_point)", "f32")
      .not_differentiable()
      .doc("The real numbers that the integers stand for.");
  return true;
}();

// Both inputs on one finer scale, 2^left_shift steps to the larger of the two.
std::string on_one_scale() {
  return "a = input - input_zero_point << left_shift; b = other - other_zero_point << left_shift;" +
         product("s", "a", "input_multiplier", "input_shift") + product("t", "b", "other_multiplier", "other_shift");
}

const bool arithmetic = [] {
  op("quantized_add(input, other, left_shift: int, input_zero_point: int, input_multiplier: int, input_shift: int, "
     "other_zero_point: int, other_multiplier: int, other_shift: int, zero_point: int, multiplier: int, shift: int, "
     "quant_min: int, quant_max: int)")
      .each(on_one_scale() + product("y", "s + t", "multiplier", "shift") + clamped("y"))
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc(
          "The sum of two quantised tensors: both are brought to one scale with `left_shift` more bits, added, and "
          "brought to the scale of the result.");
  op("quantized_sub(input, other, left_shift: int, input_zero_point: int, input_multiplier: int, input_shift: int, "
     "other_zero_point: int, other_multiplier: int, other_shift: int, zero_point: int, multiplier: int, shift: int, "
     "quant_min: int, quant_max: int)")
      .each(on_one_scale() + product("y", "s - t", "multiplier", "shift") + clamped("y"))
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc("The difference of two quantised tensors, as `quantized_add`.");
  op("quantized_mul(input, other, input_zero_point: int, other_zero_point: int, zero_point: int, multiplier: int, "
     "shift: int, quant_min: int, quant_max: int)")
      .each("p = (input - input_zero_point) * (other - other_zero_point);" +
            product("y", "p", "multiplier", "shift") + clamped("y"))
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc("The product of two quantised tensors.");
  op("rounded_divide(input, other)")
      .each("half = truncdiv(other, 2); truncdiv(input > 0 ? input + half : input - half, other)")
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc("input / other, rounded half away from zero, for integers and a positive divisor.");
  return true;
}();

}  // namespace
}  // namespace sorus
