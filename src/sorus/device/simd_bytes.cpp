// Kernels with vectors, bytes: products. Results equal the plain kernels' to the bit.
//
// Weights lie in blocks of channels, `group` weights of a channel together, so that one instruction multiplies a
// group of a pixel's elements with that of each channel of a vector. All ways of a processor read the same weights.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "sorus/device/simd.h"

namespace sorus::device::simd {

int64_t image_bytes(const Window& w) { return w.batch * (w.in_h * w.in_w * w.in_c + w.out_h * w.out_w * w.out_c); }

int64_t channel_at(const Simd& s, int64_t vectors, int64_t place) {
  if (!s.crossed || vectors == 1) return place;
  int64_t v = place / 8, lane = place % 8;
  return v / 2 * 16 + (v % 2) * 4 + lane % 4 + lane / 4 * 8;
}

Rounding::Rounding(Prepared& p, const Simd& s, const Step& step, const ConvForm& f, int64_t vectors, int64_t more)
    : s_(s), step_(step), f_(f) {
  const Rescale& r = f.rescale;
  std::vector<int64_t> bias = folded_bias(f, more);
  auto arranged = [&](const std::function<int64_t(int64_t)>& value) {
    std::vector<int64_t> list;
    for (int64_t o = 0; o < f.window.out_c; o += s.lanes * vectors)
      for (int64_t i = 0; i < s.lanes * vectors; ++i) {
        int64_t c = o + channel_at(s, vectors, i);
        list.push_back(c < f.window.out_c ? value(c) : 0);
      }
    return list;
  };
  auto factor = [&](const char* name, const std::vector<int32_t>& list, const std::function<int64_t(int64_t)>& at) {
    if (std::all_of(list.begin(), list.end(), [&](int32_t v) { return v == list[0]; }))
      return fmt::format("$P_SETI({})", at(0));
    add_table(p, "int32_t", name, arranged(at));
    return fmt::format("$P_LOADI({} + {{0}})", name);
  };
  add_table(p, "int32_t", "bias", arranged([&](int64_t c) { return bias[static_cast<size_t>(c)]; }));
  if (!r.real.empty()) {
    p.helpers.push_back(s.real);
    bool one = std::all_of(r.real.begin(), r.real.end(), [&](float v) { return v == r.real[0]; });
    multiplier_ = one ? fmt::format("$P_SETR({})", float_literal(r.real[0])) : "$P_LOADR(multiplier + {})";
    if (!one) {
      std::vector<float> list;
      for (int64_t o = 0; o < f.window.out_c; o += s.lanes * vectors)
        for (int64_t i = 0; i < s.lanes * vectors; ++i) {
          int64_t c = o + channel_at(s, vectors, i);
          list.push_back(c < f.window.out_c ? r.real_of(c) : 0);
        }
      p.tables.push_back({"float", {}, list, "multiplier"});
    }
  } else {
    multiplier_ = factor("multiplier", r.multiplier, [&](int64_t c) { return r.multiplier_of(c); });
    shift_ = factor("shift", r.shift, [&](int64_t c) { return -r.shift_of(c) * s.right; });
  }
  if (step.residual) p.helpers.push_back(s.residual);
}

std::string Rounding::store(const std::vector<std::string>& sums, const std::string& table, const std::string& at,
                            int64_t left) const {
  const Rescale& r = f_.rescale;
  // A result below its zero point that is clamped anyway needs no care; neither do shifts by nothing that are not
  // there.
  const char* below = r.low >= r.zero_point                                                                  ? "0"
                      : std::all_of(r.shift.begin(), r.shift.end(), [](int32_t shift) { return shift < 0; }) ? "1"
                                                                                                             : "2";
  auto clamp = [](int32_t low, int32_t high) {
    std::string text;
    if (low > -128) text += fmt::format("          v = $P_MAXB(v, {});\n", low);
    if (high < 127) text += fmt::format("          v = $P_MINB(v, {});\n", high);
    return text;
  };
  std::string text = "        {\n          $P_BYTES v;\n";
  for (size_t i = 0; i < sums.size(); ++i) {
    std::string place = fmt::format("{} + {}", table, s_.lanes * static_cast<int64_t>(i));
    std::string multiplier = fmt::format(fmt::runtime(multiplier_), place);
    text += r.real.empty() ? fmt::format("          {0} = $P_rescales({0}, {1}, {2}, {3});\n", sums[i], multiplier,
                                         fmt::format(fmt::runtime(shift_), place), below)
                           : fmt::format("          {0} = $P_rescales_real({0}, {1});\n", sums[i], multiplier);
  }
  text += sums.size() == 2 ? fmt::format("          v = $P_narrow2({}, {}, {});\n", sums[0], sums[1], r.zero_point)
                           : fmt::format("          v = $P_narrow1({}, {});\n", sums[0], r.zero_point);
  text += clamp(r.low, r.high);
  if (const auto& a = step_.residual)
    text +=
        fmt::format(
            "          v = $P_residual(v, $P_first_bytes(in2 + {}, {}), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, "
            "{});\n",
            at, left, a->left_shift, a->zero_a, a->multiplier_a, -a->shift_a, a->zero_b, a->multiplier_b, -a->shift_b,
            a->negate_b ? 1 : 0, a->rescale.multiplier[0], -a->rescale.shift[0], a->rescale.zero_point) +
        clamp(a->rescale.low, a->rescale.high);
  return text + fmt::format("          $P_put_bytes(out + {}, v, {});\n        }}\n", at, left);
}

namespace {

std::string upper(std::string s) {
  for (char& c : s) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return s;
}

// One layer; `kernel` prints it in one way.
class Products {
 public:
  Products(const Simd& s, const Step& step, const ConvForm& f, const PrepareOptions& options)
      : s_(s), step_(step), f_(f), w_(f.window), options_(options), n_(w_.pixels()) {
    depth_ = w_.kernel_h * w_.kernel_w * w_.in_c, stride_ = (depth_ + s.step - 1) / s.step * s.step;
    vectors_ = vectors_for(n_, w_.out_c, s.lanes, s.byte_vectors);
    for (const Way& way : s.ways) vectors_ = std::min(vectors_, way.accumulators * way.channels / s.lanes);
    if (vectors_ > 1) vectors_ += vectors_ % 2;
    block_ = s.lanes * vectors_;
  }

