#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "sorus/device/kernel_parts.h"
#include "sorus/device/kernels_dsp.h"

namespace sorus::device::dsp {

// From the sum to 8 bits. FAST: sums are small enough for SMMULR.
const char* const kRound = R"(
static inline int8_t $FN_round(int32_t sum, $MTYPE multiplier, int right$RESARG)
{
?FAST   int32_t v = $P_high(sum, multiplier);
?FAST?FIX   v += v >> 31; /* halves away from zero */
?FAST   v = (v + ((1 << right) >> 1) + ($ZP) * (1 << right)) >> right;
!FAST!REAL   int32_t v = $RESCALE(sum, multiplier, right) + ($ZP);
?REAL   int32_t v = $P_rescale_real((float)sum, multiplier) + ($ZP);
?REAL   (void)right;
?CLAMP   v = $P_clamp(v, $LOW, $HIGH);
!CLAMP   v = __ssat(v, 8);
?RES   v = $FN_add(v, other);
  return (int8_t)v;
}

)";

void set(Values& v, const char* name, int64_t value) { v[name] = std::to_string(value); }

namespace {

// "multiplier[o + 1]" for channel o + 1.
std::string for_channel(const std::string& expression, int channel) {
  size_t at = expression.find("[o]");
  return channel == 0 || at == std::string::npos ? expression
                                                 : expression.substr(0, at) + fmt::format("[o + {}]", channel);
}

// The largest sum there can be, by absolute value.
int64_t largest_sum(const ConvForm& f, const std::vector<int64_t>& bias) {
  const Window& w = f.window;
  int64_t taps = w.kernel_h * w.kernel_w, largest = 0;
  for (int64_t o = 0; o < w.out_c; ++o) {
    int64_t sum = std::abs(bias[static_cast<size_t>(o)]);
    if (f.depthwise)
      for (int64_t k = 0; k < taps; ++k)
        sum += 128 * std::abs(int64_t{f.weight[static_cast<size_t>(k * w.out_c + o)]});
    else
      for (int64_t k = 0; k < taps * w.in_c; ++k)
        sum += 128 * std::abs(int64_t{f.weight[static_cast<size_t>(o * taps * w.in_c + k)]});
    largest = std::max(largest, sum);
  }
  return largest;
}

}  // namespace

void common(Values& v, Prepared& p, const Step& step, const ConvForm& f, int64_t pad) {
  v = window_values(f.window);
  std::vector<int64_t> bias = folded_bias(f);
  int64_t most = largest_sum(f, bias);
  add_table(p, "int32_t", "bias", bias, pad);
  set_rescale(v, p, f.rescale, f.window.out_c, pad);
  set_residual(v, p, step.residual);
  bool fast = f.rescale.real.empty() && most < (1 << 29);
  if (fast) {
    auto [low, high] = std::minmax_element(f.rescale.shift.begin(), f.rescale.shift.end());
    fast = *high <= 0 && *low >= -20 && (*high < 0 || v["FIX"] == "0");
  }
  v["MTYPE"] = f.rescale.real.empty() ? "int32_t" : "float";
  set(v, "FAST", fast);
  if (fast) std::erase_if(p.helpers, [](const std::string& h) { return h == "rescale" || h == "rescale_left"; });
  if (fast && step.residual) p.helpers.push_back("rescale");
  if (fast) p.helpers.push_back("dsp_high");
  v["RESARG"] = step.residual ? ", int32_t other" : "";
  set(v, "IZ", f.input_zero);
  p.helpers.push_back("dsp");
  if (v["CLAMP"] == "1") p.helpers.push_back("clamp");
  for (int c = 0; c < 4; ++c) {
    v[fmt::format("MUL{}", c)] = for_channel(v["MUL"], c);
    v[fmt::format("RIGHT{}", c)] = for_channel(v["RIGHT"], c);
  }
}

}  // namespace sorus::device::dsp
