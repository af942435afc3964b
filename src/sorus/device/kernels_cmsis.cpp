#include "sorus/device/kernels_cmsis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "sorus/device/kernel_parts.h"

namespace sorus::device {
namespace {

// Where the window never leaves the image the input's zero point lies in the bias; elsewhere the library has to know
// it, for what is outside counts as this.
const char* const kConv = R"(
static void $FN($ARGS)
{
  const cmsis_nn_context context = {.buf = $BUFFER, .size = $ROOM};
  const $PARAMS params = {.input_offset = -($IZ), .output_offset = $ZP, .stride = {.h = $SH, .w = $SW},
                          .padding = {.h = $PT, .w = $PL}, .dilation = {.h = $DH, .w = $DW},$MULTIPLE
                          .activation = {.min = $LOW, .max = $HIGH}};
  const cmsis_nn_per_channel_quant_params scales = {.multiplier = (int32_t *)multiplier, .shift = (int32_t *)shift};
  const cmsis_nn_dims from = {$B, $IH, $IW, $IC}, filter = {$FILTERS, $KH, $KW, $FC};
  const cmsis_nn_dims biases = {1, 1, 1, $OC}, to = {$B, $OH, $OW, $OC};
  $CALL(&context, &params, &scales, &from, in, &filter, w, &biases, bias, &to, out);
?RES   arm_elementwise_add_s8(out, in2, -($RZA), $RMA, $RSA, -($RZB), $RMB, $RSB, $RLS, out, $RZO, $RMO, $RSO, $RLOW, $RHIGH, $AREA);
}
)";

// On Helium the library wants sums of weights times the input's zero point; these are in the bias, and so is what
// older releases add to them.
const char* const kDense = R"(
static void $FN($ARGS)
{
  const cmsis_nn_context context = {.buf = (void *)bias, .size = $ROOM};
  const cmsis_nn_fc_params params = {.input_offset = 0, .filter_offset = 0, .output_offset = $ZP, .activation = {.min = $LOW, .max = $HIGH}};
?UNIFORM   const cmsis_nn_per_tensor_quant_params scales = {.multiplier = $MUL, .shift = $SHIFT};
!UNIFORM   const cmsis_nn_per_channel_quant_params scales = {.multiplier = (int32_t *)multiplier, .shift = (int32_t *)shift};
  const cmsis_nn_dims from = {$B, 1, 1, $K}, filter = {$K, 1, 1, $OC}, biases = {1, 1, 1, $OC}, to = {$B, 1, 1, $OC};
  $CALL(&context, &params, &scales, &from, in, &filter, w, &biases, bias, &to, out);
?RES   arm_elementwise_add_s8(out, in2, -($RZA), $RMA, $RSA, -($RZB), $RMB, $RSB, $RLS, out, $RZO, $RMO, $RSO, $RLOW, $RHIGH, $AREA);
}
)";

const char* const kPool = R"(
static void $FN($ARGS)
{
  const cmsis_nn_context context = {.buf = $BUFFER, .size = $ROOM};
  const cmsis_nn_pool_params params = {.stride = {.h = $SH, .w = $SW}, .padding = {.h = $PT, .w = $PL}, .activation = {.min = $LOW, .max = $HIGH}};
  const cmsis_nn_dims from = {$B, $IH, $IW, $IC}, filter = {1, $KH, $KW, 1}, to = {$B, $OH, $OW, $OC};
  $CALL(&context, &params, &from, in, &filter, &to, out);
}
)";

const char* const kAdd = R"(
static void $FN($ARGS)
{
  arm_elementwise_add_s8(in, in2, -($RZA), $RMA, $RSA, -($RZB), $RMB, $RSB, $RLS, out, $RZO, $RMO, $RSO, $RLOW, $RHIGH, $AREA);
}
)";

const char* const kMul = R"(
static void $FN($ARGS)
{
  arm_elementwise_mul_s8(in, in2, -($ZA), -($ZB), out, $ZP, $MUL, $SHIFT, $LOW, $HIGH, $N);
}
)";

const char* const kSoftmax = R"(
static void $FN($ARGS)
{
  arm_softmax_s8(in, $ROWS, $COLUMNS, $MUL, $SHIFT, $LEAST, out);
}
)";

void set(Values& v, const char* name, int64_t value) { v[name] = std::to_string(value); }

// What the library is called with, or why it is not called.
struct Call {
  Prepared p;
  std::string why_not;
};

Call not_because(std::string why) { return {{}, std::move(why)}; }