  Prepared prepared() {
    add_table(p_, "int8_t", "w", packed());
    Rounding rounding(p_, s_, step_, f_, vectors_, s_.flips ? 128 : 0);
    p_.helpers.insert(p_.helpers.begin(), s_.bytes);
    std::string text, choice, shown;
    const Way* best = nullptr;
    for (size_t level = 0; level < s_.ways.size(); ++level) {
      if (s_.ways[level].pixels > n_) continue;  // nothing but the lesser way
      best = &s_.ways[level];
      shown += (level ? " or " : "") + best->shown;
      text += kernel(rounding, *best, level ? s_.ways[level - 1] : *best);
      choice = level ? fmt::format("if (level >= {}) $FN_{}($NAMES);\n  else {}", level, best->name, choice)
                     : fmt::format("$FN_{}($NAMES);\n", best->name);
    }
    p_.overlaps.push_back(overlap_);
    if (step_.residual) p_.overlaps.push_back({0, true});
    p_.level = s_.ways.size() > 1;
    if (p_.level) text += "$P_SIMD static void $FN($ARGS, int level)\n{\n  " + choice + "}\n";
    p_.kernel = fmt::format("convolution, {}, {} pixels by {} channels", shown, most_, block_);
    p_.instructions =
        static_cast<double>(f_.macs()) / static_cast<double>(best->channels * best->pixels * s_.group) * 1.5 +
        static_cast<double>(n_ * w_.out_c) * 2;
    finish(p_, step_, "int8_t", text);
    return p_;
  }

 private:
  std::vector<int64_t> packed() const {
    std::vector<int64_t> list;
    for (int64_t o = 0; o < w_.out_c; o += block_)
      for (int64_t k = 0; k < stride_; k += s_.group)
        for (int64_t place = 0; place < block_; ++place)
          for (int64_t i = k; i < k + s_.group; ++i) {
            int64_t c = o + channel_at(s_, vectors_, place);
            list.push_back(c < w_.out_c && i < depth_ ? f_.weight[static_cast<size_t>(c * depth_ + i)] : 0);
          }
    return list;
  }

  // Whether two weights that are multiplied beside each other are both the least there is.
  bool large_pairs() const {
    for (int64_t c = 0; c < w_.out_c; ++c)
      for (int64_t k = 0; k + 1 < depth_; k += 2)
        if (f_.weight[static_cast<size_t>(c * depth_ + k)] == -128 &&
            f_.weight[static_cast<size_t>(c * depth_ + k + 1)] == -128)
          return true;
    return false;
  }

