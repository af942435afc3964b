// Converters of quantised .ms operators to those on integers.
#include <algorithm>

#include "sorus/import/mslite_reader.h"
#include "sorus/import/quantize.h"
#include "sorus/ops.h"

namespace sorus::importer::mslite {
namespace {

// The range of a result with an activation in it; nothing for those that are more than a range.
std::optional<std::pair<int64_t, int64_t>> range_of(const FileTensor& y, int activation) {
  auto range = code_range(y.type.dtype);
  if (activation != 0 && activation != 1 && activation != 3) return std::nullopt;
  if (activation) range.first = std::max(range.first, quantized_number(0, y.quantization));
  if (activation == 3) range.second = std::min(range.second, quantized_number(6, y.quantization));
  return range;
}

Tensor int32s(const std::vector<int64_t>& v) {
  Tensor t = Tensor::empty(Shape{static_cast<int64_t>(v.size())}, DType::i32);
  for (size_t i = 0; i < v.size(); ++i) t.data<int32_t>()[i] = static_cast<int32_t>(v[i]);
  return t;
}

// Weights, factors and bias of a product whose result has this scale.
struct Weights {
  Tensor weight, multiplier, shift, bias;
  int64_t zero_point = 0;
};
bool is_weight(Importer& f, size_t w) {
  const FileTensor& t = f.tensor(w);
  const Quantization& q = t.quantization;
  auto outputs = t.type.shape.empty() ? 0 : t.type.shape[0];
  return t.type.dtype == DType::i8 && !t.data.empty() && q.known() &&
         (q.scale.size() == 1 || static_cast<int64_t>(q.scale.size()) == outputs) &&
         std::ranges::all_of(q.zero_point, [&](int64_t z) { return z == q.zero_point[0]; });
}
Weights weights_of(Importer& f, const Op& op, const Tensor& prepared) {
  const Quantization &x = f.tensor(f.input(op, 0)).quantization, &w = f.tensor(f.input(op, 1)).quantization,
                     &y = f.tensor(f.output(op)).quantization;
  Weights out;
  out.zero_point = w.zero_point[0];
  std::vector<int64_t> multipliers, shifts;
  for (double s : w.scale) {  // as the framework: products of scales in f32
    auto product = static_cast<double>(static_cast<float>(x.scale[0]) * static_cast<float>(s));
    Factor k = fixed_factor(product / static_cast<double>(static_cast<float>(y.scale[0])));
    multipliers.push_back(k.multiplier), shifts.push_back(k.shift);
  }
  const std::string& name = f.tensor(op.in[1]).name;
  out.weight = f.weight(op.in[1], prepared, w);
  out.multiplier = f.weight_named(name + "_multiplier", int32s(multipliers));
  out.shift = f.weight_named(name + "_shift", int32s(shifts));
  if (!f.has(op, 2)) return out;
  Tensor bias = f.codes(op.in[2]);
  if (is_floating(bias.dtype())) {  // on the scale of the sums
    std::vector<float> steps;
    for (double s : w.scale) steps.push_back(static_cast<float>(x.scale[0] * s));
    bias = computed([&] {
      return to(round(to(bias, DType::f32) / Tensor::of(steps, Shape{static_cast<int64_t>(steps.size())})),
                DType::i32);
    });
  }
  SORUS_CHECK(bias.dtype() == DType::i32, NotImplementedError, "with a bias of {}", sorus::name(bias.dtype()));
  out.bias = f.weight(op.in[2], bias);
  return out;
}

// An image with its channels last, and back to how the file has it.
Tensor channels_last(const Tensor& t, bool last) { return last ? t : permute(t, Shape{0, 2, 3, 1}); }
void set_image(Importer& f, const Op& op, const Tensor& y, bool last) {
  f.set_codes(f.output(op), last ? y : permute(y, kToImage));
}
Shape channels_first(const Tensor& x) { return {x.size(0), x.size(3), x.size(1), x.size(2)}; }

bool convolution(Importer& f, const Op& op) {
  size_t in = f.input(op, 0), w = f.input(op, 1), y = f.output(op);
  auto range = range_of(f.tensor(y), op.fields.number<uint8_t>(10));
  if (!f.quantized(in) || !is_weight(f, w) || !range) return false;
  bool last = op.channels_last(0);
  Tensor x = f.codes(in), k = f.codes(w);
  SORUS_CHECK(x.dim() == 4 && k.dim() == 4, ValueError, "weights {} for {}", k.type().to_string(),
              x.type().to_string());
  x = channels_last(x, last);
  if (!last) k = computed([&] { return contiguous(permute(k, Shape{0, 2, 3, 1})); });
  Window2d g = window_of(op.fields, 1, 2, 3, 4, 5, channels_first(x));
  SORUS_CHECK(g.kernel == (Shape{k.size(1), k.size(2)}), ValueError, "weights {} for a kernel {}",
              to_string(k.sizes()), to_string(g.kernel));
  Weights p = weights_of(f, op, k);
  Tensor out =
      quantized_conv2d(x, p.weight, p.multiplier, p.shift, p.bias, g.stride, g.padding, g.dilation,
                       std::max<int64_t>(1, op.fields.number<int64_t>(7)), f.tensor(in).quantization.zero_point[0],
                       p.zero_point, f.tensor(y).quantization.zero_point[0], range->first, range->second);
  set_image(f, op, out, last);
  return true;
}

// Rows times weights [outputs, depth].
bool product(Importer& f, const Op& op, const Tensor& x, const Tensor& weight, int activation) {
  size_t y = f.output(op);
  auto range = range_of(f.tensor(y), activation);
  if (!range) return false;
  Weights p = weights_of(f, op, weight);
  f.set_codes(
      y, quantized_linear(x, p.weight, p.multiplier, p.shift, p.bias, f.tensor(op.in[0]).quantization.zero_point[0],
                          p.zero_point, f.tensor(y).quantization.zero_point[0], range->first, range->second));
  return true;
}

bool full_connection(Importer& f, const Op& op) {
  size_t in = f.input(op, 0), w = f.input(op, 1);
  if (!f.quantized(in) || !is_weight(f, w)) return false;
  Tensor x = f.codes(in), k = f.codes(w);
  SORUS_CHECK(k.dim() == 2 && k.size(1) > 0 && x.dim() > 0 && x.numel() % k.size(1) == 0, ValueError,
              "weights {} do not fit {}", to_string(k.sizes()), to_string(x.sizes()));
  if (!(x.dim() == 2 && x.size(1) == k.size(1))) x = reshape(x, Shape{-1, k.size(1)});
  Op shown = op;
  if (!op.fields.flag(0) && shown.in.size() > 2) shown.in.resize(2);
  return product(f, shown, x, k, op.fields.number<uint8_t>(3));
}

bool matrix_product(Importer& f, const Op& op) {
  size_t in = f.input(op, 0), w = f.input(op, 1);
  const FileTensor& k = f.tensor(w);
  // One scale for each row of weights that are given as columns would be a scale within sums.
  if (!f.quantized(in) || !is_weight(f, w) || k.type.shape.size() != 2 || op.fields.flag(0) ||
      f.tensor(in).type.shape.size() < 2 || (!op.fields.flag(1) && k.quantization.scale.size() > 1))
    return false;
  Tensor weight = f.codes(w);
  if (!op.fields.flag(1)) weight = computed([&] { return contiguous(transpose(weight, 0, 1)); });
  return product(f, op, f.codes(in), weight, op.fields.number<uint8_t>(2));
}

bool sum(Importer& f, const Op& op, bool minus) {
  size_t a = f.input(op, 0), b = f.input(op, 1), y = f.output(op);
  auto range = range_of(f.tensor(y), op.fields.number<uint8_t>(0));
  if (!f.quantized(a) || !f.quantized(b) || !range || f.tensor(a).type.dtype != f.tensor(y).type.dtype ||
      f.tensor(b).type.dtype != f.tensor(y).type.dtype)
    return false;
  const Quantization &qa = f.tensor(a).quantization, &qb = f.tensor(b).quantization, &qy = f.tensor(y).quantization;
  SumFactors k = sum_factors(qa.scale[0], qb.scale[0], qy.scale[0], 20);
  auto both = minus ? quantized_sub : quantized_add;
  f.set_codes(
      y, both(f.codes(a), f.codes(b), 20, qa.zero_point[0], k.a.multiplier, k.a.shift, qb.zero_point[0],
              k.b.multiplier, k.b.shift, qy.zero_point[0], k.y.multiplier, k.y.shift, range->first, range->second));
  return true;
}

bool pool(Importer& f, const Op& op, bool maximum) {
  size_t in = f.input(op, 0), y = f.output(op);
  auto range = range_of(f.tensor(y), op.fields.number<uint8_t>(7));
  if (!f.quantized(in) || !range || !(f.tensor(in).quantization == f.tensor(y).quantization) ||
      op.fields.number<uint8_t>(4) != 0)
    return false;
  bool last = op.channels_last(5);
  Tensor x = f.codes(in);
  SORUS_CHECK(x.dim() == 4, ValueError, "expected an image, found {}", x.type().to_string());
  x = channels_last(x, last);
  Window2d w;
  if (op.fields.flag(6))
    w.kernel = w.stride = {x.size(1), x.size(2)};
  else
    w = window_of(op.fields, 0, 1, -1, 3, 2, channels_first(x));
  auto pooled = maximum ? quantized_max_pool2d : quantized_avg_pool2d;
  set_image(f, op, pooled(x, w.kernel, w.stride, w.padding, range->first, range->second), last);
  return true;
}

const IntegerKind table[] = {
    {5, [](Importer& f, const Op& op) { return sum(f, op, false); }},
    {17, [](Importer& f, const Op& op) { return pool(f, op, false); }},
    {35, convolution},
    {67, full_connection},
    {89, matrix_product},
    {92, [](Importer& f, const Op& op) { return pool(f, op, true); }},
    {152, [](Importer& f, const Op& op) { return sum(f, op, true); }},
};

}  // namespace

std::span<const IntegerKind> integer_kinds() { return table; }

}  // namespace sorus::importer::mslite
