// The forms in which small devices compute functions by tables (graph/device_form.h).
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace {

std::optional<DeviceForm> looked_up(const DeviceCall& c) {
  if (c.is_constant(0) || !c.is_constant(1)) return std::nullopt;
  TableForm f;
  f.elements = numel(c.input(0).shape);
  for (int64_t v : integers_of(c.constant(1)))
    f.table.push_back(static_cast<int8_t>(v - quantized_rules::offset_of(c.input(1))));
  return f;
}

std::optional<DeviceForm> curve(const DeviceCall& c) {
  if (!c.is_constant(1)) return std::nullopt;
  CurveForm f;
  f.elements = numel(c.input(0).shape);
  f.table = quantized_rules::small(integers_of(c.constant(1)));
  f.multiplier = static_cast<int32_t>(c.integer("multiplier")), f.shift = static_cast<int32_t>(c.integer("shift"));
  f.is_tanh = c.integer("is_tanh") != 0;
  return f;
}

std::optional<DeviceForm> softmax(const DeviceCall& c) {
  if (!c.is_constant(1) || !c.is_constant(2)) return std::nullopt;
  TableSoftmaxForm f;
  f.columns = c.input(0).shape.back();
  f.rows = numel(c.input(0).shape) / std::max<int64_t>(f.columns, 1);
  f.exponentials = quantized_rules::small(integers_of(c.constant(1)));
  f.reciprocals = quantized_rules::small(integers_of(c.constant(2)));
  f.rescale.multiplier = {static_cast<int32_t>(c.integer("multiplier"))};
  f.rescale.shift = {static_cast<int32_t>(c.integer("shift"))};
  return f;
}

[[maybe_unused]] const bool forms = device_form("quantized_look_up", looked_up, as_it_is) &&
                                    device_form("quantized_s_curve", curve, as_it_is) &&
                                    device_form("quantized_table_softmax", softmax);

}  // namespace
}  // namespace sorus
