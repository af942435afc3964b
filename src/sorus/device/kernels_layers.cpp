// Kernels of whole layers (graph/layer_forms.h) in plain C99: recurrent layers, attention, look-ups; and
// softmax.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/base/error.h"
#include "sorus/device/kernel_parts.h"
#include "sorus/device/softmax_table.h"

namespace sorus::device {
namespace {

// One step after the other. `h`: the hidden state before a step, `y`: after it.
const char* const kRecurrent = R"(
  float *const gate = scratch;
  int s, b, o, k;
?CELL  float *const cell = $CELLAT;
?CELL  for (k = 0; k < $B * $U; k++) cell[k] = $CELL0[k];
  for (s = 0; s < $STEPS; s++)
    for (b = 0; b < $B; b++) {
!REVERSE      const int t = s, before = t - 1;
?REVERSE      const int t = $STEPS - 1 - s, before = t + 1;
      const float *const x = in + (t * $B + b) * $F;
      const float *const h = s ? out + (before * $B + b) * $U : $HIDDEN0 + b * $U;
      float *const y = out + (t * $B + b) * $U;
?CELL      float *const c = cell + b * $U;
      for (o = 0; o < $GATES * $U; o++) {
        const float *const row = w + o * $F;
        float sum = bias[o];
        for (k = 0; k < $F; k++) sum += row[k] * x[k];
        gate[o] = sum;
      }
      for (o = 0; o < $ROWS * $U; o++) {
        const float *const row = r + o * $U;
?GRU        float sum = recurrent_bias[o];
?CELL        float sum = 0;
        for (k = 0; k < $U; k++) sum += row[k] * h[k];
?CELL        gate[o] += sum;
?GRU        gate[$GATES * $U + o] = sum;
      }
?CELL      for (k = 0; k < $U; k++) {
?CELL        c[k] = $P_logistic(gate[$U + k]) * c[k] + $P_logistic(gate[k]) * tanhf(gate[2 * $U + k]);
?CLIPPED        c[k] = c[k] > $CLIP ? $CLIP : c[k] < -$CLIP ? -$CLIP : c[k];
?CELL        y[k] = $P_logistic(gate[3 * $U + k]) * tanhf(c[k]);
?CELL      }
?AFTER      for (k = 0; k < $U; k++) {
?AFTER        const float reset = $P_logistic(gate[k] + gate[3 * $U + k]);
?AFTER        const float update = $P_logistic(gate[$U + k] + gate[4 * $U + k]);
?AFTER        const float fresh = tanhf(gate[2 * $U + k] + reset * gate[5 * $U + k]);
?AFTER        y[k] = fresh + update * (h[k] - fresh);
?AFTER      }
?BEFORE      for (k = 0; k < $U; k++) gate[3 * $U + k] = $P_logistic(gate[k] + gate[3 * $U + k]) * h[k];
?BEFORE      for (o = 0; o < $U; o++) {
?BEFORE        const float *const row = r + (2 * $U + o) * $U;
?BEFORE        float sum = recurrent_bias[2 * $U + o];
?BEFORE        for (k = 0; k < $U; k++) sum += row[k] * gate[3 * $U + k];
?BEFORE        gate[2 * $U + o] = tanhf(gate[2 * $U + o] + sum);
?BEFORE      }
?BEFORE      for (k = 0; k < $U; k++) {
?BEFORE        const float update = $P_logistic(gate[$U + k] + gate[4 * $U + k]);
?BEFORE        y[k] = gate[2 * $U + k] + update * (h[k] - gate[2 * $U + k]);
?BEFORE      }
    }
)";

Prepared one(const Model& m, const Step& step, const RecurrentForm& f) {
  using Cell = RecurrentForm::Cell;
  Prepared p;
  Values v;
  bool lstm = f.cell == Cell::lstm, after = f.cell == Cell::gru;
  set_numbers(v, {{"STEPS", f.steps}, {"B", f.batch}, {"F", f.features}, {"U", f.units}, {"GATES", f.gates()}});
  set_numbers(v, {{"REVERSE", f.reverse}, {"CELL", lstm}, {"GRU", !lstm}, {"AFTER", after}});
  // The gates of the input and, of a GRU, those of the hidden state beside them.
  set_numbers(v, {{"BEFORE", !lstm && !after}, {"ROWS", lstm ? 4 : after ? 3 : 2}});
  set_numbers(v, {{"CLIPPED", lstm && f.cell_clip > 0}});
  v["CLIP"] = float_literal(f.cell_clip);
  int64_t floats = lstm ? 4 * f.units : 6 * f.units;
  v["CELLAT"] =
      f.keeps_cell ? fmt::format("out + {}", f.steps * f.batch * f.units) : fmt::format("gate + {}", floats);
  if (lstm && !f.keeps_cell) floats += f.batch * f.units;
  p.scratch = 4 * floats;
  p.tables = {{"float", {}, f.weight, "w"}, {"float", {}, f.recurrent, "r"}, {"float", {}, f.bias, "bias"}};
  if (!lstm) p.tables.push_back({"float", {}, f.recurrent_bias, "recurrent_bias"});
  size_t input = 1;
  auto state = [&](const std::vector<float>& first, const char* name) {
    if (first.empty()) return input_name(input++);
    p.tables.push_back({"float", {}, first, name});
    return std::string(name);
  };
  v["HIDDEN0"] = state(f.first_hidden, "first_hidden");
  v["CELL0"] = lstm ? state(f.first_cell, "first_cell") : "";
  p.helpers = {"logistic"};
  p.overlaps.assign(step.inputs.size(), Overlap{});
  p.kernel = lstm ? "LSTM, float" : "GRU, float";
  p.instructions = static_cast<double>(f.macs()) * 4 + static_cast<double>(f.steps * f.batch * f.units) * 200;
  finish_typed(m, step, p, v, kRecurrent + 1);
  return p;
}

const char* const kLstm = R"(
  int16_t *const gate = scratch;
  int t, b, o, k;
  for (t = 0; t < $STEPS; t++)
    for (b = 0; b < $B; b++) {
      const int8_t *const x = in + (t * $B + b) * $F;
      const int8_t *const h = t ? out + ((t - 1) * $B + b) * $U : in2 + b * $U;
      int16_t *const c = in3 + b * $U;
      int8_t *const y = out + (t * $B + b) * $U;
      for (o = 0; o < 4 * $U; o++) {
        const int8_t *const row = w + o * $F, *const column = r + o * $U;
        const int32_t *const k4 = factors + o / $U * 4; /* of the input, of the hidden state */
        const int32_t from_x = bias[o] + $P_dot(row, x, $F), from_h = recurrent_bias[o] + $P_dot(column, h, $U);
        const int32_t v = $P_clamp($P_rescale_left(from_x, k4[0], k4[1]), -32768, 32767);
        gate[o] = (int16_t)$P_clamp(v + $P_rescale_left(from_h, k4[2], k4[3]), -32768, 32767);
      }
      for (k = 0; k < $U; k++) {
        const int32_t fresh = $P_logistic16(gate[k]) * $P_tanh16(gate[2 * $U + k], 3);
        const int32_t kept = $P_logistic16(gate[$U + k]) * c[k];
        int32_t v = $P_clamp($P_halved(kept, 15) + $P_halved(fresh, $SHIFT), -32768, 32767);
?CLIP        v = $P_clamp(v, -$CLIP, $CLIP);
        c[k] = (int16_t)v;
        v = $RESCALE($P_logistic16(gate[3 * $U + k]) * $P_tanh16(v, $BITS), $MUL, $RIGHT) + ($ZP);
        y[k] = (int8_t)$P_clamp(v, $LOW, $HIGH);
      }
    }
)";

