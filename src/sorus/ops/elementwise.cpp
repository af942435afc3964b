// Elementwise operators: one scalar body each. Shape, type, gradient of any order, sharding, cost, eager kernel and
// compiled loop follow from the body (graph/scalar.h has the language).
#include <cmath>
#include <limits>

#include "sorus/ops.h"

namespace sorus {
namespace {

const bool arithmetic = [] {
  op("add(input, other, *, alpha: scalar = 1)").each("input + alpha * other");
  op("sub(input, other, *, alpha: scalar = 1)").each("input - alpha * other");
  op("mul(input, other)").each("input * other");
  op("div(input, other)").each("input / other", "float");
  op("floor_divide(input, other)").each("floordiv(input, other)");
  op("trunc_divide(input, other)").each("truncdiv(input, other)");
  op("div.rounded(input, other, *, rounding_mode: str?)").expand([](const Call& c) -> TensorList {
    if (c.attr(0).is_none()) return {div(c.input(0), c.input(1))};
    const std::string& mode = c.attr(0).string();
    SORUS_CHECK(mode == "trunc" || mode == "floor", ValueError,
                "div: rounding_mode must be None, 'trunc' or 'floor', not '{}'", mode);
    if (mode == "floor") return {floor_divide(c.input(0), c.input(1))};
    // The quotient is a number of the type before it is cut off, which shows in the half types: 14.98 may be 15.
    Tensor halves = c.input(0).dim() > 0 || c.input(1).dim() == 0 ? c.input(0) : c.input(1);
    return {is_half(halves.dtype()) ? trunc(div(c.input(0), c.input(1))) : trunc_divide(c.input(0), c.input(1))};
  });
  op("remainder(input, other)").each("remainder(input, other)");
  op("fmod(input, other)").each("fmod(input, other)");
  op("pow(input, exponent)").each("pow(input, exponent)");
  op("neg(input)").each("-input");
  op("abs(input)").each("abs(input)", "real");
  op("real_part(input)").each("real(input)", "real");
  op("imag_part(input)").each("imag(input)", "real");
  op("conj(input)").each("conj(input)");
  op("complex_parts(input, other)")
      .each("complex(input, other)")
      .doc("The real parts of two complex numbers as one.");
  op("complex(real, imag)")
      .expand([](const Call& c) -> TensorList {
        const Tensor &re = c.input(0), &im = c.input(1);
        SORUS_CHECK(is_floating(re.dtype()) && !is_half(re.dtype()) && re.dtype() == im.dtype(), Error,
                    "complex: expected two tensors of float32 or of float64, got {} and {}", name(re.dtype()),
                    name(im.dtype()));
        DType t = complex_of(re.dtype());
        return {complex_parts(to(re, t), to(im, t))};
      })
      .doc("Complex numbers of their parts.");
  op("polar(abs, angle)")
      .expand([](const Call& c) -> TensorList {
        return {complex(c.input(0) * cos(c.input(1)), c.input(0) * sin(c.input(1)))};
      })
      .doc("Complex numbers of their sizes and angles.");
  op("angle(input)").each("arg(input)", "real float");
  op("hypot(input, other)").each("hypot(input, other)");
  op("copysign(input, other)").each("copysign(input, other)", "float");
  op("frac(input)").each("input - trunc(input)");
  op("sign(input)").each("sign(input)");
  op("square(input)").each("input * input", "number");
  op("reciprocal(input)").each("1 / input", "float");
  op("maximum(input, other)").each("max(input, other)");
  op("minimum(input, other)").each("min(input, other)");
  op("fmax(input, other)").each("fmax(input, other)");
  op("fmin(input, other)").each("fmin(input, other)");
  op("lerp(input, end, weight)").each("input + weight * (end - input)");
  op("addcmul(input, tensor1, tensor2, *, value: scalar = 1)").each("input + value * tensor1 * tensor2");
  op("addcdiv(input, tensor1, tensor2, *, value: scalar = 1)").each("input + value * tensor1 / tensor2", "float");
  op("clamp_range(input, low: scalar, high: scalar)").each("input < low ? low : input > high ? high : input");
  op("clamp_between(input, low, high)").each("t = input < low ? low : input; t > high ? high : t");
  op("clamp_low(input, low: scalar)").each("input < low ? low : input");
  op("clamp_high(input, high: scalar)").each("input > high ? high : input");
  op("where(condition: mask, input, other)").each("condition ? input : other");
  op("masked_fill(input, mask: mask, value)")
      .expand([](const Call& c) -> TensorList {
        // The type is the input's; a value that would widen it becomes one of it.
        const Tensor &x = c.input(0), &v = c.input(2);
        auto kind = [](DType t) { return t == DType::boolean ? 0 : is_integral(t) ? 1 : is_floating(t) ? 2 : 3; };
        SORUS_CHECK(v.dim() == 0, Error, "masked_fill: the value must be a single number, not of shape {}",
                    to_string(v.sizes()));
        SORUS_CHECK(!is_complex(v.dtype()) || is_complex(x.dtype()), TypeError,
                    "masked_fill: a complex value does not fit into a tensor of {}", name(x.dtype()));
        return {where(c.input(1), kind(v.dtype()) <= kind(x.dtype()) ? v : to(v, x.dtype()), x)};
      })
      .doc("`value` where the mask is true, else `input`.");
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
  op("erfinv(input)").each("erfinv(input)", "float");
  op("lgamma(input)").each("lgamma(input)", "float");
  op("digamma(input)").each("digamma(input)", "float");
  op("sinc(input)").each("x = pi * input; input == 0 ? 1 : sin(x) / x", "float");
  op("deg2rad(input)").each("input * (pi / 180)", "float");
  op("rad2deg(input)").each("input * (180 / pi)", "float");
  op("xlogy(input, other)").each("isnan(other) ? other : input == 0 ? 0 : input * log(other)", "float");
  op("logaddexp(input, other)")
      .each(
          "less = real(input) < real(other); low = less ? input : other; high = less ? other : input; "
          "isinf(input) && input == other ? input : high + log1p(exp(low - high))",
          "float")
      .doc("log(exp(input) + exp(other)), computed without overflow.");
  op("sigmoid(input)").each("sigmoid(input)", "float");
  return true;
}();

const bool rounding = [] {
  op("floor(input)").each("floor(input)");
  op("ceil(input)").each("ceil(input)");
  op("round(input)").each("round(input)").doc("To the nearest integer, halves to the even one.");
  op("round.decimals(input, *, decimals: int)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    int64_t places = c.attr(0).to_int();
    if (places == 0 || !is_floating(x.dtype())) return {round(x)};
    double scale = std::pow(10.0, static_cast<double>(std::abs(places)));
    return {places > 0 ? round(x * scale) / scale : round(x / scale) * scale};
  });
  op("trunc(input)").each("trunc(input)");
  return true;
}();

// Neighbouring numbers and the parts of a number.
const bool parts_of_numbers = [] {
  op("next_number(input, other)").each("nextafter(input, other)");
  op("binary_exponent(input)").each("exponent(input)").not_differentiable();
  op("nextafter(input, other)")
      .expand([](const Call& c) -> TensorList {
        DType type = promote(c.input(0).dtype(), c.input(1).dtype());
        SORUS_CHECK(type == DType::f32 || type == DType::f64 || type == DType::bf16, TypeError,
                    "nextafter: expected float32, float64 or bfloat16, got {} and {}", name(c.input(0).dtype()),
                    name(c.input(1).dtype()));
        if (type != DType::bf16) return {next_number(to(c.input(0), type), to(c.input(1), type))};
        // In float32, by the distance of bfloat16's numbers, which is half as large below a power of two.
        constexpr double kBits = 8, kLeastExponent = -125, kLargest = 3.3895313892515355e38,
                         kSmallest = 9.183549615799121e-41;
        Tensor x = to(c.input(0), DType::f32), y = to(c.input(1), DType::f32);
        Tensor towards = sign(y - x), e = clamp(binary_exponent(x), Scalar(kLeastExponent));
        Tensor zero = Tensor::weak_scalar(0.0), least = Tensor::weak_scalar(kLeastExponent);
        Tensor inwards = logical_and(eq(abs(x), exp2(e - 1.0)), logical_and(lt(towards * x, zero), gt(e, least)));
        Tensor next = x + towards * exp2(e - kBits - to(inwards, DType::f32));
        next = where(isinf(x), copysign(full_like(x, Scalar(kLargest)), x), next);
        next = where(eq(x, zero), copysign(full_like(x, Scalar(kSmallest)), towards), next);
        Tensor unknown = logical_or(isnan(x), isnan(y));
        return {to(where(eq(x, y), copysign(x, y), where(unknown, x + y, next)), type)};
      })
      .doc("The number next to each element in the direction of `other`.");
  op("frexp(input) -> mantissa, exponent")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        SORUS_CHECK(is_floating(x.dtype()), TypeError, "frexp: expected floating-point numbers, got {}",
                    name(x.dtype()));
        // In two factors, none of which is beyond the type where the whole one is.
        Tensor e = binary_exponent(x), half = trunc(e * 0.5);
        return {x * exp2(-half) * exp2(half - e), to(e, DType::i32)};
      })
      .doc("`input` = mantissa 2^exponent, with 1/2 <= |mantissa| < 1.");
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
  op("bitwise_left_shift(input, other)").each("input << other").not_differentiable();
  op("bitwise_right_shift(input, other)").each("input >> other").not_differentiable();
  op("invert_bits(input)").each("~input").not_differentiable();
  op("bitwise_not(input)").expand([](const Call& c) -> TensorList {
    return {c.input(0).dtype() == DType::boolean ? logical_not(c.input(0)) : invert_bits(c.input(0))};
  });
  op("gcd(input, other)").each("gcd(input, other)").not_differentiable().doc("The greatest common divisor.");
  op("lcm(input, other)").each("lcm(input, other)").not_differentiable().doc("The least common multiple.");
  op("signbit(input)").each("signbit(input)").not_differentiable();
  op("isposinf(input)").each("isinf(input) && input > 0").not_differentiable();
  op("isneginf(input)").each("isinf(input) && input < 0").not_differentiable();
  op("is_close(input, other, rtol: float, atol: float, equal_nan: bool)")
      .each(
          "input == other || (isfinite(input) && isfinite(other) && abs(input - other) <= atol + abs(rtol * other))"
          " || (equal_nan && isnan(input) && isnan(other))")
      .not_differentiable();
  op("isclose(input, other, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = false)")
      .expand([](const Call& c) -> TensorList {
        SORUS_CHECK(c.input(0).dtype() == c.input(1).dtype(), Error, "isclose: the types {} and {} differ",
                    name(c.input(0).dtype()), name(c.input(1).dtype()));
        bool exact = !is_differentiable(c.input(0).dtype());
        Tensor a = exact ? to(c.input(0), DType::f64) : c.input(0),
               b = exact ? to(c.input(1), DType::f64) : c.input(1);
        return {is_close(a, b, c.attr(0).to_double(), c.attr(1).to_double(), c.attr(2).to_bool())};
      })
      .doc("|input - other| <= atol + rtol |other|, element by element.");
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
  op("clamp.tensor(input, min: Tensor? = none, max: Tensor? = none)").expand([](const Call& c) -> TensorList {
    SORUS_CHECK(c.has(1) || c.has(2), ValueError, "clamp: at least one of min and max is needed");
    if (c.has(1) && c.has(2)) return {clamp_between(c.input(0), c.input(1), c.input(2))};
    return {c.has(1) ? where(lt(c.input(0), c.input(1)), c.input(1), c.input(0))
                     : where(gt(c.input(0), c.input(2)), c.input(2), c.input(0))};
  });
  op("clamp_min(input, min)").expand([](const Call& c) -> TensorList {
    return {where(lt(c.input(0), c.input(1)), c.input(1), c.input(0))};
  });
  op("clamp_max(input, max)").expand([](const Call& c) -> TensorList {
    return {where(gt(c.input(0), c.input(1)), c.input(1), c.input(0))};
  });
  op("nan_to_num(input, nan: float? = none, posinf: float? = none, neginf: float? = none)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        if (!is_floating(x.dtype())) return {clone(x)};
        double most = x.dtype() == DType::f64    ? std::numeric_limits<double>::max()
                      : x.dtype() == DType::f16  ? 65504.0
                      : x.dtype() == DType::bf16 ? 3.3895313892515355e38
                                                 : static_cast<double>(std::numeric_limits<float>::max());
        auto value = [&](int i, double otherwise) {
          return Tensor::weak_scalar(c.attr(i).is_none() ? otherwise : c.attr(i).to_double());
        };
        Tensor y = where(isnan(x), value(0, 0.0), x);
        y = where(isposinf(x), value(1, most), y);
        return {where(isneginf(x), value(2, -most), y)};
      })
      .doc("NaN becomes `nan`, the infinities `posinf` and `neginf` (by default the largest finite numbers).");
  op("logit(input, eps: float? = none)").expand([](const Call& c) -> TensorList {
    Tensor x = c.input(0);
    if (!c.attr(0).is_none()) x = clamp(x, Scalar(c.attr(0).to_double()), Scalar(1 - c.attr(0).to_double()));
    return {log(x / (1.0 - x))};
  });
  op("heaviside(input, values)").expand([](const Call& c) -> TensorList {
    const Tensor &x = c.input(0), &v = c.input(1);
    Tensor zero = zeros_like(x), one = ones_like(x);
    return {where(eq(x, zero), v, where(isnan(x), x, where(gt(x, zero), one, zero)))};
  });
  op("float_power(input, exponent)").expand([](const Call& c) -> TensorList {
    auto wide = [](const Tensor& t) { return to(t, is_complex(t.dtype()) ? DType::c128 : DType::f64); };
    return {pow(wide(c.input(0)), wide(c.input(1)))};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
