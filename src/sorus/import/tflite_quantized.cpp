// Converters of quantised operators: from scales to the integers that quantised operators carry, as TensorFlow Lite's
// kernels compute them when a model is loaded.
#include <algorithm>

#include "sorus/import/tflite.h"
#include "sorus/import/tflite_tables.h"
#include "sorus/ops.h"

namespace sorus::importer::tflite {
namespace {

struct Window {
  Shape stride, padding, dilation;
};

// Fields: stride_w, stride_h and, if there are any, dilation_w, dilation_h.
Window window_of(const FlatTable& o, const Shape& image, int64_t kernel_h, int64_t kernel_w, int dilation_field) {
  bool same = o.number<int8_t>(0) == 0;
  int64_t sw = o.number<int32_t>(1), sh = o.number<int32_t>(2);
  int64_t dw = dilation_field < 0 ? 1 : o.number<int32_t>(dilation_field, 1);
  int64_t dh = dilation_field < 0 ? 1 : o.number<int32_t>(dilation_field + 1, 1);
  Padded h = padded(same, image[1], kernel_h, sh, dh), w = padded(same, image[2], kernel_w, sw, dw);
  return {{sh, sw}, {h.before, h.behind, w.before, w.behind}, {dh, dw}};
}

Tensor int32s(const std::vector<int64_t>& v) {
  Tensor t = Tensor::empty(Shape{static_cast<int64_t>(v.size())}, DType::i32);
  for (size_t i = 0; i < v.size(); ++i) t.data<int32_t>()[i] = static_cast<int32_t>(v[i]);
  return t;
}

void expect_image(const Tensor& t) {
  SORUS_CHECK(t.dim() == 4, ValueError, "expected an image of four dimensions, found {}", t.type().to_string());
}

// Weights, factors and bias of a product.
struct Weights {
  Tensor weight, multiplier, shift, bias;
  int64_t zero_point = 0;
};

Weights weights_of(Importer& f, const FileOp& op, const Tensor& prepared) {
  int x = f.in(op, 0), w = f.in(op, 1), y = f.out(op);
  const Quantization& q = f.info(w).quantization;
  SORUS_CHECK(f.is_quantized(w), ValueError, "the weights '{}' have no scale", f.info(w).name);
  SORUS_CHECK(is_constant(prepared), NotImplementedError, "weights that are computed");
  Weights out;
  out.zero_point = q.zero_point[0];
  for (int64_t z : q.zero_point)
    SORUS_CHECK(z == out.zero_point, NotImplementedError, "weights with several zero points");
  auto [low, high] = code_range(f.info(w).type.dtype);
  SORUS_CHECK(out.zero_point >= low && out.zero_point <= high, ValueError, "the zero point {} of the weights",
              out.zero_point);
  std::vector<int64_t> multipliers, shifts;
  for (const Factor& k : channel_factors(f.scale(x), q.scale, f.scale(y))) {
    multipliers.push_back(k.multiplier);
    shifts.push_back(k.shift);
  }
  Quantization noted = q;
  noted.axis = q.scale.size() > 1 ? 0 : -1;
  out.weight = f.weight(w, prepared, noted);
  out.multiplier = f.weight_named(f.info(w).name + "_multiplier", int32s(multipliers));
  out.shift = f.weight_named(f.info(w).name + "_shift", int32s(shifts));
  if (f.has(op, 2)) out.bias = f.weight(op.in[2], f.get(op.in[2]), f.info(op.in[2]).quantization);
  return out;
}

void convolution(Importer& f, const FileOp& op, bool depthwise) {
  int y = f.out(op);
  Tensor x = f.get(f.in(op, 0)), w = f.get(f.in(op, 1));
  expect_image(x);
  expect_image(w);
  SORUS_CHECK(is_constant(w), NotImplementedError, "weights that are computed");
  int64_t channels = x.size(3), groups = 1;
  if (depthwise) {
    SORUS_CHECK(w.size(0) == 1 && channels > 0 && w.size(3) % channels == 0, ValueError,
                "depthwise weights {} do not fit {} channels", to_string(w.sizes()), channels);
    groups = channels;
    w = computed([&] { return contiguous(permute(w, Shape{3, 1, 2, 0})); });
  } else {
    SORUS_CHECK(w.size(3) > 0 && channels % w.size(3) == 0, ValueError, "weights {} do not fit {} channels",
                to_string(w.sizes()), channels);
    groups = channels / w.size(3);
    SORUS_CHECK(groups > 0 && w.size(0) % groups == 0, ValueError, "{} outputs in {} groups", w.size(0), groups);
  }
  Window g = window_of(op.options, x.sizes(), w.size(1), w.size(2), depthwise ? 5 : 4);
  auto [low, high] = f.activation_range(y, op.options.number<int8_t>(depthwise ? 4 : 3));
  Weights k = weights_of(f, op, w);
  f.set(y, quantized_conv2d(x, k.weight, k.multiplier, k.shift, k.bias, g.stride, g.padding, g.dilation, groups,
                            f.zero_point(op.in[0]), k.zero_point, f.zero_point(y), low, high));
}

void fully_connected(Importer& f, const FileOp& op) {
  int y = f.out(op);
  SORUS_CHECK(op.options.number<int8_t>(1) == 0, NotImplementedError, "weights in a shuffled order");
  Tensor x = f.get(f.in(op, 0)), w = f.get(f.in(op, 1));
  SORUS_CHECK(w.dim() == 2 && w.size(1) > 0 && x.numel() % w.size(1) == 0, ValueError,
              "weights {} do not fit an input {}", to_string(w.sizes()), to_string(x.sizes()));
  if (!op.options.flag(2) && !(x.dim() == 2 && x.size(1) == w.size(1))) x = reshape(x, Shape{-1, w.size(1)});
  auto [low, high] = f.activation_range(y, op.options.number<int8_t>(0));
  Weights k = weights_of(f, op, w);
  f.set(y, quantized_linear(x, k.weight, k.multiplier, k.shift, k.bias, f.zero_point(op.in[0]), k.zero_point,
                            f.zero_point(y), low, high));
}

void pool(Importer& f, const FileOp& op, bool maximum) {
  int y = f.out(op);
  Tensor x = f.get(f.in(op, 0));
  expect_image(x);
  int64_t kw = op.options.number<int32_t>(3), kh = op.options.number<int32_t>(4);
  Window g = window_of(op.options, x.sizes(), kh, kw, -1);
  auto [low, high] = f.activation_range(y, op.options.number<int8_t>(5));
  auto pooled = maximum ? quantized_max_pool2d : quantized_avg_pool2d;
  f.set(y, pooled(x, Shape{kh, kw}, g.stride, g.padding, low, high));
}

void sum(Importer& f, const FileOp& op, bool minus) {
  int a = f.in(op, 0), b = f.in(op, 1), y = f.out(op);
  bool wide = f.info(y).type.dtype == DType::i16;
  SORUS_CHECK(!wide || !op.options.flag(1, true), NotImplementedError, "int16 with scales that are powers of two");
  int64_t left = wide ? 15 : 20;
  auto [fa, fb, fy] = sum_factors(f.scale(a), f.scale(b), f.scale(y), left);
  auto [low, high] = f.activation_range(y, op.options.number<int8_t>(0));
  auto both = minus ? quantized_sub : quantized_add;
  f.set(y, both(f.weight(a, f.get(a), f.info(a).quantization), f.weight(b, f.get(b), f.info(b).quantization), left,
                f.zero_point(a), fa.multiplier, fa.shift, f.zero_point(b), fb.multiplier, fb.shift, f.zero_point(y),
                fy.multiplier, fy.shift, low, high));
}

void softmax(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  DType from = f.info(x).type.dtype, to = f.info(y).type.dtype;
  if (from == DType::i16) return softmax_of_halves(f, op);
  SORUS_CHECK((from == DType::i8 || from == DType::u8) && (to == DType::i8 || to == DType::u8 || to == DType::i16),
              NotImplementedError, "from {} to {}", name(from), name(to));
  constexpr int kIntegerBits = 5;
  double beta = op.options.number<float>(0);
  double real = std::min(beta * f.scale(x) * static_cast<double>(1 << (31 - kIntegerBits)), 2147483647.0);
  Factor k = fixed_factor(std::min(real, 1073741823.0));
  SORUS_CHECK(k.shift >= 0, NotImplementedError, "with a scale as small as {}", f.scale(x));
  // Differences that are larger in size than what five integer bits hold.
  double radius = ((1 << kIntegerBits) - 1) * static_cast<double>(int64_t{1} << (31 - kIntegerBits)) /
                  static_cast<double>(int64_t{1} << k.shift);
  f.set(y, quantized_softmax(f.get(x), k.multiplier, k.shift, -static_cast<int64_t>(std::floor(radius)), to));
}

// A product of scales as TensorFlow Lite computes it: in f32.
double in_f32(double a, double b, double divisor) {
  return static_cast<float>(a) * static_cast<float>(b) / static_cast<float>(divisor);
}

Tensor operand(Importer& f, int tensor) { return f.weight(tensor, f.get(tensor), f.info(tensor).quantization); }

void product(Importer& f, const FileOp& op) {
  int a = f.in(op, 0), b = f.in(op, 1), y = f.out(op);
  Factor k = fixed_factor(in_f32(f.scale(a), f.scale(b), f.scale(y)));
  auto [low, high] = f.activation_range(y, op.options.number<int8_t>(0));
  f.set(y, quantized_mul(operand(f, a), operand(f, b), f.zero_point(a), f.zero_point(b), f.zero_point(y),
                         k.multiplier, k.shift, low, high));
}

void matrix_product(Importer& f, const FileOp& op) {
  int a = f.in(op, 0), b = f.in(op, 1), y = f.out(op);
  Tensor l = f.get(a), r = f.get(b);
  SORUS_CHECK(l.dim() >= 2 && r.dim() >= 2, ValueError, "matrices {} and {}", to_string(l.sizes()),
              to_string(r.sizes()));
  if (op.options.flag(0)) l = transpose(l, -2, -1);
  if (op.options.flag(1)) r = transpose(r, -2, -1);
  Factor k = channel_factors(f.scale(a), {f.scale(b)}, f.scale(y))[0];
  auto [low, high] = code_range(f.info(y).type.dtype);
  f.set(y,
        quantized_matmul(l, r, f.zero_point(a), f.zero_point(b), f.zero_point(y), k.multiplier, k.shift, low, high));
}

void sum_over(Importer& f, const FileOp& op, bool mean) {
  int x = f.in(op, 0), y = f.out(op);
  Tensor t = f.get(x);
  Shape dims;
  int64_t terms = 1;
  for (int64_t d : f.integers(f.in(op, 1))) {
    SORUS_CHECK(d >= -t.dim() && d < t.dim(), ValueError, "dimension {} of {}", d, to_string(t.sizes()));
    dims.push_back(d < 0 ? d + t.dim() : d);
    terms *= t.size(dims.back());
  }
  Factor k = fixed_factor(f.scale(x) / f.scale(y));
  if (mean && terms > 0) {  // the number of terms goes into the factor, with as many bits as there is room for
    int64_t bits = 0;
    while (terms >> (bits + 1)) ++bits;
    bits = std::min({bits, int64_t{32}, 31 + k.shift});
    k = {(k.multiplier << bits) / terms, k.shift - bits};
  }
  auto [low, high] = code_range(f.info(y).type.dtype);
  f.set(y, quantized_sum(t, dims, op.options.flag(0), f.zero_point(x), f.zero_point(y), k.multiplier, k.shift, low,
                         high));
}

void leaky(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  Factor k = fixed_factor(in_f32(f.scale(x), 1, f.scale(y)));
  double negative = in_f32(f.scale(x), op.options.number<float>(0), f.scale(y));
  SORUS_CHECK(negative >= 0, NotImplementedError, "with a negative slope");
  Factor n = fixed_factor(negative);
  auto [low, high] = code_range(f.info(y).type.dtype);
  f.set(y, quantized_leaky_relu(f.get(x), f.zero_point(x), f.zero_point(y), k.multiplier, k.shift, n.multiplier,
                                n.shift, low, high));
}

void parametric(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), w = f.in(op, 1), y = f.out(op);
  SORUS_CHECK(f.info(x).type.dtype != DType::i16, NotImplementedError, "on int16");
  Factor k = fixed_factor(in_f32(f.scale(x), 1, f.scale(y))),
         n = fixed_factor(in_f32(f.scale(x), f.scale(w), f.scale(y)));
  auto [low, high] = code_range(f.info(y).type.dtype);
  f.set(y, quantized_prelu(f.get(x), operand(f, w), f.zero_point(x), f.zero_point(w), f.zero_point(y), k.multiplier,
                           k.shift, n.multiplier, n.shift, low, high));
}

// RELU of integers: a change of scale with a range.
void rectified(Importer& f, const FileOp& op, int activation) {
  int x = f.in(op, 0), y = f.out(op);
  Factor k = fixed_factor(in_f32(f.scale(x), 1, f.scale(y)));
  auto [low, high] = f.activation_range(y, activation);
  Tensor difference = to(f.get(x), DType::i32) - Tensor::weak_scalar(f.zero_point(x));
  f.set(y, requantize(difference, Tensor::weak_scalar(k.multiplier), Tensor::weak_scalar(k.shift), f.zero_point(y),
                      low, high, f.info(y).type.dtype));
}

// Functions of four integer bits: the factor to them, and where they have reached their limits.
void smooth(Importer& f, const FileOp& op, bool is_tanh) {
  constexpr int kIntegerBits = 4;
  int x = f.in(op, 0), y = f.out(op);
  DType t = f.info(x).type.dtype;
  if (t == DType::i16) return curve_of_halves(f, op, is_tanh);
  SORUS_CHECK((t == DType::i8 || t == DType::u8) && t == f.info(y).type.dtype, NotImplementedError, "on {}", name(t));
  Factor k = fixed_factor(f.scale(x) * static_cast<double>(1 << (31 - kIntegerBits)));
  double radius = ((1 << kIntegerBits) - 1) * static_cast<double>(1 << (31 - kIntegerBits)) / std::exp2(k.shift);
  auto limit = static_cast<int64_t>(std::floor(radius));
  auto [low, high] = code_range(t);
  // The result's scale is what the format says it has to be.
  SORUS_CHECK(f.scale(y) == (is_tanh ? 1.0 / 128 : 1.0 / 256), ValueError, "the scale of the result is {}",
              f.scale(y));
  f.set(y, is_tanh
               ? quantized_tanh(f.get(x), f.zero_point(x), f.zero_point(y), k.multiplier, k.shift, limit, low, high)
               : quantized_sigmoid(f.get(x), f.zero_point(x), k.multiplier, k.shift, limit, low, high));
}

// A factor of 15 bits.
Factor short_factor(double real) {
  Factor k = fixed_factor(real);
  k.multiplier = k.multiplier >= INT32_MAX - (1 << 15) ? INT16_MAX : (k.multiplier + (1 << 15)) / (1 << 16);
  return k;
}

void hard_swish(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  // In f32, as the kernel does.
  float fine = static_cast<float>(f.scale(x)) / 128.0f;
  Factor k = short_factor(fine / static_cast<float>(f.scale(y))), r = short_factor(fine / (3.0f / 32768.0f));
  SORUS_CHECK(k.shift <= 0, NotImplementedError, "to a scale that is so much finer");
  auto [low, high] = code_range(f.info(y).type.dtype);
  f.set(y, quantized_hardswish(f.get(x), f.zero_point(x), f.zero_point(y), k.multiplier, k.shift, r.multiplier,
                               r.shift, low, high));
}

void transposed_convolution(Importer& f, const FileOp& op) {
  int y = f.out(op);
  Shape size = output_size(f, op);
  Tensor x = f.get(f.in(op, 2)), w = f.get(f.in(op, 1));
  expect_image(x);
  expect_image(w);
  SORUS_CHECK(size.size() == 4, ValueError, "an output of shape {}", to_string(size));
  bool same = op.options.number<int8_t>(0) == 0;
  int64_t sw = op.options.number<int32_t>(1), sh = op.options.number<int32_t>(2);
  Padded h = padded(same, size[1], w.size(1), sh, 1), v = padded(same, size[2], w.size(2), sw, 1);
  auto [low, high] = f.activation_range(y, op.options.number<int8_t>(3));
  // The order of tensors is not that of other products.
  FileOp ordered = op;
  ordered.in = {op.in[2], op.in[1]};
  if (f.has(op, 3)) ordered.in.push_back(op.in[3]);
  Weights k = weights_of(f, ordered, w);
  f.set(y, quantized_conv_transpose2d(x, k.weight, k.multiplier, k.shift, k.bias, Shape{sh, sw},
                                      Shape{h.before, v.before}, Shape{size[1], size[2]}, f.zero_point(op.in[2]),
                                      k.zero_point, f.zero_point(y), low, high));
}

void resized(Importer& f, const FileOp& op) {
  Shape size = f.integers(f.in(op, 1));
  SORUS_CHECK(size.size() == 2, ValueError, "an image cannot be resized to {}", to_string(size));
  f.set(f.out(op), quantized_resize_bilinear(f.get(f.in(op, 0)), size, op.options.flag(2), op.options.flag(3)));
}

void quantized_from(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  DType t = f.info(y).type.dtype;
  auto [low, high] = code_range(t);
  Tensor v = f.get(x);
  if (is_floating(v.dtype())) return f.set(y, quantize(v, f.scale(y), f.zero_point(y), low, high, t));
  Factor k = fixed_factor(f.scale(x) / f.scale(y));
  Tensor difference = to(v, DType::i32) - Tensor::weak_scalar(f.zero_point(x));
  f.set(y, requantize(difference, Tensor::weak_scalar(k.multiplier), Tensor::weak_scalar(k.shift), f.zero_point(y),
                      low, high, t));
}

// A filter over time whose state is int8, as TensorFlow Lite Micro has it: the newest features behind those that were
// kept, then a convolution over time in groups of `rank` filters.
void svdf_of_bytes(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), feature = f.in(op, 1), time = f.in(op, 2), kept = f.in(op, 4), y = f.out(op);
  Factor one = fixed_factor(in_f32(f.scale(x), f.scale(feature), f.scale(kept))),
         two = fixed_factor(static_cast<double>(static_cast<float>(f.scale(kept)) *
                                                static_cast<float>(f.scale(time)) / static_cast<float>(f.scale(y))));
  int64_t rank = op.options.number<int32_t>(0), zero = f.zero_point(kept);
  Tensor t = f.get(x), w = f.get(time), state = f.state(kept);
  SORUS_CHECK(t.dim() == 2 && w.dim() == 2 && rank > 0 && w.size(0) % rank == 0 && is_constant(w) &&
                  state.numel() == t.size(0) * w.numel(),
              ValueError, "weights over time {} for an input {}", to_string(w.sizes()), to_string(t.sizes()));
  int64_t rows = t.size(0), filters = w.size(0), memory = w.size(1), units = filters / rank;
  auto whole = [](int64_t v) { return Tensor::weak_scalar(v); };
  Tensor fresh = requantize(integer_linear(t, operand(f, feature), {}, f.zero_point(x), 0), whole(one.multiplier),
                            whole(one.shift), zero, std::max<int64_t>(-128, zero - 128),
                            std::min<int64_t>(127, zero + 127), DType::i8);
  Tensor past = slice(reshape(state, Shape{rows, filters, memory}), 2, 1, memory);
  Tensor now = cat(std::vector{past, unsqueeze(fresh, 2)}, 2);
  // [units, rank, memory] as weights [units, 1, memory, rank] of an image [rows, 1, memory, filters].
  Tensor turned = computed([&] {
    return contiguous(permute(reshape(w, Shape{units, 1, rank, memory}), Shape{0, 1, 3, 2}));
  });
  const std::string& name = f.info(time).name;
  Tensor sums = quantized_conv2d(
      unsqueeze(permute(now, Shape{0, 2, 1}), 1), f.weight(time, turned, f.info(time).quantization),
      f.weight_named(name + "_multiplier", int32s({two.multiplier})),
      f.weight_named(name + "_shift", int32s({two.shift})), f.has(op, 3) ? operand(f, op.in[3]) : Tensor(),
      Shape{1, 1}, Shape{0, 0, 0, 0}, Shape{1, 1}, units, zero, 0, f.zero_point(y), -128, 127);
  f.set(y, reshape(sums, Shape{rows, units}));
  f.update(state, reshape(now, state.sizes()));
}

