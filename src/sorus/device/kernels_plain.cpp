// Kernels in plain C99, for any processor and any compiler. They are also what other sets fall back to.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/base/error.h"
#include "sorus/device/kernel_parts.h"

namespace sorus::device {
namespace {

// What a result in 8 bits still needs after the sum.
const char* const kStore = R"(
!SUMS      int32_t v = $RESCALED + ($ZP);
!SUMS      v = $P_clamp(v, $LOW, $HIGH);
?RES      v = $FN_add(v, in2[$AT]);
!SUMS      out[$AT] = ($T)v;
?SUMS      out[$AT] = sum;
)";

// One pixel after the other: what lies under the window is gathered, then multiplied by each row of weights.
const char* const kConv = R"(
static void $FN($ARGS)
{
?GATHER   $T *const x = scratch;
  int p, o, k;
  for (p = 0; p < $N; p++) {
?GATHER     $T *to = x;
?GATHER     const int top = p / $OW % $OH * $SH - $PT, left = p % $OW * $SW - $PL;
?GATHER     const $T *const image = in + p / ($OW * $OH) * ($IH * $IW * $IC);
?GATHER     int i, j;
?GATHER     for (i = 0; i < $KH; i++)
?GATHER       for (j = 0; j < $KW; j++) {
?GATHER         const int y = top + i * $DH, z = left + j * $DW;
?GATHER?PAD         if (y < 0 || y >= $IH || z < 0 || z >= $IW) {
?GATHER?PAD           for (k = 0; k < $IC; k++) *to++ = $IZ;
?GATHER?PAD           continue;
?GATHER?PAD         }
?GATHER         for (k = 0; k < $IC; k++) *to++ = image[(y * $IW + z) * $IC + k];
?GATHER       }
!GATHER     const $T *const x = in + p * $K;
    for (o = 0; o < $OC; o++) {
      const int8_t *const row = w + o * $K;
      $A sum = bias[o];
?WZ       for (k = 0; k < $K; k++) sum += (row[k] - ($WZ)) * x[k];
!WZ       for (k = 0; k < $K; k++) sum += row[k] * x[k];
$STORE    }
  }
}
)";

const char* const kDepthwise = R"(
static void $FN($ARGS)
{
  int p, o, i, j;
  for (p = 0; p < $N; p++) {
    const int top = p / $OW % $OH * $SH - $PT, left = p % $OW * $SW - $PL;
    const $T *const image = in + p / ($OW * $OH) * ($IH * $IW * $IC);
    for (o = 0; o < $OC; o++) {
      $A sum = bias[o];
      for (i = 0; i < $KH; i++)
        for (j = 0; j < $KW; j++) {
          const int y = top + i * $DH, z = left + j * $DW;
?PAD           const int outside = y < 0 || y >= $IH || z < 0 || z >= $IW;
?PAD           const int x = outside ? $IZ : image[(y * $IW + z) * $IC + o / $PER];
!PAD           const int x = image[(y * $IW + z) * $IC + o / $PER];
          sum += (w[(i * $KW + j) * $OC + o] - ($WZ)) * x;
        }
$STORE    }
  }
}
)";

// The mean over the whole image.
const char* const kGlobalMean = R"(
static void $FN($ARGS)
{
  int o, i;
  for (o = 0; o < $OC; o++) {
    int32_t sum = 0;
    for (i = 0; i < $TAPS; i++) sum += in[i * $OC + o];
    sum -= $TAPS * ($RZ);
    sum = (sum > 0 ? (sum + $TAPS / 2) / $TAPS : (sum - $TAPS / 2) / $TAPS) + ($RZ);
    out[o] = (int8_t)$P_clamp(sum, $LOW, $HIGH);
  }
}
)";

