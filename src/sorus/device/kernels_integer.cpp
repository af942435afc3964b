// Kernels of integer operators other than sums of products under a window (graph/integer_forms.h), in plain C99.
// Elements are int8, int32, float or the 64-bit numbers of places; each input has its own type.
#include <algorithm>

#include "sorus/device/nest.h"
#include "sorus/device/scalar_helpers.h"
#include "sorus/emit/c_scalar.h"

namespace sorus::device {
namespace {

Prepared one(const Model& m, const Step& step, const IntegerEachForm& f) {
  Prepared p;
  Values v;
  std::vector<Geometry> at{whole(f.sizes)};
  for (const IntegerEachForm::Operand& o : f.operands) at.push_back({f.sizes, o.strides, 0});
  Nest nest(f.sizes, at);
  std::string type = c_type(f.compute);
  std::vector<std::string> args;
  size_t input = 0;
  int64_t out_bytes = bytes_of(element(m, step.output));
  for (size_t k = 0; k < f.operands.size(); ++k) {
    const IntegerEachForm::Operand& o = f.operands[k];
    std::string name = fmt::format("operand{}", k);
    if (o.values.empty()) {
      name = input_name(input);
      int64_t bytes = bytes_of(element(m, step.inputs[input]));
      // Elements are read in the order in which they are written.
      p.overlaps.push_back(nest.one_run(k + 1) && out_bytes <= bytes ? Overlap{0, true} : Overlap{});
      ++input;
    } else {
      add_table(p, type_for(o.values), name, o.values);
    }
    std::string read = fmt::format("{}[{}]", name, nest.at(k + 1));
    if (o.offset) read = fmt::format("({} + {})", read, o.offset);
    args.push_back(fmt::format("({}){}", type, read));
  }
  CBody body = print_c(*f.body, f.compute, args, {});
  std::vector<std::string> lines = device_functions(body.lines, p);
  std::string result = body.results[0];
  Element to = element(m, step.output);
  if (f.body->results[0]->is_boolean)
    result = fmt::format("({} ? 1 : 0)", result);
  else if (to != Element::f32 && f.compute == DType::f32)
    result = fmt::format("(int32_t){}", result);
  if (f.offset) result = fmt::format("({} - {})", result, f.offset);
  lines.push_back(fmt::format("out[{}] = ({}){};", nest.at(0), c_name(to), result));
  p.kernel = "scalar body, integers";
  p.instructions = static_cast<double>(numel(f.sizes)) * (8 + 4 * static_cast<double>(body.lines.size()));
  finish_typed(m, step, p, v, nest.around(lines));
  return p;
}

const char* const kRescale = R"(
  int r, o;
  for (r = 0; r < $ROWS; r++)
    for (o = 0; o < $CHANNELS; o++) {
      const $T sum = *in++;
      *out++ = (int8_t)$P_clamp($RESCALED + ($ZP), $LOW, $HIGH);
    }
)";

Prepared one(const Model& m, const Step& step, const RescaleForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"ROWS", f.rows}, {"CHANNELS", f.channels}});
  v["T"] = c_name(element(m, step.inputs[0]));
  set_rescale(v, p, f.rescale, f.channels);
  p.helpers.push_back("clamp");
  p.overlaps = {{0, true}};
  p.kernel = "change of scale, plain";
  p.instructions = static_cast<double>(f.rows * f.channels) * 16;
  finish_typed(m, step, p, v, kRescale + 1);
  return p;
}

const char* const kProduct = R"(
  int i;
  for (i = 0; i < $N; i++) {
    const int32_t sum = (in[i] - ($ZA)) * (in2[i] - ($ZB));
    out[i] = (int8_t)$P_clamp($RESCALED + ($ZP), $LOW, $HIGH);
  }
)";

Prepared one(const Model& m, const Step& step, const ProductForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"N", f.elements}, {"ZA", f.zero_a}, {"ZB", f.zero_b}});
  set_rescale(v, p, f.rescale, 1);
  p.helpers.push_back("clamp");
  p.overlaps = {{0, true}, {0, true}};
  p.kernel = "product of elements";
  p.instructions = static_cast<double>(f.elements) * 20;
  finish_typed(m, step, p, v, kProduct + 1);
  return p;
}

