// Kernels with vectors, floats.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/simd.h"

namespace sorus::device::simd {
namespace {

std::string clamp_text(const std::string& v, float low, float high) {
  std::string text;
  if (low > -kNoBound) text += fmt::format(" {0} = $P_MAXF({0}, $P_SETF({1}));", v, float_literal(low));
  if (high < kNoBound) text += fmt::format(" {0} = $P_MINF({0}, $P_SETF({1}));", v, float_literal(high));
  return text;
}

std::string load_text(const Simd& s, const std::string& from, int64_t left) {
  return left >= s.lanes ? fmt::format("$P_LOADF({})", from) : fmt::format("$P_firstf({}, {})", from, left);
}

// What becomes of a finished vector `v` of which `left` elements count, for the places `at`.
std::string store_text(const Simd& s, const Step& step, const ConvForm& f, const std::string& v,
                       const std::string& at, int64_t left) {
  std::string text = "         " + clamp_text(v, f.low_f, f.high_f);
  if (const auto& r = step.residual)
    text +=
        fmt::format(" {0} = $P_{1}({0}, {2});", v, r->negate_b ? "SUBF" : "ADDF", load_text(s, "in2 + " + at, left)) +
        clamp_text(v, r->low_f, r->high_f);
  return text + (left >= s.lanes ? fmt::format(" $P_STOREF(out + {}, {});\n", at, v)
                                 : fmt::format(" $P_putf(out + {}, {}, {});\n", at, v, left));
}

struct Tile {
  int64_t rows, vectors;
};

// One block of channels of `rows` pixels that lie `depth` apart; `channels` of them are there.
std::string block_text(const Simd& s, const Step& step, const ConvForm& f, const Tile& t, int64_t rows, int64_t depth,
                       int64_t channels) {
  std::string text;
  int64_t used = std::min(t.vectors, (channels + s.lanes - 1) / s.lanes);
  auto sum = [](int64_t r, int64_t v) { return fmt::format("s{}{}", static_cast<char>('a' + r), v); };
  for (int64_t v = 0; v < used; ++v)
    for (int64_t r = 0; r < rows; ++r)
      text += fmt::format("        $P_F {} = {};\n", sum(r, v),
                          r ? sum(0, v) : fmt::format("$P_LOADF(bias + o + {})", s.lanes * v));
  text += fmt::format("        for (k = 0; k < {}; k++, row += {}) {{\n", depth, s.lanes * t.vectors);
  for (int64_t v = 0; v < used; ++v)
    text += fmt::format("          const $P_F w{0} = $P_LOADF(row + {1});\n", v, s.lanes * v);
  for (int64_t r = 0; r < rows; ++r) {
    text += fmt::format("          {{\n            const $P_F t = $P_SPLATF(x + k + {});\n", r * depth);
    for (int64_t v = 0; v < used; ++v) text += fmt::format("            {0} = $P_FMA({0}, t, w{1});\n", sum(r, v), v);
    text += "          }\n";
  }
  text += "        }\n";
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < used; ++v)
      text += store_text(s, step, f, sum(r, v), fmt::format("(p + {}) * {} + o + {}", r, f.window.out_c, s.lanes * v),
                         channels - s.lanes * v);
  return text;
}

Prepared conv(const Simd& s, const Step& step, const ConvForm& f) {
  Prepared p;
  const Window& w = f.window;
  int64_t n = w.pixels(), depth = w.kernel_h * w.kernel_w * w.in_c;
  Tile t{0, vectors_for(n, w.out_c, s.lanes, s.vectors)};
  t.rows = rows_for(n, s.accumulators, t.vectors);
  int64_t block = s.lanes * t.vectors, blocks = (w.out_c + block - 1) / block;
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
  p.helpers = {s.floats};
  if (gather) p.scratch = t.rows * depth * 4;
  std::string text = gather ? gather_text(w, "gather", "float", "float", "copyf", "0", 1) : "";
  text += "$P_SIMD static void $FN($ARGS)\n{\n" + over_pixels(n, t.rows, [&](int64_t rows) {
            std::string from = gather ? fmt::format(
                                            "    const float *const x = scratch;\n"
                                            "    $FN_gather(in, p, {}, scratch);\n",
                                            rows)
                                      : fmt::format("    const float *const x = in + p * {};\n", depth);
            std::string body = over_channels(w.out_c, block, "    ", [&](int64_t channels) {
              return block_text(s, step, f, t, rows, depth, channels);
            });
            return "    const float *row = w;\n    int k;\n" + from + body;
          });
  // Every block of channels reads the pixels again.
  p.overlaps.push_back(whole(w) ? Overlap{} : Overlap{sliding_gap(w, 4, t.rows, gather), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = fmt::format("convolution, {}, {} pixels by {} channels", s.name, t.rows, block);
  p.instructions = static_cast<double>(f.macs()) / static_cast<double>(s.lanes) * 2;
  finish(p, step, "float", text + "}\n");
  return p;
}

std::optional<Prepared> depthwise(const Simd& s, const Step& step, const ConvForm& f) {
  const Window& w = f.window;
  Parts parts(w);
  if (w.in_c != w.out_c || !parts.few(w)) return std::nullopt;
  Prepared p;
  int64_t taps = w.kernel_h * w.kernel_w, padded = (w.out_c + s.lanes - 1) / s.lanes * s.lanes;
  std::vector<float> packed(static_cast<size_t>(padded * taps)), bias(static_cast<size_t>(padded));
  for (int64_t o = 0; o < w.out_c; ++o) {
    bias[static_cast<size_t>(o)] = f.bias_f[static_cast<size_t>(o)];
    for (int64_t k = 0; k < taps; ++k)
      packed[static_cast<size_t>((o / s.lanes * taps + k) * s.lanes + o % s.lanes)] =
          f.weight_f[static_cast<size_t>(k * w.out_c + o)];
  }
  p.tables.push_back({"float", {}, packed, "w"});
  p.tables.push_back({"float", {}, bias, "bias"});
  p.helpers = {s.floats};
  auto constants = [&](const Span& y, int64_t) {
    std::string text = "        const $P_F b0 = $P_LOADF(bias + o);\n";
    for (int64_t k = y.low * w.kernel_w; k < y.high * w.kernel_w; ++k)
      text += fmt::format("        const $P_F w{0} = $P_LOADF(w + o * {1} + {2});\n", k, taps, s.lanes * k);
    return text;
  };
  auto place = [&](const Span& y, const Span& x, int64_t left) {
    std::string text = "          $P_F v = b0;\n";
    for (int64_t i = y.low; i < y.high; ++i)
      for (int64_t j = x.low; j < x.high; ++j) {
        int64_t at = (i * w.dilation_h * w.in_w + j * w.dilation_w) * w.in_c;
        text += fmt::format("          v = $P_FMA(v, {}, w{});\n",
                            load_text(s, fmt::format("in + at + {}", at), left), i * w.kernel_w + j);
      }
    return text + store_text(s, step, f, "v", result_place(w), left);
  };
  // A row's channels are made a vector at a time: the input of a row is read until its last ones are there.
  p.overlaps.push_back({sliding_gap(w, 4, w.out_w, false), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = fmt::format("depthwise, {}, {} channels", s.name, s.lanes);
  p.instructions = static_cast<double>(f.macs()) / static_cast<double>(s.lanes) * 1.5;
  finish(p, step, "float", "$P_SIMD static void $FN($ARGS)\n{\n" + parts.text(w, s.lanes, constants, place) + "}\n");
  return p;
}

}  // namespace

std::optional<Prepared> floats(const Simd& s, const Step& step, const ConvForm& f) {
  return f.depthwise ? depthwise(s, step, f) : std::optional<Prepared>(conv(s, step, f));
}

}  // namespace sorus::device::simd
