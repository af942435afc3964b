// Kernels for Helium (Cortex-M55, M85): VMLADAVA multiplies sixteen pairs of bytes and adds all products to one sum.
//
//   convolution   four pixels are gathered, each 16 bytes of weights meet all four; the four sums of a channel become
//                 one vector, are rounded together and scattered to their pixels
//   dense         the same with four rows of weights and one input
//   depthwise     eight channels side by side, in 16 bits; even and odd channels have a vector of sums each, so their
//                 constants lie in that order
//
// What is not here is done by the DSP kernels, which this processor runs too.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/kernel_parts.h"

namespace sorus::device {
namespace {

// From four sums to four results in 32 bits. MULV and SHIFTV: one number or a vector.
const char* const kRound = R"(
static inline int32x4_t $FN_round(int32x4_t v, $MTYPE multiplier, $STYPE left$RESARG)
{
  v = vqrdmulhq$NM_s32(v, multiplier);
?FIX?NOSHIFT   v = vaddq_s32(v, $SIGNS);
?FIX!NOSHIFT   v = vaddq_s32(v, vshrq_n_s32(v, 31));
  v = vrshlq$NS_s32(v, left);
!NARROW   v = vaddq_n_s32(v, $ZP);
!NARROW   v = vminq_s32(vmaxq_s32(v, vdupq_n_s32($LOW)), vdupq_n_s32($HIGH));
?RES   v = $FN_add(v, other);
  return v;
}

?NARROW /* Even and odd channels side by side in 16 bits, clamped. */
?NARROW static inline int16x8_t $FN_join(int32x4_t even, int32x4_t odd)
?NARROW {
?NARROW   const int16x8_t v = vqmovntq_s32(vqmovnbq_s32(vuninitializedq_s16(), even), odd);
?NARROW   return vminq_s16(vmaxq_s16(vqaddq_n_s16(v, $ZP), vdupq_n_s16($LOW)), vdupq_n_s16($HIGH));
?NARROW }
?NARROW
)";

const char* const kResidual = R"(
?RES /* The residual connection: v is the result of the sums of products, r what is added to it. */
?RES static inline int32x4_t $FN_add(int32x4_t v, int32x4_t r)
?RES {
?RES   int32x4_t a = $P_rescale4(vshlq_n_s32(vaddq_n_s32(v, -($RZA)), $RLS), $RMA, $RSA);
?RES   int32x4_t b = $P_rescale4(vshlq_n_s32(vaddq_n_s32(r, -($RZB)), $RLS), $RMB, $RSB);
?RES   a = vaddq_n_s32($P_rescale4($RVOP(a, b), $RMO, $RSO), $RZO);
?RES   return vminq_s32(vmaxq_s32(a, vdupq_n_s32($RLOW)), vdupq_n_s32($RHIGH));
?RES }
?RES
)";

const char* const kConv = R"(
static void $FN($ARGS)
{
  int8_t *const x = scratch; /* four pixels, $STRIDE bytes each */
  const uint32x4_t pixels = vmulq_n_u32(vidupq_n_u32(0, 1), $OC);
  int p, o;
!PACKED   int q;
  for (p = 0; p < $N; p += 4) {
    const int8_t *row = w;
    const int n = $N - p < 4 ? $N - p : 4;
    const mve_pred16_t there = vctp32q((uint32_t)n);
?PACKED     $P_copy(in + p * $K, x, n * $K);
!PACKED     for (q = 0; q < n; q++) {
!PACKED       const int at = p + q;
!PACKED       int8_t *to = x + q * $STRIDE;
!PACKED       const int top = at / $OW % $OH * $SH - $PT, left = at % $OW * $SW - $PL;
!PACKED       const int8_t *const image = in + at / ($OW * $OH) * ($IH * $IW * $IC);
!PACKED       int i;
!PACKED       for (i = 0; i < $KH; i++, to += $RUN) {
!PACKED         const int y = top + i * $DH;
!PACKED         const int8_t *const line = image + (y * $IW + left) * $IC;
!PACKED?PAD         if (y < 0 || y >= $IH) {
!PACKED?PAD           $P_set(to, $IZ, $RUN);
!PACKED?PAD           continue;
!PACKED?PAD         }
!PACKED?EDGES         if (left < 0 || left + ($KW - 1) * $DW >= $IW$ALWAYS) {
!PACKED?EDGES           int j;
!PACKED?EDGES           for (j = 0; j < $KW; j++) {
!PACKED?EDGES             if (left + j * $DW < 0 || left + j * $DW >= $IW)
!PACKED?EDGES               $P_set(to + j * $IC, $IZ, $IC);
!PACKED?EDGES             else
!PACKED?EDGES               $P_copy(line + j * $DW * $IC, to + j * $IC, $IC);
!PACKED?EDGES           }
!PACKED?EDGES           continue;
!PACKED?EDGES         }
!PACKED         $P_copy(line, to, $RUN);
!PACKED       }
!PACKED     }
    for (o = 0; o < $OC; o++, row += $K) {
      int8_t *const to = out + p * $OC + o;
      int32x4_t v = $P_products4(row, x, bias[o], $K);
      v = $FN_round(v, $MUL, $SHL$OTHER);
      vstrbq_scatter_offset_p_s32(to, pixels, v, there);
    }
  }
}
)";