const char* const kPool = R"(
static void $FN($ARGS)
{
  int p, o, i, j;
  for (p = 0; p < $N; p++) {
    const int top = p / $OW % $OH * $SH - $PT, left = p % $OW * $SW - $PL;
    const $T *const image = in + p / ($OW * $OH) * ($IH * $IW * $IC);
    for (o = 0; o < $OC; o++) {
?MAXIMUM       $A sum = $LOW;
!MAXIMUM       $A sum = 0;
?AVERAGE       int count = 0;
      for (i = 0; i < $KH; i++)
        for (j = 0; j < $KW; j++) {
          const int y = top + i * $DH, z = left + j * $DW;
          $A x;
          if (y < 0 || y >= $IH || z < 0 || z >= $IW) continue;
          x = image[(y * $IW + z) * $IC + o];
?MAXIMUM           if (x > sum) sum = x;
!MAXIMUM           sum += x;
?AVERAGE           count++;
        }
?AVERAGE!FLOAT       sum -= count * ($RZ);
?AVERAGE!FLOAT       sum = (sum > 0 ? (sum + count / 2) / count : (sum - count / 2) / count) + ($RZ);
?AVERAGE?FLOAT       sum /= (float)count;
?SCALED       sum *= $SCALE;
      if (sum < $LOW) sum = $LOW;
      if (sum > $HIGH) sum = $HIGH;
      out[p * $OC + o] = ($T)sum;
    }
  }
}
)";

const char* const kAdd = R"(
static void $FN($ARGS)
{
  int i;
  for (i = 0; i < $N; i++) out[i] = (int8_t)$FN_add(in[i], in2[i]);
}
)";

const char* const kTable = R"(
static void $FN($ARGS)
{
  int i;
  for (i = 0; i < $N; i++) out[i] = table[in[i] + 128];
}
)";

const char* const kConvFloat = R"(
static void $FN($ARGS)
{
  int p, o, k, i, j;
  for (p = 0; p < $N; p++) {
    const int top = p / $OW % $OH * $SH - $PT, left = p % $OW * $SW - $PL;
    const float *const image = in + p / ($OW * $OH) * ($IH * $IW * $IC);
    for (o = 0; o < $OC; o++) {
      const float *row = w + o * $K;
      float sum = bias[o];
      for (i = 0; i < $KH; i++)
        for (j = 0; j < $KW; j++, row += $IC) {
          const int y = top + i * $DH, z = left + j * $DW;
          const float *const x = image + (y * $IW + z) * $IC;
?PAD           if (y < 0 || y >= $IH || z < 0 || z >= $IW) continue;
          for (k = 0; k < $IC; k++) sum += row[k] * x[k];
        }
      sum = sum < $LOW ? $LOW : sum > $HIGH ? $HIGH : sum;
?RES       sum = sum $RSIGN in2[p * $OC + o];
?RES       sum = sum < $RLOW ? $RLOW : sum > $RHIGH ? $RHIGH : sum;
      out[p * $OC + o] = sum;
    }
  }
}
)";

const char* const kDepthwiseFloat = R"(
static void $FN($ARGS)
{
  int p, o, i, j;
  for (p = 0; p < $N; p++) {
    const int top = p / $OW % $OH * $SH - $PT, left = p % $OW * $SW - $PL;
    const float *const image = in + p / ($OW * $OH) * ($IH * $IW * $IC);
    for (o = 0; o < $OC; o++) {
      float sum = bias[o];
      for (i = 0; i < $KH; i++)
        for (j = 0; j < $KW; j++) {
          const int y = top + i * $DH, z = left + j * $DW;
?PAD           if (y < 0 || y >= $IH || z < 0 || z >= $IW) continue;
          sum += w[(i * $KW + j) * $OC + o] * image[(y * $IW + z) * $IC + o / $PER];
        }
      sum = sum < $LOW ? $LOW : sum > $HIGH ? $HIGH : sum;
?RES       sum = sum $RSIGN in2[p * $OC + o];
?RES       sum = sum < $RLOW ? $RLOW : sum > $RHIGH ? $RHIGH : sum;
      out[p * $OC + o] = sum;
    }
  }
}
)";

const char* const kAddFloat = R"(
static void $FN($ARGS)
{
  int i;
  for (i = 0; i < $N; i++) {
    const float v = in[i] $RSIGN in2[i];
    out[i] = v < $RLOW ? $RLOW : v > $RHIGH ? $RHIGH : v;
  }
}
)";

