// Softmax of integers in fixed point (ops/fixed_functions.h).
#include "sorus/graph/scalar.h"
#include "sorus/ops.h"
#include "sorus/ops/fixed_functions.h"
#include "sorus/ops/fixed_point.h"

namespace sorus {
namespace {

using fixed::high_product, fixed::rounded_shift;

TypesRule as_i32 = [](const TypeCall& c) -> std::vector<TensorType> {
  SORUS_CHECK(is_integral(c.input(0).dtype), TypeError, "{}: expected integers, got {}", c.op.name(),
              name(c.input(0).dtype));
  return std::vector<TensorType>(c.op.each->results.size(), {DType::i32, c.input(0).shape, false});
};

TensorList softmax_body(const Call& c) {
  const Tensor& x = c.input(0);
  int64_t last = x.dim() - 1;
  Tensor wide = to(x, DType::i32);
  Tensor e =
      fixed_exp(wide - amax(wide, Shape{last}, true), c.attr(0).to_int(), c.attr(1).to_int(), c.attr(2).to_int());
  // The sum has twelve integer bits; elements enter it with 19 bits behind the point.
  Tensor total = to(sum(fixed_round(e, 12), Shape{last}, true), DType::i32);
  auto r = fixed_reciprocal(total);
  DType t = c.attr(3).dtype();
  if (t != DType::u8) return {fixed_share(e, r[0], r[1], t == DType::i16 ? 16 : 8, t)};
  Tensor below = to(fixed_share(e, r[0], r[1], 8, DType::i8), DType::i32);
  return {to(below + Tensor::weak_scalar(int64_t{128}), t)};
}

const bool entries = [] {
  op("fixed_exp(input, multiplier: int, left_shift: int, diff_min: int)")
      .each(high_product("scaled", "input << left_shift", "multiplier") + fixed::exponential("e", "scaled", 5) +
            "input >= diff_min ? e : 0")
      .types(as_i32)
      .not_differentiable()
      .doc("exp(input * multiplier / 2^31 * 2^left_shift / 2^26) * 2^31 for input <= 0; 0 below `diff_min`.");
  op("fixed_round(input, bits: int)")
      .each(rounded_shift("y", "input", "bits") + "y")
      .types(as_i32)
      .not_differentiable()
      .doc("input / 2^bits, rounded half away from zero.");
  op("fixed_reciprocal(input) -> scale, shift")
      .each(
          "n4 = input < 65536 ? 16 : 0; s4 = input << n4; n3 = s4 < 16777216 ? 8 : 0; s3 = s4 << n3;"
          "n2 = s3 < 268435456 ? 4 : 0; s2 = s3 << n2; n1 = s2 < 1073741824 ? 2 : 0; s1 = s2 << n1;"
          "n0 = s1 < 2147483648 ? 1 : 0; s0 = s1 << n0; zeros = n4 + n3 + n2 + n1 + n0;" +
          fixed::one_over_one_plus("r", "s0 - 2147483648") + "r, 12 - zeros")
      .types(as_i32)
      .not_differentiable()
      .doc(
          "2^31 / x for x = input / 2^19 > 0, as a number in (1/2, 1] times 2^31 and the power of two that is "
          "missing.");
  op("fixed_share(input, scale, shift, bits: int, dtype: dtype)")
      .each(high_product("p", "scale", "input") + rounded_shift("y", "p", "shift + 31 - bits") +
            "top = (1 << bits - 1) - 1; input == 0 ? -top - 1 : max(-top - 1, min(top, y - top - 1))")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.attr("dtype").dtype(), broadcast_shapes(c.input(0).shape, c.input(1).shape, c.op.name()), false}};
      })
      .not_differentiable()
      .doc("input * scale / 2^shift in steps of 1 / 2^bits, from the smallest number of the type up.");
  op("quantized_softmax(input, multiplier: int, left_shift: int, diff_min: int, dtype: dtype)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        DType from = c.input(0).dtype, to = c.attr(3).dtype();
        SORUS_CHECK(
            (from == DType::i8 || from == DType::u8) && (to == DType::i8 || to == DType::u8 || to == DType::i16),
            TypeError, "quantized_softmax: expected int8 or uint8 to int8, uint8 or int16, got {} to {}", name(from),
            name(to));
        SORUS_CHECK(!c.input(0).shape.empty(), ValueError, "quantized_softmax: the input has no dimension");
        return {{to, c.input(0).shape, false}};
      })
      .body(softmax_body)
      .not_differentiable()
      .axes("input[a.., d!] -> output[a.., d!]")
      .doc(
          "softmax of the last dimension. multiplier / 2^31 * 2^left_shift is beta times the input's scale times "
          "2^26; "
          "differences from the largest below `diff_min` count as 0. The result's scale is 1/256 (int16: 1/65536) "
          "and its "
          "zero point the smallest number of its type.");
  return true;
}();

}  // namespace
}  // namespace sorus