const char* const kDense = R"(
static void $FN($ARGS)
{
?TAIL   const mve_pred16_t tail = vctp8q($TAIL);
  int o, k;
  for (o = 0; o < $OC; o += 4, w += 4 * $K) {
    const mve_pred16_t there = vctp32q((uint32_t)($OC - o));
    const int8_t *x = in, *row = w;
    int32_t s0 = bias[o], s1 = bias[o + 1], s2 = bias[o + 2], s3 = bias[o + 3];
    int32x4_t v;
    for (k = 0; k < $CHUNKS; k++, x += 16, row += 16) {
      const int8x16_t t = vldrbq_s8(x);
      s0 = vmladavaq_s8(s0, t, vldrbq_s8(row)), s1 = vmladavaq_s8(s1, t, vldrbq_s8(row + $K));
      s2 = vmladavaq_s8(s2, t, vldrbq_s8(row + 2 * $K)), s3 = vmladavaq_s8(s3, t, vldrbq_s8(row + 3 * $K));
    }
?TAIL     {
?TAIL       const int8x16_t t = vldrbq_z_s8(x, tail);
?TAIL       s0 = vmladavaq_s8(s0, t, vldrbq_z_s8(row, tail)), s1 = vmladavaq_s8(s1, t, vldrbq_z_s8(row + $K, tail));
?TAIL       s2 = vmladavaq_s8(s2, t, vldrbq_z_s8(row + 2 * $K, tail)), s3 = vmladavaq_s8(s3, t, vldrbq_z_s8(row + 3 * $K, tail));
?TAIL     }
    v = vsetq_lane_s32(s0, vuninitializedq_s32(), 0), v = vsetq_lane_s32(s1, v, 1);
    v = vsetq_lane_s32(s2, v, 2), v = vsetq_lane_s32(s3, v, 3);
    v = $FN_round(v, $MULV, $SHLV$OTHER);
    vstrbq_p_s32(out + o, v, there);
  }
}
)";

