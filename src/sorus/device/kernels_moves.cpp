// Kernels that are loops over elements, in plain C99: moves, joins, scalar bodies, lines. Their text is made here
// from sizes and strides; there is nothing a target could do better but what its compiler does.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "sorus/device/nest.h"
#include "sorus/emit/c_scalar.h"

namespace sorus::device {

const char* c_name(Element e) {
  switch (e) {
    case Element::u8:
      return "uint8_t";
    case Element::i32:
      return "int32_t";
    case Element::i16:
      return "int16_t";
    case Element::i64:
      return "int64_t";
    case Element::f32:
      return "float";
    default:
      return "int8_t";
  }
}

std::string float_literal(float v) {
  if (std::isinf(v)) return v > 0 ? "INFINITY" : "(-INFINITY)";
  std::string text = fmt::format("{:.9g}", v);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return v < 0 ? "(" + text + "F)" : text + "F";
}

namespace {

void finish(Prepared& p, const std::string& type, size_t inputs, const std::string& text) {
  Values v;
  set_arguments(v, p, type, inputs, type);
  p.text = fill("static void $FN($ARGS)\n{\n" + text + "}\n", v);
}

Prepared one(const std::string& type, const Step& step, const MoveForm& f) {
  Prepared p;
  Nest nest(f.from.sizes, {whole(f.from.sizes), f.from});
  p.kernel = "move";
  p.overlaps = {nest.one_run(1) ? Overlap{0, true} : Overlap{}};
  p.instructions = static_cast<double>(numel(f.from.sizes)) * 6;
  finish(p, type, step.inputs.size(), nest.around({fmt::format("out[{}] = in[{}];", nest.at(0), nest.at(1))}));
  return p;
}

Prepared one(const std::string& type, const Step& step, const JoinForm& f) {
  Prepared p;
  int64_t total = 0, from = 0;
  size_t input = 0;
  for (int64_t w : f.widths) total += w;
  std::string text = "  int r, k;\n" + fmt::format("  for (r = 0; r < {}; r++) {{\n", f.rows);
  for (size_t i = 0; i < f.widths.size(); ++i) {
    bool known = f.constants[i].defined();
    std::string name = known ? fmt::format("part{}", i) : input_name(input++);
    if (known) add_constant(p, type, name, f.constants[i]);
    text += fmt::format("    for (k = 0; k < {}; k++) out[r * {} + {} + k] = {}[r * {} + k];\n", f.widths[i], total,
                        from, name, f.widths[i]);
    from += f.widths[i];
  }
  p.kernel = "join";
  p.overlaps.assign(step.inputs.size(), Overlap{});
  p.instructions = static_cast<double>(f.rows * total) * 5;
  finish(p, type, step.inputs.size(), text + "  }\n");
  return p;
}

const char* const kPad = R"(
  int p, k;
  for (p = 0; p < $N; p++) {
    const int y = p / $OW % $OH - $PT, z = p % $OW - $PL, b = p / ($OW * $OH);
    const int outside = y < 0 || y >= $IH || z < 0 || z >= $IW;
    for (k = 0; k < $OC; k++) out[p * $OC + k] = outside ? $VALUE : in[((b * $IH + y) * $IW + z) * $IC + k];
  }
)";

Prepared one(const std::string& type, const Step& step, const PadForm& f) {
  Prepared p;
  Values v = window_values(f.window);
  v["VALUE"] = f.is_float ? float_literal(f.value_f) : std::to_string(f.value);
  if (f.is_float) p.helpers = {"math"};  // INFINITY
  p.overlaps = {{}};
  p.instructions = static_cast<double>(f.window.pixels() * f.window.out_c) * 8;
  p.kernel = "padding";
  set_arguments(v, p, type, step.inputs.size(), type);
  p.text = fill("static void $FN($ARGS)\n{\n" + std::string(kPad + 1) + "}\n", v);
  return p;
}

Prepared one(const std::string&, const Step& step, const EachForm& f) {
  Prepared p;
  std::vector<Geometry> places{whole(f.sizes)};
  for (const EachForm::Operand& o : f.operands) places.push_back(o.geometry);
  Nest nest(f.sizes, places);
  std::vector<std::string> args, params;
  size_t input = 0;
  for (size_t k = 0; k < f.operands.size(); ++k) {
    const std::vector<float>& values = f.operands[k].values;
    bool same = std::all_of(values.begin(), values.end(), [&](float v) { return v == values[0]; });
    if (values.empty()) {
      args.push_back(fmt::format("{}[{}]", input_name(input++), nest.at(k + 1)));
      p.overlaps.push_back(nest.one_run(k + 1) ? Overlap{0, true} : Overlap{});
    } else if (same) {
      args.push_back(float_literal(values[0]));
    } else {
      std::string name = fmt::format("operand{}", k);
      p.tables.push_back({"float", {}, values, name});
      args.push_back(fmt::format("{}[{}]", name, nest.at(k + 1)));
    }
  }
  for (double v : f.params) params.push_back(float_literal(static_cast<float>(v)));
  CBody body = print_c(*f.body, DType::f32, args, params);
  std::vector<std::string> lines = body.lines;
  lines.push_back(fmt::format("out[{}] = {};", nest.at(0), body.results[0]));
  p.kernel = "scalar body";
  p.helpers = {"scalar"};
  p.instructions = static_cast<double>(numel(f.sizes)) * (8 + 2 * static_cast<double>(body.lines.size()));
  finish(p, "float", step.inputs.size(), nest.around(lines));
  return p;
}

Prepared one(const std::string&, const Step& step, const LineForm& f) {
  Prepared p;
  auto factor = [&](const char* name, const std::vector<float>& values) -> std::string {
    if (values.size() == 1) return float_literal(values[0]);
    p.tables.push_back({"float", {}, values, name});
    return fmt::format("{}[c]", name);
  };
  std::string v = "in[i]";
  if (f.scale != std::vector<float>{1}) v += " * " + factor("scale", f.scale);
  if (f.shift != std::vector<float>{0}) v += " + " + factor("shift", f.shift);
  bool by_channel = !p.tables.empty();
  std::string clamped = "v";
  if (f.high < kNoBound) clamped = fmt::format("v > {} ? {} : v", float_literal(f.high), float_literal(f.high));
  if (f.low > -kNoBound)
    clamped = fmt::format("v < {} ? {} : {}", float_literal(f.low), float_literal(f.low), clamped);
  std::string text =
      by_channel
          ? fmt::format("  int i = 0, r, c;\n  for (r = 0; r < {}; r++)\n    for (c = 0; c < {}; c++, i++) {{\n",
                        f.rows, f.channels)
          : fmt::format("  int i;\n  for (i = 0; i < {}; i++) {{\n", f.rows * f.channels);
  text += fmt::format("    const float v = {};\n    out[i] = {};\n  {}}}\n", v, clamped, by_channel ? "  " : "");
  p.kernel = "line";
  p.overlaps = {{0, true}};
  p.instructions = static_cast<double>(f.rows * f.channels) * 10;
  finish(p, "float", step.inputs.size(), text);
  return p;
}

}  // namespace

std::optional<Prepared> prepare_moves(const Model& model, const Step& step) {
  std::string type = c_name(model.tensors[static_cast<size_t>(step.output)].type);
  return prepare_form(step,
                      [&](const auto& form) -> decltype(one(type, step, form)) { return one(type, step, form); });
}

}  // namespace sorus::device
