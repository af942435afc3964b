// The forms in which small devices arrange elements (graph/device_form.h), of 8 bits or floats.
#include <algorithm>

#include "sorus/base/error.h"
#include "sorus/graph/device_form.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

// An image between constants of one value: padding is recorded as what it is made of.
std::optional<DeviceForm> padded(const DeviceCall& c, int64_t axis) {
  std::optional<double> value;
  int64_t before = 0;
  const TensorType* image = nullptr;
  for (int i = 0; i < static_cast<int>(c.inputs.size()); ++i) {
    if (!c.is_constant(i)) {
      if (image) return std::nullopt;
      image = &c.input(i);
      continue;
    }
    if (!image) before += c.input(i).shape[static_cast<size_t>(c.order[static_cast<size_t>(axis)])];
    for (float v : reals_of(c.constant(i)))
      if (value.value_or(v) == v)
        value = v;
      else
        return std::nullopt;
  }
  if (!image) return std::nullopt;
  PadForm f;
  Shape in = c.in_memory(image->shape), out = c.in_memory(c.outputs[0].shape);
  Window& w = f.window;
  if (in.size() == 4 && (axis == 1 || axis == 2)) {
    w.batch = in[0], w.in_h = in[1], w.in_w = in[2], w.in_c = in[3];
    w.out_h = out[1], w.out_w = out[2], w.out_c = out[3];
    (axis == 1 ? w.pad_top : w.pad_left) = before;
  } else {  // as rows of what lies behind the dimension
    auto a = static_cast<size_t>(axis);
    for (size_t p = 0; p < a; ++p) w.batch *= in[p];
    for (size_t p = a + 1; p < in.size(); ++p) w.in_c *= in[p];
    w.out_c = w.in_c, w.in_h = in[a], w.out_h = out[a], w.pad_top = before;
  }
  f.is_float = image->dtype == DType::f32;
  f.value_f = static_cast<float>(value.value_or(0));
  if (!f.is_float) f.value = static_cast<int32_t>(value.value_or(0)) - (image->dtype == DType::u8 ? 128 : 0);
  return f;
}

std::optional<DeviceForm> joined(const DeviceCall& c) {
  int64_t axis = c.place(c.integer("dim"));
  for (const TensorType* t : c.inputs)
    if (!t || t->shape.size() != c.order.size()) return std::nullopt;
  bool known = std::any_of(c.constants.begin(), c.constants.end(), [](const Tensor& t) { return t.defined(); });
  if (std::optional<DeviceForm> f = known ? padded(c, axis) : std::nullopt) return f;
  JoinForm f;
  Shape out = c.in_memory(c.outputs[0].shape);
  for (int64_t p = 0; p < axis; ++p) f.rows *= out[static_cast<size_t>(p)];
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    f.widths.push_back(numel(c.inputs[i]->shape) / std::max<int64_t>(f.rows, 1));
    f.constants.push_back(c.constants[i].defined() ? contiguous(permute(c.constants[i], c.order)) : Tensor());
  }
  return f;
}

// A condition that is known and the same everywhere: one of the operands, broadcast.
std::optional<DeviceForm> selected(const DeviceCall& c) {
  if (!c.is_constant(0)) return std::nullopt;
  std::vector<int64_t> condition = integers_of(c.constant(0));
  if (condition.empty() ||
      std::any_of(condition.begin(), condition.end(), [&](int64_t v) { return !v != !condition[0]; }))
    return std::nullopt;
  int taken = condition[0] ? 1 : 2;
  const TensorType& out = c.outputs[0];
  if (!c.is_constant(taken)) {
    if (c.input(taken).shape != out.shape || c.input(taken).dtype != out.dtype || !c.is_constant(3 - taken))
      return std::nullopt;
    return RenameForm{};
  }
  if (out.dtype != DType::f32 && out.dtype != DType::i8 && out.dtype != DType::u8) return std::nullopt;
  const Tensor& value = c.constant(taken);
  if (value.numel() != 1) return std::nullopt;
  Tensor all = Tensor::empty(out.shape, out.dtype);
  if (out.dtype == DType::f32)
    std::fill_n(all.data<float>(), all.numel(), reals_of(value)[0]);
  else
    std::fill_n(static_cast<int8_t*>(all.data()), all.numel(), static_cast<int8_t>(integers_of(value)[0]));
  return ConstantForm{all};
}

// A write of the same type and shape: what is written.
std::optional<DeviceForm> written(const DeviceCall& c) {
  if (c.is_constant(1) || c.input(0).shape != c.input(1).shape || c.input(0).dtype != c.input(1).dtype)
    return std::nullopt;
  return RenameForm{c.is_constant(0) ? size_t{0} : size_t{1}};
}

[[maybe_unused]] const bool forms =
    device_form("cat", joined, as_it_is) && device_form("where", selected, as_it_is) && device_form("copy", written);

}  // namespace
}  // namespace sorus
