#include "sorus/graph/device_form.h"

#include <algorithm>
#include <unordered_map>

#include "sorus/base/error.h"

namespace sorus {

int32_t rescaled(int64_t sum, int32_t multiplier, int32_t shift) {
  int64_t left = sum * (int64_t{1} << std::max(shift, 0));
  int64_t high = (left * multiplier + (int64_t{1} << 30)) >> 31;
  int right = std::max(-shift, 0);
  if (right == 0) return static_cast<int32_t>(high);
  return static_cast<int32_t>((high + (int64_t{1} << (right - 1)) - (high < 0 ? 1 : 0)) >> right);
}

namespace {
// By name: a rule may be registered before its operator is.
struct Entry {
  DeviceRule rule;
  MemoryOrder order;
};
std::unordered_map<std::string, Entry>& rules() {
  static auto* map = new std::unordered_map<std::string, Entry>;
  return *map;
}
}  // namespace

bool device_form(std::string_view op, DeviceRule rule, MemoryOrder order) {
  bool fresh = rules().emplace(std::string(op), Entry{std::move(rule), std::move(order)}).second;
  SORUS_CHECK(fresh, ValueError, "device_form: {} has a form already", op);
  return true;
}

const DeviceRule* device_rule(const OpDef& op) {
  auto it = rules().find(op.name());
  return it == rules().end() ? nullptr : &it->second.rule;
}

const MemoryOrder& device_order(const OpDef& op) { return rules().at(op.name()).order; }

Shape in_order(const DeviceCall&, const Shape& now) {
  Shape order;
  for (size_t d = 0; d < now.size(); ++d) order.push_back(static_cast<int64_t>(d));
  return order;
}
Shape as_it_is(const DeviceCall&, const Shape& now) { return now; }
MemoryOrder channels_last(int spatial) {
  return [spatial](const DeviceCall&, const Shape& now) {
    auto rank = static_cast<int64_t>(now.size()), channel = rank - spatial - 1;
    Shape order;
    for (int64_t d = 0; d < rank; ++d)
      if (d != channel) order.push_back(d);
    if (channel >= 0 && channel < rank) order.push_back(channel);
    return order;
  };
}

int64_t DeviceCall::place(int64_t dim) const {
  auto rank = static_cast<int64_t>(order.size());
  for (int64_t p = 0; p < rank; ++p)
    if (order[static_cast<size_t>(p)] == (dim < 0 ? dim + rank : dim)) return p;
  fail<ValueError>("codegen: {}: a tensor of {} dimensions has no dimension {}", op.name(), rank, dim);
}

Shape DeviceCall::in_memory(const Shape& shape) const {
  Shape result;
  for (int64_t d : order) result.push_back(shape[static_cast<size_t>(d)]);
  return result;
}

const Tensor& DeviceCall::constant(int slot) const {
  SORUS_CHECK(is_constant(slot), ValueError,
              "codegen: {}: expected input {} to be a constant, found one that is computed", op.name(), slot);
  return constants[static_cast<size_t>(slot)];
}

namespace {
const Attr& attr_of(const DeviceCall& c, std::string_view name) {
  return TypeCall{c.op, c.inputs, c.attrs}.attr(name);
}

template <class To, class From>
std::vector<To> copied(const Tensor& t) {
  const From* from = t.data<From>();
  return {from, from + t.numel()};
}

template <class To>
std::vector<To> elements(const Tensor& t) {
  if (!t.defined()) return {};
  SORUS_ASSERT(t.is_contiguous());
  switch (t.dtype()) {
    case DType::i8:
      return copied<To, int8_t>(t);
    case DType::u8:
      return copied<To, uint8_t>(t);
    case DType::i16:
      return copied<To, int16_t>(t);
    case DType::i32:
      return copied<To, int32_t>(t);
    case DType::i64:
      return copied<To, int64_t>(t);
    case DType::boolean:
      return copied<To, bool>(t);
    case DType::f32:
      return copied<To, float>(t);
    case DType::f64:
      return copied<To, double>(t);
    default:
      fail<TypeError>("codegen: a constant of type {} has no form in generated code", name(t.dtype()));
  }
}
}  // namespace

int64_t DeviceCall::integer(std::string_view attr) const { return attr_of(*this, attr).to_int(); }
double DeviceCall::number(std::string_view attr) const { return attr_of(*this, attr).to_double(); }
bool DeviceCall::is_none(std::string_view attr) const { return attr_of(*this, attr).is_none(); }
const Shape& DeviceCall::integers(std::string_view attr) const { return attr_of(*this, attr).ints(); }

std::vector<int64_t> integers_of(const Tensor& t) { return elements<int64_t>(t); }
std::vector<float> reals_of(const Tensor& t) { return elements<float>(t); }

}  // namespace sorus