Prepared one(const Model& m, const Step& step, const LstmForm& f) {
  Prepared p;
  Values v;
  set_numbers(v,
              {{"STEPS", f.steps}, {"B", f.batch}, {"F", f.features}, {"U", f.units}, {"SHIFT", 15 + f.cell_bits}});
  set_numbers(v, {{"CLIP", f.cell_clip}, {"BITS", f.cell_bits}});
  Rescale r{{f.output.multiplier}, {f.output.shift}, f.zero_point, f.low, f.high};
  set_rescale(v, p, r, 1);
  add_table(p, "int8_t", "w", {f.weight.begin(), f.weight.end()});
  add_table(p, "int8_t", "r", {f.recurrent.begin(), f.recurrent.end()});
  add_table(p, "int32_t", "bias", {f.bias.begin(), f.bias.end()});
  add_table(p, "int32_t", "recurrent_bias", {f.recurrent_bias.begin(), f.recurrent_bias.end()});
  std::vector<int64_t> factors;
  for (size_t g = 0; g < 4; ++g)
    factors.insert(factors.end(),
                   {f.input[g].multiplier, -f.input[g].shift, f.hidden[g].multiplier, -f.hidden[g].shift});
  add_table(p, "int32_t", "factors", factors);
  for (const char* helper : {"clamp", "dot", "rescale_left", "halved", "logistic16", "tanh16"})
    p.helpers.emplace_back(helper);
  p.scratch = (8 * f.units + 3) / 4 * 4;
  p.overlaps.assign(step.inputs.size(), Overlap{});
  p.kernel = "LSTM";
  p.instructions = static_cast<double>(f.macs()) * 5 + static_cast<double>(f.steps * f.batch * f.units) * 600;
  finish_typed(m, step, p, v, kLstm + 1);
  return p;
}

