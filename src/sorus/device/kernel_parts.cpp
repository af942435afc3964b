#include "sorus/device/kernel_parts.h"

#include <algorithm>

#include <fmt/format.h>

#include "sorus/ops.h"

namespace sorus::device {

std::string input_name(size_t input) { return input ? fmt::format("in{}", input + 1) : "in"; }

void set_arguments(Values& values, const Prepared& p, const std::string& in_type, size_t inputs,
                   const std::string& out_type) {
  std::string text = fmt::format("const {} *in", in_type);
  for (size_t i = 1; i < inputs; ++i) text += fmt::format(", const {} *{}", in_type, input_name(i));
  text += fmt::format(", {} *out", out_type);
  if (p.scratch) text += ", void *scratch";
  for (const Table& t : p.tables) text += fmt::format(", const {} *{}", t.type, t.argument);
  values["ARGS"] = text;
}

std::string pointed(Element e, Prepared& p) {
  if (e != Element::i64) return c_name(e);
  p.helpers.emplace_back("i64");
  return "$P_i64";
}

void finish_typed(const Model& model, const Step& step, Prepared& p, Values& values, const std::string& text) {
  auto changed = [&](int t) { return std::find(step.changes.begin(), step.changes.end(), t) != step.changes.end(); };
  std::string args;
  for (size_t i = 0; i < step.inputs.size(); ++i)
    args += fmt::format("{}{} *{}, ", changed(step.inputs[i]) ? "" : "const ",
                        pointed(element(model, step.inputs[i]), p), input_name(i));
  args += fmt::format("{} *out", pointed(element(model, step.output), p));
  if (p.scratch) args += ", void *scratch";
  for (const Table& t : p.tables) args += fmt::format(", const {} *{}", t.type, t.argument);
  values["ARGS"] = args;
  p.text = fill("static void $FN($ARGS)\n{\n" + text + "}\n", values);
}

void set_numbers(Values& values, std::initializer_list<std::pair<const char*, int64_t>> list) {
  for (const auto& [name, value] : list) values[name] = std::to_string(value);
}

void add_constant(Prepared& p, const std::string& type, const std::string& argument, const Tensor& t) {
  if (type == "float") {
    p.tables.push_back({type, {}, reals_of(contiguous(t)), argument});
    return;
  }
  std::vector<int64_t> values = integers_of(contiguous(t));
  if (t.dtype() == DType::u8)
    for (int64_t& v : values) v -= 128;
  add_table(p, type, argument, values);
}

std::string type_for(const std::vector<int64_t>& values) {
  auto [low, high] = std::minmax_element(values.begin(), values.end());
  return *low >= -128 && *high <= 127 ? "int8_t" : *low >= -32768 && *high <= 32767 ? "int16_t" : "int32_t";
}

void add_table(Prepared& p, std::string type, std::string argument, std::vector<int64_t> values, int64_t pad) {
  while (static_cast<int64_t>(values.size()) % pad) values.push_back(0);
  p.tables.push_back({std::move(type), std::move(values), {}, std::move(argument)});
}

void set_rescale(Values& values, Prepared& p, const Rescale& r, int64_t channels, int64_t pad) {
  auto set = [&](const char* name, int64_t value) { values[name] = std::to_string(value); };
  set("ZP", r.zero_point), set("LOW", r.low), set("HIGH", r.high), set("REAL", !r.real.empty());
  set("CLAMP", r.low != -128 || r.high != 127);
  if (!r.real.empty()) {
    p.helpers.emplace_back("rescale_real");
    set("LEFT", 0), set("NOSHIFT", 1), set("FIX", 0);
    bool one = std::all_of(r.real.begin(), r.real.end(), [&](float v) { return v == r.real[0]; });
    set("UNIFORM", one);
    values["MUL"] = one ? float_literal(r.real[0]) : "multiplier[o]";
    values["RESCALE"] = "$P_rescale_real", values["RIGHT"] = "0";
    values["RESCALED"] = fmt::format("$P_rescale_real((float)sum, {})", values["MUL"]);
    if (one) return;
    std::vector<float> factors = r.real;
    while (static_cast<int64_t>(factors.size()) % pad) factors.push_back(0);
    p.tables.push_back({"float", {}, factors, "multiplier"});
    return;
  }
  auto same = [](const std::vector<int32_t>& list) {
    return std::all_of(list.begin(), list.end(), [&](int32_t v) { return v == list[0]; });
  };
  bool uniform = same(r.multiplier), level = same(r.shift);
  set("UNIFORM", uniform && level);
  set("LEFT", std::any_of(r.shift.begin(), r.shift.end(), [](int32_t s) { return s > 0; }));
  set("NOSHIFT", std::any_of(r.shift.begin(), r.shift.end(), [](int32_t s) { return s >= 0; }));
  // A result below its zero point is clamped anyway: how halves below it are rounded does not show.
  set("FIX", r.low < r.zero_point);
  std::string function = r.wide ? "rescale_wide" : values["LEFT"] == "1" ? "rescale_left" : "rescale";
  values["RESCALE"] = "$P_" + function;
  p.helpers.push_back(function);
  auto multiplier = [&](int64_t m) { return !r.wide ? m : m < 0x7FFF0000 ? (m + (1 << 15)) >> 16 : 0x7FFF; };
  if (uniform) {
    values["MUL"] = std::to_string(multiplier(r.multiplier[0]));
  } else {
    values["MUL"] = "multiplier[o]";
    std::vector<int64_t> list;
    for (int32_t m : r.multiplier) list.push_back(multiplier(m));
    add_table(p, "int32_t", "multiplier", list, pad);
  }
  auto right = [&](int64_t c) { return (r.wide ? 15 : 0) - r.shift_of(c); };
  if (level) {
    values["RIGHT"] = std::to_string(right(0));
  } else {
    values["RIGHT"] = "shift[o]";
    std::vector<int64_t> list;
    for (int64_t c = 0; c < channels; ++c) list.push_back(right(c));
    add_table(p, "int8_t", "shift", list, pad);
  }
  values["RESCALED"] = fmt::format("{}(sum, {}, {})", values["RESCALE"], values["MUL"], values["RIGHT"]);
}

std::vector<int64_t> folded_bias(const ConvForm& f, int64_t more) {
  const Window& w = f.window;
  std::vector<int64_t> bias(f.bias.begin(), f.bias.end());
  int64_t taps = w.kernel_h * w.kernel_w, row = taps * w.in_c;
  for (int64_t o = 0; o < w.out_c; ++o) {
    int64_t sum = 0;
    if (f.depthwise)
      for (int64_t k = 0; k < taps; ++k) sum += f.weight[static_cast<size_t>(k * w.out_c + o)] - f.weight_zero;
    else
      for (int64_t k = 0; k < row; ++k) sum += f.weight[static_cast<size_t>(o * row + k)] - f.weight_zero;
    bias[static_cast<size_t>(o)] -= (f.input_zero + more) * sum;
  }
  return bias;
}

const char* const kResidualText = R"(
?RES /* The residual connection: v is the result of the sum of products, r what is added to it. */
?RES static inline int32_t $FN_add(int32_t v, int32_t r)
?RES {
?RES   int32_t a = $RESA((v - ($RZA)) * (1 << $RLS), $RMA, $RSA);
?RES   int32_t b = $RESB((r - ($RZB)) * (1 << $RLS), $RMB, $RSB);
?RES   return $P_clamp($RESO(a $RSIGN b, $RMO, $RSO) + ($RZO), $RLOW, $RHIGH);
?RES }
?RES
)";

void set_residual(Values& values, Prepared& p, const std::optional<AddForm>& residual) {
  values["RES"] = residual ? "1" : "0";
  if (!residual) return;
  const AddForm& f = *residual;
  auto set = [&](const char* name, int64_t value) { values[name] = std::to_string(value); };
  auto scale = [&](const char* function, int32_t shift) {
    values[function] = shift > 0 ? "$P_rescale_left" : "$P_rescale";
    p.helpers.push_back(shift > 0 ? "rescale_left" : "rescale");
  };
  set("RZA", f.zero_a), set("RZB", f.zero_b), set("RZO", f.rescale.zero_point), set("RLS", f.left_shift);
  set("RMA", f.multiplier_a), set("RMB", f.multiplier_b), set("RMO", f.rescale.multiplier[0]);
  set("RSA", -f.shift_a), set("RSB", -f.shift_b), set("RSO", -f.rescale.shift[0]);
  scale("RESA", f.shift_a), scale("RESB", f.shift_b), scale("RESO", f.rescale.shift[0]);
  set("RLOW", f.rescale.low), set("RHIGH", f.rescale.high);
  values["RSIGN"] = f.negate_b ? "-" : "+";
  p.helpers.push_back("clamp");
}

}  // namespace sorus::device
