#include <algorithm>

#include "sorus/device/kernel_parts.h"
#include "sorus/device/kernels_dsp.h"

namespace sorus::device::dsp {
namespace {

const char* const kDepthwise = R"(
static void $FN_row(const int8_t *from, $P_half *to, int inside)
{
  int i;
?PAD   if (!inside) {
?PAD     for (i = 0; i < $IW; i++) to[i] = $IZ;
?PAD     return;
?PAD   }
!PAD   (void)inside;
  for (i = 0; i + 4 <= $IW; i += 4, from += 4 * $IC) {
    to[i] = from[0];
    to[i + 1] = from[$IC];
    to[i + 2] = from[2 * $IC];
    to[i + 3] = from[3 * $IC];
  }
?TAILS   for (; i < $IW; i++, from += $IC) to[i] = *from;
}

static void $FN($ARGS)
{
  $P_half *r0 = scratch, *r1 = r0 + $ROW, *r2 = r1 + $ROW;
  int o, x, y;
?EDGES   for (x = 0; x < 3 * $ROW; x++) r0[x] = $IZ;
  for (o = 0; o < $OC; o++, w += 9) {
    const uint32_t a0 = $P_pair(w[0], w[1]), b0 = $P_pair(w[1], w[2]), a1 = $P_pair(w[3], w[4]), b1 = $P_pair(w[4], w[5]);
    const uint32_t a2 = $P_pair(w[6], w[7]), b2 = $P_pair(w[7], w[8]);
    const int8_t *const from = in + o;
    int8_t *to = out + o;
#define $FN_LOAD(y, r) $FN_row(from + (y) * ($IW * $IC), r + $PL, (y) >= 0 && (y) < $IH)
?S1     $FN_LOAD(-$PT, r1);
    $FN_LOAD($FIRST, r2);
    for (y = 0; y < $OH; y++) {
      $P_half *const spare = r0;
?S1       r0 = r1, r1 = r2, r2 = spare;
?S2       r0 = r2, r2 = spare;
?S2       $FN_LOAD(y * 2 - $PT + 1, r1);
      $FN_LOAD(y * $SH - $PT + 2, r2);
      {
        const $P_word *u = (const $P_word *)r0, *v = (const $P_word *)r1, *z = (const $P_word *)r2;
?W1         for (x = 0; x < $OW; x += 2, u++, v++, z++, to += 2 * $OC) {
?W1           int32_t s = bias[o], t = s;
?W1           s = $P_MAC(u[0], a0, s), t = $P_TB(u[0], a0, t), s = $P_BT(u[1], b0, s), t = $P_MAC(u[1], b0, t);
?W1           s = $P_MAC(v[0], a1, s), t = $P_TB(v[0], a1, t), s = $P_BT(v[1], b1, s), t = $P_MAC(v[1], b1, t);
?W1           s = $P_MAC(z[0], a2, s), t = $P_TB(z[0], a2, t), s = $P_BT(z[1], b2, s), t = $P_MAC(z[1], b2, t);
?W1           to[0] = $FN_round(s, $MUL, $RIGHT);
?W1?ODDW           if (x + 1 == $OW) {
?W1?ODDW             to += $OC;
?W1?ODDW             break;
?W1?ODDW           }
?W1           to[$OC] = $FN_round(t, $MUL, $RIGHT);
?W1         }
?W2         for (x = 0; x < $OW; x++, u++, v++, z++, to += $OC) {
?W2           int32_t s = bias[o];
?W2           s = $P_MAC(u[0], a0, s), s = $P_BT(u[1], b0, s);
?W2           s = $P_MAC(v[0], a1, s), s = $P_BT(v[1], b1, s);
?W2           s = $P_MAC(z[0], a2, s), s = $P_BT(z[1], b2, s);
?W2           to[0] = $FN_round(s, $MUL, $RIGHT);
?W2         }
      }
    }
#undef $FN_LOAD
  }
}
)";

}  // namespace

Prepared depthwise(const Step& step, const ConvForm& f) {
  Prepared p;
  Values v;
  const Window& w = f.window;
  std::vector<int64_t> packed;
  for (int64_t o = 0; o < w.out_c; ++o)
    for (int64_t k = 0; k < 9; ++k) packed.push_back(f.weight[static_cast<size_t>(k * w.out_c + o)]);
  add_table(p, "int8_t", "w", packed);
  common(v, p, step, f, 1);
  int64_t row = std::max(w.pad_left + w.in_w, (w.out_w - 1) * w.stride_w + 4);
  row += row % 2;
  set(v, "ROW", row), set(v, "S1", w.stride_h == 1), set(v, "S2", w.stride_h == 2), set(v, "W1", w.stride_w == 1);
  set(v, "W2", w.stride_w == 2), set(v, "FIRST", w.stride_h == 1 ? 1 - w.pad_top : -w.pad_top),
      set(v, "ODDW", w.out_w % 2);
  set(v, "EDGES", row > w.in_w), set(v, "TAILS", w.in_w % 4);
  p.scratch = 3 * row * 2;
  p.overlaps.push_back({std::nullopt, true});
  p.helpers.push_back("dsp_depthwise");
  p.instructions = static_cast<double>(w.pixels() * w.out_c) * 22 + static_cast<double>(w.in_h * w.in_w * w.in_c) * 3;
  p.kernel = "depthwise 3x3, DSP, in place";
  set_arguments(v, p, "int8_t", step.inputs.size(), "int8_t");
  p.text = fill(std::string(kRound + 1) + (kDepthwise + 1), v);
  return p;
}

}  // namespace sorus::device::dsp
