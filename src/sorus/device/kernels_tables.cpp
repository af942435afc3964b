// Kernels of functions on int16 by tables with straight lines between.
#include "sorus/device/kernel_parts.h"

namespace sorus::device {
namespace {

// The table's last value stands for all beyond it.
const char* const kCurve = R"(
  int i;
  for (i = 0; i < $N; i++) {
    const int32_t x = (in[i] * $MUL + $HALF) >> $SHIFT, size = x < 0 ? -x : x;
    const int32_t place = size >> $BITS >= 255 ? 256 : size >> $BITS, next = place < 256 ? place + 1 : 256;
    const int32_t low = table[place], y = (low << $BITS) + (size & $MASK) * (table[next] - low);
    out[i] = (int16_t)((x >= 0 ? y + ($ABOVE) : $BELOW - y) >> $DOWN);
  }
)";

// Exponentials lie where the results will.
const char* const kSoftmax = R"(
  int r, c;
  for (r = 0; r < $ROWS; r++, in += $COLUMNS, out += $COLUMNS) {
    int32_t sum = 0, top = in[0], part, share;
    int zeros = 0;
    for (c = 1; c < $COLUMNS; c++)
      if (in[c] > top) top = in[c];
    for (c = 0; c < $COLUMNS; c++) {
      const int32_t far = $P_clamp($RESCALE(in[c] - top, $MUL, $RIGHT) + 32767, -32768, 32767);
      out[c] = (int16_t)$P_between(far, exponentials);
      sum += out[c];
    }
    while (!((uint32_t)sum << zeros >> 31)) zeros++;
    part = (int32_t)((((uint32_t)sum << zeros >> 1) + 8192) >> 14) - 98304;
    share = $P_between($P_clamp(part, -32768, 32767), reciprocals);
    for (c = 0; c < $COLUMNS; c++)
      out[c] = (int16_t)$P_clamp((int32_t)(((int64_t)out[c] * share + ((int64_t)1 << (30 - zeros))) >> (31 - zeros)), 0, 32767);
  }
)";

Prepared one(const Model& m, const Step& step, const CurveForm& f) {
  Prepared p;
  Values v;
  int64_t bits = f.is_tanh ? 8 : 9;
  set_numbers(v,
              {{"N", f.elements}, {"MUL", f.multiplier}, {"SHIFT", f.shift}, {"HALF", (int64_t{1} << f.shift) >> 1}});
  set_numbers(v, {{"BITS", bits}, {"MASK", (1 << bits) - 1}, {"DOWN", f.is_tanh ? 8 : 10}});
  set_numbers(v, {{"ABOVE", f.is_tanh ? (1 << 7) - (1 << 23) : 1 << 9}});
  set_numbers(v, {{"BELOW", f.is_tanh ? (1 << 23) + (1 << 7) - 1 : (1 << 25) + (1 << 9) - 1}});
  add_table(p, "uint16_t", "table", {f.table.begin(), f.table.end()});
  p.overlaps = {{0, true}};
  p.kernel = f.is_tanh ? "tanh by a table" : "logistic by a table";
  p.instructions = static_cast<double>(f.elements) * 25;
  finish_typed(m, step, p, v, kCurve + 1);
  return p;
}

Prepared one(const Model& m, const Step& step, const TableSoftmaxForm& f) {
  Prepared p;
  Values v;
  set_numbers(v, {{"ROWS", f.rows}, {"COLUMNS", f.columns}});
  set_rescale(v, p, f.rescale, 1);
  p.helpers.insert(p.helpers.end(), {"clamp", "between"});
  add_table(p, "int16_t", "exponentials", {f.exponentials.begin(), f.exponentials.end()});
  add_table(p, "int16_t", "reciprocals", {f.reciprocals.begin(), f.reciprocals.end()});
  p.overlaps = {{0, true}};
  p.kernel = "softmax by tables";
  p.instructions = static_cast<double>(f.rows * (f.columns * 50 + 150));
  finish_typed(m, step, p, v, kSoftmax + 1);
  return p;
}

}  // namespace

std::optional<Prepared> prepare_tables(const Model& model, const Step& step) {
  return prepare_form(step,
                      [&](const auto& form) -> decltype(one(model, step, form)) { return one(model, step, form); });
}

}  // namespace sorus::device
