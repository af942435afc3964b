// Converters to operators on floats (and on integers without a scale). Images are kept as [n, c, h, w] between
// operators that work on images or on single elements, so that permutations stand only where a chain of them begins
// and ends.
#include <algorithm>

#include "sorus/import/layers.h"
#include "sorus/import/tflite.h"
#include "sorus/ops.h"

namespace sorus::importer::tflite {
namespace {

const Shape kToImage{0, 3, 1, 2};  // of [n, h, w, c]

void expect_rank(const Tensor& t, int64_t rank) {
  SORUS_CHECK(t.dim() == rank, ValueError, "expected {} dimensions, found {}", rank, t.type().to_string());
}

// Fields of the options: padding, stride_w, stride_h, then those of the operator.
Window2d window_of(const FlatTable& o, const Tensor& x, int64_t kernel_h, int64_t kernel_w, int dilation_field) {
  bool same = o.number<int8_t>(0) == 0;
  Window2d w;
  w.kernel = {kernel_h, kernel_w};
  w.stride = {o.number<int32_t>(2), o.number<int32_t>(1)};
  if (dilation_field >= 0)
    w.dilation = {o.number<int32_t>(dilation_field + 1, 1), o.number<int32_t>(dilation_field, 1)};
  Padded h = padded(same, x.size(2), kernel_h, w.stride[0], w.dilation[0]),
         v = padded(same, x.size(3), kernel_w, w.stride[1], w.dilation[1]);
  w.padding = {h.before, h.behind, v.before, v.behind};
  return w;
}

// Weights kept in f16 are used as f32.
Tensor bias_of(Importer& f, const FileOp& op, size_t i) {
  return f.has(op, i) ? f.weight(op.in[i], f.get(op.in[i])) : Tensor();
}

void expect_floats(const Tensor& x, const Tensor& w) {
  SORUS_CHECK(is_floating(x.dtype()), NotImplementedError, "on {}", name(x.dtype()));
  SORUS_CHECK(is_floating(w.dtype()), NotImplementedError, "floats with weights of {}", name(w.dtype()));
}

void convolution(Importer& f, const FileOp& op, bool depthwise) {
  Tensor x = f.image(f.in(op, 0)), w = f.real_weight(f.in(op, 1));
  expect_rank(w, 4);
  expect_floats(x, w);
  int64_t channels = x.size(1), groups = 1;
  auto turned = [&](const Shape& order) {
    return is_constant(w) ? computed([&] { return contiguous(permute(w, order)); }) : permute(w, order);
  };
  if (depthwise) {  // [1, h, w, o] as [o, 1, h, w]
    w = turned({3, 0, 1, 2});
    groups = channels;
  } else {  // [o, h, w, c] as [o, c, h, w]
    w = turned(kToImage);
    SORUS_CHECK(w.size(1) > 0 && channels % w.size(1) == 0, ValueError, "weights {} do not fit {} channels",
                to_string(w.sizes()), channels);
    groups = channels / w.size(1);
  }
  SORUS_CHECK(groups > 0 && w.size(0) % groups == 0, ValueError, "{} outputs in {} groups", w.size(0), groups);
  Window2d g = window_of(op.options, x, w.size(2), w.size(3), depthwise ? 5 : 4);
  Tensor y = convolution2d(x, f.weight(op.in[1], w), bias_of(f, op, 2), g, groups);
  f.set_image(f.out(op), f.activated(y, op.options.number<int8_t>(depthwise ? 4 : 3)));
}

void transposed_convolution(Importer& f, const FileOp& op) {
  Shape size = output_size(f, op);
  Tensor x = f.image(f.in(op, 2)), w = f.real_weight(f.in(op, 1));
  expect_rank(w, 4);
  expect_floats(x, w);
  SORUS_CHECK(size.size() == 4 && is_constant(w), ValueError, "an output of shape {}", to_string(size));
  // [o, h, w, c] as [c, o, h, w]
  w = computed([&] { return contiguous(permute(w, Shape{3, 0, 1, 2})); });
  Window2d g;
  g.kernel = {w.size(2), w.size(3)};
  g.stride = {op.options.number<int32_t>(2), op.options.number<int32_t>(1)};
  bool same = op.options.number<int8_t>(0) == 0;
  Padded h = padded(same, size[1], w.size(2), g.stride[0], 1), v = padded(same, size[2], w.size(3), g.stride[1], 1);
  Tensor y = transposed_convolution2d(x, f.weight(op.in[1], w), bias_of(f, op, 3), g, {h.before, v.before},
                                      {size[1], size[2]}, 1);
  f.set_image(f.out(op), f.activated(y, op.options.number<int8_t>(3)));
}

void fully_connected(Importer& f, const FileOp& op) {
  Tensor x = f.get(f.in(op, 0)), w = f.real_weight(f.in(op, 1));
  expect_floats(x, w);
  SORUS_CHECK(op.options.number<int8_t>(1) == 0, NotImplementedError, "weights in a shuffled order");
  SORUS_CHECK(w.dim() == 2 && w.size(1) > 0 && x.dim() > 0 && x.numel() % w.size(1) == 0, ValueError,
              "weights {} do not fit an input {}", to_string(w.sizes()), to_string(x.sizes()));
  if (!op.options.flag(2) && !(x.dim() == 2 && x.size(1) == w.size(1))) x = reshape(x, Shape{-1, w.size(1)});
  Tensor y = linear(x, f.weight(op.in[1], w), bias_of(f, op, 2));
  f.set(f.out(op), f.activated(y, op.options.number<int8_t>(0)));
}

void batch_matmul(Importer& f, const FileOp& op) {
  Tensor a = f.get(f.in(op, 0)), b = f.real_weight(f.in(op, 1));
  expect_floats(a, b);
  SORUS_CHECK(a.dim() >= 2 && b.dim() >= 2, ValueError, "matrices {} and {}", to_string(a.sizes()),
              to_string(b.sizes()));
  if (op.options.flag(0)) a = transpose(a, -2, -1);
  if (op.options.flag(1)) b = transpose(b, -2, -1);
  f.set(f.out(op), matmul(f.weight(op.in[0], a), f.weight(op.in[1], b)));
}

void pool(Importer& f, const FileOp& op, bool maximum) {
  Tensor x = f.image(f.in(op, 0));
  Window2d w = window_of(op.options, x, op.options.number<int32_t>(4), op.options.number<int32_t>(3), -1);
  Tensor y = maximum ? maximum_pool2d(x, w) : average_pool2d(x, w, false);
  f.set_image(f.out(op), f.activated(y, op.options.number<int8_t>(5)));
}

void softmaxed(Importer& f, const FileOp& op) {
  Tensor x = f.get(f.in(op, 0));
  double beta = op.options.number<float>(0);
  f.set(f.out(op), softmax(beta == 1 ? x : x * beta, -1));
}

void normalized(Importer& f, const FileOp& op) {
  Tensor x = f.get(f.in(op, 0));
  SORUS_CHECK(op.options.number<int8_t>(0) == 0, NotImplementedError, "with a fused activation");
  // As TensorFlow Lite: the length is at least 1e-6.
  f.set(f.out(op), x / clamp_low(sqrt(sum(square(x), Shape{x.dim() - 1}, true)), 1e-6));
}

using Reduce = Tensor (*)(const Tensor&, const Shape&, bool);
void reduced(Importer& f, const FileOp& op, Reduce reduce) {
  int x = f.in(op, 0);
  Shape dims = f.integers(f.in(op, 1));
  bool keep = op.options.flag(0);
  // Means over rows and columns of an image, the common end of a network, need no permutation.
  if (f.is_image(x)) {
    Shape moved, sorted;
    for (int64_t d : dims) {
      SORUS_CHECK(d >= -4 && d < 4, ValueError, "dimension {} of an image", d);
      sorted.push_back(d < 0 ? d + 4 : d);
    }
    std::ranges::sort(sorted);
    if (sorted == Shape{1, 2}) {
      Tensor y = reduce(f.image(x), Shape{2, 3}, keep);
      if (keep)
        f.set_image(f.out(op), y);
      else
        f.set(f.out(op), y);
      return;
    }
  }
  f.set(f.out(op), reduce(f.get(x), dims, keep));
}

// An elementwise operator; images stay images.
using Unary = Tensor (*)(const Tensor&);
void each(Importer& f, const FileOp& op, Unary g) {
  int x = f.in(op, 0), y = f.out(op);
  if (f.is_image(x))
    f.set_image(y, g(f.image(x)));
  else
    f.set(y, g(f.get(x)));
}

// A constant beside an image: one number, or one for each channel.
std::optional<Tensor> beside_image(Importer& f, int tensor) {
  if (f.is_image(tensor)) return f.image(tensor);
  Tensor t = f.get(tensor);
  if (!is_constant(t)) return std::nullopt;
  if (t.numel() == 1) return f.weight(tensor, computed([&] { return reshape(t, Shape{}); }));
  if (t.dim() == 4) return f.weight(tensor, f.image(tensor));
  bool row = true;
  for (int64_t d = 0; d + 1 < t.dim(); ++d) row &= t.size(d) == 1;
  if (!row || t.dim() == 0 || t.dim() > 4) return std::nullopt;
  return f.weight(tensor, computed([&] { return contiguous(reshape(t, Shape{t.numel(), 1, 1})); }));
}

using Binary = Tensor (*)(const Tensor&, const Tensor&);
void pairs(Importer& f, const FileOp& op, Binary g, bool activation) {
  int a = f.in(op, 0), b = f.in(op, 1), y = f.out(op);
  int fused = kNone;
  if (activation) fused = op.options.number<uint8_t>(0);
  if ((f.is_image(a) || f.is_image(b)) && f.info(y).type.shape.size() == 4) {
    auto left = beside_image(f, a), right = beside_image(f, b);
    if (left && right) return f.set_image(y, f.activated(g(*left, *right), fused));
  }
  auto value = [&](int i) {
    Tensor t = f.get(i);
    return f.weight(i, t);
  };
  f.set(y, f.activated(g(value(a), value(b)), fused));
}

void leaky(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  double alpha = op.options.number<float>(0);
  if (f.is_image(x))
    f.set_image(y, leaky_relu(f.image(x), alpha));
  else
    f.set(y, leaky_relu(f.get(x), alpha));
}

void parametric(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  auto g = [](const Tensor& t, const Tensor& alpha) { return where(lt(t, Tensor::weak_scalar(0.0)), t * alpha, t); };
  if (f.is_image(x))
    if (auto alpha = beside_image(f, f.in(op, 1))) return f.set_image(y, g(f.image(x), *alpha));
  f.set(y, g(f.get(x), f.weight(f.in(op, 1), f.get(op.in[1]))));
}

void resized(Importer& f, const FileOp& op) {
  Shape size = f.integers(f.in(op, 1));
  Tensor t = f.image(f.in(op, 0));
  SORUS_CHECK(size.size() == 2, ValueError, "an image cannot be resized to {}", to_string(size));
  Places p = op.options.flag(2)   ? Places::align_corners
             : op.options.flag(3) ? Places::half_pixel
                                  : Places::asymmetric;
  for (int64_t d = 0; d < 2; ++d) t = resize_linear(t, d + 2, size[static_cast<size_t>(d)], p);
  f.set_image(f.out(op), t);
}

void converted(Importer& f, const FileOp& op) {
  f.set(f.out(op), to(f.get(f.in(op, 0)), f.info(f.out(op)).type.dtype));
}

void dequantized(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  Tensor t = f.get(x);
  if (is_floating(t.dtype())) {  // weights kept in f16
    Tensor wide = is_constant(t) ? computed([&] { return to(t, DType::f32); }) : to(t, DType::f32);
    return f.set(y, wide);
  }
  auto real = [&] { return f.real(x, t); };
  f.set(y, is_constant(t) ? computed(real) : real());
}

void selected(Importer& f, const FileOp& op) {
  f.set(f.out(op),
        where(f.get(f.in(op, 0)), f.weight(f.in(op, 1), f.get(op.in[1])), f.weight(f.in(op, 2), f.get(op.in[2]))));
}

void gelu_of(Importer& f, const FileOp& op) {
  bool tanh_form = op.options.flag(0);
  each(
      f, op, tanh_form ? [](const Tensor& t) { return gelu(t, "tanh"); } : [](const Tensor& t) { return gelu(t); });
}

void ranged(Importer& f, const FileOp& op) {
  std::vector<double> a = f.reals(f.in(op, 0)), b = f.reals(f.in(op, 1)), step = f.reals(f.in(op, 2));
  SORUS_CHECK(a.size() == 1 && b.size() == 1 && step.size() == 1 && step[0] != 0 &&
                  std::abs((b[0] - a[0]) / step[0]) < (1 << 24),
              ValueError, "a range that cannot be made");
  f.set(f.out(op),
        computed([&] { return arange(Scalar(a[0]), Scalar(b[0]), Scalar(step[0]), f.info(f.out(op)).type.dtype); }));
}

void zeros_of(Importer& f, const FileOp& op) { f.set(f.out(op), zeros_like(f.get(f.in(op, 0)))); }

#define EACH(code, expression)                                                                                     \
  {                                                                                                                \
    code, [](Importer& f, const FileOp& op) { each(f, op, [](const Tensor& x) -> Tensor { return expression; }); } \
  }
#define PAIRS(code, activation, expression)                                                          \
  {                                                                                                  \
    code, [](Importer& f, const FileOp& op) {                                                        \
      pairs(                                                                                         \
          f, op, [](const Tensor& a, const Tensor& b) -> Tensor { return expression; }, activation); \
    }                                                                                                \
  }
#define REDUCED(code, function)                                                                                  \
  {                                                                                                              \
    code, [](Importer& f, const FileOp& op) {                                                                    \
      reduced(f, op, [](const Tensor& x, const Shape& d, bool keep) -> Tensor { return function(x, d, keep); }); \
    }                                                                                                            \
  }

const OpKind kinds[] = {
    PAIRS(0, true, a + b),
    {1, [](Importer& f, const FileOp& op) { pool(f, op, false); }},
    {3, [](Importer& f, const FileOp& op) { convolution(f, op, false); }},
    {4, [](Importer& f, const FileOp& op) { convolution(f, op, true); }},
    {6, dequantized},
    EACH(8, floor(x)),
    {9, fully_connected},
    {11, normalized},
    EACH(14, sigmoid(x)),
    {17, [](Importer& f, const FileOp& op) { pool(f, op, true); }},
    PAIRS(18, true, a* b),
    EACH(19, relu(x)),
    EACH(20, clamp(x, Scalar(-1), Scalar(1))),
    EACH(21, clamp(x, Scalar(0), Scalar(6))),
    {23, resized},
    {25, softmaxed},
    EACH(28, tanh(x)),
    REDUCED(40, mean),
    PAIRS(41, true, a - b),
    PAIRS(42, true, is_floating(a.dtype()) ? a / b : floor_divide(a, b)),
    {44, lstm_layer_of_floats},
    EACH(47, exp(x)),
    EACH(50, log_softmax(x, -1)),
    {53, converted},
    {54, parametric},
    PAIRS(55, false, maximum(a, b)),
    PAIRS(57, false, minimum(a, b)),
    PAIRS(58, false, lt(a, b)),
    EACH(59, neg(x)),
    PAIRS(61, false, gt(a, b)),
    PAIRS(62, false, ge(a, b)),
    PAIRS(63, false, le(a, b)),
    {64, selected},
    EACH(66, sin(x)),
    {67, transposed_convolution},
    PAIRS(71, false, eq(a, b)),
    PAIRS(72, false, ne(a, b)),
    EACH(73, log(x)),
    REDUCED(74, sum),
    EACH(75, sqrt(x)),
    EACH(76, rsqrt(x)),
    PAIRS(78, false, pow(a, b)),
    REDUCED(81, prod),
    PAIRS(84, false, logical_or(a, b)),
    PAIRS(86, false, logical_and(a, b)),
    EACH(87, logical_not(x)),
    PAIRS(90, false, floor_divide(a, b)),
    REDUCED(91, any),
    EACH(92, square(x)),
    {93, zeros_of},
    PAIRS(95, false, remainder(a, b)),
    {96, ranged},
    {98, leaky},
    PAIRS(99, false, square(a - b)),
    EACH(101, abs(x)),
    EACH(104, ceil(x)),
    EACH(108, cos(x)),
    EACH(111, elu(x)),
    EACH(116, round(x)),
    EACH(117, hardswish(x)),
    {123, selected},
    {126, batch_matmul},
    REDUCED(140, all),
    {150, gelu_of},
    EACH(152, clamp(x, Scalar(0), Scalar(1))),
    EACH(158, sign(x)),
};

}  // namespace

std::span<const OpKind> plain_kinds() { return kinds; }

}  // namespace sorus::importer::tflite
