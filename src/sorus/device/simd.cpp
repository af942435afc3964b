#include "sorus/device/simd.h"

#include <algorithm>

#include <fmt/format.h>

namespace sorus::device {
namespace simd {

int64_t vectors_for(int64_t pixels, int64_t channels, int64_t lanes, int64_t most) {
  int64_t vectors = (channels + lanes - 1) / lanes;
  // Few pixels: more channels, since every sum waits for the one before it.
  if (pixels <= 1) return std::min<int64_t>(vectors, 8);
  if (pixels <= 3) return std::min<int64_t>(vectors, 4);
  return std::min(vectors, most);
}

int64_t rows_for(int64_t pixels, int64_t all, int64_t each) {
  return std::clamp<int64_t>(all / each, 1, std::min(pixels, kMostPixels));
}

bool pointwise(const Window& w) {
  return w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && w.inside();
}
bool whole(const Window& w) {
  return w.out_h == 1 && w.out_w == 1 && w.in_h == w.kernel_h && w.in_w == w.kernel_w && w.inside();
}

std::string gather_text(const Window& w, const std::string& name, const std::string& type, const std::string& to,
                        const std::string& copy, const std::string& outside, int64_t step) {
  int64_t run = w.dilation_w == 1 ? w.kernel_w * w.in_c : w.in_c, runs = w.kernel_w * w.in_c / run;
  std::string text = fmt::format(
      "$P_SIMD static void $FN_{10}(const {0} *in, int p, int n, {1} *to)\n{{\n  for (; n > 0; n--, p++) {{\n"
      "    const int top = p / {2} % {3} * {4} - {5}, left = p % {2} * {6} - {7};\n"
      "    const {0} *const image = in + p / {8} * {9};\n    int i, j;\n",
      type, to, w.out_w, w.out_h, w.stride_h, w.pad_top, w.stride_w, w.pad_left, w.out_w * w.out_h,
      w.in_h * w.in_w * w.in_c, name);
  text +=
      fmt::format("    for (i = 0; i < {}; i++) {{\n      const int y = top + i * {};\n", w.kernel_h, w.dilation_h);
  if (!w.inside())
    text += fmt::format(
        "      if (y < 0 || y >= {0} || left < 0 || left + {1} >= {2}) {{\n        for (j = 0; j < {3}; j++, to += "
        "{4}) {{\n"
        "          const int z = left + j * {5};\n          if (y < 0 || y >= {0} || z < 0 || z >= {2}) {{\n"
        "            int k;\n            for (k = 0; k < {4}; k++) to[k] = {6};\n          }} else {{\n"
        "            $P_{7}(image + (y * {2} + z) * {4}, to, {4});\n          }}\n        }}\n        continue;\n    "
        "  }}\n",
        w.in_h, (w.kernel_w - 1) * w.dilation_w, w.in_w, w.kernel_w, w.in_c, w.dilation_w, outside, copy);
  text += fmt::format(
      "      for (j = 0; j < {0}; j++, to += {1}) {{\n        const int z = left + j * {2};\n"
      "        $P_{3}(image + (y * {4} + z) * {5}, to, {1});\n      }}\n    }}\n",
      runs, run, runs > 1 ? w.dilation_w : 0, copy, w.in_w, w.in_c);
  int64_t odd = w.kernel_h * w.kernel_w * w.in_c % step;
  if (odd) text += fmt::format("    for (j = 0; j < {}; j++) *to++ = 0;\n", step - odd);
  return text + "  }\n}\n\n";
}

std::string over_pixels(int64_t pixels, int64_t rows, const std::function<std::string(int64_t)>& group) {
  std::string text = "  int p = 0;\n";
  int64_t full = pixels / rows * rows;
  if (full) text += fmt::format("  for (; p < {}; p += {}) {{\n", full, rows) + group(rows) + "  }\n";
  if (full < pixels) text += "  {\n" + group(pixels - full) + "  }\n";
  return text;
}

std::string over_channels(int64_t channels, int64_t block, const std::string& indent,
                          const std::function<std::string(int64_t)>& body) {
  std::string text;
  int64_t full = channels / block * block;
  if (full)
    text += fmt::format("{0}{{\n{0}  int o;\n{0}  for (o = 0; o < {1}; o += {2}) {{\n", indent, full, block) +
            body(block) + fmt::format("{0}  }}\n{0}}}\n", indent);
  if (full < channels)
    text += fmt::format("{0}{{\n{0}  const int o = {1};\n", indent, full) + body(channels - full) + indent + "}\n";
  return text;
}

namespace {
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
}  // namespace

Parts::Parts(const Window& w)
    : rows(spans(w.out_h, w.in_h, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top)),
      columns(spans(w.out_w, w.in_w, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left)) {}

bool Parts::few(const Window& w) const {
  return static_cast<int64_t>(rows.size() * columns.size()) * w.kernel_h * w.kernel_w <= 1000;
}

std::string Parts::text(const Window& w, int64_t block,
                        const std::function<std::string(const Span&, int64_t)>& constants,
                        const std::function<std::string(const Span&, const Span&, int64_t)>& place) const {
  std::string text = fmt::format("  int b, y, z;\n  for (b = 0; b < {}; b++) {{\n", w.batch);
  for (const Span& y : rows) {
    text += fmt::format("    for (y = {}; y < {}; y++) {{\n", y.from, y.to);
    text += over_channels(w.out_c, block, "      ", [&](int64_t left) {
      std::string body = fmt::format("        const int line = ((b * {} + y * {} - {}) * {} - {}) * {} + o;\n",
                                     w.in_h, w.stride_h, w.pad_top, w.in_w, w.pad_left, w.in_c) +
                         constants(y, left);
      for (const Span& x : columns)
        body += fmt::format("        for (z = {}; z < {}; z++) {{\n          const int at = line + z * {};\n", x.from,
                            x.to, w.stride_w * w.in_c) +
                place(y, x, left) + "        }\n";
      return body;
    });
    text += "    }\n";
  }
  return text + "  }\n";
}

std::string result_place(const Window& w) {
  return fmt::format("((b * {} + y) * {} + z) * {} + o", w.out_h, w.out_w, w.out_c);
}

void finish(Prepared& p, const Step& step, const std::string& type, const std::string& text) {
  Values v;
  set_arguments(v, p, type, step.inputs.size(), type);
  std::string names;
  for (size_t i = 0; i < step.inputs.size(); ++i) names += input_name(i) + ", ";
  names += "out";
  if (p.scratch) names += ", scratch";
  for (const Table& t : p.tables) names += ", " + t.argument;
  v["NAMES"] = names, v["SCRATCH"] = p.scratch ? "1" : "0";
  p.text = fill(text, v);
}

}  // namespace simd

Prepared SimdKernels::prepare(const Model& model, const Step& step, const PrepareOptions& options) const {
  if (auto* f = std::get_if<ConvForm>(&step.form)) {
    std::optional<Prepared> p = f->is_float  ? simd::floats(simd_, step, *f)
                                : f->bytes() ? simd::bytes(simd_, step, *f, options)
                                             : std::nullopt;
    if (p) return *p;
  }
  return with_dot(simd_.dot, plain_kernels().prepare(model, step, options));
}

}  // namespace sorus::device