void set_sum(Values& v, const std::optional<AddForm>& f, int64_t elements) {
  set(v, "RES", f.has_value()), set(v, "AREA", elements);
  if (!f) return;
  set(v, "RZA", f->zero_a), set(v, "RZB", f->zero_b), set(v, "RZO", f->rescale.zero_point),
      set(v, "RLS", f->left_shift);
  set(v, "RMA", f->multiplier_a), set(v, "RMB", f->multiplier_b), set(v, "RMO", f->rescale.multiplier[0]);
  set(v, "RSA", f->shift_a), set(v, "RSB", f->shift_b), set(v, "RSO", f->rescale.shift[0]);
  set(v, "RLOW", f->rescale.low), set(v, "RHIGH", f->rescale.high);
}

Call finished(Call c, Values& v, const Step& step, const char* text, std::vector<std::string> functions) {
  c.p.calls = std::move(functions);
  c.p.kernel = "CMSIS-NN: " + c.p.calls.front();
  if (step.residual) c.p.calls.emplace_back("arm_elementwise_add_s8");
  v["CALL"] = c.p.calls.front();
  v["BUFFER"] = c.p.scratch ? "scratch" : "0";
  set_arguments(v, c.p, "int8_t", step.inputs.size(), "int8_t");
  c.p.text = fill(text, v);
  return c;
}

bool fits(const std::vector<int64_t>& list) {
  return std::all_of(list.begin(), list.end(), [](int64_t b) {
    return b >= std::numeric_limits<int32_t>::min() && b <= std::numeric_limits<int32_t>::max();
  });
}

// The library says nothing of the order in which it reads and writes, so results lie beside inputs.
Call call(const CmsisNn& library, const Step& step, const ConvForm& f) {
  const Window& w = f.window;
  if (f.is_float) return not_because("floats");
  if (f.halves) return not_because("activations of 16 bits");
  if (f.sums) return not_because("its result is the sums, without a scale");
  if (!f.rescale.real.empty()) return not_because("sums are multiplied with floats, as ONNX does");
  if (f.weight_zero) return not_because("weights with a zero point");
  if (w.kernel_h * w.kernel_w == 1 && !w.inside()) return not_because("a window of one element outside of the image");
  if (step.residual && step.residual->negate_b) return not_because("a difference is made where it is stored");
  std::vector<int64_t> bias = w.inside() ? folded_bias(f) : f.bias;
  if (!fits(bias)) return not_because("a bias of more than 32 bits");
  bool dense = !f.depthwise && w.out_h * w.out_w == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
  auto same = [](const std::vector<int32_t>& list) {
    return std::all_of(list.begin(), list.end(), [&](int32_t s) { return s == list[0]; });
  };
  bool uniform = same(f.rescale.multiplier) && same(f.rescale.shift);
  std::string name = f.depthwise ? "arm_depthwise_conv_wrapper_s8"
                     : !dense    ? "arm_convolve_wrapper_s8"
                     : uniform   ? "arm_fully_connected_s8"
                                 : "arm_fully_connected_per_channel_s8";
  if (!library.has(name)) return not_because(name + " is not in this release");
  Call c;
  Values v = window_values(w);
  set(v, "K", w.kernel_h * w.kernel_w * w.in_c), set(v, "IZ", w.inside() ? 0 : f.input_zero);
  set(v, "ZP", f.rescale.zero_point), set(v, "LOW", f.rescale.low), set(v, "HIGH", f.rescale.high);
  set(v, "FILTERS", f.depthwise ? 1 : w.out_c), set(v, "FC", f.depthwise ? w.out_c : w.in_c);
  set(v, "UNIFORM", uniform), set(v, "MUL", f.rescale.multiplier[0]), set(v, "SHIFT", f.rescale.shift[0]);
  v["PARAMS"] = f.depthwise ? "cmsis_nn_dw_conv_params" : "cmsis_nn_conv_params";
  v["MULTIPLE"] = f.depthwise ? fmt::format(" .ch_mult = {},", w.out_c / w.in_c) : "";
  set_sum(v, step.residual, w.pixels() * w.out_c);
  int64_t room = dense ? 4 * w.out_c : f.depthwise ? library.depthwise_bytes(w) : library.conv_bytes(w);
  set(v, "ROOM", room);
  if (!dense) c.p.scratch = (room + 3) / 4 * 4;
  add_table(c.p, "int8_t", "w", {f.weight.begin(), f.weight.end()});
  add_table(c.p, "int32_t", "bias", bias);
  if (!dense || !uniform) {
    std::vector<int64_t> multiplier, shift;
    for (int64_t o = 0; o < w.out_c; ++o)
      multiplier.push_back(f.rescale.multiplier_of(o)), shift.push_back(f.rescale.shift_of(o));
    add_table(c.p, "int32_t", "multiplier", multiplier);
    add_table(c.p, "int32_t", "shift", shift);
  }
  c.p.overlaps.assign(step.inputs.size(), Overlap{});
  c.p.instructions = static_cast<double>(f.macs()) * (f.depthwise ? 5 : 2);
  return finished(std::move(c), v, step, dense ? kDense : kConv, {name});
}