Prepared one(const Model& m, const Step& step, const ReduceForm& f) {
  using Kind = ReduceForm::Kind;
  Prepared p;
  Values v;
  p.overlaps = {{}};
  p.kernel = "reduction";
  p.instructions = static_cast<double>(numel(f.sizes)) * 6;
  // Neighbouring dimensions that are both kept or both reduced become one.
  Shape sizes;
  std::vector<char> reduced;
  for (size_t d = 0; d < f.sizes.size(); ++d) {
    if (f.sizes[d] == 1) continue;
    if (!sizes.empty() && reduced.back() == f.reduced[d])
      sizes.back() *= f.sizes[d];
    else
      sizes.push_back(f.sizes[d]), reduced.push_back(f.reduced[d]);
  }
  Shape strides = contiguous_strides(sizes);
  std::string text = "  int n = 0", index, indent = "  ";
  int64_t terms = 1;
  for (size_t d = 0; d < sizes.size(); ++d) {
    text += fmt::format(", i{}", d);
    index += fmt::format("{}i{} * {}", d ? " + " : "", d, strides[d]);
    if (reduced[d]) terms *= sizes[d];
  }
  text += ";\n";
  auto loops = [&](char which) {
    for (size_t d = 0; d < sizes.size(); ++d)
      if (reduced[d] == which) {
        text += fmt::format("{}for (i{} = 0; i{} < {}; i{}++) {{\n", indent, d, d, sizes[d], d);
        indent += "  ";
      }
  };
  auto close = [&](size_t to) {
    while (indent.size() > to) indent.resize(indent.size() - 2), text += indent + "}\n";
  };
  if (index.empty()) index = "0";
  bool sum = f.kind == Kind::sum, place = f.kind == Kind::place_of_maximum || f.kind == Kind::place_of_minimum;
  bool largest = f.kind == Kind::maximum || f.kind == Kind::place_of_maximum;
  loops(0);
  size_t inner = indent.size();
  if (f.is_float) {
    p.helpers.emplace_back("math");  // INFINITY
    text += fmt::format("{}float v = {}INFINITY;\n", indent, largest ? "-" : "");
  } else {
    text += fmt::format("{}int32_t v = {};\n", indent, sum ? -terms * f.input_zero : largest ? -129 : 128);
  }
  if (place) text += fmt::format("{}int32_t where = 0, k = 0;\n", indent);
  loops(1);
  if (sum) {
    text += fmt::format("{}v += in[{}];\n", indent, index);
  } else {
    text += fmt::format("{}const {} x = in[{}];\n", indent, f.is_float ? "float" : "int32_t", index);
    std::string better = largest ? "x > v" : "x < v";
    text += place ? fmt::format("{0}if ({1}) v = x, where = k;\n{0}k++;\n", indent, better)
                  : fmt::format("{}if ({}) v = x;\n", indent, better);
  }
  // Without a dimension to go over there is a block of its own, since names are declared in it.
  close(inner);
  if (sum && f.sums) {
    text += indent + "out[n++] = v;\n";
  } else if (sum) {
    set_rescale(v, p, f.rescale, 1);
    p.helpers.push_back("clamp");
    text += fmt::format("{}out[n++] = ({})$P_clamp($RESCALE(v, $MUL, $RIGHT) + ($ZP), $LOW, $HIGH);\n", indent,
                        c_name(element(m, step.output)));
  } else {
    text += fmt::format("{}out[n++] = ({}){};\n", indent, c_name(element(m, step.output)), place ? "where" : "v");
  }
  close(2);
  finish_typed(m, step, p, v, text);
  return p;
}

