// Elementwise operators: one scalar body each. Shape, type, gradient of any order, sharding, cost, eager kernel and
// compiled loop follow from the body (graph/scalar.h has the language).
#include "sorus/ops.h"

namespace sorus {
namespace {

const bool arithmetic = [] {
  op("add(input, other, *, alpha: scalar = 1)").each("input + alpha * other");
  op("sub(input, other, *, alpha: scalar = 1)").each("input - alpha * other");
  op("mul(input, other)").each("input * other");
  op("div(input, other)").each("input / other", "float");
  op("floor_divide(input, other)").each("floordiv(input, other)").not_differentiable();
  op("remainder(input, other)").each("remainder(input, other)");
  op("fmod(input, other)").each("fmod(input, other)");
  op("pow(input, exponent)").each("pow(input, exponent)");
  op("neg(input)").each("-input");
  op("abs(input)").each("abs(input)", "real");
  op("real_part(input)").each("real(input)", "real");
  op("imag_part(input)").each("imag(input)", "real");
  op("conj(input)").each("conj(input)");
  op("sign(input)").each("sign(input)");
  op("square(input)").each("input * input");
  op("reciprocal(input)").each("1 / input", "float");
  op("maximum(input, other)").each("max(input, other)");
  op("minimum(input, other)").each("min(input, other)");
  op("fmax(input, other)").each("fmax(input, other)");
  op("fmin(input, other)").each("fmin(input, other)");
  op("lerp(input, end, weight)").each("input + weight * (end - input)");
  op("addcmul(input, tensor1, tensor2, *, value: scalar = 1)").each("input + value * tensor1 * tensor2");
  op("addcdiv(input, tensor1, tensor2, *, value: scalar = 1)").each("input + value * tensor1 / tensor2", "float");
  op("clamp_range(input, low: scalar, high: scalar)").each("input < low ? low : input > high ? high : input");
  op("clamp_low(input, low: scalar)").each("input < low ? low : input");
  op("clamp_high(input, high: scalar)").each("input > high ? high : input");
  op("where(condition: mask, input, other)").each("condition ? input : other");
  op("masked_fill(input, mask: mask, value)").each("mask ? value : input");
  return true;
}();

const bool transcendental = [] {
  op("exp(input)").each("exp(input)", "float");
  op("exp2(input)").each("exp2(input)", "float");
  op("expm1(input)").each("expm1(input)", "float");
  op("log(input)").each("log(input)", "float");
  op("log2(input)").each("log2(input)", "float");
  op("log10(input)").each("log10(input)", "float");
  op("log1p(input)").each("log1p(input)", "float");
  op("sqrt(input)").each("sqrt(input)", "float");
  op("rsqrt(input)").each("rsqrt(input)", "float");
  op("sin(input)").each("sin(input)", "float");
  op("cos(input)").each("cos(input)", "float");
  op("tan(input)").each("tan(input)", "float");
  op("asin(input)").each("asin(input)", "float");
  op("acos(input)").each("acos(input)", "float");
  op("atan(input)").each("atan(input)", "float");
  op("atan2(input, other)").each("atan2(input, other)", "float");
  op("sinh(input)").each("sinh(input)", "float");
  op("cosh(input)").each("cosh(input)", "float");
  op("tanh(input)").each("tanh(input)", "float");
  op("asinh(input)").each("asinh(input)", "float");
  op("acosh(input)").each("acosh(input)", "float");
  op("atanh(input)").each("atanh(input)", "float");
  op("erf(input)").each("erf(input)", "float");
  op("erfc(input)").each("erfc(input)", "float");
  op("sigmoid(input)").each("sigmoid(input)", "float");
  return true;
}();

const bool rounding = [] {
  op("floor(input)").each("floor(input)");
  op("ceil(input)").each("ceil(input)");
  op("round(input)").each("round(input)");
  op("trunc(input)").each("trunc(input)");
  return true;
}();

const bool comparison = [] {
  op("eq(input, other)").each("input == other").not_differentiable();
  op("ne(input, other)").each("input != other").not_differentiable();
  op("lt(input, other)").each("input < other").not_differentiable();
  op("le(input, other)").each("input <= other").not_differentiable();
  op("gt(input, other)").each("input > other").not_differentiable();
  op("ge(input, other)").each("input >= other").not_differentiable();
  op("logical_not(input)").each("!input").not_differentiable();
  op("logical_and(input, other)").each("input && other").not_differentiable();
  op("logical_or(input, other)").each("input || other").not_differentiable();
  op("logical_xor(input, other)").each("(input != 0) != (other != 0)").not_differentiable();
  op("isnan(input)").each("isnan(input)").not_differentiable();
  op("isinf(input)").each("isinf(input)").not_differentiable();
  op("isfinite(input)").each("isfinite(input)").not_differentiable();
  op("bitwise_and(input, other)").each("input & other").not_differentiable();
  op("bitwise_or(input, other)").each("input | other").not_differentiable();
  op("bitwise_xor(input, other)").each("input ^ other").not_differentiable();
  return true;
}();

const bool activations = [] {
  op("relu(input)").each("input <= 0 ? 0 : input").doc("max(input, 0); NaN stays NaN.");
  op("leaky_relu(input, negative_slope: float = 0.01)").each("input > 0 ? input : negative_slope * input");
  op("elu(input, alpha: float = 1.0)").each("input > 0 ? input : alpha * expm1(input)");
  op("silu(input)").each("input * sigmoid(input)");
  op("gelu_erf(input)").each("0.5 * input * (1 + erf(input * 0.7071067811865476))");
  op("gelu_tanh(input)")
      // x / 2 (1 + tanh(u)) is x sigmoid(2 u), which costs one exponential.
      .each("input * sigmoid(1.5957691216057308 * input * (1 + 0.044715 * input * input))");
  op("softplus(input, beta: float = 1.0, threshold: float = 20.0)")
      .each("input * beta > threshold ? input : log1p(exp(input * beta)) / beta");
  op("logsigmoid(input)").each("min(input, 0) - log1p(exp(-abs(input)))");
  op("gelu(input, *, approximate: str = 'none')").expand([](const Call& c) -> TensorList {
    const std::string& form = c.attr(0).string();
    SORUS_CHECK(form == "none" || form == "tanh", ValueError, "gelu: approximate must be 'none' or 'tanh', not '{}'",
                form);
    return {form == "tanh" ? gelu_tanh(c.input(0)) : gelu_erf(c.input(0))};
  });
  op("clamp(input, min: scalar? = none, max: scalar? = none)").expand([](const Call& c) -> TensorList {
    bool low = !c.attr(0).is_none(), high = !c.attr(1).is_none();
    SORUS_CHECK(low || high, ValueError, "clamp: at least one of min and max is needed");
    if (low && high) return {clamp_range(c.input(0), c.attr(0).scalar(), c.attr(1).scalar())};
    return {low ? clamp_low(c.input(0), c.attr(0).scalar()) : clamp_high(c.input(0), c.attr(1).scalar())};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
