// Kernels with vectors, bytes: depthwise convolution, a block of channels at a time. Elements are widened to 16 bits
// where they are read. Results equal the plain kernels' to the bit.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/simd.h"

namespace sorus::device::simd {
namespace {

// One layer. A block is two vectors of sums; the loop over taps is written out, `taps` at a time.
class Depthwise {
 public:
  Depthwise(const Simd& s, const Step& step, const ConvForm& f)
      : s_(s), step_(step), f_(f), w_(f.window), block_(2 * s.lanes), taps_(w_.kernel_h * w_.kernel_w) {}

  std::optional<Prepared> prepared() {
    if (w_.in_c != w_.out_c) return std::nullopt;
    // Every row has to be in the ring before its place is written. Where the ring is large, a result a little below
    // its input costs less.
    bool ring = w_.stride_h == 1 && w_.stride_w == 1 && w_.in_h == w_.out_h && w_.in_w == w_.out_w &&
                w_.pad_top <= (w_.kernel_h - 1) * w_.dilation_h && ring_bytes() <= image_bytes(w_) / kPartForScratch;
    Parts parts(w_);
    if (!ring && !parts.few(w_)) return std::nullopt;
    add_table(p_, "int16_t", "w", packed());
    Rounding rounding(p_, s_, step_, f_, 2);
    p_.helpers.insert(p_.helpers.begin(), s_.bytes);
    std::string text = ring ? in_place(rounding) : by_parts(parts, rounding);
    if (step_.residual) p_.overlaps.push_back({0, true});
    p_.kernel = fmt::format("depthwise, {}, {} channels{}", s_.name, block_, ring ? " in place" : "");
    p_.instructions = static_cast<double>(f_.macs()) / static_cast<double>(block_) * 4 +
                      static_cast<double>(w_.pixels() * w_.out_c) * 2;
    finish(p_, step_, "int8_t", text);
    return p_;
  }

 private:
  int64_t ring_rows() const { return (w_.kernel_h - 1) * w_.dilation_h + 1; }
  int64_t ring_width() const { return w_.out_w + (w_.kernel_w - 1) * w_.dilation_w; }
  int64_t ring_bytes() const { return ring_rows() * ring_width() * block_ * 2; }

  // For each block and round of taps, the vectors that one instruction multiplies: as many as there are taps in a
  // round.
  std::vector<int64_t> packed() const {
    std::vector<int64_t> list;
    int64_t lanes = block_ / s_.taps;
    for (int64_t o = 0; o < w_.out_c; o += block_)
      for (int64_t k = 0; k < taps_; k += s_.taps)
        for (int64_t place = 0; place < s_.taps * lanes; ++place)
          for (int64_t i = k; i < k + s_.taps; ++i) {
            int64_t c = o + channel_at(s_, 2, place);
            bool there = c < w_.out_c && i < taps_;
            list.push_back(there ? f_.weight[static_cast<size_t>(i * w_.out_c + c)] - f_.weight_zero : 0);
          }
    return list;
  }

  // Everything of a block that stays in registers; then its sums of products with the elements that `element` names
  // by tap.
  std::string constants() const {
    int64_t padded = (taps_ + s_.taps - 1) / s_.taps * s_.taps;
    std::string text =
        fmt::format("        const $P_I b0 = $P_LOADI(bias + o), b1 = $P_LOADI(bias + o + {});\n", s_.lanes);
    for (int64_t k = 0; k < padded; ++k)
      text += fmt::format("        const $P_HALVES w{} = $P_LOADH(w + o * {} + {});\n", k, padded, block_ * k);
    return text;
  }
  std::string sums(const std::function<std::string(int64_t)>& element) const {
    std::string text = "          $P_I s0 = b0, s1 = b1;\n";
    for (int64_t k = 0; k < taps_; k += s_.taps) {
      std::string elements, weights;
      for (int64_t i = k; i < k + s_.taps; ++i) {
        elements += (i > k ? ", t" : "t") + std::to_string(i - k) + " = " + (i < taps_ ? element(i) : "$P_SETH(0)");
        weights += ", w" + std::to_string(i);
      }
      text += fmt::format(
          "          {{\n            const $P_HALVES {};\n            $P_TAPS(s0, s1, t0{}{});\n          }}\n",
          elements, s_.taps == 2 ? ", t1" : "", weights);
    }
    return text;
  }
  std::string store(const Rounding& rounding, int64_t left) const {
    return rounding.store({"s0", "s1"}, "o", result_place(w_), left);
  }

