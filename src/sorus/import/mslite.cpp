// .ms files of MindSpore Lite: tables, operators and their fields by number. Images and weights are [n, h, w, c] and
// [o, h, w, c] or [n, c, h, w] and [o, c, h, w], as each operator says; inside they are channels-first, as in the
// graphs of the other formats.
#include <algorithm>
#include <cstring>

#include "sorus/base/text.h"
#include "sorus/import/builder.h"
#include "sorus/import/flatbuffer.h"
#include "sorus/import/layers.h"
#include "sorus/import/mslite.h"
#include "sorus/ops.h"

namespace sorus::importer {
namespace {

std::optional<DType> type_of(int number) {
  switch (number) {
    case 30:
      return DType::boolean;
    case 32:
      return DType::i8;
    case 33:
      return DType::i16;
    case 34:
      return DType::i32;
    case 35:
      return DType::i64;
    case 37:
      return DType::u8;
    case 42:
      return DType::f16;
    case 43:
      return DType::f32;
    case 44:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

struct FileTensor {
  std::string name;
  TensorType type;
  bool known_type = true;
  std::string_view data;
  std::vector<double> scale;
  Shape zero_point;
  int compression = 0;
  Tensor plain, image;  // the value as the file has it; as [n, c, h, w]
};

struct Op {
  FlatTable fields;
  std::vector<uint32_t> in, out;
  /// Whether a field says that channels are last: NHWC, or KHWC of older files.
  bool channels_last(int field) const {
    auto format = fields.number<int32_t>(field);
    return format == 1 || format == 7;
  }
};

const Shape kToImage{0, 3, 1, 2}, kFromImage{0, 2, 3, 1};

class Importer;
using Converter = void (*)(Importer&, const Op&);
struct OpKind {
  int number;
  const char* name;
  Converter convert;
};
const OpKind* find_kind(int number);

class Importer {
 public:
  Importer(std::string_view bytes, const std::string& path)
      : bytes_(bytes), path_(path), builder_("MindSpore Lite", path) {}

  ImportedModel run() {
    FlatTable root = FlatTable::root(bytes_, "MSL2", path_);
    std::string version = sanitize_utf8(root.text(1));
    read_tensors(root);
    std::vector<FlatTable> nodes = root.tables(6), parts = root.tables(8);
    SORUS_CHECK(parts.size() <= 1, FileError, "{}: a model of {} graphs ({}); one graph can be read", path_,
                parts.size(), version);
    auto inputs = root.numbers<uint32_t>(3), outputs = root.numbers<uint32_t>(4);
    if (!parts.empty() && inputs.empty()) inputs = parts[0].numbers<uint32_t>(1);
    if (!parts.empty() && outputs.empty()) outputs = parts[0].numbers<uint32_t>(2);
    for (uint32_t i : inputs) {
      FileTensor& f = tensor(i);
      SORUS_CHECK(f.known_type && !f.plain.defined(), FileError, "{}: input '{}' is there twice or of no known type",
                  path_, f.name);
      f.plain = builder_.input(f.name, f.type);
    }
    int number = 0;
    for (const FlatTable& n : nodes) convert(n, ++number);
    for (uint32_t i : outputs) {
      FileTensor& f = tensor(i);
      builder_.guarded([&] { builder_.output(f.name, get(i), {}); });
    }
    return builder_.finish();
  }

  size_t input(const Op& op, size_t i) const {
    SORUS_CHECK(i < op.in.size(), ValueError, "input {} is missing", i);
    return op.in[i];
  }
  size_t output(const Op& op, size_t i = 0) const {
    SORUS_CHECK(i < op.out.size(), ValueError, "output {} is missing", i);
    return op.out[i];
  }
  bool has(const Op& op, size_t i) const { return i < op.in.size(); }

  Tensor get(size_t i) {
    FileTensor& f = tensor(i);
    if (f.plain.defined()) return f.plain;
    if (f.image.defined()) {
      f.plain = is_constant(f.image) ? computed([&] { return permute(f.image, kFromImage); })
                                     : permute(f.image, kFromImage);
      return f.plain;
    }
    SORUS_CHECK(f.known_type, NotImplementedError, "tensor '{}' is of a type that is not known", f.name);
    SORUS_CHECK(f.compression == 0, NotImplementedError, "weights '{}' that are compressed (kind {})", f.name,
                f.compression);
    auto expected = static_cast<size_t>(numel(f.type.shape)) * size_of(f.type.dtype);
    SORUS_CHECK(f.data.size() == expected && (!f.data.empty() || expected == 0), ValueError,
                "tensor '{}' is {} and has {} bytes: it is used before it is computed, or damaged", f.name,
                f.type.to_string(), f.data.size());
    Tensor t = Tensor::empty(f.type.shape, f.type.dtype);
    if (expected) std::memcpy(t.data(), f.data.data(), expected);
    f.plain = computed([&] { return real(f, t); });
    builder_.remember(f.plain, f.name);
    return f.plain;
  }
  /// As [n, c, h, w]; `last`: the operator has its channels last.
  Tensor image(size_t i, bool last) {
    FileTensor& f = tensor(i);
    if (!last) return get(i);
    if (f.image.defined()) return f.image;
    Tensor t = get(i);
    SORUS_CHECK(t.dim() == 4, ValueError, "expected an image of four dimensions, found {}", t.type().to_string());
    f.image = is_constant(t) ? computed([&] { return contiguous(permute(t, kToImage)); }) : permute(t, kToImage);
    builder_.remember(f.image, f.name);
    return f.image;
  }
  bool is_image(size_t i) { return tensor(i).image.defined() && !tensor(i).plain.defined(); }
  void set(size_t i, const Tensor& t) { tensor(i).plain = t, tensor(i).image = {}; }
  void set_image(size_t i, const Tensor& t, bool last) {
    tensor(i).plain = last ? Tensor() : t;
    tensor(i).image = last ? t : Tensor();
  }
  Shape integers(size_t i) {
    Tensor t = get(i);
    SORUS_CHECK(is_constant(t), NotImplementedError, "'{}' is computed from the inputs, not a constant",
                tensor(i).name);
    SORUS_CHECK(!is_differentiable(t.dtype()), ValueError, "'{}' should hold integers", tensor(i).name);
    Tensor wide = computed([&] { return contiguous(to(t, DType::i64)); });
    return Shape(wide.data<int64_t>(), wide.data<int64_t>() + wide.numel());
  }
  FileTensor& tensor(size_t i) {
    SORUS_CHECK(i < tensors_.size(), FileError, "{}: the file names tensor {} of {}", path_, i, tensors_.size());
    return tensors_[i];
  }

 private:
  // Weights kept as integers or halves are what they stand for.
  Tensor real(const FileTensor& f, const Tensor& t) const {
    if (t.dtype() == DType::f16) return to(t, DType::f32);
    if (f.scale.empty() || (t.dtype() != DType::i8 && t.dtype() != DType::i16 && t.dtype() != DType::u8)) return t;
    auto n = static_cast<int64_t>(f.scale.size());
    SORUS_CHECK(n == 1 || (t.dim() > 0 && t.size(0) == n), NotImplementedError, "'{}' of shape {} with {} scales",
                f.name, to_string(t.sizes()), n);
    Shape along(static_cast<size_t>(n == 1 ? 0 : t.dim()), 1);
    if (n > 1) along[0] = n;
    std::vector<float> scales(f.scale.begin(), f.scale.end());
    std::vector<int64_t> zeros(f.zero_point.begin(), f.zero_point.end());
    return dequantize_linear(t, Tensor::of(scales, along), Tensor::of(zeros, along));
  }

  void read_tensors(const FlatTable& root) {
    for (const FlatTable& t : root.tables(7)) {
      FileTensor f;
      f.name = sanitize_utf8(t.text(9));
      if (f.name.empty()) f.name = fmt::format("tensor_{}", tensors_.size());
      auto type = type_of(t.number<int32_t>(1));
      f.known_type = type.has_value();
      f.type.dtype = type.value_or(DType::f32);
      int64_t count = 1;
      for (int32_t n : t.numbers<int32_t>(2)) {
        int64_t size = n == -1 ? 1 : n;  // open sizes are 1
        SORUS_CHECK(size >= 0 && count <= (int64_t{1} << 40) / std::max<int64_t>(size, 1), FileError,
                    "{}: tensor '{}' has an impossible shape", path_, f.name);
        count *= std::max<int64_t>(size, 1);
        f.type.shape.push_back(size);
      }
      f.data = t.bytes(6);
      f.compression = t.flag(10) ? 100 : t.number<int32_t>(11);
      for (const FlatTable& q : t.tables(7)) {
        if (!q.flag(6) && q.number<double>(0, 1) == 1) continue;  // not set
        f.scale.push_back(q.number<double>(0, 1));
        f.zero_point.push_back(q.number<int32_t>(1));
      }
      tensors_.push_back(std::move(f));
    }
  }

  void convert(const FlatTable& node, int number) {
    FlatTable primitive = node.table(2);
    Op op;
    op.fields = primitive.table(1);
    op.in = node.numbers<uint32_t>(3);
    op.out = node.numbers<uint32_t>(4);
    int kind_number = primitive.number<uint8_t>(0);
    const OpKind* kind = find_kind(kind_number);
    std::string name = kind ? kind->name : fmt::format("number {}", kind_number);
    bool done = builder_.convert(number, name, [&] {
      if (!kind) throw NotImplementedError("");
      for (uint32_t i : op.out)
        SORUS_CHECK(tensor(i).type.dtype != DType::i8 || !tensor(i).data.empty() || tensor(i).scale.empty(),
                    NotImplementedError,
                    "on quantised values; of quantised models those with integer weights alone can be "
                    "read");
      kind->convert(*this, op);
    });
    if (done) return;
    for (uint32_t i : op.out) set(i, builder_.stand_in(tensor(i).type));
  }

  std::string_view bytes_;
  std::string path_;
  GraphBuilder builder_;
  std::vector<FileTensor> tensors_;
};

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

// Padding [top, bottom, left, right]: pad_mode 0 as given, 1 as many places as strides, 2 none.
Window2d window_of(const FlatTable& o, int kernel, int stride, int dilation, int mode, int pad, const Tensor& x) {
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
    int64_t size = x.size(static_cast<int64_t>(i) + 2), places = (size + w.stride[i] - 1) / w.stride[i];
    int64_t total = std::max<int64_t>(0, (places - 1) * w.stride[i] + (w.kernel[i] - 1) * w.dilation[i] + 1 - size);
    w.padding[2 * i] = total / 2;
    w.padding[2 * i + 1] = total - total / 2;
  }
  return w;
}

void convolution(Importer& f, const Op& op) {
  bool last = op.channels_last(0);
  Tensor x = f.image(f.input(op, 0), last), w = f.image(f.input(op, 1), last);
  SORUS_CHECK(w.dim() == 4 && x.dim() == 4 && is_floating(w.dtype()), ValueError, "weights {}", w.type().to_string());
  Window2d g = window_of(op.fields, 1, 2, 3, 4, 5, x);
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
    Window2d w = window_of(op.fields, 0, 1, -1, 3, 2, x);
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

void reshaped(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  Shape s = f.integers(f.input(op, 1));
  if (!is_constant(t) && !s.empty() && t.dim() > 0 && s[0] == t.size(0) && t.numel() > 0 &&
      std::ranges::find(s, -1) == s.end())
    s[0] = -1;
  f.set(f.output(op), reshape(t, s));
}

void transposed(Importer& f, const Op& op) {
  size_t x = f.input(op, 0);
  Shape order = f.integers(f.input(op, 1));
  // The file's own turn from channels last to channels first is how the value lies already.
  if (order == kToImage && f.is_image(x)) return f.set(f.output(op), f.image(x, true));
  Tensor t = f.get(x);
  if (order == kFromImage && t.dim() == 4) return f.set_image(f.output(op), t, true);
  f.set(f.output(op), permute(t, order));
}

void softmaxed(Importer& f, const Op& op) {
  Shape axis = longs(op.fields, 0);
  f.set(f.output(op), softmax(f.get(f.input(op, 0)), axis.empty() ? -1 : axis[0]));
}

void concatenated(Importer& f, const Op& op) {
  TensorList parts;
  for (size_t i = 0; i < op.in.size(); ++i) parts.push_back(f.get(op.in[i]));
  SORUS_CHECK(!parts.empty(), ValueError, "there is no input");
  f.set(f.output(op), cat(parts, op.fields.number<int64_t>(0)));
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

void squeezed(Importer& f, const Op& op) {
  Shape d = longs(op.fields, 0);
  f.set(f.output(op), d.empty() ? squeeze(f.get(f.input(op, 0))) : squeeze(f.get(f.input(op, 0)), d));
}
void unsqueezed(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  for (int64_t d : longs(op.fields, 0)) t = unsqueeze(t, d);
  f.set(f.output(op), t);
}
void flattened(Importer& f, const Op& op) {
  f.set(f.output(op), flatten(f.get(f.input(op, 0)), op.fields.number<int64_t>(0, 1)));
}

void gathered(Importer& f, const Op& op) {
  Shape axis = f.integers(f.input(op, 2));
  Tensor index = f.get(f.input(op, 1));
  SORUS_CHECK(axis.size() == 1 && index.dim() == 1, NotImplementedError, "with indices of {} dimensions",
              index.dim());
  f.set(f.output(op), index_select(f.get(f.input(op, 0)), axis[0], index));
}

void split_up(Importer& f, const Op& op) {
  Tensor t = f.get(f.input(op, 0));
  int64_t d = op.fields.number<int64_t>(2), at = 0;
  SORUS_CHECK(d >= -t.dim() && d < t.dim() && !op.out.empty(), ValueError, "dimension {} of {}", d,
              to_string(t.sizes()));
  Shape sizes = longs(op.fields, 1);
  if (sizes.empty()) sizes = Shape(op.out.size(), t.size(d) / static_cast<int64_t>(op.out.size()));
  SORUS_CHECK(sizes.size() == op.out.size(), ValueError, "{} sizes for {} outputs", sizes.size(), op.out.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t n = sizes[i] == -1 ? t.size(d) - at : sizes[i];
    f.set(f.output(op, i), narrow(t, d, at, n));
    at += n;
  }
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

const OpKind kinds[] = {
    EACH(1, "Abs", abs(x)),
    {2, "Activation", activation},
    PAIRS(5, "AddFusion", true, a + b),
    {17, "AvgPoolFusion", [](Importer& f, const Op& op) { pool(f, op, false); }},
    {19, "BatchNorm", [](Importer& f, const Op& op) { normalized(f, op, 0); }},
    PAIRS(23, "BiasAdd", false, a + b),
    EACH(29, "Ceil", ceil(x)),
    {31, "Concat", concatenated},
    {35, "Conv2DFusion", convolution},
    EACH(37, "Cos", cos(x)),
    PAIRS(47, "DivFusion", true, a / b),
    {61, "Flatten", flattened},
    EACH(63, "Floor", floor(x)),
    {67, "FullConnection", full_connection},
    {68, "FusedBatchNorm", [](Importer& f, const Op& op) { normalized(f, op, 1e-4); }},
    {69, "Gather", gathered},
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
    PAIRS(117, "RealDiv", false, a / b),
    {118, "ReduceFusion", reduced},
    {119, "Reshape", reshaped},
    EACH(125, "Round", round(x)),
    EACH(126, "Rsqrt", rsqrt(x)),
    EACH(133, "Sin", sin(x)),
    {138, "Softmax", softmaxed},
    {145, "Split", split_up},
    EACH(146, "Sqrt", sqrt(x)),
    {147, "Squeeze", squeezed},
    EACH(148, "Square", square(x)),
    PAIRS(149, "SquaredDifference", false, square(a - b)),
    PAIRS(152, "SubFusion", true, a - b),
    {162, "Transpose", transposed},
    {165, "Unsqueeze", unsqueezed},
    {189, "LogSoftmax",
     [](Importer& f, const Op& op) {
       f.set(f.output(op), log_softmax(f.get(f.input(op, 0)), op.fields.number<int64_t>(0)));
     }},
};

const OpKind* find_kind(int number) {
  auto found = std::ranges::find(kinds, number, &OpKind::number);
  return found == std::end(kinds) ? nullptr : found;
}

}  // namespace

ImportedModel import_mslite(std::string_view bytes, const std::string& path) { return Importer(bytes, path).run(); }

}  // namespace sorus::importer
