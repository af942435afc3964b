// Quantised activations: one integer to one integer. Functions are computed in fixed point (ops/fixed_functions.h)
// with the roundings of TensorFlow Lite's reference kernels.
#include "sorus/ops.h"
#include "sorus/ops/fixed_functions.h"
#include "sorus/ops/fixed_point.h"
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace {

using fixed::clamped, fixed::product, fixed::rounded_shift;

const bool piecewise = [] {
  op("quantized_leaky_relu(input, input_zero_point: int, zero_point: int, multiplier: int, shift: int, "
     "negative_multiplier: int, negative_shift: int, quant_min: int, quant_max: int)")
      .each("x = input - input_zero_point;" + product("p", "x", "multiplier", "shift") +
            product("n", "x", "negative_multiplier", "negative_shift") + "y = x >= 0 ? p : n;" + clamped("y"))
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc("A factor for numbers from 0 up and another one below.");
  op("quantized_prelu(input, weight, input_zero_point: int, weight_zero_point: int, zero_point: int, multiplier: "
     "int, shift: int, negative_multiplier: int, negative_shift: int, quant_min: int, quant_max: int)")
      .each("x = input - input_zero_point;" + product("p", "x", "multiplier", "shift") +
            product("n", "x * (weight - weight_zero_point)", "negative_multiplier", "negative_shift") +
            "y = x >= 0 ? p : n;" + clamped("y"))
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc("`quantized_leaky_relu` with weights, which broadcast, as the factor below 0.");
  // The factors have 15 bits. `reluish` is relu6(x + 3) / 6 in steps of 2^-15.
  op("quantized_hardswish(input, input_zero_point: int, zero_point: int, multiplier: int, shift: int, "
     "relu_multiplier: int, relu_shift: int, quant_min: int, quant_max: int)")
      .each(
          "x = input - input_zero_point << 7;"
          "ap = x * multiplier; a = truncdiv(ap >= 0 ? ap + 16384 : ap - 16383, 32768);"
          "wide = relu_shift > 0 ? max(-32768, min(32767, x << max(relu_shift - 1, 0))) : x;"
          "bp = wide * relu_multiplier; b = truncdiv(bp >= 0 ? bp + 16384 : bp - 16383, 32768);"
          "c = relu_shift > 0 ? max(-32768, min(32767, b << 1)) : b;" +
          rounded_shift("d", "c", "max(-relu_shift, 0)") + "reluish = d + 32768 >> 1;" +
          "e = truncdiv(reluish * a, 32768);" + rounded_shift("y", "e", "max(-shift, 0)") + clamped("y"))
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc(
          "x relu6(x + 3) / 6. The input has 7 more bits; `multiplier` / 2^15 * 2^shift brings it to the result's "
          "scale, "
          "`relu_multiplier` / 2^15 * 2^relu_shift to steps of 3 / 2^15.");
  return true;
}();

// sigmoid and tanh of a number whose size is `a`, by its exponential; beyond `input_radius` they are their limits.
std::string sigmoid_text() {
  return "x = input - input_zero_point;" + product("q", "x", "multiplier", "shift") +
         "size = min(abs(q), 2147483647);" + fixed::exponential("e", "-size", 4) +
         fixed::one_over_one_plus("up", "e") + "f = q == 0 ? 1073741824 : q > 0 ? up : 2147483647 - up;" +
         rounded_shift("y", "f", "23") +
         "x <= -input_radius ? quant_min : x >= input_radius ? quant_max : min(quant_max, y + quant_min)";
}
std::string tanh_text() {
  return "x = input - input_zero_point;" + product("q", "x", "multiplier", "shift") +
         "size = min(abs(q), 2147483647);" + fixed::exponential("e", "-size", 5) +
         fixed::one_minus_over_one_plus("t", "e") + "f = q == 0 ? 0 : q > 0 ? t : -t;" +
         rounded_shift("y", "f", "24") +
         "x <= -input_radius ? quant_min : x >= input_radius ? quant_max : max(quant_min, min(quant_max, y + "
         "zero_point))";
}

const bool smooth = [] {
  op("quantized_sigmoid(input, input_zero_point: int, multiplier: int, shift: int, input_radius: int, quant_min: "
     "int, quant_max: int)")
      .each(sigmoid_text())
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc(
          "1 / (1 + exp(-x)) of an int8 or uint8 x in steps of 1/256 from quant_min up; `multiplier` and `shift` "
          "bring the "
          "input to four integer bits, beyond `input_radius` the result is 0 or 1.");
  op("quantized_tanh(input, input_zero_point: int, zero_point: int, multiplier: int, shift: int, input_radius: int, "
     "quant_min: int, quant_max: int)")
      .each(tanh_text())
      .types(quantized_rules::integers_like_input)
      .not_differentiable()
      .doc("tanh of an int8 or uint8 x in steps of 1/128; arguments as in `quantized_sigmoid`.");
  return true;
}();

}  // namespace
}  // namespace sorus
