// Converters of .ms operators to those on floats.
#include <algorithm>

#include "sorus/import/mslite_reader.h"
#include "sorus/ops.h"

namespace sorus::importer::mslite {

Tensor activated(const Tensor& t, int kind) {
  switch (kind) {
    case 0:
      return t;
    case 1:
      return relu(t);
    case 2:
      return sigmoid(t);
    case 3:
      return clamp(t, Scalar(0), Scalar(6));
    case 4:
      return elu(t);
    case 10:
      return tanh(t);
    case 12:
      return hardswish(t);
    case 13:
      return hardsigmoid(t);
    case 18:
      return silu(t);
    case 19:
      return gelu(t);
    default:
      fail<NotImplementedError>("an activation of kind {}", kind);
  }
}

Shape longs(const FlatTable& t, int field) {
  std::vector<int64_t> v = t.numbers<int64_t>(field);
  return Shape(v.begin(), v.end());
}

Window2d window_of(const FlatTable& o, int kernel, int stride, int dilation, int mode, int pad, const Shape& x) {
  Window2d w;
  w.kernel = longs(o, kernel), w.stride = longs(o, stride);
  if (dilation >= 0 && o.has(dilation)) w.dilation = longs(o, dilation);
  SORUS_CHECK(
      w.kernel.size() == 2 && w.stride.size() == 2 && w.dilation.size() == 2 && w.stride[0] > 0 && w.stride[1] > 0,
      ValueError, "kernel, stride or dilation");
  Shape given = longs(o, pad);
  int how = o.number<uint8_t>(mode);
  if (how == 0 && given.size() == 4) w.padding = given;
  for (size_t i = 0; how == 1 && i < 2; ++i) {
    int64_t size = x[i + 2], places = (size + w.stride[i] - 1) / w.stride[i];
    int64_t total = std::max<int64_t>(0, (places - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1 - size);
    w.padding[2 * i] = total / 2;
    w.padding[2 * i + 1] = total - total / 2;
  }
  return w;
}

namespace {

void convolution(Importer& f, const Op& op) {
  bool last = op.channels_last(0);
  Tensor x = f.image(f.input(op, 0), last), w = f.image(f.input(op, 1), last);
  SORUS_CHECK(w.dim() == 4 && x.dim() == 4 && is_floating(w.dtype()), ValueError, "weights {}", w.type().to_string());
  Window2d g = window_of(op.fields, 1, 2, 3, 4, 5, x.sizes());
  SORUS_CHECK(g.kernel == (Shape{w.size(2), w.size(3)}), ValueError, "weights {} for a kernel {}",
              to_string(w.sizes()), to_string(g.kernel));
  Tensor y = convolution2d(x, w, f.has(op, 2) ? f.get(op.in[2]) : Tensor(), g,
                           std::max<int64_t>(1, op.fields.number<int64_t>(7)));
  f.set_image(f.output(op), activated(y, op.fields.number<uint8_t>(10)), last);
}

void pool(Importer& f, const Op& op, bool maximum) {
  bool last = op.channels_last(5), global = op.fields.flag(6);
  Tensor x = f.image(f.input(op, 0), last), y;
  SORUS_CHECK(x.dim() == 4, ValueError, "expected an image, found {}", x.type().to_string());
  if (global) {
    y = maximum ? amax(x, Shape{2, 3}, true) : mean(x, Shape{2, 3}, true);
  } else {
    SORUS_CHECK(op.fields.number<uint8_t>(4) == 0, NotImplementedError, "rounding sizes up");
    Window2d w = window_of(op.fields, 0, 1, -1, 3, 2, x.sizes());
    y = maximum ? maximum_pool2d(x, w) : average_pool2d(x, w, false);
  }
  f.set_image(f.output(op), activated(y, op.fields.number<uint8_t>(7)), last);
}

void product(Importer& f, const Op& op) {
  Tensor a = f.get(f.input(op, 0)), b = f.get(f.input(op, 1)), y;
  SORUS_CHECK(a.dim() >= 2 && b.dim() >= 2, ValueError, "matrices {} and {}", to_string(a.sizes()),
              to_string(b.sizes()));
  Tensor bias = f.has(op, 2) ? f.get(op.in[2]) : Tensor();
  if (op.fields.flag(0)) a = transpose(a, -2, -1);
  if (op.fields.flag(1) && b.dim() == 2) {
    y = linear(a, b, bias);
  } else {
    y = matmul(a, op.fields.flag(1) ? transpose(b, -2, -1) : b);
    if (bias.defined()) y = y + bias;
  }
  f.set(f.output(op), activated(y, op.fields.number<uint8_t>(2)));
}

void full_connection(Importer& f, const Op& op) {
  Tensor x = f.get(f.input(op, 0)), w = f.get(f.input(op, 1));
  SORUS_CHECK(w.dim() == 2 && w.size(1) > 0 && x.dim() > 0 && x.numel() % w.size(1) == 0, ValueError,
              "weights {} do not fit {}", to_string(w.sizes()), to_string(x.sizes()));
  if (!(x.dim() == 2 && x.size(1) == w.size(1))) x = reshape(x, Shape{-1, w.size(1)});
  Tensor bias = op.fields.flag(0) && f.has(op, 2) ? f.get(op.in[2]) : Tensor();
  f.set(f.output(op), activated(linear(x, w, bias), op.fields.number<uint8_t>(3)));
}

using Unary = Tensor (*)(const Tensor&);
void each(Importer& f, const Op& op, Unary g) {
  size_t x = f.input(op, 0);
  if (f.is_image(x))
    f.set_image(f.output(op), g(f.image(x, true)), true);
  else
    f.set(f.output(op), g(f.get(x)));
}

void activation(Importer& f, const Op& op) {
  size_t x = f.input(op, 0);
  int kind = op.fields.number<uint8_t>(0);
  bool image = f.is_image(x);
  Tensor t = image ? f.image(x, true) : f.get(x);
  Tensor y = kind == 5 ? leaky_relu(t, op.fields.number<float>(1)) : activated(t, kind);
  if (image)
    f.set_image(f.output(op), y, true);
  else
    f.set(f.output(op), y);
}

using Binary = Tensor (*)(const Tensor&, const Tensor&);
void pairs(Importer& f, const Op& op, Binary g, bool fused) {
  size_t a = f.input(op, 0), b = f.input(op, 1);
  int kind = 0;
  if (fused) kind = op.fields.number<uint8_t>(0);
  if (f.is_image(a) && f.is_image(b))
    return f.set_image(f.output(op), activated(g(f.image(a, true), f.image(b, true)), kind), true);
  f.set(f.output(op), activated(g(f.get(a), f.get(b)), kind));
}

void softmaxed(Importer& f, const Op& op) {
  Shape axis = longs(op.fields, 0);
  f.set(f.output(op), softmax(f.get(f.input(op, 0)), axis.empty() ? -1 : axis[0]));
}

void reduced(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  Shape dims = f.integers(f.input(op, 1));
  bool keep = op.fields.flag(0);
  SORUS_CHECK(!op.fields.flag(2), NotImplementedError, "to the end");
  switch (op.fields.number<uint8_t>(1)) {
    case 0:
      return f.set(f.output(op), mean(t, dims, keep));
    case 1:
      return f.set(f.output(op), amax(t, dims, keep));
    case 2:
      return f.set(f.output(op), amin(t, dims, keep));
    case 3:
      return f.set(f.output(op), prod(t, dims, keep));
    case 4:
      return f.set(f.output(op), sum(t, dims, keep));
    case 5:
      return f.set(f.output(op), sum(square(t), dims, keep));
    case 6:
      return f.set(f.output(op), sum(abs(t), dims, keep));
    default:
      fail<NotImplementedError>("of kind {}", op.fields.number<uint8_t>(1));
  }
}

void normalized(Importer& f, const Op& op, double otherwise) {  // x, scale, bias, mean, variance
  bool last = f.is_image(f.input(op, 0));
  Tensor x = f.image(f.input(op, 0), last);
  auto by_channel = [&](const Tensor& v) { return x.dim() == 4 ? reshape(v, Shape{-1, 1, 1}) : v; };
  Tensor scale = f.get(f.input(op, 1)), bias = f.get(f.input(op, 2)), mean = f.get(f.input(op, 3)),
         var = f.get(f.input(op, 4));
  double epsilon = op.fields.number<float>(0, static_cast<float>(otherwise));
  SORUS_CHECK(is_constant(scale) && is_constant(bias) && is_constant(mean) && is_constant(var), NotImplementedError,
              "with computed statistics");
  Tensor a = computed([&] { return scale * rsqrt(var + epsilon); }), b = computed([&] { return bias - mean * a; });
  f.set_image(f.output(op), x * by_channel(a) + by_channel(b), last);
}

void transposed_convolution(Importer& f, const Op& op) {
  bool last = op.channels_last(0);
  Tensor x = f.image(f.input(op, 0), last), w = f.get(f.input(op, 1));
  SORUS_CHECK(w.dim() == 4 && x.dim() == 4 && is_floating(w.dtype()) && is_constant(w), ValueError, "weights {}",
              w.type().to_string());
  SORUS_CHECK(op.fields.number<int64_t>(8, 1) <= 1, NotImplementedError, "in groups");
  // [in, h, w, out] or [in, out, h, w]
  if (last) w = computed([&] { return contiguous(permute(w, kToImage)); });
  Window2d g;
  g.kernel = longs(op.fields, 1), g.stride = longs(op.fields, 2), g.dilation = longs(op.fields, 3);
  if (g.dilation.empty()) g.dilation = {1, 1};
  Shape pads = longs(op.fields, 6), more = longs(op.fields, 12), before{0, 0}, size;
  SORUS_CHECK(g.kernel == (Shape{w.size(2), w.size(3)}) && g.stride.size() == 2 && g.dilation.size() == 2, ValueError,
              "weights {} for a kernel {}", to_string(w.sizes()), to_string(g.kernel));
  int mode = op.fields.number<uint8_t>(4);
  for (size_t i = 0; i < 2; ++i) {
    int64_t n = x.size(static_cast<int64_t>(i) + 2),
            whole = (n - 1) * g.stride[i] + (g.kernel[i] - 1) * g.dilation[i] + 1;
    int64_t behind = 0;
    if (mode == 0 && pads.size() == 4) before[i] = pads[2 * i], behind = pads[2 * i + 1];
    if (mode == 1) {  // as many places as strides make of the input
      int64_t cut = std::max<int64_t>(0, whole - n * g.stride[i]);
      before[i] = cut / 2, behind = cut - before[i];
    }
    size.push_back(whole - before[i] - behind + (more.size() == 2 ? more[i] : 0));
  }
  Tensor y = transposed_convolution2d(x, w, f.has(op, 2) ? f.get(op.in[2]) : Tensor(), g, before, size, 1);
  f.set_image(f.output(op), activated(y, op.fields.number<uint8_t>(11)), last);
}

// One factor for each index of the axis and of those behind it.
void scaled(Importer& f, const Op& op) {
  Tensor x = f.get(f.input(op, 0)), k = f.get(f.input(op, 1));
  int64_t axis = op.fields.number<int64_t>(0);
  axis += axis < 0 ? x.dim() : 0;
  SORUS_CHECK(axis >= 0 && axis + k.dim() <= x.dim(), ValueError, "a factor {} at dimension {} of {}",
              to_string(k.sizes()), axis, to_string(x.sizes()));
  auto along = [&](const Tensor& t) {
    Shape s = t.sizes();
    for (int64_t d = axis + k.dim(); d < x.dim(); ++d) s.push_back(1);
    return is_constant(t) ? computed([&] { return reshape(t, s); }) : reshape(t, s);
  };
  Tensor y = x * along(k);
  if (f.has(op, 2)) y = y + along(f.get(op.in[2]));
  f.set(f.output(op), activated(y, op.fields.number<uint8_t>(1)));
}

void layer_normalized(Importer& f, const Op& op) {
  Tensor x = f.get(f.input(op, 0));
  int64_t begin = op.fields.number<int64_t>(0);
  begin += begin < 0 ? x.dim() : 0;
  SORUS_CHECK(begin >= 0 && begin < x.dim() && op.out.size() == 1, NotImplementedError, "from dimension {} of {}",
              begin, to_string(x.sizes()));
  Shape s(x.sizes().begin() + begin, x.sizes().end());
  f.set(f.output(op), layer_norm(x, s, f.has(op, 1) ? f.get(op.in[1]) : Tensor(),
                                 f.has(op, 2) ? f.get(op.in[2]) : Tensor(), op.fields.number<float>(1, 1e-5F)));
}

// (scale * x + shift) ^ exponent
void power(Importer& f, const Op& op) {
  Tensor x = f.get(f.input(op, 0)), e = f.get(f.input(op, 1));
  double scale = op.fields.number<float>(0, 1), shift = op.fields.number<float>(1);
  if (scale != 1) x = x * scale;
  if (shift != 0) x = x + shift;
  f.set(f.output(op), pow(x, e));
}

void place_of_extreme(Importer& f, const Op& op) {
  SORUS_CHECK(op.fields.number<int64_t>(1, 1) == 1 && !op.fields.flag(3), NotImplementedError,
              "of several places, or with values");
  size_t y = f.output(op);
  Tensor t = argmax(f.get(f.input(op, 0)), op.fields.number<int64_t>(0), op.fields.flag(2));
  f.set(y, to(t, f.tensor(y).type.dtype));
}

void parametric(Importer& f, const Op& op) {
  size_t x = f.input(op, 0);
  bool image = f.is_image(x);
  Tensor t = image ? f.image(x, true) : f.get(x), k = f.get(f.input(op, 1));
  if (image && k.numel() > 1) k = computed([&] { return reshape(k, Shape{-1, 1, 1}); });
  f.set_image(f.output(op), where(lt(t, Tensor::weak_scalar(0.0)), t * k, t), image);
}

#define EACH(number, name, expression)                                                                       \
  {                                                                                                          \
    number, name,                                                                                            \
        [](Importer& f, const Op& op) { each(f, op, [](const Tensor& x) -> Tensor { return expression; }); } \
  }
#define PAIRS(number, name, fused, expression)                                                  \
  {                                                                                             \
    number, name, [](Importer& f, const Op& op) {                                               \
      pairs(                                                                                    \
          f, op, [](const Tensor& a, const Tensor& b) -> Tensor { return expression; }, fused); \
    }                                                                                           \
  }

const OpKind table[] = {
    EACH(1, "Abs", abs(x)),
    {2, "Activation", activation},
    PAIRS(5, "AddFusion", true, a + b),
    {17, "AvgPoolFusion", [](Importer& f, const Op& op) { pool(f, op, false); }},
    {19, "BatchNorm", [](Importer& f, const Op& op) { normalized(f, op, 0); }},
    PAIRS(23, "BiasAdd", false, a + b),
    {11, "ArgMaxFusion", place_of_extreme},
    {28, "Cast",
     [](Importer& f, const Op& op) {
       f.set(f.output(op), to(f.get(f.input(op, 0)), f.tensor(f.output(op)).type.dtype));
     }},
    EACH(29, "Ceil", ceil(x)),
    {30, "Clip",
     [](Importer& f, const Op& op) {
       f.set(f.output(op), clamp(f.get(f.input(op, 0)), Scalar(static_cast<double>(op.fields.number<float>(1))),
                                 Scalar(static_cast<double>(op.fields.number<float>(0)))));
     }},
    {35, "Conv2DFusion", convolution},
    {36, "Conv2dTransposeFusion", transposed_convolution},
    EACH(37, "Cos", cos(x)),
    PAIRS(47, "DivFusion", true, a / b),
    {51, "Elu",
     [](Importer& f, const Op& op) { f.set(f.output(op), elu(f.get(f.input(op, 0)), op.fields.number<float>(0))); }},
    {55, "ExpFusion",
     [](Importer& f, const Op& op) {
       SORUS_CHECK(op.fields.number<float>(0, -1) == -1 && op.fields.number<float>(1, 1) == 1 &&
                       op.fields.number<float>(2) == 0,
                   NotImplementedError, "of another base");
       f.set(f.output(op), exp(f.get(f.input(op, 0))));
     }},
    EACH(63, "Floor", floor(x)),
    {67, "FullConnection", full_connection},
    {68, "FusedBatchNorm", [](Importer& f, const Op& op) { normalized(f, op, 1e-4); }},
    {75, "LayerNormFusion", layer_normalized},
    {76, "LeakyRelu",
     [](Importer& f, const Op& op) {
       f.set(f.output(op), leaky_relu(f.get(f.input(op, 0)), op.fields.number<float>(0)));
     }},
    EACH(79, "Log", log(x)),
    {89, "MatMulFusion", product},
    PAIRS(90, "Maximum", false, maximum(a, b)),
    {92, "MaxPoolFusion", [](Importer& f, const Op& op) { pool(f, op, true); }},
    PAIRS(96, "Minimum", false, minimum(a, b)),
    PAIRS(99, "MulFusion", true, a* b),
    EACH(101, "Neg", neg(x)),
    {110, "PowFusion", power},
    {112, "PReLUFusion", parametric},
    {113, "QuantDTypeCast",
     [](Importer& f, const Op& op) {
       // Floats become integers of the result's scale where they are set, and back where they are read.
       f.set(f.output(op), f.get(f.input(op, 0)));
     }},
    EACH(116, "Reciprocal", reciprocal(x)),
    PAIRS(117, "RealDiv", false, a / b),
    {118, "ReduceFusion", reduced},
    EACH(125, "Round", round(x)),
    EACH(126, "Rsqrt", rsqrt(x)),
    {127, "ScaleFusion", scaled},
    EACH(133, "Sin", sin(x)),
    {138, "Softmax", softmaxed},
    EACH(146, "Sqrt", sqrt(x)),
    EACH(148, "Square", square(x)),
    PAIRS(149, "SquaredDifference", false, square(a - b)),
    PAIRS(152, "SubFusion", true, a - b),
    EACH(178, "Erf", erf(x)),
    {189, "LogSoftmax",
     [](Importer& f, const Op& op) {
       f.set(f.output(op), log_softmax(f.get(f.input(op, 0)), op.fields.number<int64_t>(0)));
     }},
};

}  // namespace

std::span<const OpKind> computing_kinds() { return table; }

}  // namespace sorus::importer::mslite