const char* const kDepthwise = R"(
static void $FN($ARGS)
{
?PAD   int8_t *const outside = scratch; /* what lies outside the image */
  int p, o;
?PAD   $P_set(outside, $IZ, $IC);
  for (p = 0; p < $N; p++, out += $OC) {
    const int top = p / $OW % $OH * $SH - $PT, left = p % $OW * $SW - $PL;
    const int8_t *const image = in + p / ($OW * $OH) * ($IH * $IW * $IC) + (top * $IW + left) * $IC;
    const int8_t *row = w;
?PAD     if (top < 0 || left < 0 || top + $REACHH >= $IH || left + $REACHW >= $IW) {
?PAD       const int8_t *taps[$TAPS];
?PAD       int i, j;
?PAD       for (i = 0; i < $KH; i++)
?PAD         for (j = 0; j < $KW; j++) {
?PAD           const int y = top + i * $DH, z = left + j * $DW;
?PAD           const int inside = y >= 0 && y < $IH && z >= 0 && z < $IW;
?PAD           taps[i * $KW + j] = inside ? image + (i * $DH * $IW + j * $DW) * $IC : outside;
?PAD         }
?PAD       for (o = 0; o < $OC; o += 8) {
?PAD         int32x4_t even = vldrwq_s32(bias + o), odd = vldrwq_s32(bias + o + 4);
?PAD?RAGGED         const mve_pred16_t there = vctp16q((uint32_t)($OC - o));
?PAD         for (i = 0; i < $TAPS; i++, row += 8) {
?PAD?RAGGED           const int16x8_t x = vldrbq_z_s16(taps[i] + o, there), t = vldrbq_s16(row);
?PAD!RAGGED           const int16x8_t x = vldrbq_s16(taps[i] + o), t = vldrbq_s16(row);
?PAD           even = vaddq_s32(even, vmullbq_int_s16(x, t)), odd = vaddq_s32(odd, vmulltq_int_s16(x, t));
?PAD         }
?PAD         even = $FN_round(even, $MULV, $SHLV);
?PAD         odd = $FN_round(odd, $MULW, $SHLW);
?PAD?RAGGED         vstrbq_p_s16(out + o, $FN_join(even, odd), there);
?PAD!RAGGED         vstrbq_s16(out + o, $FN_join(even, odd));
?PAD       }
?PAD       continue;
?PAD     }
    for (o = 0; o < $OC; o += 8, row += 8 * $TAPS) {
      int32x4_t even = vldrwq_s32(bias + o), odd = vldrwq_s32(bias + o + 4);
?RAGGED       const mve_pred16_t there = vctp16q((uint32_t)($OC - o));
$CHUNKTEXT      even = $FN_round(even, $MULV, $SHLV);
      odd = $FN_round(odd, $MULW, $SHLW);
?RAGGED       vstrbq_p_s16(out + o, $FN_join(even, odd), there);
!RAGGED       vstrbq_s16(out + o, $FN_join(even, odd));
    }
  }
}
)";

// One place of the window. The barrier keeps the compiler from loading all of them first, for which there are not
// enough registers.
const char* const kTap = R"(
      {
?RAGGED         const int16x8_t x = vldrbq_z_s16(image + $AT + o, there), t = vldrbq_s16(row + $ROWAT);
!RAGGED         const int16x8_t x = vldrbq_s16(image + $AT + o), t = vldrbq_s16(row + $ROWAT);
        even = vaddq_s32(even, vmullbq_int_s16(x, t)), odd = vaddq_s32(odd, vmulltq_int_s16(x, t));
        __asm__ volatile("" ::: "memory");
      }
)";

void set(Values& v, const char* name, int64_t value) { v[name] = std::to_string(value); }

class Mve : public KernelSet {
 public:
  Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const override {
    auto* f = std::get_if<ConvForm>(&step.form);
    if (!f) return with_dot("mve_dot", plain_kernels().prepare(model, step, options));
    bool left = std::any_of(f->rescale.shift.begin(), f->rescale.shift.end(), [](int32_t s) { return s > 0; });
    if (!f->bytes() || !f->rescale.real.empty() || f->weight_zero != 0 || left)
      return dsp_kernels().prepare(model, step, options);
    const Window& w = f->window;
    if (f->depthwise)
      return w.in_c == w.out_c && !step.residual ? depthwise(step, *f) : dsp_kernels().prepare(model, step, options);
    bool whole = w.pixels() == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
    return whole && !step.residual ? dense(step, *f) : conv(step, *f);
  }