const char* const kTransposed = R"(
  int b, y, x, o, i, j, c;
  for (b = 0; b < $B; b++)
    for (y = 0; y < $OH; y++)
      for (x = 0; x < $OW; x++)
        for (o = 0; o < $OC; o++, out++) {
          $A sum = bias[o];
          for (i = 0; i < $KH; i++) {
            const int u = y + $PT - i * $DH;
            if (u < 0 || u % $SH || u / $SH >= $IH) continue;
            for (j = 0; j < $KW; j++) {
              const int v = x + $PL - j * $DW;
              const $T *const from = in + ((b * $IH + u / $SH) * $IW + v / $SW) * $IC;
              const $W *const row = w + ((o * $KH + i) * $KW + j) * $IC;
              if (v < 0 || v % $SW || v / $SW >= $IW) continue;
?FLOAT              for (c = 0; c < $IC; c++) sum += from[c] * row[c];
!FLOAT              for (c = 0; c < $IC; c++) sum += (from[c] - ($IZ)) * (row[c] - ($WZ));
            }
          }
?FLOAT          *out = sum;
!FLOAT          *out = ($T)$P_clamp($RESCALED + ($ZP), $LOW, $HIGH);
        }
)";

// Sums of floats or of integers: FLOAT, T (elements) and A (sums).
void set_kind(Values& v, bool is_float) {
  v["FLOAT"] = is_float ? "1" : "0", v["T"] = is_float ? "float" : "int8_t", v["A"] = is_float ? "float" : "int32_t";
}

Prepared one(const Model& m, const Step& step, const TransposedForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"B", f.batch}, {"IH", f.in_h}, {"IW", f.in_w}, {"IC", f.in_c}, {"OH", f.out_h}, {"OW", f.out_w}});
  set_numbers(v, {{"OC", f.out_c}, {"KH", f.kernel_h}, {"KW", f.kernel_w}, {"SH", f.stride_h}, {"SW", f.stride_w}});
  set_numbers(v, {{"PT", f.pad_top}, {"PL", f.pad_left}, {"IZ", f.input_zero}, {"WZ", f.weight_zero}});
  set_numbers(v, {{"DH", f.dilation_h}, {"DW", f.dilation_w}});
  set_kind(v, f.is_float);
  v["W"] = v["T"];
  p.overlaps = {{}};
  p.kernel = "transposed convolution, plain";
  p.instructions = static_cast<double>(f.macs()) * 6;
  if (f.is_float) {
    p.tables = {{"float", {}, f.weight_f, "w"}, {"float", {}, f.bias_f, "bias"}};
    for (const char* name : {"RESCALED", "ZP", "LOW", "HIGH"}) v[name] = "";
  } else {
    if (f.halves) v["T"] = "int16_t";
    if (f.rescale.wide) v["A"] = "int64_t";
    add_table(p, "int8_t", "w", {f.weight.begin(), f.weight.end()});
    add_table(p, v["A"], "bias", f.bias);
    set_rescale(v, p, f.rescale, f.out_c);
    p.helpers.push_back("clamp");
  }
  finish_typed(m, step, p, v, kTransposed + 1);
  return p;
}

const char* const kMatmul = R"(
      int r, o, k;
      for (r = 0; r < $R; r++)
        for (o = 0; o < $N; o++) {
          $A sum = 0;
?FLOAT          for (k = 0; k < $K; k++) sum += a[r * $K + k] * b[k * $N + o];
?FLOAT          *out++ = sum;
!FLOAT          for (k = 0; k < $K; k++) sum += (a[r * $K + k] - ($ZA)) * (b[k * $N + o] - ($ZB));
!FLOAT          *out++ = (int8_t)$P_clamp($RESCALE(sum, $MUL, $RIGHT) + ($ZP), $LOW, $HIGH);
        }
)";

