// Kernels with vectors, floats.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/simd.h"

namespace sorus::device::simd {
namespace {

// A word of a way.
std::string word(const FloatWay& way, const char* name) { return std::string("$P_") + name + way.name; }

std::string clamp_text(const FloatWay& way, const std::string& v, float low, float high) {
  std::string text;
  auto bound = [&](const char* name, float at) {
    text += fmt::format(" {0} = {1}({0}, {2}({3}));", v, word(way, name), word(way, "SETF"), float_literal(at));
  };
  if (low > -kNoBound) bound("MAXF", low);
  if (high < kNoBound) bound("MINF", high);
  return text;
}

std::string load_text(const FloatWay& way, const std::string& from, int64_t left) {
  return left >= way.lanes ? fmt::format("{}({})", word(way, "LOADF"), from)
                           : fmt::format("{}({}, {})", word(way, "firstf"), from, left);
}

// What becomes of a finished vector `v` of which `left` elements count, for the places `at`.
std::string store_text(const FloatWay& way, const Step& step, const ConvForm& f, const std::string& v,
                       const std::string& at, int64_t left) {
  std::string text = "         " + clamp_text(way, v, f.low_f, f.high_f);
  if (const auto& r = step.residual)
    text += fmt::format(" {0} = {1}({0}, {2});", v, word(way, r->negate_b ? "SUBF" : "ADDF"),
                        load_text(way, "in2 + " + at, left)) +
            clamp_text(way, v, r->low_f, r->high_f);
  return text + (left >= way.lanes ? fmt::format(" {}(out + {}, {});\n", word(way, "STOREF"), at, v)
                                   : fmt::format(" {}(out + {}, {}, {});\n", word(way, "putf"), at, v, left));
}

// The function in those of the ways whose vectors divide `block` channels; `body` prints what is between its braces.
// The kernel's name is that of the ways.
std::string in_ways(Prepared& p, const Simd& s, int64_t block,
                    const std::function<std::string(const FloatWay&)>& body) {
  std::vector<const FloatWay*> ways;
  for (const FloatWay& way : s.float_ways)
    if (block % way.lanes == 0) ways.push_back(&way);
  p.helpers = {ways.size() > 1 ? s.wide_floats : s.floats};
  p.level = ways.size() > 1;
  std::string text, choice;
  for (const FloatWay* way : ways) {
    std::string name = p.level ? fmt::format("$FN_{}", way->lanes) : "$FN";
    text += fmt::format("{} static void {}($ARGS)\n{{\n{}}}\n", word(*way, "SIMD"), name, body(*way));
    p.kernel += (p.kernel.empty() ? "" : " or ") + way->shown;
    choice = way == ways.front() ? fmt::format("{}($NAMES);\n", name)
                                 : fmt::format("if (level >= {}) {}($NAMES);\n  else {}", way->level, name, choice);
  }
  return p.level ? text + "$P_SIMD static void $FN($ARGS, int level)\n{\n  " + choice + "}\n" : text;
}

struct Tile {
  int64_t rows, vectors;
};

// One block of channels of `rows` pixels that lie `depth` apart; `channels` of them are there.
std::string block_text(const FloatWay& way, const Step& step, const ConvForm& f, const Tile& t, int64_t rows,
                       int64_t depth, int64_t channels) {
  std::string text, vector = word(way, "F");
  int64_t used = std::min(t.vectors, (channels + way.lanes - 1) / way.lanes);
  auto sum = [](int64_t r, int64_t v) { return fmt::format("s{}{}", static_cast<char>('a' + r), v); };
  for (int64_t v = 0; v < used; ++v)
    for (int64_t r = 0; r < rows; ++r)
      text += fmt::format("        {} {} = {};\n", vector, sum(r, v),
                          r ? sum(0, v) : fmt::format("{}(bias + o + {})", word(way, "LOADF"), way.lanes * v));
  text += fmt::format("        for (k = 0; k < {}; k++, row += {}) {{\n", depth, way.lanes * t.vectors);
  for (int64_t v = 0; v < used; ++v)
    text += fmt::format("          const {} w{} = {}(row + {});\n", vector, v, word(way, "LOADF"), way.lanes * v);
  for (int64_t r = 0; r < rows; ++r) {
    text += fmt::format("          {{\n            const {} t = {}(x + k + {});\n", vector, word(way, "SPLATF"),
                        r * depth);
    for (int64_t v = 0; v < used; ++v)
      text += fmt::format("            {0} = {1}({0}, t, w{2});\n", sum(r, v), word(way, "FMA"), v);
    text += "          }\n";
  }
  text += "        }\n";
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t v = 0; v < used; ++v)
      text +=
          store_text(way, step, f, sum(r, v), fmt::format("(p + {}) * {} + o + {}", r, f.window.out_c, way.lanes * v),
                     channels - way.lanes * v);
  return text;
}

Prepared conv(const Simd& s, const Step& step, const ConvForm& f) {
  Prepared p;
  const Window& w = f.window;
  int64_t n = w.pixels(), depth = w.kernel_h * w.kernel_w * w.in_c, most = 0;
  int64_t block = s.lanes * vectors_for(n, w.out_c, s.lanes, s.vectors), blocks = (w.out_c + block - 1) / block;
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
  std::string text = gather ? gather_text(w, "gather", "float", "float", "copyf", "0", 1) : "";
  text += in_ways(p, s, block, [&](const FloatWay& way) {
    Tile t{0, block / way.lanes};
    t.rows = rows_for(n, way.accumulators, t.vectors), most = std::max(most, t.rows);
    return over_pixels(n, t.rows, [&](int64_t rows) {
      std::string from = gather ? fmt::format(
                                      "    const float *const x = scratch;\n"
                                      "    $FN_gather(in, p, {}, scratch);\n",
                                      rows)
                                : fmt::format("    const float *const x = in + p * {};\n", depth);
      std::string body = over_channels(w.out_c, block, "    ", [&](int64_t channels) {
        return block_text(way, step, f, t, rows, depth, channels);
      });
      return "    const float *row = w;\n    int k;\n" + from + body;
    });
  });
  if (gather) p.scratch = most * depth * 4;
  // Every block of channels reads the pixels again.
  p.overlaps.push_back(whole(w) ? Overlap{} : Overlap{sliding_gap(w, 4, most, gather), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = fmt::format("convolution, {}, {} pixels by {} channels", p.kernel, most, block);
  p.instructions = static_cast<double>(f.macs()) / static_cast<double>(s.lanes) * 2;
  finish(p, step, "float", text);
  return p;
}

std::optional<Prepared> depthwise(const Simd& s, const Step& step, const ConvForm& f) {
  const Window& w = f.window;
  Parts parts(w);
  if (w.in_c != w.out_c || !parts.few(w)) return std::nullopt;
  Prepared p;
  // Weights lie in blocks of the longest vector that has not more lanes than there are channels.
  int64_t taps = w.kernel_h * w.kernel_w, block = s.lanes;
  for (const FloatWay& way : s.float_ways)
    if (way.lanes <= w.out_c) block = std::max(block, way.lanes);
  int64_t padded = (w.out_c + block - 1) / block * block;
  std::vector<float> packed(static_cast<size_t>(padded * taps)), bias(static_cast<size_t>(padded));
  for (int64_t o = 0; o < w.out_c; ++o) {
    bias[static_cast<size_t>(o)] = f.bias_f[static_cast<size_t>(o)];
    for (int64_t k = 0; k < taps; ++k)
      packed[static_cast<size_t>((o / block * taps + k) * block + o % block)] =
          f.weight_f[static_cast<size_t>(k * w.out_c + o)];
  }
  p.tables.push_back({"float", {}, packed, "w"});
  p.tables.push_back({"float", {}, bias, "bias"});
  std::string text = in_ways(p, s, block, [&](const FloatWay& way) {
    std::string vector = word(way, "F");
    std::string from = way.lanes == block ? fmt::format("w + o * {}", taps)
                                          : fmt::format("w + o / {0} * {1} + o % {0}", block, block * taps);
    auto constants = [&](const Span& y, int64_t) {
      std::string all = fmt::format("        const {} b0 = {}(bias + o);\n", vector, word(way, "LOADF"));
      for (int64_t k = y.low * w.kernel_w; k < y.high * w.kernel_w; ++k)
        all += fmt::format("        const {} w{} = {}({} + {});\n", vector, k, word(way, "LOADF"), from, block * k);
      return all;
    };
    auto place = [&](const Span& y, const Span& x, int64_t left) {
      std::string all = fmt::format("          {} v = b0;\n", vector);
      for (int64_t i = y.low; i < y.high; ++i)
        for (int64_t j = x.low; j < x.high; ++j) {
          int64_t at = (i * w.dilation_h * w.in_w + j * w.dilation_w) * w.in_c;
          all += fmt::format("          v = {}(v, {}, w{});\n", word(way, "FMA"),
                             load_text(way, fmt::format("in + at + {}", at), left), i * w.kernel_w + j);
        }
      return all + store_text(way, step, f, "v", result_place(w), left);
    };
    return parts.text(w, way.lanes, constants, place);
  });
  // A row's channels are made a vector at a time: the input of a row is read until its last ones are there.
  p.overlaps.push_back({sliding_gap(w, 4, w.out_w, false), false});
  if (step.residual) p.overlaps.push_back({0, true});
  p.kernel = fmt::format("depthwise, {}, {} channels", p.kernel, block);
  p.instructions = static_cast<double>(f.macs()) / static_cast<double>(s.lanes) * 1.5;
  finish(p, step, "float", text);
  return p;
}

}  // namespace

std::optional<Prepared> floats(const Simd& s, const Step& step, const ConvForm& f) {
  return f.depthwise ? depthwise(s, step, f) : std::optional<Prepared>(conv(s, step, f));
}

}  // namespace sorus::device::simd