  static std::string sum(int64_t r, int64_t v) { return fmt::format("s{}{}", static_cast<char>('a' + r), v); }

  // One round of the loop for pixels one by one.
  std::string round(const Way& way, int64_t rows, int64_t sums, const std::string& width) const {
    std::string text, word = "$P_" + upper(way.name), large = way.halves && large_pairs() ? "128" : "";
    for (int64_t h = 0; h < s_.step / s_.group; ++h) {
      text += "          {\n";
      for (int64_t v = 0; v < sums; ++v)
        text += fmt::format("            const $P_V w{} = {}_W(row + {});\n", v, word,
                            (h * block_ + v * way.channels) * s_.group);
      for (int64_t r = 0; r < rows; ++r) {
        text += fmt::format("            {{\n              const {0}_T t = {0}_X{1}(x + k + {2});\n", word, width,
                            r * stride_ + h * s_.group);
        for (int64_t v = 0; v < sums; ++v)
          text += fmt::format("              {}_ADD{}({}, t, w{});\n", word, large, sum(r, v), v);
        text += "              $P_NOW;\n            }\n";
      }
      text += "          }\n";
    }
    return text;
  }

  // The same for pairs of pixels: an accumulator holds both results of two channels, a vector of weights two groups
  // of each, which lie in two blocks.
  std::string round_of_pairs(const Way& way, int64_t rows, int64_t sums) const {
    std::string text, word = "$P_" + upper(way.name);
    for (int64_t r = 0; r < rows; r += 2)
      text += fmt::format("          const $P_V t{} = {}_X(x + k + {}, x + k + {});\n", r / 2, word, r * stride_,
                          (r + 1) * stride_);
    for (int64_t v = 0; v < sums; v += 2) {
      int64_t at = v * way.channels * s_.group;
      text += fmt::format(
          "          {{\n            const $P_V a = {0}_W(row + {1}), b = {0}_W(row + {2});\n"
          "            const $P_V w0 = {0}_EVEN(a, b), w1 = {0}_ODD(a, b);\n",
          word, at, block_ * s_.group + at);
      for (int64_t r = 0; r < rows; r += 2)
        for (int64_t i = 0; i < 2; ++i)
          text += fmt::format("            {}_ADD({}, t{}, w{});\n", word, sum(r / 2, v + i), r / 2, i);
      text += "            $P_NOW;\n          }\n";
    }
    return text;
  }

  // One block of channels of `rows` pixels; `channels` of them are there.
  std::string block_text(const Rounding& rounding, const Way& way, int64_t rows, int64_t channels,
                         const std::string& width) const {
    int64_t used = std::min(vectors_, (channels + s_.lanes - 1) / s_.lanes);
    if (s_.crossed && vectors_ > 1) used += used % 2;
    int64_t sums = used * s_.lanes / way.channels;
    std::string text, word = "$P_" + upper(way.name);
    for (int64_t r = 0; r < rows / way.pixels; ++r)
      for (int64_t v = 0; v < sums; ++v) text += fmt::format("        $P_I {} = $P_ZERO;\n", sum(r, v));
    text += fmt::format("        for (k = 0; k < {}; k += {}, row += {}) {{\n", stride_, s_.step, block_ * s_.step) +
            (way.pixels == 2 ? round_of_pairs(way, rows, sums) : round(way, rows, sums, width)) + "        }\n";
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t v = 0; v < used; v += 2) {
        std::vector<std::string> names;
        text += "        {\n";
        for (int64_t i = v; i < std::min(v + 2, used); ++i) {
          std::string total = sum(r / way.pixels, i);
          if (way.pixels * way.sums == 2)
            total = fmt::format("{}_{}({}, {})", word,
                                way.pixels == 1 ? "FOLD"
                                : r % 2         ? "SECOND"
                                                : "FIRST",
                                sum(r / way.pixels, 2 * i), sum(r / way.pixels, 2 * i + 1));
          if (f_.weight_zero) total = fmt::format("$P_ADDI({}, $P_SETI(base[{}]))", total, r);
          names.push_back(fmt::format("u{}", i - v));
          text += fmt::format("        $P_I {} = $P_ADDI({}, $P_LOADI(bias + o + {}));\n", names.back(), total,
                              s_.lanes * i);
        }
        text += rounding.store(names, fmt::format("o + {}", s_.lanes * v),
                               fmt::format("(p + {}) * {} + o + {}", r, w_.out_c, s_.lanes * v),
                               std::min(channels - s_.lanes * v, 2 * s_.lanes)) +
                "        }\n";
      }
    return text;
  }

