// Converters of ONNX layers: convolutions, products, pooling, normalisation, recurrent layers.
#include <algorithm>

#include "sorus/import/layers.h"
#include "sorus/import/onnx.h"
#include "sorus/ops.h"

namespace sorus::importer::onnx {

Window2d window_of(const Node& n, const Tensor& x, const Shape& kernel) {
  auto rank = static_cast<size_t>(x.dim() - 2);
  Shape stride = n.integers("strides"), dilation = n.integers("dilations"), pads = n.integers("pads");
  if (stride.empty()) stride = Shape(rank, 1);
  if (dilation.empty()) dilation = Shape(rank, 1);
  if (pads.empty()) pads = Shape(2 * rank, 0);
  SORUS_CHECK(rank == 2 && kernel.size() == 2 && stride.size() == 2 && dilation.size() == 2 && pads.size() == 4,
              ValueError, "kernel, strides, dilations or pads do not fit an image {}", to_string(x.sizes()));
  std::string automatic = n.text("auto_pad", "NOTSET");
  for (size_t i = 0; i < 2; ++i) {
    if (automatic == "NOTSET") break;
    pads[i] = pads[i + 2] = 0;
    if (automatic == "VALID") continue;
    SORUS_CHECK(automatic == "SAME_UPPER" || automatic == "SAME_LOWER", ValueError, "auto_pad '{}'", automatic);
    SORUS_CHECK(stride[i] > 0, ValueError, "strides must be positive");
    int64_t size = x.size(static_cast<int64_t>(i) + 2), places = (size + stride[i] - 1) / stride[i];
    int64_t total = std::max<int64_t>(0, (places - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 - size);
    pads[i] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
    pads[i + 2] = total - pads[i];
  }
  return {kernel, stride, dilation, {pads[0], pads[2], pads[1], pads[3]}};
}

namespace {

// Images of one dimension get a second one of size 1 in front of it: [n, c, w] as [n, c, 1, w].
Tensor as_image(const Tensor& t) { return t.dim() == 3 ? unsqueeze(t, 2) : t; }

// The node for images of two dimensions.
Node in_two_dimensions(const Node& n) {
  if (n.at(0).dim() != 3) return n;
  Node wide = n;
  auto in_front = [&](const char* name, int64_t value) {
    auto a = wide.attributes.find(name);
    if (a == wide.attributes.end()) return;
    auto& v = a->second.integers;
    if (v.size() == 1)
      v.insert(v.begin(), value);
    else if (v.size() == 2)
      v = {value, v[0], value, v[1]};
  };
  for (const char* name : {"strides", "dilations", "kernel_shape", "output_shape"}) in_front(name, 1);
  for (const char* name : {"pads", "output_padding"}) in_front(name, 0);
  wide.in[0] = as_image(n.in[0]);
  return wide;
}

TensorList convolution(const Node& given) {
  Node n = in_two_dimensions(given);
  bool line = given.at(0).dim() == 3;
  Tensor w = as_image(n.at(1));
  SORUS_CHECK(w.dim() == 4 && n.at(0).dim() == 4, NotImplementedError, "over {} dimensions", n.at(0).dim() - 2);
  Tensor y = convolution2d(n.in[0], w, n.has(2) ? n.in[2] : Tensor(), window_of(n, n.in[0], {w.size(2), w.size(3)}),
                           n.integer("group", 1));
  return {line ? squeeze(y, Shape{2}) : y};
}

TensorList transposed_convolution(const Node& given) {
  Node n = in_two_dimensions(given);
  bool line = given.at(0).dim() == 3;
  const Tensor& x = n.at(0);
  Tensor w = as_image(n.at(1));
  SORUS_CHECK(w.dim() == 4 && x.dim() == 4, NotImplementedError, "over {} dimensions", x.dim() - 2);
  SORUS_CHECK(!n.has_attribute("output_shape") && n.text("auto_pad", "NOTSET") == "NOTSET", NotImplementedError,
              "with output_shape or auto_pad");
  Window2d g = window_of(n, x, {w.size(2), w.size(3)});
  Shape more = n.integers("output_padding"), size, before{g.padding[0], g.padding[2]};
  if (more.empty()) more = {0, 0};
  for (size_t i = 0; i < 2; ++i)
    size.push_back((x.size(static_cast<int64_t>(i) + 2) - 1) * g.stride[i] + more[i] +
                   (g.kernel[i] - 1) * g.dilation[i] + 1 - g.padding[2 * i] - g.padding[2 * i + 1]);
  Tensor y = transposed_convolution2d(x, w, n.has(2) ? n.in[2] : Tensor(), g, before, size, n.integer("group", 1));
  return {line ? squeeze(y, Shape{2}) : y};
}

}  // namespace

TensorList pool(const Node& given, bool maximum) {
  Node n = in_two_dimensions(given);
  SORUS_CHECK(n.outputs <= 1, NotImplementedError, "with indices");
  bool line = given.at(0).dim() == 3;
  Window2d w = window_of(n, n.at(0), n.integers("kernel_shape"));
  if (n.integer("ceil_mode", 0)) {  // places that begin inside: as much padding behind as they need
    for (size_t i = 0; i < 2; ++i) {
      SORUS_CHECK(w.stride[i] > 0, ValueError, "strides must be positive");
      int64_t room = n.in[0].size(static_cast<int64_t>(i) + 2) + w.padding[2 * i] + w.padding[2 * i + 1] -
                     (w.kernel[i] - 1) * w.dilation[i] - 1;
      int64_t rest = room % w.stride[i];
      if (rest > 0) {
        SORUS_CHECK(maximum || !n.integer("count_include_pad", 0), NotImplementedError,
                    "ceil_mode with count_include_pad");
        w.padding[2 * i + 1] += w.stride[i] - rest;
      }
    }
  }
  SORUS_CHECK(maximum || w.dilation == (Shape{1, 1}), NotImplementedError, "with dilations");
  Tensor y =
      maximum ? maximum_pool2d(n.in[0], w) : average_pool2d(n.in[0], w, n.integer("count_include_pad", 0) != 0);
  return {line ? squeeze(y, Shape{2}) : y};
}

namespace {

Shape spatial(const Tensor& x) {
  Shape dims;
  for (int64_t d = 2; d < x.dim(); ++d) dims.push_back(d);
  SORUS_CHECK(!dims.empty(), ValueError, "expected an image, found {}", x.type().to_string());
  return dims;
}

TensorList product(const Node& n) {  // Gemm
  Tensor a = n.at(0), b = n.at(1);
  SORUS_CHECK(a.dim() == 2 && b.dim() == 2, ValueError, "expected matrices, found {} and {}", to_string(a.sizes()),
              to_string(b.sizes()));
  double alpha = n.real("alpha", 1), beta = n.real("beta", 1);
  if (n.integer("transA", 0)) a = transpose(a, 0, 1);
  Tensor c = n.has(2) ? n.in[2] : Tensor();
  if (c.defined() && beta != 1) c = c * beta;
  if (alpha == 1 && n.integer("transB", 0) && is_floating(a.dtype()) && (!c.defined() || c.dim() == 1))
    return {linear(a, b, c)};
  if (n.integer("transB", 0)) b = transpose(b, 0, 1);
  Tensor y = matmul(a, b);
  if (alpha != 1) y = y * alpha;
  return {c.defined() ? y + c : y};
}

// Channels are dimension 1.
Tensor by_channel(const Tensor& v, const Tensor& x) {
  Shape s(static_cast<size_t>(std::max<int64_t>(x.dim() - 1, 1)), 1);
  s[0] = -1;
  return reshape(v, s);
}

TensorList batch_norm(const Node& n) {
  SORUS_CHECK(!n.integer("training_mode", 0) && n.outputs <= 1, NotImplementedError, "in training mode");
  const Tensor &x = n.at(0), &mean = n.at(3), &var = n.at(4);
  double epsilon = n.real("epsilon", 1e-5);
  auto scale = [&] { return n.at(1) * rsqrt(var + epsilon); };
  auto shift = [&] { return n.at(2) - mean * scale(); };
  bool constant = is_constant(n.at(1)) && is_constant(n.at(2)) && is_constant(mean) && is_constant(var);
  Tensor a = constant ? computed(scale) : scale(), b = constant ? computed(shift) : shift();
  return {x * by_channel(a, x) + by_channel(b, x)};
}

TensorList instance_norm(const Node& n) {
  const Tensor& x = n.at(0);
  Shape d = spatial(x);
  Tensor centred = x - mean(x, d, true);
  Tensor y = centred * rsqrt(mean(square(centred), d, true) + n.real("epsilon", 1e-5));
  return {y * by_channel(n.at(1), x) + by_channel(n.at(2), x)};
}

TensorList layer_normalization(const Node& n) {
  const Tensor& x = n.at(0);
  SORUS_CHECK(n.outputs <= 1, NotImplementedError, "with {} outputs", n.outputs);
  int64_t axis = n.dim(n.integer("axis", -1), x);
  Shape s(x.sizes().begin() + axis, x.sizes().end());
  return {layer_norm(x, s, n.at(1), n.has(2) ? n.in[2] : Tensor(), n.real("epsilon", 1e-5))};
}

TensorList soft(const Node& n, bool logarithm) {
  const Tensor& x = n.at(0);
  auto f = [&](const Tensor& t, int64_t d) { return logarithm ? log_softmax(t, d) : softmax(t, d); };
  int64_t axis = n.dim(n.integer("axis", n.opset < 13 ? 1 : -1), x);
  // Older versions took everything from the axis on as one dimension.
  if (n.opset >= 13 || axis == x.dim() - 1) return {f(x, axis)};
  return {reshape(f(flatten(x, axis), axis), x.sizes())};
}

// Blocks of rows in another order, as those who have written them and those who read them number gates.
Tensor reordered_gates(const Tensor& t, const std::vector<int64_t>& order, int64_t units) {
  auto turn = [&] {
    TensorList parts;
    for (int64_t g : order) parts.push_back(narrow(t, 0, g * units, units));
    return cat(parts, 0);
  };
  return is_constant(t) ? computed(turn) : turn();
}

// W [directions, gates h, i], R [directions, gates h, h], B [directions, 2 gates h]; gates i o f c or z r h.
TensorList recurrent(const Node& n, bool lstm) {
  const Tensor& x = n.at(0);
  SORUS_CHECK(x.dim() == 3 && n.at(1).dim() == 3 && n.at(2).dim() == 3, ValueError, "sizes that do not fit");
  SORUS_CHECK(!n.has_attribute("activations") && !n.has_attribute("clip") && !n.has(7) &&
                  n.integer("input_forget", 0) == 0 && n.integer("layout", 0) == 0,
              NotImplementedError, "with activations, clip, peepholes or another layout");
  std::string way = n.text("direction", "forward");
  int64_t steps = x.size(0), batch = x.size(1), directions = n.at(1).size(0), units = n.at(2).size(2);
  if (n.has(4))
    for (int64_t length : n.constant_integers(4))
      SORUS_CHECK(length == steps, NotImplementedError, "with sequences of several lengths");
  SORUS_CHECK(steps <= 4096, NotImplementedError, "over {} steps", steps);
  const std::vector<int64_t> order = lstm ? std::vector<int64_t>{0, 2, 3, 1} : std::vector<int64_t>{1, 0, 2};
  int64_t rows = static_cast<int64_t>(order.size()) * units;
  TensorList sides, last_h, last_c;
  for (int64_t d = 0; d < directions; ++d) {
    bool back = way == "reverse" || d == 1;
    auto part = [&](size_t i) {
      auto of_direction = [&] { return select(n.at(i), 0, d); };
      return is_constant(n.at(i)) ? computed(of_direction) : of_direction();
    };
    auto bias = [&](int64_t from) {
      if (!n.has(3)) return Tensor();
      Tensor b = part(3);
      auto half = [&] { return narrow(b, 0, from, rows); };
      return reordered_gates(is_constant(b) ? computed(half) : half(), order, units);
    };
    auto initial = [&](size_t i) {
      return n.has(i) ? part(i) : computed([&] { return zeros(Shape{batch, units}, x.dtype()); });
    };
    Tensor w = reordered_gates(part(1), order, units), r = reordered_gates(part(2), order, units), out;
    if (lstm) {
      auto both = lstm_layer(x, initial(5), initial(6), w, r, bias(0), bias(rows), back);
      out = both[0];
      last_c.push_back(both[1]);
    } else {
      out = gru_layer(x, initial(5), w, r, bias(0), bias(rows), back, n.integer("linear_before_reset", 0) != 0);
    }
    sides.push_back(out);
    last_h.push_back(select(out, 0, back ? 0 : steps - 1));
  }
  TensorList results{stack(sides, 1), stack(last_h, 0)};
  if (lstm) results.push_back(stack(last_c, 0));
  return results;
}

const OpKind kinds[] = {
    {"Conv", convolution},
    {"ConvTranspose", transposed_convolution},
    {"MaxPool", [](const Node& n) { return pool(n, true); }},
    {"AveragePool", [](const Node& n) { return pool(n, false); }},
    {"GlobalAveragePool", [](const Node& n) { return TensorList{mean(n.at(0), spatial(n.at(0)), true)}; }},
    {"GlobalMaxPool", [](const Node& n) { return TensorList{amax(n.at(0), spatial(n.at(0)), true)}; }},
    {"Gemm", product},
    {"MatMul", [](const Node& n) { return TensorList{matmul(n.at(0), n.at(1))}; }},
    {"BatchNormalization", batch_norm},
    {"InstanceNormalization", instance_norm},
    {"LayerNormalization", layer_normalization},
    {"Softmax", [](const Node& n) { return soft(n, false); }},
    {"LogSoftmax", [](const Node& n) { return soft(n, true); }},
    {"LSTM", [](const Node& n) { return recurrent(n, true); }},
    {"GRU", [](const Node& n) { return recurrent(n, false); }},
};

}  // namespace

std::span<const OpKind> layer_kinds() { return kinds; }

}  // namespace sorus::importer::onnx
