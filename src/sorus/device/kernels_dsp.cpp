// Kernels for Arm's DSP extension (Cortex-M4, M7, M33): SMLAD multiplies two pairs of 16-bit numbers and adds both
// products. Bytes have to become 16-bit pairs first, which is what these kernels save on:
//
//   convolution   four pixels are spread to 16 bits once and used by all output channels; weights of two channels lie
//                 interleaved, so that one word gives a pair of each: 8 products of pairs for 3 instructions of
//                 weights
//   depthwise     three rows of one channel at a time are spread to 16 bits, in a ring; since a channel's bytes are
//   read
//                 before its results are written, the result may take the input's place
//   dense         four rows of weights share the input, and nothing is spread in advance: no scratch
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "sorus/device/kernel_parts.h"
#include "sorus/device/kernels_dsp.h"

namespace sorus::device {
namespace {

using dsp::common, dsp::depthwise, dsp::kRound, dsp::set;

const char* const kConv = R"(
static void $FN($ARGS)
{
  $P_word *const pairs = scratch; /* pair i of pixel q at i * $G + q */
  int p, o, q;
?LOOPS   int k;
  for (p = 0; p < $N; p += $G) {
    const int8_t *row = w;
?RAGGED     const int n = $N - p < $G ? $N - p : $G;
!RAGGED     const int n = $G;
    for (q = 0; q < n; q++) {
      const int at = p + q;
      $P_word *to = pairs + q;
?POINTWISE       $P_expand$G(in + at * $IC, to, $IC);
!POINTWISE       const int top = at / $OW % $OH * $SH - $PT, left = at % $OW * $SW - $PL;
!POINTWISE       const int8_t *const image = in + at / ($OW * $OH) * ($IH * $IW * $IC);
!POINTWISE       int i;
!POINTWISE       for (i = 0; i < $KH; i++) {
!POINTWISE         const int y = top + i * $DH;
!POINTWISE         const int8_t *const line = image + (y * $IW + left) * $IC;
!POINTWISE?PAD         if (y < 0 || y >= $IH) {
!POINTWISE?PAD           for (k = 0; k < $RUN; k += 2, to += $G) *to = $IZPAIR;
!POINTWISE?PAD           continue;
!POINTWISE?PAD         }
!POINTWISE?EDGES         if (left < 0 || left + ($KW - 1) * $DW >= $IW$ALWAYS) {
!POINTWISE?EDGES           $P_half *const h = ($P_half *)to;
!POINTWISE?EDGES           int j, e = 0;
!POINTWISE?EDGES           for (j = 0; j < $KW; j++)
!POINTWISE?EDGES             for (k = 0; k < $IC; k++, e++)
!POINTWISE?EDGES               h[(e >> 1) * (2 * $G) + (e & 1)] = left + j * $DW < 0 || left + j * $DW >= $IW ? $IZ : line[j * $DW * $IC + k];
!POINTWISE?EDGES           to += ($RUN + 1) / 2 * $G;
!POINTWISE?EDGES           continue;
!POINTWISE?EDGES         }
!POINTWISE         to = $P_expand$G(line, to, $RUN);
!POINTWISE       }
    }
    for (o = 0; o < $OC; o += 2) {
!G4       const $P_word *x = pairs;
      int32_t a0 = bias[o], b0 = bias[o + 1];
?G2!G4       int32_t a1 = a0, b1 = b0;
?G4       int32_t sums[8], a1, a2, a3, b1, b2, b3;
      int8_t *const to = out + p * $OC + o;
?RES       const int8_t *const other = in2 + p * $OC + o;
?G4       sums[0] = sums[1] = sums[2] = sums[3] = a0, sums[4] = sums[5] = sums[6] = sums[7] = b0;
?G4       row = $P_products4(row, pairs, $STEPS, sums);
?G4       a0 = sums[0], a1 = sums[1], a2 = sums[2], a3 = sums[3], b0 = sums[4], b1 = sums[5], b2 = sums[6], b3 = sums[7];
!G4       for (k = 0; k < $STEPS; k++) {
$UNROLLED!G4       }
      a0 = $FN_round(a0, $MUL0, $RIGHT0$OTHER0);
?G2       a1 = $FN_round(a1, $MUL0, $RIGHT0$OTHER1);
?G4       a2 = $FN_round(a2, $MUL0, $RIGHT0$OTHER2), a3 = $FN_round(a3, $MUL0, $RIGHT0$OTHER3);
      to[0] = (int8_t)a0;
?G2       if (n > 1) to[$OC] = (int8_t)a1;
?G4       if (n > 2) to[2 * $OC] = (int8_t)a2;
?G4       if (n > 3) to[3 * $OC] = (int8_t)a3;
?ODD       if (o + 1 == $OC) break;
      b0 = $FN_round(b0, $MUL1, $RIGHT1$OTHER0B);
?G2       b1 = $FN_round(b1, $MUL1, $RIGHT1$OTHER1B);
?G4       b2 = $FN_round(b2, $MUL1, $RIGHT1$OTHER2B), b3 = $FN_round(b3, $MUL1, $RIGHT1$OTHER3B);
      to[1] = (int8_t)b0;
?G2       if (n > 1) to[$OC + 1] = (int8_t)b1;
?G4       if (n > 2) to[2 * $OC + 1] = (int8_t)b2;
?G4       if (n > 3) to[3 * $OC + 1] = (int8_t)b3;
    }
  }
}
)";

// Two channels' weights for one pair of inputs, against each pixel.
const char* const kConvStep = R"(
        {
          const uint32_t v = $P_load4(row + $BYTE), wa = $P_EVEN(v), wb = $P_odd(v);
          a0 = $P_MAC(wa, x[$I0], a0), b0 = $P_MAC(wb, x[$I0], b0);
?G2           a1 = $P_MAC(wa, x[$I1], a1), b1 = $P_MAC(wb, x[$I1], b1);
        }
)";