Prepared one(const Model& m, const Step& step, const MatmulForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"R", f.rows}, {"K", f.depth}, {"N", f.columns}, {"ZA", f.zero_a}, {"ZB", f.zero_b}});
  set_kind(v, f.is_float);
  if (f.is_float) {
    for (const char* name : {"RESCALE", "MUL", "RIGHT", "ZP", "LOW", "HIGH"}) v[name] = "";
  } else {
    set_rescale(v, p, f.rescale, 1);
    p.helpers.push_back("clamp");
  }
  Nest nest(f.batch, {{f.batch, f.a_steps, 0}, {f.batch, f.b_steps, 0}});
  p.overlaps.assign(step.inputs.size(), Overlap{});
  p.kernel = f.is_float ? "product of two matrices, float" : "product of two matrices, plain";
  p.instructions = static_cast<double>(f.macs()) * 7;
  size_t input = 0;
  auto operand = [&](const char* name, const std::vector<float>& values) {
    if (values.empty()) return input_name(input++);
    p.tables.push_back({"float", {}, values, name});
    return std::string(name);
  };
  std::string first = operand("left", f.a_values);
  if (f.b_values.empty()) input = std::min(input, step.inputs.size() - 1);  // the same tensor twice
  std::string second = operand("right", f.b_values);
  finish_typed(
      m, step, p, v,
      nest.around({fmt::format("const {} *const a = {} + {};", v["T"], first, nest.at(0)),
                   fmt::format("const {} *const b = {} + {};", v["T"], second, nest.at(1)), "{", kMatmul + 1, "}"}));
  return p;
}

const char* const kSvdf = R"(
  int r, f, u, k;
  for (r = 0; r < $ROWS; r++, in += $FEATURES, in2 += $FILTERS * $MEMORY) {
    for (f = 0; f < $FILTERS; f++) { /* the oldest feature of each filter goes, a fresh one comes */
      int16_t *const past = in2 + f * $MEMORY;
      const int32_t sum = start[f] + $P_dot(in, feature + f * $FEATURES, $FEATURES);
      for (k = 1; k < $MEMORY; k++) past[k - 1] = past[k];
      past[$MEMORY - 1] = (int16_t)$P_clamp($FRESH, -32768, 32767);
    }
    for (u = 0; u < $UNITS; u++) {
      const int16_t *const past = in2 + u * $RUN, *const w = time + u * $RUN;
?LIMIT      int64_t sum = bias[u];
!LIMIT      int32_t sum = bias[u];
      for (k = 0; k < $RUN; k++) sum += past[k] * w[k];
?LIMIT      sum = sum > $LIMIT ? $LIMIT : sum < -$LIMIT ? -$LIMIT : sum;
      *out++ = (int8_t)$P_clamp($RESCALE((int32_t)sum, $MUL, $RIGHT) + ($ZP), $LOW, $HIGH);
    }
  }
)";

Prepared one(const Model& m, const Step& step, const SvdfForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"ROWS", f.rows}, {"FEATURES", f.features}, {"FILTERS", f.filters}, {"MEMORY", f.memory}});
  set_numbers(v, {{"UNITS", f.filters / f.rank}, {"RUN", f.rank * f.memory}});
  set_numbers(v, {{"LIMIT", f.limit}});
  add_table(p, "int8_t", "feature", {f.feature.begin(), f.feature.end()});
  // What the input's zero point adds to each filter.
  std::vector<int64_t> start(static_cast<size_t>(f.filters), 0);
  for (size_t k = 0; k < f.feature.size(); ++k)
    start[k / static_cast<size_t>(f.features)] -= int64_t{f.input_zero} * f.feature[k];
  add_table(p, "int32_t", "start", start);
  add_table(p, "int16_t", "time", {f.time.begin(), f.time.end()});
  add_table(p, "int32_t", "bias", {f.bias.begin(), f.bias.end()});
  Values fresh;
  set_rescale(fresh, p, f.fresh, 1);
  v["FRESH"] = fmt::format("{}(sum, {}, {})", fresh["RESCALE"], fresh["MUL"], fresh["RIGHT"]);
  set_rescale(v, p, f.rescale, 1);
  p.helpers.insert(p.helpers.end(), {"clamp", "dot"});
  p.overlaps = {{}, {}};
  p.kernel = "filters over time";
  p.instructions = static_cast<double>(f.macs()) * 6;
  finish_typed(m, step, p, v, kSvdf + 1);
  return p;
}

}  // namespace

std::optional<Prepared> prepare_integers(const Model& model, const Step& step) {
  return prepare_form(step,
                      [&](const auto& form) -> decltype(one(model, step, form)) { return one(model, step, form); });
}

}  // namespace sorus::device