 private:
  // Constants of rounding. `by_vector`: neighbouring results differ in channel, not in pixel; `order` is that of
  // tables.
  static void common(Values& v, Prepared& p, const Step& step, const ConvForm& f, bool by_vector, int64_t pad,
                     const std::vector<int64_t>& order) {
    const Rescale& r = f.rescale;
    v = window_values(f.window);
    auto same = [](const std::vector<int32_t>& list) {
      return std::all_of(list.begin(), list.end(), [&](int32_t s) { return s == list[0]; });
    };
    auto arranged = [&](auto value) {
      std::vector<int64_t> list;
      for (int64_t c : order) list.push_back(c < f.window.out_c ? value(c) : 0);
      return list;
    };
    std::vector<int64_t> bias = folded_bias(f);
    add_table(p, "int32_t", "bias", arranged([&](int64_t c) { return bias[static_cast<size_t>(c)]; }), pad);
    bool one_multiplier = same(r.multiplier), one_shift = same(r.shift);
    v["MUL"] = one_multiplier ? std::to_string(r.multiplier[0]) : "multiplier[o]";
    v["SHL"] = one_shift ? std::to_string(r.shift[0]) : "lshift[o]";
    v["MULV"] = one_multiplier ? v["MUL"] : "vldrwq_s32(multiplier + o)";
    v["SHLV"] = one_shift ? v["SHL"] : "vldrbq_s32(lshift + o)";
    v["MULW"] = one_multiplier ? v["MUL"] : "vldrwq_s32(multiplier + o + 4)";
    v["SHLW"] = one_shift ? v["SHL"] : "vldrbq_s32(lshift + o + 4)";
    bool vector_m = by_vector && !one_multiplier, vector_s = by_vector && !one_shift;
    v["MTYPE"] = vector_m ? "int32x4_t" : "int32_t", v["STYPE"] = vector_s ? "int32x4_t" : "int32_t";
    v["NM"] = vector_m ? "" : "_n", v["NS"] = vector_s ? "" : "_n";
    if (!one_multiplier)
      add_table(p, "int32_t", "multiplier", arranged([&](int64_t c) { return r.multiplier_of(c); }), pad);
    if (!one_shift) add_table(p, "int8_t", "lshift", arranged([&](int64_t c) { return r.shift_of(c); }), pad);
    set(v, "ZP", r.zero_point), set(v, "LOW", r.low), set(v, "HIGH", r.high), set(v, "FIX", r.low < r.zero_point);
    // Without a shift there is no second rounding to mend.
    set(v, "NOSHIFT", std::any_of(r.shift.begin(), r.shift.end(), [](int32_t s) { return s == 0; }));
    v["SIGNS"] = vector_s ? "vandq_s32(vshrq_n_s32(v, 31), vshrq_n_s32(left, 31))"
                          : "vandq_s32(vshrq_n_s32(v, 31), vdupq_n_s32(left >> 31))";
    set_residual(v, p, step.residual);
    v["RVOP"] = step.residual && step.residual->negate_b ? "vsubq_s32" : "vaddq_s32";
    if (step.residual) {
      const AddForm& a = *step.residual;
      set(v, "RSA", a.shift_a), set(v, "RSB", a.shift_b), set(v, "RSO", a.rescale.shift[0]);
      p.helpers = {"mve_rescale"};
    }
    v["RESARG"] = step.residual ? ", int32x4_t other" : "";
    set(v, "IZ", f.input_zero), v["OTHER"] = "";
    set(v, "NARROW", f.depthwise);
    p.helpers.push_back("mve");
  }

  static std::vector<int64_t> natural(int64_t n) {
    std::vector<int64_t> order;
    for (int64_t c = 0; c < n; ++c) order.push_back(c);
    return order;
  }

  static void finish(Values& v, Prepared& p, const Step& step, std::string text, const std::string& chunks) {
    size_t at = text.find("$CHUNKTEXT");
    if (at != std::string::npos) text.replace(at, 10, chunks);
    set_arguments(v, p, "int8_t", step.inputs.size(), "int8_t");
    p.text = fill(std::string(kResidual) + (kRound + 1) + text, v);
  }