Call call(const CmsisNn& library, const Step& step, const PoolForm& f) {
  const Window& w = f.window;
  bool maximum = f.kind == PoolForm::Kind::maximum;
  if (f.is_float) return not_because("floats");
  if (f.halves) return not_because("activations of 16 bits");
  if (f.kind == PoolForm::Kind::sum) return not_because("a sum over a window");
  if (f.rounding_zero) return not_because("means of unsigned bytes, which are rounded from another zero");
  if (w.dilation_h != 1 || w.dilation_w != 1) return not_because("a pool with dilation");
  if (w.batch != 1) return not_because("a pool of a batch, which not all releases take");
  std::string name = maximum ? "arm_max_pool_s8" : "arm_avgpool_s8";
  if (!library.has(name)) return not_because(name + " is not in this release");
  Call c;
  Values v = window_values(w);
  int64_t room = maximum ? 0 : library.mean_bytes(w);
  set(v, "ROOM", room), set(v, "LOW", f.low), set(v, "HIGH", f.high);
  c.p.scratch = (room + 3) / 4 * 4;
  c.p.overlaps = {{}};
  c.p.instructions = static_cast<double>(w.pixels() * w.out_c * w.kernel_h * w.kernel_w) * 3;
  return finished(std::move(c), v, step, kPool, {name});
}

Call call(const CmsisNn& library, const Step& step, const AddForm& f) {
  if (f.is_float) return not_because("floats");
  if (f.negate_b) return not_because("a difference");
  if (!library.has("arm_elementwise_add_s8")) return not_because("arm_elementwise_add_s8 is not in this release");
  Call c;
  Values v;
  set_sum(v, f, f.elements);
  c.p.overlaps = {{std::nullopt, true}, {std::nullopt, true}};  // element by element
  c.p.instructions = static_cast<double>(f.elements) * 25;
  return finished(std::move(c), v, step, kAdd, {"arm_elementwise_add_s8"});
}

Call call(const CmsisNn& library, const Step& step, const ProductForm& f) {
  if (!library.has("arm_elementwise_mul_s8")) return not_because("arm_elementwise_mul_s8 is not in this release");
  Call c;
  Values v;
  set(v, "ZA", f.zero_a), set(v, "ZB", f.zero_b), set(v, "N", f.elements);
  set(v, "ZP", f.rescale.zero_point), set(v, "MUL", f.rescale.multiplier[0]), set(v, "SHIFT", f.rescale.shift[0]);
  set(v, "LOW", f.rescale.low), set(v, "HIGH", f.rescale.high);
  c.p.overlaps = {{std::nullopt, true}, {std::nullopt, true}};
  c.p.instructions = static_cast<double>(f.elements) * 15;
  return finished(std::move(c), v, step, kMul, {"arm_elementwise_mul_s8"});
}

Call call(const CmsisNn& library, const Step& step, const SoftmaxForm& f) {
  if (f.is_float) return not_because("floats");
  if (!library.has("arm_softmax_s8")) return not_because("arm_softmax_s8 is not in this release");
  Call c;
  Values v;
  set(v, "ROWS", f.rows), set(v, "COLUMNS", f.columns), set(v, "MUL", f.multiplier), set(v, "SHIFT", f.shift);
  // Differences from here on do not count.
  set(v, "LEAST", -static_cast<int64_t>(std::floor(31.0 * std::ldexp(1.0, 26 - f.shift))));
  c.p.overlaps = {{}};
  c.p.instructions = static_cast<double>(f.rows * f.columns) * 200;
  return finished(std::move(c), v, step, kSoftmax, {"arm_softmax_s8"});
}

template <class Form>
Call call(const CmsisNn&, const Step&, const Form&) {
  return not_because("the library has no such function");
}

}  // namespace

Prepared CmsisKernels::prepare(const Model& model, const Step& step, const PrepareOptions& options) const {
  Call c = std::visit([&](const auto& form) { return call(library_, step, form); },
                      static_cast<const DeviceForm::variant&>(step.form));
  bool bytes = element(model, step.output) == Element::i8;
  for (int t : step.inputs) bytes = bytes && element(model, t) == Element::i8;
  if (c.why_not.empty() && !bytes) c.why_not = "results or inputs are no signed bytes";
  if (c.why_not.empty()) return c.p;
  Prepared own = own_.prepare(model, step, options);
  own.notes.push_back("an own kernel, not CMSIS-NN: " + c.why_not);
  return own;
}

}  // namespace sorus::device