  // The function of a way; `lesser` multiplies where pixels are left over.
  std::string kernel(const Rounding& rounding, const Way& way, const Way& lesser) {
    int64_t pairs = rows_for(n_ / way.pixels, way.accumulators, block_ / way.channels);
    int64_t rows = std::min(pairs * way.pixels, kMostPixels);
    if (options_.group < 4) rows = std::min(rows, options_.group);
    most_ = std::max(most_, rows);
    // Groups of pixels that do not lie as they are read go to the scratch. So may others, that their results may lie
    // where they lay: as 16 bits where that is little beside the images.
    bool gather = !(pointwise(w_) || whole(w_)) || depth_ != stride_, brought = gather || (way.brings && !whole(w_));
    bool wide = brought && !way.wide.empty() && rows * stride_ * 2 <= image_bytes(w_) / kPartForScratch;
    if (brought) p_.scratch = std::max(p_.scratch, (rows * stride_ * (wide ? 2 : 1) + 3) / 4 * 4);
    std::string type = wide ? "int16_t" : "int8_t", copy = wide ? way.wide : "bring",
                width = wide                  ? "16"
                        : brought && s_.flips ? "8"
                                              : "",
                text;
    int64_t outside = f_.input_zero + (s_.flips ? 128 : 0);
    if (!wide && outside > 127) outside -= 256;
    if (gather && gathers_.insert(copy).second)
      text += gather_text(w_, "gather" + width, "int8_t", type, copy, std::to_string(outside), s_.step);
    Overlap over = brought     ? Overlap{sliding_gap(w_, 1, rows, true), false}
                   : whole(w_) ? Overlap{}
                               : Overlap{sliding_gap(w_, 1, rows, false), false};
    overlap_ = !overlap_.gap || !over.gap ? Overlap{} : Overlap{std::max(*overlap_.gap, *over.gap), false};
    text += fmt::format("$P_{}_SIMD static void $FN{}($ARGS)\n{{\n", upper(way.name),
                        s_.ways.size() > 1 ? "_" + way.name : "");
    if (f_.weight_zero) text += fmt::format("  int32_t base[{}];\n", rows);
    text += over_pixels(n_, rows, [&](int64_t group) {
      std::string all = fmt::format("    const int8_t *row = w;\n    const {} *const x = {};\n    int k;\n", type,
                                    brought ? "scratch" : fmt::format("in + p * {}", depth_));
      if (gather)
        all += fmt::format("    $FN_gather{}(in, p, {}, scratch);\n", width, group);
      else if (brought)
        all += fmt::format("    $P_{}(in + p * {}, scratch, {});\n", copy, depth_, group * depth_);
      // Weights are used as they are; what their zero point adds is the same for all channels.
      if (f_.weight_zero)
        all += fmt::format("    for (k = 0; k < {0}; k++) base[k] = {1} * $P_sum{3}(x + k * {2}, {2});\n", group,
                           -f_.weight_zero, stride_, width);
      return all + over_channels(w_.out_c, block_, "    ", [&](int64_t channels) {
               return block_text(rounding, group % way.pixels ? lesser : way, group, channels, width);
             });
    });
    if (!brought) text += "?SCRATCH   (void)scratch;\n";
    return text + "}\n";
  }

  const Simd& s_;
  const Step& step_;
  const ConvForm& f_;
  const Window& w_;
  const PrepareOptions& options_;
  Prepared p_;
  Overlap overlap_ = {-(int64_t{1} << 60), false};
  std::set<std::string> gathers_;
  int64_t n_, depth_ = 0, stride_ = 0, vectors_ = 0, block_ = 0, most_ = 0;
};

bool goes_left(const Rescale& r) {
  return std::any_of(r.shift.begin(), r.shift.end(), [](int32_t s) { return s > 0; });
}

}  // namespace

std::optional<Prepared> bytes(const Simd& s, const Step& step, const ConvForm& f, const PrepareOptions& options) {
  const auto& a = step.residual;
  if (goes_left(f.rescale) || (a && (a->shift_a > 0 || a->shift_b > 0 || goes_left(a->rescale)))) return std::nullopt;
  return f.depthwise ? depthwise_bytes(s, step, f) : Products(s, step, f, options).prepared();
}

}  // namespace sorus::device::simd
