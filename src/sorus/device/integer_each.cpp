#include "sorus/device/integer_each.h"

#include <numeric>

#include "sorus/device/scalar_helpers.h"
#include "sorus/device/stored.h"
#include "sorus/graph/call.h"
#include "sorus/ops.h"
#include "sorus/run/each.h"

namespace sorus::device {
namespace {

bool element(DType t) {
  return t == DType::i8 || t == DType::u8 || t == DType::i16 || t == DType::i32 || t == DType::i64 ||
         t == DType::f32 || t == DType::boolean;
}
bool whole(DType t) { return is_integral(t) || t == DType::boolean; }  // truth values are bytes of 0 and 1
int32_t offset_of(DType t) { return t == DType::u8 ? 128 : 0; }

// The only computed input where all others are single numbers; -1 otherwise.
int only_input(const DeviceCall& c) {
  int found = -1;
  for (int i = 0; i < static_cast<int>(c.inputs.size()); ++i) {
    if (!c.has(i)) continue;
    if (c.is_constant(i) && c.constant(i).numel() == 1) continue;
    if (c.is_constant(i) || found >= 0) return -1;
    found = i;
  }
  return found;
}

// Elements of one byte, moved between how they are meant (uint8) and stored (less 128).
Tensor as_meant(const Tensor& stored, DType type) {
  if (type != DType::u8) return stored;
  Tensor t = Tensor::empty(stored.sizes(), DType::u8);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<uint8_t>()[i] = static_cast<uint8_t>(stored.data<int8_t>()[i] + 128);
  return t;
}
Tensor as_stored(const Tensor& meant) {
  Tensor from = contiguous(meant);
  if (from.dtype() != DType::u8) return from;
  Tensor t = Tensor::empty(from.sizes(), DType::i8);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<int8_t>()[i] = static_cast<int8_t>(from.data<uint8_t>()[i] - 128);
  return t;
}

// The operator on stored elements of its only input.
std::function<Tensor(const Tensor&)> unary_of(const DeviceCall& c, int input) {
  TensorList inputs(c.constants.begin(), c.constants.end());
  for (Tensor& t : inputs)
    if (t.defined()) t = t.with_geometry({{}, {}, t.geometry().offset});
  return [op = &c.op, attrs = c.attrs, inputs, input, type = c.input(input).dtype](const Tensor& x) mutable {
    inputs[static_cast<size_t>(input)] = as_meant(x, type);
    return as_stored(call_one(*op, inputs, attrs));
  };
}

Expr number(const Scalar& v, DType compute) {
  if (compute == DType::i64) return constant(v.to_int());
  return constant(static_cast<double>(static_cast<float>(v.to_double())));
}

}  // namespace

Shape each_order(const DeviceCall& c, const Shape& now) { return only_input(c) >= 0 ? now : natural(now.size()); }

std::function<Tensor(const Tensor&)> element_function(const DeviceCall& c) {
  int only = c.op.each && c.outputs.size() == 1 ? only_input(c) : -1;
  if (only < 0) return {};
  auto plain = [](DType t) { return element(t) && t != DType::boolean; };
  const TensorType &x = c.input(only), &y = c.outputs[0];
  return x.shape == y.shape && plain(x.dtype) && plain(y.dtype) ? unary_of(c, only) : nullptr;
}

std::optional<DeviceForm> integer_each(const DeviceCall& c) {
  if (!c.op.each || c.outputs.size() != 1 || !element(c.outputs[0].dtype)) return std::nullopt;
  bool integers = whole(c.outputs[0].dtype);
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    if (!c.inputs[i]) return std::nullopt;
    if (!c.constants[i].defined() && !element(c.inputs[i]->dtype)) return std::nullopt;
    integers = integers || (!c.constants[i].defined() && whole(c.inputs[i]->dtype));
  }
  if (!integers) return std::nullopt;
  int only = only_input(c);
  Shape result = c.outputs[0].shape;
  bool unary = only >= 0 && c.input(only).shape == result;
  auto byte = [](DType t) { return t == DType::i8 || t == DType::u8; };
  if (unary && byte(c.input(only).dtype) && byte(c.outputs[0].dtype)) {
    Tensor all = Tensor::empty({256}, DType::i8);
    std::iota(all.data<int8_t>(), all.data<int8_t>() + 256, static_cast<int8_t>(-128));
    Tensor values = unary_of(c, only)(all);
    TableForm f;
    f.elements = numel(result);
    f.table.assign(values.data<int8_t>(), values.data<int8_t>() + 256);
    return f;
  }
  IntegerEachForm f;
  f.compute = body_type({c.op, c.inputs, c.attrs}, *c.op.each, c.outputs[0].dtype);
  f.offset = offset_of(c.outputs[0].dtype);
  Shape order = unary ? c.order : natural(result.size());
  f.sizes = reordered(result, order);
  // Numbers go into the body, other inputs are operands.
  const ScalarFunction& body = *c.op.each;
  std::vector<Expr> args(body.args.size()), params(body.params.size());
  if (body.args.size() != c.inputs.size() || body.results.size() != 1) return std::nullopt;
  for (size_t p = 0; p < params.size(); ++p) {
    const Attr& a = TypeCall{c.op, c.inputs, c.attrs}.attr(body.params[p]);
    if (a.is_scalar()) params[p] = number(a.scalar(), f.compute);
  }
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const Tensor& known = c.constants[i];
    if (known.defined() && known.numel() == 1) {
      args[i] = f.compute == DType::i64 ? constant(integers_of(contiguous(known))[0])
                                        : constant(static_cast<double>(reals_of(contiguous(known))[0]));
      continue;
    }
    IntegerEachForm::Operand operand;
    if (known.defined()) {
      if (!whole(known.dtype())) return std::nullopt;
      operand.values = integers_of(contiguous(known));
    } else {
      operand.offset = offset_of(c.inputs[i]->dtype);
    }
    const Shape& shape = c.inputs[i]->shape;
    Geometry g = unary ? ordered_geometry(shape, order) : Geometry{shape, contiguous_strides(shape), 0};
    operand.strides = reordered(Geometry{result, broadcast_strides(g.sizes, g.strides, result), 0}, order).strides;
    args[i] = argument(static_cast<int>(f.operands.size()));
    f.operands.push_back(std::move(operand));
  }
  ScalarFunction own;
  for (size_t k = 0; k < f.operands.size(); ++k) own.args.push_back(fmt::format("x{}", k));
  own.results = {simplify(substitute(body.results[0], args, params))};
  if (!device_printable(own, f.compute)) return std::nullopt;
  f.body = std::make_shared<const ScalarFunction>(std::move(own));
  return f;
}

}  // namespace sorus::device
