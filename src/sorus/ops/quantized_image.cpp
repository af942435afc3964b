// Quantised operators that move between sizes: transposed convolutions, resizing, sums over dimensions, products of
// two computed matrices, and the filter with a memory of keyword spotters (SVDF). Images are channels-last.
#include "sorus/ops.h"
#include "sorus/ops/apply.h"
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace quantized_rules {

// Tensor operations, since a trace records them.
Between between(int64_t in, int64_t out, bool align_corners, bool half_pixel_centers) {
  auto whole = [](int64_t v) { return Tensor::weak_scalar(v); };
  int64_t step =
      align_corners && out > 1 ? (1024 * (in - 1) + (out - 1) / 2) / (out - 1) : (1024 * in + out / 2) / out;
  Tensor at = arange(int64_t{0}, out) * whole(step);
  if (half_pixel_centers) at = at + whole(step / 2 - 512);
  Tensor low = clamp_low(floor_divide(at, whole(1024)), int64_t{0});
  Tensor high = clamp_high(floor_divide(at + whole(1023), whole(1024)), in - 1);
  return {low, high, at - low * whole(1024)};
}

// No product is rounded that is not stored as a float first, so that it is the same with and without instructions
// that multiply and add at once: products are of doubles that hold floats, and exact.
Weighted weighted(int64_t in, int64_t out, bool align_corners, bool half_pixel_centers) {
  bool corners = align_corners && out > 1;
  float step = static_cast<float>(corners ? in - 1 : in) / static_cast<float>(corners ? out - 1 : out);
  Tensor half = Tensor::weak_scalar(half_pixel_centers ? 0.5 : 0.0);
  Tensor at = to(arange(int64_t{0}, out), DType::f64) + half;
  at = to(at * Tensor::weak_scalar(static_cast<double>(step)), DType::f32) - half;
  Tensor low = clamp_low(floor(at), 0.0), high = clamp_high(ceil(at), static_cast<double>(in - 1)), part = at - low;
  return {to(low, DType::i64), to(high, DType::i64), Tensor::weak_scalar(1.0) - part, part};
}

}  // namespace quantized_rules