const char* const kDense = R"(
static void $FN($ARGS)
{
  int o, k;
  for (o = 0; o < $OC; o += $R) {
    const int8_t *x = in;
?R4     int32_t sums[4], s0, s1, s2, s3;
!R4     int32_t s0 = bias[o], s1 = bias[o + 1];
?R4     for (k = 0; k < 4; k++) sums[k] = bias[o + k];
?R4     w = $P_dense4(x, w, $STEPS, sums);
?REST?R4     x += 4 * $STEPS;
?R4     s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
!R4     for (k = 0; k < $STEPS; k++) {
$UNROLLED!R4     }
?REST     for (k = 0; k < $REST; k++, x++, w += $R) {
?REST       s0 += *x * w[0], s1 += *x * w[1];
?REST?R4       s2 += *x * w[2], s3 += *x * w[3];
?REST     }
    out[o] = $FN_round(s0, $MUL0, $RIGHT0$OTHER0);
    if (o + 1 < $OC) out[o + 1] = $FN_round(s1, $MUL1, $RIGHT1$OTHER1);
?R4     if (o + 2 < $OC) out[o + 2] = $FN_round(s2, $MUL2, $RIGHT2$OTHER2);
?R4     if (o + 3 < $OC) out[o + 3] = $FN_round(s3, $MUL3, $RIGHT3$OTHER3);
  }
}
)";

// Four inputs against two rows.
const char* const kDenseStep = R"(
      {
        const uint32_t v = $P_load4(x + $X), a = $P_EVEN(v), b = $P_odd(v);
        uint32_t t = $P_load4(w + $W0);
        s0 = $P_MAC(a, $P_EVEN(t), s0), s0 = $P_MAC(b, $P_odd(t), s0);
        t = $P_load4(w + $W1);
        s1 = $P_MAC(a, $P_EVEN(t), s1), s1 = $P_MAC(b, $P_odd(t), s1);
      }
)";

