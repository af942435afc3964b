// Kernels for x86-64 with AVX2, bytes. Elements are widened to 16 bits where they are read; one instruction then
// makes two products for each of eight channels and adds them. Results equal the plain kernels' to the bit.
//
// Sixteen channels lie in two vectors as 0-3, 8-11 and 4-7, 12-15: packing both to 16 bits puts them in order.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/kernels_avx2.h"

namespace sorus::device::avx2 {
namespace {

constexpr int64_t kPartForScratch = 20;  // one of so many bytes of a layer's images
int64_t image_bytes(const Window& w) { return w.batch * (w.in_h * w.in_w * w.in_c + w.out_h * w.out_w * w.out_c); }

// The channel in lane `lane` of vector `v` of a block.
int64_t channel_of(int64_t vectors, int64_t v, int64_t lane) {
  if (vectors == 1) return lane;
  return v / 2 * 16 + (v % 2) * 4 + lane % 4 + lane / 4 * 8;
}

// Tables by channel in that order, padded to whole blocks, as arguments of the kernel.
struct Arranged {
  int64_t channels, vectors;
  std::vector<int64_t> operator()(const std::function<int64_t(int64_t)>& value) const {
    std::vector<int64_t> list;
    for (int64_t o = 0; o < channels; o += 8 * vectors)
      for (int64_t v = 0; v < vectors; ++v)
        for (int64_t lane = 0; lane < 8; ++lane) {
          int64_t c = o + channel_of(vectors, v, lane);
          list.push_back(c < channels ? value(c) : 0);
        }
    return list;
  }
};

// Bias, multipliers and shifts; a multiplier or shift that is the same for all is a number in the text.
struct Rounding {
  std::string multiplier, right;  // C expressions with {} for the place
  Rounding(Prepared& p, const ConvForm& f, const Arranged& arranged) {
    const Rescale& r = f.rescale;
    std::vector<int64_t> bias = folded_bias(f);
    add_table(p, "int32_t", "bias", arranged([&](int64_t c) { return bias[static_cast<size_t>(c)]; }));
    auto factor = [&](const char* name, const std::vector<int32_t>& list, const std::function<int64_t(int64_t)>& at) {
      if (std::all_of(list.begin(), list.end(), [&](int32_t v) { return v == list[0]; }))
        return fmt::format("_mm256_set1_epi32({})", at(0));
      add_table(p, "int32_t", name, arranged(at));
      return fmt::format("$P_LOAD({} + {{}})", name);
    };
    multiplier = factor("multiplier", r.multiplier, [&](int64_t c) { return r.multiplier_of(c); });
    right = factor("right", r.shift, [&](int64_t c) { return -r.shift_of(c); });
  }
};

std::string clamp_text(const char* v, int32_t low, int32_t high) {
  std::string text;
  if (low > -128) text += fmt::format("      {0} = _mm_max_epi8({0}, _mm_set1_epi8({1}));\n", v, low);
  if (high < 127) text += fmt::format("      {0} = _mm_min_epi8({0}, _mm_set1_epi8({1}));\n", v, high);
  return text;
}

// Two vectors of sums (or one), whose tables begin at `table`, become `left` bytes at `at`.
std::string store_text(const Step& step, const ConvForm& f, const Rounding& r, const std::vector<std::string>& sums,
                       const std::string& table, const std::string& at, int64_t left) {
  std::string text = "    {\n      __m128i v;\n";
  for (size_t i = 0; i < sums.size(); ++i) {
    std::string place = fmt::format("{} + {}", table, 8 * i);
    text += fmt::format("      {0} = _mm256_add_epi32($P_rescale8({0}, {1}, {2}), _mm256_set1_epi32({3}));\n",
                        sums[i], fmt::format(fmt::runtime(r.multiplier), place),
                        fmt::format(fmt::runtime(r.right), place), f.rescale.zero_point);
  }
  text +=
      sums.size() == 2
          ? fmt::format("      v = $P_bytes(_mm256_packs_epi32({}, {}));\n", sums[0], sums[1])
          : fmt::format("      v = $P_bytes(_mm256_permute4x64_epi64(_mm256_packs_epi32({0}, {0}), 8));\n", sums[0]);
  text += clamp_text("v", f.rescale.low, f.rescale.high);
  if (const auto& a = step.residual)
    text +=
        fmt::format(
            "      v = $P_residual(v, $P_first_bytes(in2 + {}, {}), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {});\n",
            at, left, a->left_shift, a->zero_a, a->multiplier_a, -a->shift_a, a->zero_b, a->multiplier_b, -a->shift_b,
            a->negate_b ? 1 : 0, a->rescale.multiplier[0], -a->rescale.shift[0], a->rescale.zero_point) +
        clamp_text("v", a->rescale.low, a->rescale.high);
  return text + fmt::format("      $P_put(out + {}, v, {});\n    }}\n", at, left);
}

// One block of channels of `rows` pixels; `channels` of them are there. A pixel has `pairs` pairs of elements.
std::string block_text(const Step& step, const ConvForm& f, const Rounding& rounding, const Tile& t, int64_t rows,
                       int64_t pairs, int64_t channels, bool wide) {
  std::string text;
  auto sum = [](int64_t r, int64_t v) { return fmt::format("s{}{}", static_cast<char>('a' + r), v); };
  for (int64_t v = 0; v < t.vectors; ++v)
    for (int64_t r = 0; r < rows; ++r) {
      std::string first = fmt::format("$P_LOAD(bias + o + {})", 8 * v);
      if (f.weight_zero) first = fmt::format("_mm256_add_epi32({}, _mm256_set1_epi32(base[{}]))", first, r);
      text += fmt::format("      __m256i {} = {};\n", sum(r, v), first);
    }
  text += fmt::format("      for (k = 0; k < {}; k++, row += {}) {{\n", pairs, 16 * t.vectors);
  for (int64_t v = 0; v < t.vectors; ++v)
    text += fmt::format("        const __m256i w{} = _mm256_cvtepi8_epi16($P_LOAD16(row + {}));\n", v, 16 * v);
  for (int64_t r = 0; r < rows; ++r) {
    text += fmt::format("        {{\n          const __m256i t = $P_pair{}(x + 2 * k + {});\n", wide ? "16" : "",
                        2 * r * pairs);
    for (int64_t v = 0; v < t.vectors; ++v) text += fmt::format("          $P_ADD({}, t, w{});\n", sum(r, v), v);
    text += "          $P_NOW;\n        }\n";
  }
  text += "      }\n";
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < t.vectors && 8 * v < channels; v += 2) {
      std::vector<std::string> sums{sum(r, v)};
      if (t.vectors > 1) sums.push_back(sum(r, v + 1));
      text += store_text(step, f, rounding, sums, fmt::format("o + {}", 8 * v),
                         fmt::format("(p + {}) * {} + o + {}", r, f.window.out_c, 8 * v),
                         std::min<int64_t>(channels - 8 * v, 16));
    }
  return text;
}

Prepared conv(const Step& step, const ConvForm& f, const PrepareOptions& options) {
  Prepared p;
  const Window& w = f.window;
  int64_t n = w.pixels(), depth = w.kernel_h * w.kernel_w * w.in_c, pairs = (depth + 1) / 2;
  Tile t = tile_for(n, w.out_c);
  if (t.vectors > 1) t.vectors += t.vectors % 2;
  if (options.group < 4) t.rows = std::min(t.rows, options.group);
  int64_t block = 8 * t.vectors, full = w.out_c / block * block;
  std::vector<int64_t> packed;
  for (int64_t o = 0; o < w.out_c; o += block)
    for (int64_t k = 0; k < 2 * pairs; k += 2)
      for (int64_t v = 0; v < t.vectors; ++v)
        for (int64_t lane = 0; lane < 8; ++lane)
          for (int64_t i = k; i < k + 2; ++i) {
            int64_t c = o + channel_of(t.vectors, v, lane);
            packed.push_back(c < w.out_c && i < depth ? f.weight[static_cast<size_t>(c * depth + i)] : 0);
          }
  add_table(p, "int8_t", "w", packed);
  Rounding rounding(p, f, {w.out_c, t.vectors});
  p.helpers = {"avx2_bytes"};
  if (step.residual) p.helpers.push_back("avx2_residual");
  // Groups are brought to the scratch, so that their results may lie where they lay: as 16 bits where that is little
  // beside the images. An image that becomes one pixel is read where it is.
  bool gather = !(pointwise(w) || whole(w)) || depth % 2, brought = gather || !whole(w);
  int64_t wide_bytes = t.rows * pairs * 4;
  bool wide = brought && wide_bytes <= image_bytes(w) / kPartForScratch;
  if (brought) p.scratch = wide ? wide_bytes : wide_bytes / 2;
  const char *type = wide ? "int16_t" : "int8_t", *convert = wide ? "widen" : "bring";
  std::string text = gather ? gather_text(w, "int8_t", type, convert, std::to_string(f.input_zero)) : "";
  text += fmt::format("$P_AVX2 static void $FN($ARGS)\n{{\n  int p = 0;\n{}",
                      f.weight_zero ? fmt::format("  int32_t base[{}];\n", t.rows) : "");
  auto group = [&](int64_t rows) {
    std::string all = fmt::format("    const int8_t *row = w;\n    const {} *const x = {};\n    int o = 0, k;\n",
                                  type, brought ? "scratch" : fmt::format("in + p * {}", depth));
    if (gather)
      all += fmt::format("    $FN_gather(in, p, {}, scratch);\n", rows);
    else if (brought)
      all += fmt::format("    $P_{}(in + p * {}, scratch, {});\n", convert, depth, rows * depth);
    // Weights are used as they are; what their zero point adds is the same for all channels.
    if (f.weight_zero)
      all += fmt::format("    for (k = 0; k < {0}; k++) base[k] = {1} * $P_sum{3}(x + k * {2}, {2});\n", rows,
                         -f.weight_zero, 2 * pairs, wide ? "16" : "");
    if (full)
      all += fmt::format("    for (; o < {}; o += {}) {{\n", full, block) +
             block_text(step, f, rounding, t, rows, pairs, block, wide) + "    }\n";
    if (full < w.out_c)
      all += "    {\n" + block_text(step, f, rounding, t, rows, pairs, w.out_c - full, wide) + "    }\n";
    return all;
  };
  if (n >= t.rows)
    text += fmt::format("  for (; p < {}; p += {}) {{\n", n / t.rows * t.rows, t.rows) + group(t.rows) + "  }\n";
  if (n % t.rows) text += "  {\n" + group(n % t.rows) + "  }\n";
  p.overlaps.push_back(brought ? Overlap{sliding_gap(w, 1, t.rows, true), false} : Overlap{});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = fmt::format("convolution, AVX2, {} pixels by {} channels", t.rows, block);
  p.instructions = static_cast<double>(f.macs()) / 16 * 3 + static_cast<double>(n * w.out_c) * 2;
  finish(p, step, "int8_t", text + "}\n");
  return p;
}

int64_t ring_bytes(const Window& w) {
  return ((w.kernel_h - 1) * w.dilation_h + 1) * (w.out_w + (w.kernel_w - 1) * w.dilation_w) * 32;
}

// Weights of a depthwise convolution for sixteen channels and two taps at a time.
std::vector<int64_t> paired(const ConvForm& f) {
  const Window& w = f.window;
  int64_t taps = w.kernel_h * w.kernel_w;
  std::vector<int64_t> packed;
  for (int64_t o = 0; o < w.out_c; o += 16)
    for (int64_t k = 0; k < taps; k += 2)
      for (int64_t v = 0; v < 2; ++v)
        for (int64_t lane = 0; lane < 8; ++lane)
          for (int64_t i = k; i < k + 2; ++i) {
            int64_t c = o + channel_of(2, v, lane);
            bool there = c < w.out_c && i < taps;
            packed.push_back(there ? f.weight[static_cast<size_t>(i * w.out_c + c)] - f.weight_zero : 0);
          }
  return packed;
}

// Everything of sixteen channels that stays in registers; then sums of products with the elements that `element`
// names by tap.
std::string constants_text(int64_t pairs) {
  std::string text = "        const __m256i b0 = $P_LOAD(bias + o), b1 = $P_LOAD(bias + o + 8);\n";
  for (int64_t k = 0; k < 2 * pairs; ++k)
    text += fmt::format("        const __m256i w{} = $P_LOAD(w + o * {} + {});\n", k, 2 * pairs, 16 * k);
  return text;
}
std::string sums_text(int64_t taps, const std::function<std::string(int64_t)>& element) {
  std::string text = "          __m256i s0 = b0, s1 = b1;\n";
  for (int64_t k = 0; k < taps; k += 2)
    text += fmt::format(
        "          {{\n            const __m256i t = {0}, u = {1};\n"
        "            s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(_mm256_unpacklo_epi16(t, u), w{2}));\n"
        "            s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(_mm256_unpackhi_epi16(t, u), w{3}));\n          "
        "}}\n",
        element(k), k + 1 < taps ? element(k + 1) : "_mm256_setzero_si256()", k, k + 1);
  return text;
}

// The result has the place of the input's pixels: sixteen channels after the other may be written where they lay. The
// rows that windows still read are kept in a ring, as 16 bits and with what lies outside around them.
Prepared depthwise_in_place(const Step& step, const ConvForm& f) {
  const Window& w = f.window;
  Prepared p;
  int64_t taps = w.kernel_h * w.kernel_w, full = w.out_c / 16 * 16, ring = (w.kernel_h - 1) * w.dilation_h + 1,
          width = w.out_w + (w.kernel_w - 1) * w.dilation_w;
  add_table(p, "int16_t", "w", paired(f));
  Rounding rounding(p, f, {w.out_c, 2});
  p.helpers = {"avx2_bytes"};
  if (step.residual) p.helpers.push_back("avx2_residual");
  p.scratch = ring_bytes(w);
  std::string text = fmt::format(
      "$P_AVX2 static void $FN_row(const int8_t *image, int y, int n, int16_t *ring)\n{{\n"
      "  int16_t *const to = ring + (y + {0}) % {1} * {2};\n  int z;\n"
      "  for (z = 0; z < {3}; z++) {{\n    const int x = z - {4};\n    __m256i v = _mm256_set1_epi16({5});\n"
      "    if (y >= 0 && y < {6} && x >= 0 && x < {7})\n"
      "      v = _mm256_cvtepi8_epi16($P_first_bytes(image + (y * {7} + x) * {8}, n));\n"
      "    _mm256_storeu_si256((__m256i *)(void *)(to + 16 * z), v);\n  }}\n}}\n\n",
      w.pad_top, ring, 16 * width, width, w.pad_left, f.input_zero, w.in_h, w.in_w, w.in_c);
  auto block = [&](int64_t left) {
    std::string all = constants_text((taps + 1) / 2);
    all += fmt::format(
        "        const int8_t *const image = in + b * {0} + o;\n        for (y = -{1}; y < {2}; y++) $FN_row(image, "
        "y, {3}, "
        "scratch);\n        for (y = 0; y < {4}; y++) {{\n",
        w.in_h * w.in_w * w.in_c, w.pad_top, ring - 1 - w.pad_top, left, w.out_h);
    for (int64_t i = 0; i < w.kernel_h; ++i)
      all += fmt::format("        const int16_t *const r{0} = (const int16_t *)scratch + (y + {1}) % {2} * {3};\n", i,
                         i * w.dilation_h, ring, 16 * width);
    all += fmt::format("        $FN_row(image, y + {}, {}, scratch);\n        for (z = 0; z < {}; z++) {{\n",
                       ring - 1 - w.pad_top, left, w.out_w);
    all += sums_text(taps, [&](int64_t k) {
      return fmt::format("$P_LOAD(r{} + 16 * z + {})", k / w.kernel_w, 16 * (k % w.kernel_w) * w.dilation_w);
    });
    return all +
           store_text(step, f, rounding, {"s0", "s1"}, "o",
                      fmt::format("((b * {} + y) * {} + z) * {} + o", w.out_h, w.out_w, w.out_c), left) +
           "        }\n        }\n";
  };
  text += fmt::format("$P_AVX2 static void $FN($ARGS)\n{{\n  int b, y, z{};\n  for (b = 0; b < {}; b++) {{\n",
                      full ? ", o" : "", w.batch);
  if (full) text += fmt::format("      for (o = 0; o < {}; o += 16) {{\n", full) + block(16) + "      }\n";
  if (full < w.out_c)
    text += fmt::format("      {{\n        const int o = {};\n", full) + block(w.out_c - full) + "      }\n";
  p.overlaps.push_back({std::nullopt, true});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = "depthwise, AVX2, 16 channels in place";
  p.instructions = static_cast<double>(f.macs()) / 16 * 3 + static_cast<double>(w.pixels() * w.out_c) * 3;
  finish(p, step, "int8_t", text + "  }\n}\n");
  return p;
}

std::optional<Prepared> depthwise(const Step& step, const ConvForm& f) {
  const Window& w = f.window;
  int64_t taps = w.kernel_h * w.kernel_w, full = w.out_c / 16 * 16;
  if (w.in_c != w.out_c) return std::nullopt;
  // Every row has to be in the ring before its place is written. Where the ring is large, a result a little below its
  // input costs less.
  if (w.stride_h == 1 && w.stride_w == 1 && w.in_h == w.out_h && w.in_w == w.out_w &&
      w.pad_top <= (w.kernel_h - 1) * w.dilation_h && ring_bytes(w) <= image_bytes(w) / kPartForScratch)
    return depthwise_in_place(step, f);
  std::vector<Span> rows = spans(w.out_h, w.in_h, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top),
                    columns = spans(w.out_w, w.in_w, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left);
  if (static_cast<int64_t>(rows.size() * columns.size()) * taps > 1000) return std::nullopt;
  Prepared p;
  add_table(p, "int16_t", "w", paired(f));
  Rounding rounding(p, f, {w.out_c, 2});
  p.helpers = {"avx2_bytes"};
  if (step.residual) p.helpers.push_back("avx2_residual");
  auto part = [&](const Span& y, const Span& x, int64_t left) {
    auto element = [&](int64_t k) -> std::string {
      int64_t i = k / w.kernel_w, j = k % w.kernel_w;
      if (i < y.low || i >= y.high || j < x.low || j >= x.high)
        return fmt::format("_mm256_set1_epi16({})", f.input_zero);
      return fmt::format("_mm256_cvtepi8_epi16($P_first_bytes(in + at + {}, {}))",
                         (i * w.dilation_h * w.in_w + j * w.dilation_w) * w.in_c, left);
    };
    return fmt::format("        for (z = {}; z < {}; z++) {{\n          const int at = line + z * {};\n", x.from,
                       x.to, w.stride_w * w.in_c) +
           sums_text(taps, element) +
           store_text(step, f, rounding, {"s0", "s1"}, "o",
                      fmt::format("((b * {} + y) * {} + z) * {} + o", w.out_h, w.out_w, w.out_c), left) +
           "        }\n";
  };
  auto block = [&](const Span& y, int64_t left) {
    std::string text = fmt::format("        const int line = ((b * {} + y * {} - {}) * {} - {}) * {} + o;\n", w.in_h,
                                   w.stride_h, w.pad_top, w.in_w, w.pad_left, w.in_c) +
                       constants_text((taps + 1) / 2);
    for (const Span& x : columns) text += part(y, x, left);
    return text;
  };
  std::string text =
      fmt::format("$P_AVX2 static void $FN($ARGS)\n{{\n  int b, y, z{};\n  for (b = 0; b < {}; b++) {{\n",
                  full ? ", o" : "", w.batch);
  for (const Span& y : rows) {
    text += fmt::format("    for (y = {}; y < {}; y++) {{\n", y.from, y.to);
    if (full) text += fmt::format("      for (o = 0; o < {}; o += 16) {{\n", full) + block(y, 16) + "      }\n";
    if (full < w.out_c)
      text += fmt::format("      {{\n        const int o = {};\n", full) + block(y, w.out_c - full) + "      }\n";
    text += "    }\n";
  }
  p.overlaps.push_back({sliding_gap(w, 1, w.out_w, false), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = "depthwise, AVX2, 16 channels";
  p.instructions = static_cast<double>(f.macs()) / 16 * 4 + static_cast<double>(w.pixels() * w.out_c) * 2;
  finish(p, step, "int8_t", text + "  }\n}\n");
  return p;
}

bool goes_left(const Rescale& r) {
  return std::any_of(r.shift.begin(), r.shift.end(), [](int32_t s) { return s > 0; });
}

}  // namespace

std::optional<Prepared> bytes(const Step& step, const ConvForm& f, const PrepareOptions& options) {
  const auto& a = step.residual;
  if (goes_left(f.rescale) || (a && (a->shift_a > 0 || a->shift_b > 0 || goes_left(a->rescale)))) return std::nullopt;
  return f.depthwise ? depthwise(step, f) : std::optional<Prepared>(conv(step, f, options));
}

}  // namespace sorus::device::avx2