class Plain : public KernelSet {
 public:
  Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const override {
    (void)options;
    if (std::optional<Prepared> moves = prepare_moves(model, step)) return *moves;
    if (std::optional<Prepared> integers = prepare_integers(model, step)) return *integers;
    if (std::optional<Prepared> places = prepare_places(model, step)) return *places;
    if (std::optional<Prepared> tables = prepare_tables(model, step)) return *tables;
    if (std::optional<Prepared> layers = prepare_layers(model, step)) return *layers;
    if (auto* conv = std::get_if<ConvForm>(&step.form)) return one(model, step, *conv);
    return std::visit([&](const auto& form) { return one(step, form); }, step.form);
  }

 private:
  static void finish(Prepared& p, Values& v, const Step& step, const std::string& type, const std::string& text) {
    finish(p, v, step, type, type, text);
  }
  static void finish(Prepared& p, Values& v, const Step& step, const std::string& from, const std::string& to,
                     const std::string& text) {
    set_arguments(v, p, from, step.inputs.size(), to);
    p.text = fill(text, v);
  }

  // Where the kernel puts $STORE a piece of text goes that has constants of its own.
  static std::string with_store(const char* kernel, Values& v, const char* at) {
    v["AT"] = at;
    std::string text = kernel;
    size_t place = text.find("$STORE");
    return std::string(kResidualText) + text.substr(1, place - 1) + (kStore + 1) + text.substr(place + 6);
  }

  static Prepared one(const Model& model, const Step& step, const ConvForm& f) {
    if (f.is_float) return one_float(step, f);
    Prepared p;
    const Window& w = f.window;
    Values v = window_values(w);
    int64_t k = f.depthwise ? w.kernel_h * w.kernel_w : w.kernel_h * w.kernel_w * w.in_c;
    bool one_pixel = w.pixels() == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
    bool pointwise = w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && w.inside();
    bool gather = !f.depthwise && !one_pixel && !(pointwise && w.in_h * w.in_w == 1);
    v["K"] = std::to_string(k), v["IZ"] = std::to_string(f.input_zero), v["WZ"] = std::to_string(f.weight_zero);
    v["PER"] = std::to_string(std::max<int64_t>(w.out_c / std::max<int64_t>(w.in_c, 1), 1)),
    v["GATHER"] = gather ? "1" : "0";
    add_table(p, "int8_t", "w", {f.weight.begin(), f.weight.end()});
    // Sums of 16-bit numbers are in 64 bits: a bias of that size says that they may need them.
    bool wide = f.rescale.wide;
    int64_t size = f.halves ? 2 : 1;
    std::string type = f.halves ? "int16_t" : "int8_t", to = type;
    v["T"] = type, v["A"] = wide ? "int64_t" : "int32_t", v["SUMS"] = f.sums ? "1" : "0";
    add_table(p, v["A"], "bias", folded_bias(f));
    if (f.sums) {
      to = pointed(element(model, step.output), p);
      for (const char* name : {"RESCALED", "ZP", "LOW", "HIGH"}) v[name] = "";
    } else {
      set_rescale(v, p, f.rescale, w.out_c);
      p.helpers.push_back("clamp");
    }
    set_residual(v, p, step.residual);
    if (gather) p.scratch = (size * k + 3) / 4 * 4;
    p.overlaps.push_back(one_pixel || f.sums ? Overlap{} : Overlap{sliding_gap(w, size, 1, gather), false});
    if (step.residual) p.overlaps.push_back({0, true});
    p.kernel = f.depthwise ? "depthwise, plain" : gather ? "convolution, plain" : "dense, plain";
    p.instructions =
        static_cast<double>(f.macs()) * (f.depthwise ? 12 : 5) + static_cast<double>(w.pixels() * w.out_c) * 16;
    finish(p, v, step, type, to,
           with_store(f.depthwise ? kDepthwise : kConv, v, fmt::format("p * {} + o", w.out_c).c_str()));
    return p;
  }