// Tensors: input, weights over features, weights over time, bias, state.
void svdf(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), feature = f.in(op, 1), time = f.in(op, 2), state = f.in(op, 4), y = f.out(op);
  if (f.info(time).type.dtype == DType::i8 && f.info(state).type.dtype == DType::i8) return svdf_of_bytes(f, op);
  SORUS_CHECK(f.info(time).type.dtype == DType::i16, NotImplementedError, "with weights over time of {}",
              name(f.info(time).type.dtype));
  Factor one = fixed_factor(in_f32(f.scale(x), f.scale(feature), f.scale(state))),
         two = fixed_factor(in_f32(f.scale(state), f.scale(time), f.scale(y)));
  Tensor bias = f.has(op, 3) ? operand(f, op.in[3]) : Tensor(), memory = f.state(state);
  auto [low, high] = code_range(f.info(y).type.dtype);
  auto out = quantized_svdf(f.get(x), memory, operand(f, feature), operand(f, time), bias,
                            op.options.number<int32_t>(0), f.zero_point(x), one.multiplier, one.shift,
                            f.zero_point(y), two.multiplier, two.shift, low, high);
  f.set(y, out[0]);
  f.update(memory, out[1]);
}

const OpKind kinds[] = {
    {0, [](Importer& f, const FileOp& op) { sum(f, op, false); }},
    {1, [](Importer& f, const FileOp& op) { pool(f, op, false); }},
    {3, [](Importer& f, const FileOp& op) { convolution(f, op, false); }},
    {4, [](Importer& f, const FileOp& op) { convolution(f, op, true); }},
    {9, fully_connected},
    {14, [](Importer& f, const FileOp& op) { smooth(f, op, false); }},
    {17, [](Importer& f, const FileOp& op) { pool(f, op, true); }},
    {18, product},
    {19, [](Importer& f, const FileOp& op) { rectified(f, op, kRelu); }},
    {20, [](Importer& f, const FileOp& op) { rectified(f, op, kReluN1To1); }},
    {21, [](Importer& f, const FileOp& op) { rectified(f, op, kRelu6); }},
    {23, resized},
    {25, softmax},
    {27, svdf},
    {28, [](Importer& f, const FileOp& op) { smooth(f, op, true); }},
    {40, [](Importer& f, const FileOp& op) { sum_over(f, op, true); }},
    {41, [](Importer& f, const FileOp& op) { sum(f, op, true); }},
    {44, quantized_lstm_layer},
    {47, [](Importer& f, const FileOp& op) { looked_up(f, op, [](float x) { return std::exp(x); }); }},
    {54, parametric},
    {67, transposed_convolution},
    {74, [](Importer& f, const FileOp& op) { sum_over(f, op, false); }},
    {98, leaky},
    {111, [](Importer& f, const FileOp& op) { looked_up(f, op, [](float x) { return x < 0 ? std::expm1(x) : x; }); }},
    {114, quantized_from},
    {117, hard_swish},
    {126, matrix_product},
    {150, gelu_of_bytes},
};

}  // namespace

std::span<const OpKind> quantized_kinds() { return kinds; }

}  // namespace sorus::importer::tflite