const char* const kAttention = R"(
  float *const score = scratch;
  int b, h, i, j, k;
  for (b = 0; b < $B; b++)
    for (h = 0; h < $H; h++)
      for (i = 0; i < $Q; i++) {
        const float *const q = in + b * $QB + h * $QH + i * $QT;
        float *const y = out + b * $YB + h * $YH + i * $YT;
?CAUSAL        const int n = i + 1 < $K ? i + 1 : $K;
!CAUSAL        const int n = $K;
        float top = 0, sum = 0;
        for (j = 0; j < n; j++) {
          const float *const key = $KEYS + b * $KB + h / $SHARED * $KH + j * $KT;
          float dot = 0;
          for (k = 0; k < $D; k++) dot += q[k] * key[k];
          score[j] = dot * $SCALE;
          if (j == 0 || score[j] > top) top = score[j];
        }
        for (j = 0; j < n; j++) sum += score[j] = expf(score[j] - top);
        for (k = 0; k < $E; k++) y[k] = 0;
        for (j = 0; j < n; j++) {
          const float *const value = $VALUES + b * $VB + h / $SHARED * $VH + j * $VT;
          const float part = score[j] / sum;
          for (k = 0; k < $E; k++) y[k] += part * value[k];
        }
      }
)";

Prepared one(const Model& m, const Step& step, const AttentionForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"B", f.batch}, {"H", f.heads}, {"Q", f.queries}, {"K", f.keys}, {"D", f.width}});
  set_numbers(v, {{"E", f.value_width}, {"SHARED", f.heads / f.key_heads}, {"CAUSAL", f.causal}});
  set_numbers(v, {{"QB", f.query_steps[0]}, {"QH", f.query_steps[1]}, {"QT", f.query_steps[2]}});
  set_numbers(v, {{"KB", f.key_steps[0]}, {"KH", f.key_steps[1]}, {"KT", f.key_steps[2]}});
  set_numbers(v, {{"VB", f.value_steps[0]}, {"VH", f.value_steps[1]}, {"VT", f.value_steps[2]}});
  set_numbers(v, {{"YB", f.result_steps[0]}, {"YH", f.result_steps[1]}, {"YT", f.result_steps[2]}});
  v["SCALE"] = float_literal(f.scale);
  v["KEYS"] = input_name(1), v["VALUES"] = input_name(2);
  SORUS_ASSERT(step.inputs.size() == 3);
  p.helpers = {"math"};
  p.scratch = 4 * f.keys;
  p.overlaps.assign(3, Overlap{});
  p.kernel = "attention, float";
  p.instructions =
      static_cast<double>(f.macs()) * 5 + static_cast<double>(f.batch * f.heads * f.queries * f.keys) * 60;
  finish_typed(m, step, p, v, kAttention + 1);
  return p;
}