  static Prepared one_float(const Step& step, const ConvForm& f) {
    Prepared p;
    const Window& w = f.window;
    Values v = window_values(w);
    v["K"] = std::to_string(w.kernel_h * w.kernel_w * w.in_c);
    v["PER"] = std::to_string(std::max<int64_t>(w.out_c / std::max<int64_t>(w.in_c, 1), 1));
    v["LOW"] = float_literal(f.low_f), v["HIGH"] = float_literal(f.high_f), v["RES"] = step.residual ? "1" : "0";
    if (step.residual) {
      v["RLOW"] = float_literal(step.residual->low_f), v["RHIGH"] = float_literal(step.residual->high_f);
      v["RSIGN"] = step.residual->negate_b ? "-" : "+";
    }
    p.tables.push_back({"float", {}, f.weight_f, "w"});
    p.tables.push_back({"float", {}, f.bias_f, "bias"});
    bool whole = w.in_h == w.kernel_h && w.in_w == w.kernel_w;
    p.overlaps.push_back(whole ? Overlap{} : Overlap{sliding_gap(w, 4, 1, false), false});
    if (step.residual) p.overlaps.push_back({0, true});
    p.kernel = f.depthwise ? "depthwise, float" : "convolution, float";
    p.instructions = static_cast<double>(f.macs()) * 4;
    finish(p, v, step, "float", f.depthwise ? kDepthwiseFloat : kConvFloat);
    return p;
  }

  static Prepared one(const Step& step, const PoolForm& f) {
    Prepared p;
    Values v = window_values(f.window);
    v["MAXIMUM"] = f.kind == PoolForm::Kind::maximum ? "1" : "0", v["FLOAT"] = f.is_float ? "1" : "0";
    v["AVERAGE"] = f.kind == PoolForm::Kind::average ? "1" : "0";
    v["SCALED"] = f.scale_f == 1 ? "0" : "1", v["SCALE"] = float_literal(f.scale_f);
    v["RZ"] = std::to_string(f.rounding_zero);
    v["T"] = f.is_float ? "float" : f.halves ? "int16_t" : "int8_t", v["A"] = f.is_float ? "float" : "int32_t";
    v["LOW"] = f.is_float ? float_literal(f.low_f) : std::to_string(f.low);
    v["HIGH"] = f.is_float ? float_literal(f.high_f) : std::to_string(f.high);
    p.overlaps.push_back({sliding_gap(f.window, f.is_float ? 4 : f.halves ? 2 : 1, 1, false), false});
    const Window& w = f.window;
    bool whole = w.pixels() == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
    if (whole && !f.is_float && !f.halves && f.kind == PoolForm::Kind::average) {
      p.overlaps = {{std::nullopt, true}};
      p.kernel = "mean over the image";
      p.helpers = {"clamp"};
      p.instructions = static_cast<double>(w.in_h * w.in_w * w.in_c) * 5;
      finish(p, v, step, "int8_t", kGlobalMean);
      return p;
    }
    p.kernel = "pool, plain";
    p.instructions =
        static_cast<double>(f.window.pixels() * f.window.out_c * (f.window.kernel_h * f.window.kernel_w * 8 + 12));
    finish(p, v, step, v["T"], kPool);
    return p;
  }

  static Prepared one(const Step& step, const AddForm& f) {
    Prepared p;
    Values v{{"N", std::to_string(f.elements)}};
    p.overlaps = {{0, true}, {0, true}};
    p.instructions = static_cast<double>(f.elements) * 30;
    p.kernel = "addition, plain";
    if (f.is_float) {
      v["RLOW"] = float_literal(f.low_f), v["RHIGH"] = float_literal(f.high_f), v["RSIGN"] = f.negate_b ? "-" : "+";
      finish(p, v, step, "float", kAddFloat);
      return p;
    }
    set_residual(v, p, f);
    finish(p, v, step, "int8_t", std::string(kResidualText) + (kAdd + 1));
    return p;
  }

  static Prepared one(const Step& step, const TableForm& f) {
    Prepared p;
    Values v{{"N", std::to_string(f.elements)}};
    add_table(p, "int8_t", "table", {f.table.begin(), f.table.end()});
    p.overlaps = {{0, true}};
    p.instructions = static_cast<double>(f.elements) * 6;
    p.kernel = "table";
    finish(p, v, step, "int8_t", kTable);
    return p;
  }

  template <class Form>
  static Prepared one(const Step& step, const Form&) {
    fail<Error>("device: a step was left in the model that no kernel computes: {}", step.name);
  }
};

}  // namespace

const KernelSet& plain_kernels() {
  static const Plain set;
  return set;
}

}  // namespace sorus::device
