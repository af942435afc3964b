// Functions by tables, as TensorFlow Lite computes them: those of one byte by their 256 values, those of int16 by a
// few hundred values with straight lines between them: logistic and tanh on one table, softmax on two. The tables are
// inputs; who makes the call has them (import/tflite_tables.cpp).
#include "sorus/graph/scalar.h"
#include "sorus/ops.h"
#include "sorus/ops/fixed_point.h"

namespace sorus {
namespace {

TypesRule all_i32 = [](const TypeCall& c) -> std::vector<TensorType> {
  Shape shape;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    SORUS_CHECK(is_integral(c.inputs[i]->dtype), TypeError, "{}: expected integers, got {}", c.op.name(),
                name(c.inputs[i]->dtype));
    shape = i ? broadcast_shapes(shape, c.inputs[i]->shape, c.op.name()) : c.inputs[i]->shape;
  }
  return std::vector<TensorType>(c.op.each->results.size(), {DType::i32, shape, false});
};

void expect_halves(const TypeCall& c, std::initializer_list<int64_t> entries) {
  SORUS_CHECK(c.input(0).dtype == DType::i16, TypeError, "{}: expected an int16 input, got {}", c.op.name(),
              name(c.input(0).dtype));
  int slot = 0;
  for (int64_t n : entries) {
    const TensorType& table = c.input(++slot);
    SORUS_CHECK(is_integral(table.dtype) && table.shape == Shape{n}, ValueError,
                "{}: expected a table of {} integers, got {}", c.op.name(), n, table.to_string());
  }
}

Tensor at(const Tensor& table, const Tensor& place) {
  return reshape(gather(to(table, DType::i32), 0, reshape(place, Shape{-1})), place.sizes());
}

// A number from -32768 to 32767 between two of 513 values.
Tensor between(const Tensor& x, const Tensor& table) {
  auto r = table_place(x);
  return table_line(at(table, r[0]), at(table, r[0] + Tensor::weak_scalar(int64_t{1})), r[1]);
}

TensorList curve_body(const Call& c) {
  bool is_tanh = c.attr(2).to_bool();
  auto r = curve_place(to(c.input(0), DType::i32), c.attr(0).to_int(), c.attr(1).to_int(), is_tanh ? 8 : 9);
  Tensor next = clamp_high(r[1] + Tensor::weak_scalar(int64_t{1}), int64_t{256});
  Tensor low = at(c.input(1), r[1]), high = at(c.input(1), next);
  return {to(is_tanh ? curve_value(r[0], low, high, r[2], 8, (1 << 7) - (1 << 23), (1 << 23) + (1 << 7) - 1, 8)
                     : curve_value(r[0], low, high, r[2], 9, 1 << 9, (1 << 25) + (1 << 9) - 1, 10),
             DType::i16)};
}

TensorList softmax_body(const Call& c) {
  Tensor x = to(c.input(0), DType::i32);
  int64_t last = x.dim() - 1;
  Tensor far = table_difference(x, amax(x, Shape{last}, true), c.attr(0).to_int(), c.attr(1).to_int());
  Tensor e = between(far, c.input(1));
  auto n = table_normal(to(sum(e, Shape{last}, true), DType::i32));
  return {to(table_share(e, between(n[1], c.input(2)), n[0]), DType::i16)};
}

TensorList look_up_body(const Call& c) {
  Tensor place = to(c.input(0), DType::i32);
  if (c.input(0).dtype() == DType::i8) place = place + Tensor::weak_scalar(int64_t{128});
  return {to(at(c.input(1), place), c.input(1).dtype())};
}

const bool entries = [] {
  op("quantized_look_up(input, table: mask)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        auto byte = [](DType t) { return t == DType::i8 || t == DType::u8; };
        const TensorType &x = c.input(0), &table = c.input(1);
        SORUS_CHECK(byte(x.dtype) && byte(table.dtype), TypeError,
                    "{}: expected int8 or uint8 as input and table, got {} and {}", c.op.name(), name(x.dtype),
                    name(table.dtype));
        SORUS_CHECK(table.shape == Shape{256}, ValueError, "{}: expected a table of 256 numbers, got {}", c.op.name(),
                    table.to_string());
        return {{table.dtype, x.shape, false}};
      })
      .body(look_up_body)
      .not_differentiable()
      .axes("input[a..], table[n!] -> output[a..]")
      .doc("Any function of one byte: `table` holds its results, that of the smallest number first.");
  op("curve_place(input, multiplier: int, shift: int, bits: int) -> value, place, part")
      .each(
          "v = (input * multiplier + ((1 << shift) >> 1)) >> shift; m = v < 0 ? -v : v; p = m >> bits;"
          "v, p >= 255 ? 256 : p, m - (p << bits)")
      .types(all_i32)
      .not_differentiable()
      .doc(
          "input * multiplier / 2^shift, rounded half up; between which two values of a table its size lies (256: "
          "beyond them) and how far, in parts of 2^bits.");
  op("curve_value(value, low, high, part, bits: int, above: int, below: int, down: int)")
      .each("y = (low << bits) + part * (high - low); (value >= 0 ? y + above : below - y) >> down")
      .types(all_i32)
      .not_differentiable()
      .doc("A point between `low` and `high`, mirrored for values below 0, divided by 2^down.");
  op("quantized_s_curve(input, table: mask, multiplier: int, shift: int, is_tanh: bool)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        expect_halves(c, {257});
        return {c.input(0)};
      })
      .body(curve_body)
      .not_differentiable()
      .axes("input[a..], table[n!] -> output[a..]")
      .doc(
          "1 / (1 + exp(-x)), or tanh(x), of an int16 x in steps of 1/32768. multiplier / 2^shift brings the input "
          "to "
          "steps of 1/12288; `table` holds the first function times 65536 at 0, 1/24, 2/24, ... and, last, its "
          "limit.");
  op("table_place(input) -> place, part")
      .each("p = input >> 7; p + 256, input - (p << 7)")
      .types(all_i32)
      .not_differentiable()
      .doc("Between which two of 513 values a number from -32768 to 32767 lies, and how far, in 128ths.");
  op("table_line(low, high, part)")
      .each("low + (((high - low) * part + 64) >> 7)")
      .types(all_i32)
      .not_differentiable()
      .doc("The point between `low` and `high`, in 128ths, rounded half up.");
  op("table_difference(input, most, multiplier: int, shift: int)")
      .each("d = input - most;" + fixed::product("y", "d", "multiplier", "shift") +
            "max(-32768, min(32767, y + 32767))")
      .types(all_i32)
      .not_differentiable()
      .doc("input - most times a real factor (multiplier / 2^31 * 2^shift), as a place from 32767 down.");
  op("table_normal(input) -> zeros, place")
      .each(
          "n4 = input < 65536 ? 16 : 0; s4 = input << n4; n3 = s4 < 16777216 ? 8 : 0; s3 = s4 << n3;"
          "n2 = s3 < 268435456 ? 4 : 0; s2 = s3 << n2; n1 = s2 < 1073741824 ? 2 : 0; s1 = s2 << n1;"
          "n0 = s1 < 2147483648 ? 1 : 0; s0 = s1 << n0;"
          "n4 + n3 + n2 + n1 + n0, max(-32768, min(32767, (((s0 >> 1) + 8192) >> 14) - 98304))")
      .types(all_i32)
      .not_differentiable()
      .doc("Leading zeros of a number above 0, and where between 1 and 2 it lies without them, from -32768 up.");
  op("table_share(input, reciprocal, zeros)")
      .each("s = 31 - zeros; max(0, min(32767, (input * reciprocal + ((1 << s) >> 1)) >> s))")
      .types(all_i32)
      .not_differentiable()
      .doc("input * reciprocal / 2^(31 - zeros), rounded half up, from 0 to 32767.");
  op("quantized_table_softmax(input, exponentials: mask, reciprocals: mask, multiplier: int, shift: int)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        expect_halves(c, {513, 513});
        SORUS_CHECK(!c.input(0).shape.empty(), ValueError, "quantized_table_softmax: the input has no dimension");
        return {c.input(0)};
      })
      .body(softmax_body)
      .not_differentiable()
      .axes("input[a.., d!], exponentials[n!], reciprocals[m!] -> output[a.., d!]")
      .doc(
          "softmax of the last dimension of int16, in steps of 1/32768. multiplier / 2^31 * 2^shift brings "
          "differences to steps of 10/65535; `exponentials` holds exp from -10 to 0, `reciprocals` 1 / (1 + x) from "
          "0 "
          "to 1, both times 32768.");
  return true;
}();

}  // namespace
}  // namespace sorus