  static Prepared conv(const Step& step, const ConvForm& f) {
    Prepared p;
    Values v;
    const Window& w = f.window;
    int64_t k = w.kernel_h * w.kernel_w * w.in_c, stride = (k + 15) / 16 * 16;
    add_table(p, "int8_t", "w", {f.weight.begin(), f.weight.end()});
    common(v, p, step, f, false, 1, natural(w.out_c));
    bool pointwise = w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && w.inside();
    bool sides =
        w.pad_left > 0 || (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w - w.pad_left >= w.in_w;
    set(v, "K", k), set(v, "STRIDE", stride), set(v, "RUN", w.kernel_w * w.in_c),
        set(v, "PACKED", pointwise && stride == k);
    set(v, "EDGES", sides || w.dilation_w > 1), v["ALWAYS"] = w.dilation_w > 1 ? " || 1" : "";
    if (step.residual)
      v["OTHER"] = fmt::format(", vldrbq_gather_offset_z_s32(in2 + p * {} + o, pixels, there)", w.out_c);
    p.scratch = 4 * stride;
    p.overlaps.push_back({sliding_gap(w, 1, 4, true), false});
    // A channel's residual elements are read before its results are written, pixel by pixel the same place.
    if (step.residual) p.overlaps.push_back({4 * w.out_c, true});
    p.helpers.push_back("mve_copy"), p.helpers.push_back("mve_products4");
    if (!w.inside()) p.helpers.push_back("mve_set");
    double groups = static_cast<double>((w.pixels() + 3) / 4);
    p.instructions = groups * static_cast<double>(w.out_c * (stride / 16 * 10 + 45) + 4 * w.kernel_h * 30);
    p.kernel = "convolution, Helium, 4 pixels";
    finish(v, p, step, kConv + 1, "");
    return p;
  }

  static Prepared dense(const Step& step, const ConvForm& f) {
    Prepared p;
    Values v;
    const Window& w = f.window;
    int64_t k = w.kernel_h * w.kernel_w * w.in_c;
    std::vector<int64_t> packed(f.weight.begin(), f.weight.end());
    packed.resize(static_cast<size_t>((w.out_c + 3) / 4 * 4 * k));  // groups of four rows
    add_table(p, "int8_t", "w", packed);
    common(v, p, step, f, true, 4, natural(w.out_c));
    set(v, "K", k), set(v, "CHUNKS", k / 16), set(v, "TAIL", k % 16);
    p.overlaps.push_back({});
    p.instructions = static_cast<double>((w.out_c + 3) / 4) * static_cast<double>((k + 15) / 16 * 11 + 40);
    p.kernel = "dense, Helium";
    finish(v, p, step, kDense + 1, "");
    return p;
  }

  static Prepared depthwise(const Step& step, const ConvForm& f) {
    Prepared p;
    Values v;
    const Window& w = f.window;
    int64_t taps = w.kernel_h * w.kernel_w, padded = (w.out_c + 7) / 8 * 8;
    std::vector<int64_t> packed, order;
    for (int64_t o = 0; o < padded; o += 8) {
      for (int64_t k = 0; k < taps; ++k)
        for (int64_t c = o; c < o + 8; ++c)
          packed.push_back(c < w.out_c ? f.weight[static_cast<size_t>(k * w.out_c + c)] : 0);
      for (int64_t c : {0, 2, 4, 6, 1, 3, 5, 7}) order.push_back(o + c);
    }
    add_table(p, "int8_t", "w", packed);
    common(v, p, step, f, true, 8, order);
    set(v, "RAGGED", w.out_c % 8);
    std::string text;
    for (int64_t k = 0; k < taps; ++k) {
      set(v, "AT", (k / w.kernel_w * w.dilation_h * w.in_w + k % w.kernel_w * w.dilation_w) * w.in_c),
          set(v, "ROWAT", 8 * k);
      text += fill(kTap, v);
    }
    set(v, "REACHH", (w.kernel_h - 1) * w.dilation_h), set(v, "REACHW", (w.kernel_w - 1) * w.dilation_w);
    if (!w.inside()) p.scratch = (w.in_c + 3) / 4 * 4, p.helpers.push_back("mve_set");
    p.overlaps.push_back({sliding_gap(w, 1, 1, false), false});
    p.instructions = static_cast<double>(w.pixels()) *
                     (static_cast<double>(padded / 8 * (taps * 6 + 26)) + static_cast<double>(taps) * 6);
    p.kernel = "depthwise, Helium, 8 channels";
    finish(v, p, step, kDepthwise + 1, text);
    return p;
  }
};

}  // namespace

const KernelSet& mve_kernels() {
  static const Mve set;
  return set;
}

}  // namespace sorus::device
