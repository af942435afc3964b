// Kernels that look elements up, at places that are known or computed, or go between neighbours, in plain C99.
#include "sorus/device/kernel_parts.h"

namespace sorus::device {
namespace {

const char* const kBlend = R"(
  int b, y, x, c;
  for (b = 0; b < $B; b++)
    for (y = 0; y < $OH; y++) {
      const int16_t *const r = rows + 3 * y; /* low, high, 1024ths of the way to high */
      const int8_t *const upper = in + (b * $IH + r[0]) * ($IW * $C), *const lower = in + (b * $IH + r[1]) * ($IW * $C);
      for (x = 0; x < $OW; x++) {
        const int16_t *const k = columns + 3 * x;
        for (c = 0; c < $C; c++) {
          const int32_t u = upper[k[0] * $C + c] * (1024 - k[2]) + upper[k[1] * $C + c] * k[2];
          const int32_t v = lower[k[0] * $C + c] * (1024 - k[2]) + lower[k[1] * $C + c] * k[2];
          const int32_t sum = u * (1024 - r[2]) + v * r[2] - ($RZ) * (1 << 20);
          *out++ = (int8_t)((sum > 0 ? sum + (1 << 19) : sum - (1 << 19)) / (1 << 20) + ($RZ));
        }
      }
    }
)";

// Each product is one of a float by a double that holds a float: exact, and then rounded. A product of floats might
// become one operation with a sum that follows, and be rounded otherwise on another processor.
const char* const kBlendReal = R"(
  int b, y, x, c;
  for (b = 0; b < $B; b++)
    for (y = 0; y < $OH; y++) {
      const int16_t *const r = rows + 3 * y; /* low and high */
      const double up = row_weights[2 * y], down = row_weights[2 * y + 1];
      const int8_t *const upper = in + (b * $IH + r[0]) * ($IW * $C), *const lower = in + (b * $IH + r[1]) * ($IW * $C);
      for (x = 0; x < $OW; x++) {
        const int16_t *const k = columns + 3 * x;
        const double left = column_weights[2 * x], right = column_weights[2 * x + 1];
        for (c = 0; c < $C; c++) {
          const float u = (float)((double)(float)((upper[k[0] * $C + c] - ($RZ)) * up) * left);
          const float v = (float)((double)(float)((lower[k[0] * $C + c] - ($RZ)) * down) * left);
          const float w = (float)((double)(float)((upper[k[1] * $C + c] - ($RZ)) * up) * right);
          const float z = (float)((double)(float)((lower[k[1] * $C + c] - ($RZ)) * down) * right);
          *out++ = (int8_t)((int32_t)(u + v + w + z + 0.5f) + ($RZ));
        }
      }
    }
)";

Prepared one(const Model& m, const Step& step, const BlendForm& f) {
  Prepared p;
  Values v;
  auto table = [&](const char* name, const std::vector<BlendForm::Place>& places) {
    std::vector<int64_t> numbers;
    for (const BlendForm::Place& at : places) numbers.insert(numbers.end(), {at.low, at.high, at.part});
    add_table(p, "int16_t", name, numbers);
  };
  table("rows", f.rows), table("columns", f.columns);
  auto rows = static_cast<int64_t>(f.rows.size()), columns = static_cast<int64_t>(f.columns.size());
  set_numbers(v, {{"B", f.batch}, {"IH", f.in_h}, {"IW", f.in_w}, {"C", f.channels}, {"OH", rows}, {"OW", columns}});
  set_numbers(v, {{"RZ", f.rounding_zero}});
  p.overlaps = {{}};
  p.kernel = "resize, between neighbours";
  bool real = !f.row_weights.empty();
  if (real) {
    p.tables.push_back({"double", {}, f.row_weights, "row_weights"});
    p.tables.push_back({"double", {}, f.column_weights, "column_weights"});
  }
  p.instructions = static_cast<double>(f.batch * rows * columns * f.channels) * (real ? 60 : 24);
  finish_typed(m, step, p, v, (real ? kBlendReal : kBlend) + 1);
  return p;
}

const char* const kTake = R"(
  int n, p, k;
  for (n = 0; n < $OUTER; n++)
    for (p = 0; p < $PLACES; p++)
      for (k = 0; k < $INNER; k++) *out++ = $FROM[(n * $IN + places[p]) * $INNER + k];
)";

// Negative places count from the end. One outside is the nearest there is: there is nobody to tell.
const char* const kTakeComputed = R"(
  int n, p, k;
  for (n = 0; n < $OUTER; n++)
    for (p = 0; p < $PLACES; p++) {
      const int32_t place = (int32_t)$WHERE[p] < 0 ? (int32_t)$WHERE[p] + $IN : (int32_t)$WHERE[p];
      const int32_t at = place < 0 ? 0 : place < $IN ? place : $IN - 1;
      for (k = 0; k < $INNER; k++) *out++ = $FROM[(n * $IN + at) * $INNER + k];
    }
)";

Prepared one(const Model& m, const Step& step, const TakeForm& f) {
  Prepared p;
  Values v;
  bool computed = f.places.empty() && f.count > 0;
  if (f.table.defined()) add_constant(p, c_name(element(m, step.output)), "table", f.table);
  if (!computed) {
    std::vector<int64_t> places(f.places.begin(), f.places.end());
    if (places.empty()) places.push_back(0);
    add_table(p, type_for(places), "places", places);
  }
  v["FROM"] = f.table.defined() ? "table" : "in";
  v["WHERE"] = input_name(step.inputs.size() - 1);
  set_numbers(v, {{"OUTER", f.outer}, {"PLACES", f.count}, {"IN", f.input}, {"INNER", f.inner}});
  p.overlaps.assign(step.inputs.size(), Overlap{});
  p.kernel = computed ? "elements at computed places" : "elements at given places";
  p.instructions = static_cast<double>(f.outer * f.count) * (static_cast<double>(f.inner) * 6 + (computed ? 10 : 0));
  finish_typed(m, step, p, v, (computed ? kTakeComputed : kTake) + 1);
  return p;
}

}  // namespace

std::optional<Prepared> prepare_places(const Model& model, const Step& step) {
  return prepare_form(step,
                      [&](const auto& form) -> decltype(one(model, step, form)) { return one(model, step, form); });
}

}  // namespace sorus::device