// The exponentials of all differences that matter are in a table; the rest is gemmlowp's division.
const char* const kSoftmax = R"(
  int r, c;
  for (r = 0; r < $ROWS; r++, in += $COLUMNS, out += $COLUMNS) {
    int32_t sum = 0, factor, top = in[0];
    int bits;
    for (c = 1; c < $COLUMNS; c++)
      if (in[c] > top) top = in[c];
    for (c = 0; c < $COLUMNS; c++)
      if (top - in[c] < $KNOWN) sum += ((exponentials[top - in[c]] >> 11) + 1) >> 1;
    factor = $P_reciprocal(sum, &bits);
?WIDE    bits -= 8;
!WIDE    if (bits > 32) bits = 32; /* nothing is left */
    for (c = 0; c < $COLUMNS; c++) {
      const int32_t d = top - in[c];
      int32_t v = $LEAST;
      if (d < $KNOWN) v += (($P_product(factor, exponentials[d]) >> (bits - 1)) + 1) >> 1;
      out[c] = ($T)$P_clamp(v, $LEAST, $MOST);
    }
  }
)";

const char* const kSoftmaxFloat = R"(
  int r, c;
  for (r = 0; r < $ROWS; r++, in += $COLUMNS, out += $COLUMNS) {
    float top = in[0], sum = 0;
    for (c = 1; c < $COLUMNS; c++)
      if (in[c] > top) top = in[c];
    for (c = 0; c < $COLUMNS; c++) sum += out[c] = expf((in[c] - top) * $BETA);
    for (c = 0; c < $COLUMNS; c++) out[c] /= sum;
  }
)";

// To 8 bits or, from 8, to 16.
Prepared one(const Model& m, const Step& step, const SoftmaxForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"ROWS", f.rows}, {"COLUMNS", f.columns}});
  p.overlaps = {{0, true}};
  p.instructions = static_cast<double>(f.rows * (f.columns * 40 + 150));
  p.kernel = "softmax";
  if (f.is_float) {
    v["BETA"] = float_literal(f.beta);
    p.helpers = {"math"};
    finish_typed(m, step, p, v, kSoftmaxFloat + 1);
    return p;
  }
  bool wide = element(m, step.output) == Element::i16;
  if (wide) p.overlaps = {{}};
  std::vector<int32_t> e = softmax_exponentials(f.multiplier, f.shift);
  set_numbers(v, {{"KNOWN", static_cast<int64_t>(e.size())}, {"WIDE", wide}});
  set_numbers(v, {{"LEAST", wide ? -32768 : -128}, {"MOST", wide ? 32767 : 127}});
  v["T"] = c_name(element(m, step.output));
  add_table(p, "int32_t", "exponentials", {e.begin(), e.end()});
  p.helpers = {"clamp", "reciprocal"};
  finish_typed(m, step, p, v, kSoftmax + 1);
  return p;
}

// A place outside of the table is the nearest row: there is nobody to tell.
const char* const kLookup = R"(
  int n, k;
  for (n = 0; n < $N; n++) {
    const float *const row = table + (in[n] < 0 ? 0 : in[n] < $ROWS ? in[n] : $ROWS - 1) * $WIDTH;
    for (k = 0; k < $WIDTH; k++) *out++ = row[k];
  }
)";

Prepared one(const Model& m, const Step& step, const LookupForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"N", f.count}, {"ROWS", f.rows}, {"WIDTH", f.width}});
  p.tables = {{"float", {}, f.table, "table"}};
  p.overlaps = {{}};
  p.kernel = "rows at computed places";
  p.instructions = static_cast<double>(f.count * (f.width * 5 + 12));
  finish_typed(m, step, p, v, kLookup + 1);
  return p;
}

}  // namespace

std::optional<Prepared> prepare_layers(const Model& model, const Step& step) {
  return prepare_form(step,
                      [&](const auto& form) -> decltype(one(model, step, form)) { return one(model, step, form); });
}

}  // namespace sorus::device
