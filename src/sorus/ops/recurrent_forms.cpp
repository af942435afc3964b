// The forms in which small devices compute recurrent layers, attention and look-ups (graph/layer_forms.h).
#include <algorithm>
#include <cstdlib>

#include "sorus/base/error.h"
#include "sorus/ops/quantized_rules.h"

namespace sorus {
namespace {

using quantized_rules::small;

bool real(const TensorType& t) { return t.dtype == DType::f32; }

// ---- recurrent layers
// ---------------------------------------------------------------------------------------------------

// Inputs: input, `states` states, weight_ih, weight_hh, bias_ih, bias_hh.
std::optional<RecurrentForm> layer(const DeviceCall& c, int states) {
  for (size_t i = 0; i < c.inputs.size(); ++i)
    if (c.has(static_cast<int>(i)) && !real(c.input(static_cast<int>(i)))) return std::nullopt;
  if (c.is_constant(0)) return std::nullopt;
  for (int i = states + 1; i < states + 5; ++i)
    if (c.has(i) && !c.is_constant(i)) return std::nullopt;
  RecurrentForm f;
  const Shape &x = c.input(0).shape, &h = c.input(1).shape;
  f.steps = x[0], f.batch = x[1], f.features = x[2], f.units = h[1];
  f.reverse = c.integer("reverse") != 0;
  f.weight = reals_of(c.constant(states + 1)), f.recurrent = reals_of(c.constant(states + 2));
  auto bias = [&](int i) {
    return c.has(i) ? reals_of(c.constant(i))
                    : std::vector<float>(f.recurrent.size() / static_cast<size_t>(f.units), 0);
  };
  f.bias = bias(states + 3), f.recurrent_bias = bias(states + 4);
  if (c.is_constant(1)) f.first_hidden = reals_of(c.constant(1));
  if (states == 2 && c.is_constant(2)) f.first_cell = reals_of(c.constant(2));
  return f;
}

std::optional<DeviceForm> lstm(const DeviceCall& c) {
  std::optional<RecurrentForm> f = layer(c, 2);
  if (!f) return std::nullopt;
  for (size_t i = 0; i < f->bias.size(); ++i) f->bias[i] += f->recurrent_bias[i];
  f->recurrent_bias.clear();
  f->keeps_cell = c.uses(1), f->cell_clip = static_cast<float>(c.number("cell_clip"));
  return *f;
}

std::optional<DeviceForm> gru(const DeviceCall& c) {
  std::optional<RecurrentForm> f = layer(c, 1);
  if (!f) return std::nullopt;
  f->cell = c.integer("reset_after") != 0 ? RecurrentForm::Cell::gru : RecurrentForm::Cell::gru_reset_before;
  return *f;
}

// A zero point's part in sums over rows of weights.
std::vector<int32_t> less_zero(std::vector<int32_t> bias, const std::vector<int8_t>& weight, int64_t zero) {
  size_t columns = weight.size() / bias.size();
  for (size_t r = 0; r < bias.size(); ++r)
    for (size_t k = 0; k < columns; ++k) bias[r] -= static_cast<int32_t>(zero * weight[r * columns + k]);
  return bias;
}

// The largest size of a sum over a row, its bias included: 32 bits have to hold it where it is shifted left.
int64_t largest(const std::vector<int32_t>& bias, const std::vector<int8_t>& weight) {
  size_t columns = weight.size() / bias.size();
  int64_t most = 0;
  for (size_t r = 0; r < bias.size(); ++r) {
    int64_t sum = std::abs(int64_t{bias[r]});
    for (size_t k = 0; k < columns; ++k) sum += 128 * std::abs(int64_t{weight[r * columns + k]});
    most = std::max(most, sum);
  }
  return most;
}

std::optional<DeviceForm> quantized_lstm(const DeviceCall& c) {
  if (c.is_constant(0) || c.is_constant(1) || c.is_constant(2)) return std::nullopt;
  for (int i = 3; i < 6; ++i)
    if (!c.is_constant(i)) return std::nullopt;
  LstmForm f;
  const Shape &x = c.input(0).shape, &h = c.input(1).shape;
  f.steps = x[0], f.batch = x[1], f.features = x[2], f.units = h[1];
  for (int64_t v : integers_of(c.constant(3))) f.weight.push_back(static_cast<int8_t>(v));
  for (int64_t v : integers_of(c.constant(4))) f.recurrent.push_back(static_cast<int8_t>(v));
  std::vector<int32_t> bias = small(integers_of(c.constant(5)));
  f.bias = less_zero(bias, f.weight, c.integer("input_zero_point"));
  f.recurrent_bias = less_zero(std::vector<int32_t>(bias.size(), 0), f.recurrent, c.integer("hidden_zero_point"));
  auto fits = [](const LstmForm::Factor& k, int64_t most) {
    return k.shift <= 30 && k.shift >= -31 && most < int64_t{1} << (31 - std::max(k.shift, 0));
  };
  bool all = true;
  for (size_t g = 0; g < 4; ++g) {
    f.input[g] = {static_cast<int32_t>(c.integers("input_multiplier")[g]),
                  static_cast<int32_t>(c.integers("input_shift")[g])};
    f.hidden[g] = {static_cast<int32_t>(c.integers("hidden_multiplier")[g]),
                   static_cast<int32_t>(c.integers("hidden_shift")[g])};
    all = all && fits(f.input[g], largest(f.bias, f.weight)) &&
          fits(f.hidden[g], largest(f.recurrent_bias, f.recurrent));
  }
  auto number = [&](const char* name) { return static_cast<int32_t>(c.integer(name)); };
  f.output = {number("multiplier"), number("shift")};
  if (!all || !fits(f.output, int64_t{1} << 30)) return std::nullopt;
  f.cell_bits = number("cell_bits"), f.cell_clip = number("cell_clip"), f.zero_point = number("zero_point");
  f.low = number("quant_min"), f.high = number("quant_max");
  return f;
}

// ---- attention and look-ups
// ---------------------------------------------------------------------------------------------

std::optional<DeviceForm> attention(const DeviceCall& c) {
  AttentionForm f;
  for (int i = 0; i < 3; ++i)
    if (!real(c.input(i)) || c.is_constant(i)) return std::nullopt;
  if (c.uses(1) || c.integer("start") != 0) return std::nullopt;  // a block of the queries of several ranks
  const Shape &q = c.input(0).shape, &k = c.input(1).shape, &v = c.input(2).shape;
  f.batch = q[0], f.heads = q[1], f.key_heads = k[1], f.queries = q[2], f.keys = k[2], f.width = q[3];
  f.value_width = v[3];
  f.causal = c.integer("is_causal") != 0, f.scale = static_cast<float>(c.number("scale"));
  // All lie in one order, the last dimension inmost.
  auto steps = [&](const Shape& s) {
    Shape inner = contiguous_strides(c.in_memory(s));
    return Shape{inner[static_cast<size_t>(c.place(0))], inner[static_cast<size_t>(c.place(1))],
                 inner[static_cast<size_t>(c.place(2))]};
  };
  f.query_steps = steps(q), f.key_steps = steps(k), f.value_steps = steps(v),
  f.result_steps = steps(c.outputs[0].shape);
  return f;
}
// As the queries lie, but for what is multiplied, which is inmost.
Shape by_token(const DeviceCall&, const Shape& now) {
  Shape order;
  for (int64_t d : now)
    if (d != 3) order.push_back(d);
  order.push_back(3);
  return order;
}

std::optional<DeviceForm> lookup(const DeviceCall& c) {
  if (c.is_constant(0) || !c.is_constant(1) || !real(c.input(1)) || !c.is_none("whole")) return std::nullopt;
  LookupForm f;
  f.count = numel(c.input(0).shape), f.rows = c.input(1).shape[0], f.width = c.input(1).shape[1];
  f.table = reals_of(c.constant(1));
  return f;
}

[[maybe_unused]] const bool forms = device_form("lstm_layer", lstm) && device_form("gru_layer", gru) &&
                                    device_form("quantized_lstm", quantized_lstm) &&
                                    device_form("flash_attention", attention, by_token) &&
                                    device_form("embedding", lookup);

}  // namespace
}  // namespace sorus