namespace {

using quantized_rules::Between;
using quantized_rules::between;
using quantized_rules::Weighted;
using quantized_rules::weighted;

void check_codes(const TypeCall& c) {
  DType t = c.input(0).dtype;
  SORUS_CHECK(t == DType::i8 || t == DType::u8 || t == DType::i16, TypeError,
              "{}: expected an int8, uint8 or int16 input, got {}", c.op.name(), name(t));
}

// A whole number beside a tensor of integers (a plain one would be taken for a real number).
Tensor whole(int64_t v) { return Tensor::weak_scalar(v); }

// ---- transposed convolution
// -------------------------------------------------------------------------------------------

const OpDef& transpose_sum =
    op("integer_conv_transpose2d(input, weight, stride: int[2], padding: int[2], output_size: int[2], "
       "input_zero_point: int = 0, weight_zero_point: int = 0)")
        .index(
            "y[n, h*stride[0] + i - padding[0] : output_size[0], v*stride[1] + j - padding[1] : output_size[1], o] = "
            "sum(c)"
            " (input[n, h, v, c] - input_zero_point) * (weight[o, i, j, c] - weight_zero_point)",
            "i64")
        .not_differentiable()
        .doc("Every element of a channels-last image times weights [o, kh, kw, c], added up where they fall.");

TensorList transpose_body(const Call& c) {
  Attrs attrs(c.attrs.begin(), c.attrs.begin() + 5);
  Tensor y = call_one(transpose_sum, {c.input(0), c.input(1)}, attrs);
  if (c.has(4)) y = y + c.input(4);
  auto n = [&](int i) { return c.attr(i).to_int(); };
  DType t = c.input(0).dtype();
  bool wide = t == DType::i16 && !(c.has(4) && c.input(4).dtype() == DType::i32);
  return {wide ? requantize_wide(y, c.input(2), c.input(3), n(5), n(6), n(7), t)
               : requantize(y, c.input(2), c.input(3), n(5), n(6), n(7), t)};
}

// ---- resizing
// -----------------------------------------------------------------------------------------------------------

TensorList bilinear_in_floats(const Tensor& x, const Weighted& h, const Weighted& w) {
  // Weights times 1024, which changes no rounding: a compiler makes a product of floats out of one of doubles where
  // it sees that both are floats, and then one operation out of it and the sum.
  auto weight = [](const Tensor& of, size_t dims) {
    Shape shape(dims, 1);
    shape[0] = -1;
    return reshape(to(of, DType::f64) * Tensor::weak_scalar(1024.0), shape);
  };
  auto part = [&](bool down, bool right) {
    Tensor t = index_select(index_select(x, 1, down ? h.high : h.low), 2, right ? w.high : w.low);
    t = to(to(t, DType::f64) * weight(down ? h.part : h.rest, 3), DType::f32);
    return to(to(t, DType::f64) * weight(right ? w.part : w.rest, 2), DType::f32);
  };
  constexpr double kOne = 1 << 20;
  Tensor sum = part(false, false) + part(true, false) + part(false, true) + part(true, true);
  return {to((sum + Tensor::weak_scalar(kOne / 2)) * Tensor::weak_scalar(1 / kOne), x.dtype())};
}

TensorList bilinear_body(const Call& c) {
  const Tensor& x = c.input(0);
  const Shape& size = c.attr(0).ints();
  bool corners = c.attr(1).to_bool(), half = c.attr(2).to_bool();
  if (x.dtype() == DType::u8)
    return bilinear_in_floats(x, weighted(x.size(1), size[0], corners, half),
                              weighted(x.size(2), size[1], corners, half));
  Between h = between(x.size(1), size[0], corners, half), w = between(x.size(2), size[1], corners, half);
  Tensor wide = to(x, DType::i64), down = reshape(h.part, Shape{-1, 1, 1}), right = reshape(w.part, Shape{-1, 1});
  auto blend = [&](const Tensor& a, const Tensor& b, const Tensor& part) {
    return a * (whole(1024) - part) + b * part;
  };
  auto row = [&](const Tensor& r) { return blend(index_select(r, 2, w.low), index_select(r, 2, w.high), right); };
  Tensor y = blend(row(index_select(wide, 1, h.low)), row(index_select(wide, 1, h.high)), down);
  return {to(rounded_divide(y, whole(int64_t{1} << 20)), x.dtype())};
}

// ---- sums and products
// --------------------------------------------------------------------------------------------------

TensorList sum_body(const Call& c) {
  const Tensor& x = c.input(0);
  const Shape& dims = c.attr(0).ints();
  int64_t terms = 1;
  for (int64_t d : dims) terms *= x.size(d);
  Tensor s = sum(to(x, DType::i64), dims, c.attr(1).to_bool()) - whole(terms * c.attr(2).to_int());
  auto n = [&](int i) { return c.attr(i).to_int(); };
  return {requantize(s, whole(n(4)), whole(n(5)), n(3), n(6), n(7), x.dtype())};
}

TensorList matmul_body(const Call& c) {
  auto n = [&](int i) { return c.attr(i).to_int(); };
  Tensor a = to(c.input(0), DType::i64) - whole(n(0)), b = to(c.input(1), DType::i64) - whole(n(1));
  return {requantize(matmul(a, b), whole(n(3)), whole(n(4)), n(2), n(5), n(6), c.input(0).dtype())};
}

// ---- SVDF
// ---------------------------------------------------------------------------------------------------------------

// Attributes: rank, input_zero_point, feature_multiplier, feature_shift, zero_point, multiplier, shift, quant_min,
// quant_max.
TensorList svdf_body(const Call& c) {
  const Tensor &x = c.input(0), &state = c.input(1), &feature = c.input(2), &time = c.input(3);
  auto n = [&](int i) { return c.attr(i).to_int(); };
  int64_t rows = x.size(0), filters = time.size(0), memory = time.size(1), units = filters / n(0);
  Tensor fresh =
      requantize(integer_linear(x, feature, {}, n(1), 0), whole(n(2)), whole(n(3)), 0, -32768, 32767, DType::i16);
  Tensor past = slice(reshape(state, Shape{rows, filters, memory}), 2, 1, memory);
  Tensor now = cat(std::vector{past, unsqueeze(fresh, 2)}, 2);
  Tensor each = sum(to(now, DType::i64) * to(time, DType::i64), Shape{2}, false);
  Tensor y = sum(reshape(each, Shape{rows, units, n(0)}), Shape{2}, false);
  if (c.has(4)) y = y + c.input(4);
  return {requantize(y, whole(n(5)), whole(n(6)), n(4), n(7), n(8), x.dtype()), reshape(now, state.sizes())};
}

const bool entries = [] {
  op("quantized_conv_transpose2d(input, weight, multiplier: mask, shift: mask, bias: Tensor? = none, stride: int[2] "
     "= 1, padding: int[2] = 0, output_size: int[2] = 1, input_zero_point: int = 0, weight_zero_point: int = 0, "
     "zero_point: int = 0, quant_min: int = -128, quant_max: int = 127)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_codes(c);
        Attrs attrs(c.attrs.begin(), c.attrs.begin() + 5);
        Shape s = infer_types(TypeCall{transpose_sum, c.inputs.first(2), attrs})[0].shape;
        for (int i : {2, 3})
          SORUS_CHECK(broadcast_shapes(s, c.input(i).shape, c.op.name()) == s, ValueError,
                      "{}: multiplier and shift {} do not fit {} channels", c.op.name(), to_string(c.input(i).shape),
                      s.back());
        if (c.has(4)) broadcast_shapes(s, c.input(4).shape, c.op.name());
        return {{c.input(0).dtype, s, false}};
      })
      .body(transpose_body)
      .not_differentiable()
      .doc("Transposed convolution of a channels-last quantised image with weights [o, kh, kw, c].");
  op("quantized_resize_bilinear(input, size: int[2], align_corners: bool = false, half_pixel_centers: bool = false)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_codes(c);
        const Shape &s = c.input(0).shape, &size = c.attr(0).ints();
        SORUS_CHECK(s.size() == 4 && s[1] > 0 && s[2] > 0 && size[0] > 0 && size[1] > 0, ValueError,
                    "{}: an image {} cannot become {}", c.op.name(), to_string(s), to_string(size));
        return {{c.input(0).dtype, Shape{s[0], size[0], size[1], s[3]}, false}};
      })
      .body(bilinear_body)
      .not_differentiable()
      .doc(
          "An image of another size; places are kept in 1024ths, results are rounded half away from zero. uint8: "
          "places are floats, as are products and sums, and results are rounded half up.");
  op("quantized_sum(input, dim: int[], keepdim: bool, input_zero_point: int, zero_point: int, multiplier: int, "
     "shift: int, quant_min: int, quant_max: int)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_codes(c);
        Attrs attrs{c.attr(0), c.attr(1)};
        static const OpDef& sums = find_op("amax");
        return {{c.input(0).dtype, infer_types(TypeCall{sums, c.inputs, attrs})[0].shape, false}};
      })
      .body(sum_body)
      .not_differentiable()
      .doc("Sums over dimensions times a factor: with the number of terms in the factor, means.");
  op("quantized_matmul(input, other, input_zero_point: int, other_zero_point: int, zero_point: int, multiplier: int, "
     "shift: int, quant_min: int, quant_max: int)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_codes(c);
        const Shape &a = c.input(0).shape, &b = c.input(1).shape;
        SORUS_CHECK(a.size() >= 2 && b.size() >= 2 && a.back() == b[b.size() - 2], ValueError,
                    "{}: matrices {} and {} do not fit", c.op.name(), to_string(a), to_string(b));
        Shape s = broadcast_shapes(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2), c.op.name());
        s.push_back(a[a.size() - 2]);
        s.push_back(b.back());
        return {{c.input(0).dtype, s, false}};
      })
      .body(matmul_body)
      .not_differentiable()
      .doc("Product of two quantised matrices, both computed.");
  op("quantized_svdf(input, state: mask, feature: mask, time: mask, bias: Tensor? = none, rank: int = 1, "
     "input_zero_point: int = 0, feature_multiplier: int = 0, feature_shift: int = 0, zero_point: int = 0, "
     "multiplier: int = 0, shift: int = 0, quant_min: int = -128, quant_max: int = 127) -> output, new_state")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &x = c.input(0).shape, &state = c.input(1).shape, &f = c.input(2).shape, &t = c.input(3).shape;
        check_codes(c);
        int64_t rank = c.attr("rank").to_int();
        bool fits = x.size() == 2 && f.size() == 2 && t.size() == 2 && state.size() == 2 && f[1] == x[1] &&
                    f[0] == t[0] && t[1] > 0 && state[0] == x[0] && state[1] == t[0] * t[1] && rank > 0 &&
                    t[0] % rank == 0;
        SORUS_CHECK(
            fits && c.input(1).dtype == DType::i16, ValueError,
            "quantized_svdf: input {}, state {}, feature weights {} and time weights {} with rank {} do not fit",
            to_string(x), to_string(state), to_string(f), to_string(t), rank);
        if (c.has(4))
          SORUS_CHECK(c.input(4).shape == Shape{t[0] / rank}, ValueError, "quantized_svdf: a bias of {} for {} units",
                      to_string(c.input(4).shape), t[0] / rank);
        return {{c.input(0).dtype, Shape{x[0], t[0] / rank}, false}, {DType::i16, state, false}};
      })
      .body(svdf_body)
      .not_differentiable()
      .doc(
          "One step of a layer of filters that are a product of weights over features and weights over time "
          "(Nakkiran et "
          "al. 2015). The state holds the last features of each filter, oldest first.");
  return true;
}();

}  // namespace
}  // namespace sorus
