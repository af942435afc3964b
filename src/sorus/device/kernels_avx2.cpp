// Kernels for x86-64 with AVX2 and FMA, floats. Products: some pixels times some vectors of eight channels stay in
// registers while the loop goes over the depth, one broadcast of a pixel's element and one load of weights after the
// other. Depthwise: eight channels' weights stay in registers along a row. What lies under a window is known when the
// text is made, so there is a loop for each part of the image whose windows see the same taps, and no test inside.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/kernels_avx2.h"

namespace sorus::device {
namespace avx2 {

Tile tile_for(int64_t pixels, int64_t channels) {
  int64_t vectors = (channels + 7) / 8;
  if (vectors == 1) return {std::min<int64_t>(pixels, 12), 1};
  if (pixels <= 1) return {1, std::min<int64_t>(vectors, 8)};
  if (pixels <= 3) return {pixels, std::min<int64_t>(vectors, 4)};
  return {std::min<int64_t>(pixels, 6), 2};
}

std::vector<Span> spans(int64_t outputs, int64_t inputs, int64_t kernel, int64_t stride, int64_t dilation,
                        int64_t pad) {
  std::vector<Span> list;
  for (int64_t o = 0; o < outputs; ++o) {
    Span s{o, o + 1, kernel, 0};
    for (int64_t k = 0; k < kernel; ++k) {
      int64_t at = o * stride - pad + k * dilation;
      if (at < 0 || at >= inputs) continue;
      s.low = std::min(s.low, k), s.high = k + 1;
    }
    if (s.high == 0) s.low = 0;
    if (!list.empty() && list.back().low == s.low && list.back().high == s.high)
      list.back().to = o + 1;
    else
      list.push_back(s);
  }
  return list;
}

bool pointwise(const Window& w) {
  return w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && w.inside();
}
bool whole(const Window& w) {
  return w.out_h == 1 && w.out_w == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
}

std::string gather_text(const Window& w, const std::string& type, const std::string& to, const std::string& convert,
                        const std::string& outside) {
  int64_t run = w.dilation_w == 1 ? w.kernel_w * w.in_c : w.in_c, runs = w.kernel_w * w.in_c / run;
  std::string copy = fmt::format("$P_{}(image + (y * {} + z) * {}, to, {});", convert, w.in_w, w.in_c, run);
  std::string text = fmt::format(
      "static void $FN_gather(const {0} *in, int p, int n, {1} *to)\n{{\n  for (; n > 0; n--, p++) {{\n"
      "    const int top = p / {2} % {3} * {4} - {5}, left = p % {2} * {6} - {7};\n"
      "    const {0} *const image = in + p / {8} * {9};\n    int i, j;\n"
      "    for (i = 0; i < {10}; i++) {{\n      const int y = top + i * {11};\n",
      type, to, w.out_w, w.out_h, w.stride_h, w.pad_top, w.stride_w, w.pad_left, w.out_w * w.out_h,
      w.in_h * w.in_w * w.in_c, w.kernel_h, w.dilation_h);
  bool pads = !w.inside();
  if (pads)
    text += fmt::format(
        "      if (y < 0 || y >= {0} || left < 0 || left + {1} >= {2}) {{\n        for (j = 0; j < {3}; j++, to += "
        "{4}) {{\n"
        "          const int z = left + j * {5};\n          if (y < 0 || y >= {0} || z < 0 || z >= {2}) {{\n"
        "            int k;\n            for (k = 0; k < {4}; k++) to[k] = {6};\n          }} else {{\n"
        "            $P_{7}(image + (y * {2} + z) * {4}, to, {4});\n          }}\n        }}\n        continue;\n    "
        "  }}\n",
        w.in_h, (w.kernel_w - 1) * w.dilation_w, w.in_w, w.kernel_w, w.in_c, w.dilation_w, outside, convert);
  text += fmt::format(
      "      for (j = 0; j < {0}; j++, to += {1}) {{\n        const int z = left + j * {2};\n        {3}\n      }}\n",
      runs, run, runs > 1 ? w.dilation_w : 0, copy);
  // Bytes are multiplied in pairs: an odd number of them gets a partner.
  bool odd = convert != "copy" && w.kernel_h * w.kernel_w * w.in_c % 2;
  return "$P_AVX2 " + text + "    }\n" + (odd ? "    *to++ = 0;\n" : "") + "  }\n}\n\n";
}

}  // namespace avx2

namespace {

using namespace avx2;

std::string clamp_text(const std::string& v, float low, float high) {
  std::string text;
  if (low > -kNoBound) text += fmt::format(" {0} = _mm256_max_ps({0}, _mm256_set1_ps({1}));", v, float_literal(low));
  if (high < kNoBound) text += fmt::format(" {0} = _mm256_min_ps({0}, _mm256_set1_ps({1}));", v, float_literal(high));
  return text;
}

// What becomes of a finished vector `v` of which `left` elements count, for the places `at`.
std::string store_text(const Step& step, const ConvForm& f, const std::string& v, const std::string& at,
                       int64_t left) {
  std::string text = "     " + clamp_text(v, f.low_f, f.high_f);
  std::string mask = fmt::format("$P_first({})", left);
  if (const auto& r = step.residual) {
    std::string other = left >= 8 ? fmt::format("_mm256_loadu_ps(in2 + {})", at)
                                  : fmt::format("_mm256_maskload_ps(in2 + {}, {})", at, mask);
    text += fmt::format(" {0} = _mm256_{1}_ps({0}, {2});", v, r->negate_b ? "sub" : "add", other) +
            clamp_text(v, r->low_f, r->high_f);
  }
  text += left >= 8 ? fmt::format(" _mm256_storeu_ps(out + {}, {});\n", at, v)
                    : fmt::format(" _mm256_maskstore_ps(out + {}, {}, {});\n", at, mask, v);
  return text;
}

// One block of channels of `rows` pixels that lie `depth` apart; `channels` of them are there.
std::string block_text(const Step& step, const ConvForm& f, const Tile& t, int64_t rows, int64_t depth,
                       int64_t channels) {
  std::string text;
  for (int64_t v = 0; v < t.vectors; ++v)
    for (int64_t r = 0; r < rows; ++r)
      text += fmt::format("      __m256 s{0}{1} = {2};\n", static_cast<char>('a' + r), v,
                          r ? fmt::format("sa{}", v) : fmt::format("_mm256_loadu_ps(bias + o + {})", 8 * v));
  text += fmt::format("      for (k = 0; k < {}; k++, row += {}) {{\n", depth, 8 * t.vectors);
  for (int64_t v = 0; v < t.vectors; ++v)
    text += fmt::format("        const __m256 w{0} = _mm256_loadu_ps(row + {1});\n", v, 8 * v);
  for (int64_t r = 0; r < rows; ++r) {
    text += fmt::format("        {{\n          const __m256 t = _mm256_broadcast_ss(x + k + {});\n", r * depth);
    for (int64_t v = 0; v < t.vectors; ++v)
      text += fmt::format("          s{0}{1} = _mm256_fmadd_ps(t, w{1}, s{0}{1});\n", static_cast<char>('a' + r), v);
    text += "        }\n";
  }
  text += "      }\n";
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < t.vectors && 8 * v < channels; ++v)
      text += store_text(step, f, fmt::format("s{}{}", static_cast<char>('a' + r), v),
                         fmt::format("(p + {}) * {} + o + {}", r, f.window.out_c, 8 * v), channels - 8 * v);
  return text;
}

// All channels of `rows` pixels.
std::string rows_text(const Step& step, const ConvForm& f, const Tile& t, int64_t rows, int64_t depth) {
  int64_t block = 8 * t.vectors, full = f.window.out_c / block * block;
  std::string text = "    const float *row = w;\n    int o = 0, k;\n";
  if (full) {
    text += fmt::format("    for (; o < {}; o += {}) {{\n", full, block);
    text += block_text(step, f, t, rows, depth, block) + "    }\n";
  }
  if (full < f.window.out_c)
    text += "    {\n" + block_text(step, f, t, rows, depth, f.window.out_c - full) + "    }\n";
  return text;
}

Prepared conv(const Step& step, const ConvForm& f) {
  Prepared p;
  const Window& w = f.window;
  int64_t n = w.pixels(), depth = w.kernel_h * w.kernel_w * w.in_c;
  Tile t = tile_for(n, w.out_c);
  int64_t block = 8 * t.vectors, blocks = (w.out_c + block - 1) / block;
  std::vector<float> packed(static_cast<size_t>(blocks * block * depth)), bias(static_cast<size_t>(blocks * block));
  for (int64_t o = 0; o < w.out_c; ++o) {
    bias[static_cast<size_t>(o)] = f.bias_f[static_cast<size_t>(o)];
    for (int64_t k = 0; k < depth; ++k)
      packed[static_cast<size_t>((o / block * depth + k) * block + o % block)] =
          f.weight_f[static_cast<size_t>(o * depth + k)];
  }
  bool gather = !pointwise(w) && !whole(w);
  p.tables.push_back({"float", {}, packed, "w"});
  p.tables.push_back({"float", {}, bias, "bias"});
  p.helpers = {"avx2"};
  if (gather) p.scratch = t.rows * depth * 4, p.helpers.push_back("avx2_copy");
  std::string text = gather ? gather_text(w, "float", "float", "copy", "0") : "";
  text += "$P_AVX2 static void $FN($ARGS)\n{\n  int p = 0;\n";
  auto group = [&](int64_t rows) {
    std::string from =
        gather ? fmt::format("    const float *const x = scratch;\n    $FN_gather(in, p, {}, scratch);\n", rows)
               : fmt::format("    const float *const x = in + p * {};\n", depth);
    return from + rows_text(step, f, t, rows, depth);
  };
  if (n >= t.rows)
    text += fmt::format("  for (; p < {}; p += {}) {{\n", n / t.rows * t.rows, t.rows) + group(t.rows) + "  }\n";
  if (n % t.rows) text += "  {\n" + group(n % t.rows) + "  }\n";
  // Every block of channels reads the pixels again.
  p.overlaps.push_back(whole(w) ? Overlap{} : Overlap{sliding_gap(w, 4, t.rows, gather), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = fmt::format("convolution, AVX2, {} pixels by {} channels", t.rows, block);
  p.instructions = static_cast<double>(f.macs()) / 8 * 2;
  finish(p, step, "float", text + "}\n");
  return p;
}

// Rows ya..yb and columns xa..xb, where windows see the same taps.
std::string part_text(const Step& step, const ConvForm& f, const Span& y, const std::vector<Span>& columns,
                      int64_t left) {
  const Window& w = f.window;
  int64_t taps = w.kernel_h * w.kernel_w;
  std::string load =
      left >= 8 ? "_mm256_loadu_ps(in + {})" : fmt::format("_mm256_maskload_ps(in + {{}}, $P_first({}))", left);
  std::string text;
  for (int64_t i = y.low; i < y.high; ++i)
    for (int64_t j = 0; j < w.kernel_w; ++j)
      text += fmt::format("        const __m256 w{0} = _mm256_loadu_ps(w + o * {1} + {2});\n", i * w.kernel_w + j,
                          taps, 8 * (i * w.kernel_w + j));
  text += "        const __m256 b = _mm256_loadu_ps(bias + o);\n";
  for (const Span& x : columns) {
    text += fmt::format(
        "        for (z = {}; z < {}; z++) {{\n          const int at = line + z * {};\n          __m256 v = b;\n",
        x.from, x.to, w.stride_w * w.in_c);
    for (int64_t i = y.low; i < y.high; ++i)
      for (int64_t j = x.low; j < x.high; ++j)
        text +=
            fmt::format("          v = _mm256_fmadd_ps({}, w{}, v);\n",
                        fmt::format(fmt::runtime(load),
                                    fmt::format("at + {}", (i * w.dilation_h * w.in_w + j * w.dilation_w) * w.in_c)),
                        i * w.kernel_w + j);
    text += "    " + store_text(step, f, "v",
                                fmt::format("((b0 * {} + y) * {} + z) * {} + o", w.out_h, w.out_w, w.out_c), left);
    text += "        }\n";
  }
  return text;
}

std::optional<Prepared> depthwise(const Step& step, const ConvForm& f) {
  const Window& w = f.window;
  std::vector<Span> rows = spans(w.out_h, w.in_h, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top),
                    columns = spans(w.out_w, w.in_w, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left);
  int64_t taps = w.kernel_h * w.kernel_w;
  if (w.in_c != w.out_c || static_cast<int64_t>(rows.size() * columns.size()) * taps > 1000) return std::nullopt;
  Prepared p;
  int64_t padded = (w.out_c + 7) / 8 * 8, full = w.out_c / 8 * 8;
  std::vector<float> packed(static_cast<size_t>(padded * taps)), bias(static_cast<size_t>(padded));
  for (int64_t o = 0; o < w.out_c; ++o) {
    bias[static_cast<size_t>(o)] = f.bias_f[static_cast<size_t>(o)];
    for (int64_t k = 0; k < taps; ++k)
      packed[static_cast<size_t>((o / 8 * taps + k) * 8 + o % 8)] = f.weight_f[static_cast<size_t>(k * w.out_c + o)];
  }
  p.tables.push_back({"float", {}, packed, "w"});
  p.tables.push_back({"float", {}, bias, "bias"});
  p.helpers = {"avx2"};
  std::string text = fmt::format(
      "$P_AVX2 static void $FN($ARGS)\n{{\n  int b0, y, z, o;\n  for (b0 = 0; b0 < {}; b0++) {{\n", w.batch);
  for (const Span& y : rows) {
    text += fmt::format("    for (y = {}; y < {}; y++) {{\n", y.from, y.to);
    auto block = [&](int64_t left) {
      return fmt::format("        const int line = ((b0 * {} + y * {} - {}) * {} - {}) * {} + o;\n", w.in_h,
                         w.stride_h, w.pad_top, w.in_w, w.pad_left, w.in_c) +
             part_text(step, f, y, columns, left);
    };
    if (full) text += fmt::format("      for (o = 0; o < {}; o += 8) {{\n", full) + block(8) + "      }\n";
    if (full < w.out_c)
      text += fmt::format("      {{\n        const int o = {};\n", full) + block(w.out_c - full) + "      }\n";
    text += "    }\n";
  }
  if (!full) text.replace(text.find("z, o;"), 5, "z;");
  // A row's channels are made eight at a time: the input of a row is read until its last ones are there.
  p.overlaps.push_back({sliding_gap(w, 4, w.out_w, false), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = "depthwise, AVX2, 8 channels";
  p.instructions = static_cast<double>(f.macs()) / 8 * 1.5;
  finish(p, step, "float", text + "  }\n}\n");
  return p;
}

class Avx2 : public KernelSet {
 public:
  Prepared prepare(const Model& model, const Step& step, const PrepareOptions& options) const override {
    if (auto* f = std::get_if<ConvForm>(&step.form)) {
      if (f->is_float && !f->depthwise) return conv(step, *f);
      if (std::optional<Prepared> p = f->is_float ? depthwise(step, *f) : bytes(step, *f, options)) return *p;
    }
    return plain_kernels().prepare(model, step, options);
  }
};

}  // namespace

namespace avx2 {
void finish(Prepared& p, const Step& step, const std::string& type, const std::string& text) {
  Values v;
  set_arguments(v, p, type, step.inputs.size(), type);
  p.text = fill(text, v);
}
}  // namespace avx2

const KernelSet& avx2_kernels() {
  static const Avx2 set;
  return set;
}

}  // namespace sorus::device