// How often to unroll a loop of n rounds, at most `most` times.
int64_t largest_factor(int64_t n, int64_t most) {
  for (int64_t u = most; u > 1; --u)
    if (n % u == 0) return u;
  return 1;
}

class Dsp : public KernelSet {
 public:
  Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const override {
    auto* f = std::get_if<ConvForm>(&step.form);
    if (!f || !f->bytes() || f->weight_zero != 0)
      return with_dot("dsp_dot", plain_kernels().prepare(model, step, options));
    const Window& w = f->window;
    if (f->depthwise) {
      bool ring = w.kernel_h == 3 && w.kernel_w == 3 && w.dilation_h == 1 && w.dilation_w == 1 &&
                  w.stride_h == w.stride_w && (w.stride_h == 1 || w.stride_h == 2) && w.in_c == w.out_c &&
                  w.batch == 1 && !step.residual && w.out_h <= w.in_h && w.out_w <= w.in_w && w.pad_top <= 1 &&
                  w.pad_left <= 2;
      return ring ? depthwise(step, *f) : plain_kernels().prepare(model, step, options);
    }
    bool whole = w.pixels() == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
    return whole ? dense(step, *f, options) : conv(step, *f, options);
  }

 private:
  static Prepared conv(const Step& step, const ConvForm& f, const PrepareOptions& options) {
    Prepared p;
    Values v;
    const Window& w = f.window;
    int64_t run = w.kernel_w * w.in_c, pairs = (run + 1) / 2 * w.kernel_h,
            group = std::min<int64_t>(options.group, 4);
    while (group > 1 && group > w.pixels()) group /= 2;
    // [two channels][pair][channel, element of the pair]: a0 b0 a1 b1
    std::vector<int64_t> packed;
    for (int64_t o = 0; o < w.out_c; o += 2)
      for (int64_t i = 0; i < w.kernel_h; ++i)
        for (int64_t e = 0; e < run; e += 2)
          for (int64_t h = 0; h < 2; ++h)
            for (int64_t c = o; c < o + 2; ++c)
              packed.push_back(
                  c < w.out_c && e + h < run ? f.weight[static_cast<size_t>((c * w.kernel_h + i) * run + e + h)] : 0);
    add_table(p, "int8_t", "w", packed);
    common(v, p, step, f, 2);
    int64_t unroll = options.size || group == 4 ? 1 : largest_factor(pairs, 8);
    set(v, "RUN", run), set(v, "G", group), set(v, "G2", group >= 2), set(v, "G4", group >= 4);
    set(v, "RAGGED", w.pixels() % group != 0), set(v, "STEPS", pairs / unroll), set(v, "ODD", w.out_c % 2);
    bool pointwise = w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && w.inside();
    bool sides =
        w.pad_left > 0 || (w.out_w - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w - w.pad_left >= w.in_w;
    set(v, "POINTWISE", pointwise), set(v, "EDGES", sides || w.dilation_w > 1);
    set(v, "LOOPS", group < 4 || (!pointwise && (!w.inside() || v["EDGES"] == "1")));
    v["ALWAYS"] = w.dilation_w > 1 ? " || 1" : "";
    v["IZPAIR"] = fmt::format("0x{:08x}u", static_cast<uint32_t>(f.input_zero & 0xffff) * 0x10001u);
    for (int q = 0; q < 4; ++q)
      for (int c = 0; c < 2; ++c)
        v[fmt::format("OTHER{}{}", q, c ? "B" : "")] =
            !step.residual ? ""
            : q == 0       ? fmt::format(", other[{}]", c)
                           : fmt::format(", {} > {} ? other[{}] : 0", "n", q, q * w.out_c + c);
    std::string body;
    if (group < 4) p.helpers.push_back("dsp_bytes");
    for (int64_t u = 0; u < unroll && group < 4; ++u) {
      set(v, "BYTE", 4 * u);
      for (int64_t q = 0; q < 2; ++q) set(v, fmt::format("I{}", q).c_str(), u * group + q);
      body += fill(kConvStep, v);
    }
    if (group < 4) body += fmt::format("        row += {}, x += {};\n", 4 * unroll, unroll * group);
    std::string text = kConv + 1;
    text.replace(text.find("$UNROLLED"), 9, body);
    p.helpers.push_back(fmt::format("dsp_expand{}", group));
    if (group == 4) p.helpers.push_back("dsp_products4");
    p.scratch = pairs * group * 4;
    p.overlaps.push_back({sliding_gap(w, 1, group, true), false});
    // A group reads its residual elements pixel by pixel and channel by channel, and writes them in the same order.
    if (step.residual) p.overlaps.push_back({group * w.out_c, true});
    double groups = static_cast<double>((w.pixels() + group - 1) / group), work = static_cast<double>(pairs);
    p.instructions = groups * (static_cast<double>(w.out_c) / 2 *
                                   (work * (4 + 2.5 * static_cast<double>(group)) + 20 * static_cast<double>(group)) +
                               work * 4 * static_cast<double>(group));
    p.kernel = fmt::format("convolution, DSP, {} pixels", group);
    set_arguments(v, p, "int8_t", step.inputs.size(), "int8_t");
    p.text = fill(std::string(kResidualText) + (kRound + 1) + text, v);
    return p;
  }

  static Prepared dense(const Step& step, const ConvForm& f, const PrepareOptions& options) {
    Prepared p;
    Values v;
    const Window& w = f.window;
    int64_t depth = w.kernel_h * w.kernel_w * w.in_c, rows = w.out_c >= 3 && depth >= 4 ? 4 : 2, quads = depth / 4;
    std::vector<int64_t> packed;
    for (int64_t o = 0; o < w.out_c; o += rows) {
      auto at = [&](int64_t r, int64_t k) {
        return packed.push_back(o + r < w.out_c ? f.weight[static_cast<size_t>((o + r) * depth + k)] : 0);
      };
      for (int64_t k = 0; k < quads; ++k)
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < 4; ++i) at(r, 4 * k + i);
      for (int64_t k = 4 * quads; k < depth; ++k)
        for (int64_t r = 0; r < rows; ++r) at(r, k);
    }
    add_table(p, "int8_t", "w", packed);
    common(v, p, step, f, rows);
    int64_t unroll = options.size || rows == 4 ? 1 : largest_factor(quads, 4);
    set(v, "R", rows), set(v, "R4", rows == 4), set(v, "STEPS", quads / unroll), set(v, "REST", depth % 4);
    std::string body;
    p.helpers.push_back(rows == 4 ? "dsp_dense4" : "dsp_bytes");
    for (int64_t u = 0; u < unroll && rows == 2; ++u) {
      set(v, "X", 4 * u);
      for (int64_t r = 0; r < 2; ++r) set(v, fmt::format("W{}", r).c_str(), 4 * (u * rows + r));
      body += fill(kDenseStep, v);
    }
    if (rows == 2) body += fmt::format("      x += {}, w += {};\n", 4 * unroll, 8 * unroll);
    for (int r = 0; r < 4; ++r) v[fmt::format("OTHER{}", r)] = step.residual ? fmt::format(", in2[o + {}]", r) : "";
    p.overlaps.push_back({});
    if (step.residual) p.overlaps.push_back({0, true});
    p.instructions = static_cast<double>(f.macs()) * 1.5 + static_cast<double>(w.out_c) * 16;
    p.kernel = "dense, DSP";
    set_arguments(v, p, "int8_t", step.inputs.size(), "int8_t");
    std::string text = kDense + 1;
    text.replace(text.find("$UNROLLED"), 9, body);
    p.text = fill(std::string(kResidualText) + (kRound + 1) + text, v);
    return p;
  }
};

}  // namespace

const KernelSet& dsp_kernels() {
  static const Dsp set;
  return set;
}

}  // namespace sorus::device