  // The result has the place of the input's pixels: a block of channels after the other may be written where they
  // lay. The rows that windows still read are kept in a ring, as 16 bits and with what lies outside around them.
  std::string in_place(const Rounding& rounding) {
    int64_t ring = ring_rows(), width = ring_width(), row = block_ * width;
    p_.scratch = ring_bytes();
    p_.overlaps.push_back({std::nullopt, true});
    std::string text = fmt::format(
        "$P_SIMD static void $FN_row(const int8_t *image, int y, int n, int16_t *ring)\n{{\n"
        "  int16_t *const to = ring + (y + {0}) % {1} * {2};\n  int z;\n"
        "  for (z = 0; z < {3}; z++) {{\n    const int x = z - {4};\n    $P_HALVES v = $P_SETH({5});\n"
        "    if (y >= 0 && y < {6} && x >= 0 && x < {7})\n"
        "      v = $P_WIDE($P_first_bytes(image + (y * {7} + x) * {8}, n));\n    $P_STOREH(to + {9} * z, v);\n  }}\n"
        "}}\n\n",
        w_.pad_top, ring, row, width, w_.pad_left, f_.input_zero, w_.in_h, w_.in_w, w_.in_c, block_);
    text +=
        fmt::format("$P_SIMD static void $FN($ARGS)\n{{\n  int b, y, z;\n  for (b = 0; b < {}; b++) {{\n", w_.batch);
    text += over_channels(w_.out_c, block_, "    ", [&](int64_t left) {
      std::string all = constants();
      all += fmt::format(
          "        const int8_t *const image = in + b * {0} + o;\n        for (y = -{1}; y < {2}; y++) "
          "$FN_row(image, "
          "y, {3}, scratch);\n        for (y = 0; y < {4}; y++) {{\n",
          w_.in_h * w_.in_w * w_.in_c, w_.pad_top, ring - 1 - w_.pad_top, left, w_.out_h);
      for (int64_t i = 0; i < w_.kernel_h; ++i)
        all += fmt::format("        const int16_t *const r{0} = (const int16_t *)scratch + (y + {1}) % {2} * {3};\n",
                           i, i * w_.dilation_h, ring, row);
      all += fmt::format("        $FN_row(image, y + {}, {}, scratch);\n        for (z = 0; z < {}; z++) {{\n",
                         ring - 1 - w_.pad_top, left, w_.out_w);
      all += sums([&](int64_t k) {
        return fmt::format("$P_LOADH(r{} + {} * z + {})", k / w_.kernel_w, block_,
                           block_ * (k % w_.kernel_w) * w_.dilation_w);
      });
      return all + store(rounding, left) + "        }\n        }\n";
    });
    return text + "  }\n}\n";
  }

  std::string by_parts(const Parts& parts, const Rounding& rounding) {
    p_.overlaps.push_back({sliding_gap(w_, 1, w_.out_w, false), false});
    auto place = [&](const Span& y, const Span& x, int64_t left) {
      return sums([&](int64_t k) -> std::string {
               int64_t i = k / w_.kernel_w, j = k % w_.kernel_w;
               if (i < y.low || i >= y.high || j < x.low || j >= x.high)
                 return fmt::format("$P_SETH({})", f_.input_zero);
               return fmt::format("$P_WIDE($P_first_bytes(in + at + {}, {}))",
                                  (i * w_.dilation_h * w_.in_w + j * w_.dilation_w) * w_.in_c, left);
             }) +
             store(rounding, left);
    };
    return "$P_SIMD static void $FN($ARGS)\n{\n" +
           parts.text(
               w_, block_, [&](const Span&, int64_t) { return constants(); }, place) +
           "}\n";
  }

  const Simd& s_;
  const Step& step_;
  const ConvForm& f_;
  const Window& w_;
  int64_t block_, taps_;
  Prepared p_;
};

}  // namespace

std::optional<Prepared> depthwise_bytes(const Simd& s, const Step& step, const ConvForm& f) {
  return Depthwise(s, step, f).prepared();
}

}  // namespace sorus::device::simd
