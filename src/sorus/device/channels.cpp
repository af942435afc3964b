// The pass that removes channels; see passes.h. Ranges of 8-bit channels go forwards, needs go backwards, and what is
// left is cut out of weights and tensors. A convolution's result lies between the results of its smallest and largest
// possible sums, because rescaling is monotone; where both are equal the channel is a constant.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "sorus/device/passes.h"

namespace sorus::device {
namespace {

struct Range {
  int32_t low = -128, high = 127;
  bool constant() const { return low == high; }
  void include(int32_t v) { low = std::min(low, v), high = std::max(high, v); }
};

using Ranges = std::vector<Range>;  // one a channel: the last dimension

int64_t channels_of(const Model& m, int tensor) {
  const Shape& d = m.tensors[static_cast<size_t>(tensor)].dims;
  return d.empty() ? 1 : d.back();
}

int32_t finish(const Rescale& r, int64_t sum, int64_t channel) {
  if (!r.real.empty()) {  // bounds are integers, so it does not matter whether they come before the rounding
    float v = static_cast<float>(sum) * r.real_of(channel);
    v = std::clamp(v, static_cast<float>(r.low - r.zero_point), static_cast<float>(r.high - r.zero_point));
    return static_cast<int32_t>(std::nearbyint(v)) + r.zero_point;
  }
  return std::clamp(r.zero_point + rescaled(sum, r.multiplier_of(channel), r.shift_of(channel)), r.low, r.high);
}

int32_t added(const AddForm& f, int32_t a, int32_t b) {
  auto scaled = [&](int32_t x, int32_t multiplier, int32_t shift) {
    return rescaled(static_cast<int64_t>(x) * (int64_t{1} << f.left_shift), multiplier, shift);
  };
  int32_t sa = scaled(a - f.zero_a, f.multiplier_a, f.shift_a), sb = scaled(b - f.zero_b, f.multiplier_b, f.shift_b);
  return finish(f.rescale, int64_t{sa} + (f.negate_b ? -sb : sb), 0);
}

Range added(const AddForm& f, Range a, Range b) {
  if (f.negate_b) std::swap(b.low, b.high);
  return {added(f, a.low, b.low), added(f, a.high, b.high)};
}

int8_t& weight_at(ConvForm& f, int64_t o, int64_t k, int64_t c) {  // k: position in the window
  int64_t taps = f.window.kernel_h * f.window.kernel_w;
  return f.weight[static_cast<size_t>(f.depthwise ? k * f.window.out_c + o : (o * taps + k) * f.window.in_c + c)];
}

class Channels {
 public:
  explicit Channels(Model& m) : m_(m), ranges_(m.tensors.size()), dropped_(m.tensors.size()) {}

  int64_t run() {
    forwards();
    backwards();
    return cut();
  }

 private:
  bool quantised(int tensor) const { return m_.tensors[static_cast<size_t>(tensor)].type == Element::i8; }

  const Ranges& ranges(int tensor) {
    Ranges& r = ranges_[static_cast<size_t>(tensor)];
    if (r.empty()) r.resize(static_cast<size_t>(channels_of(m_, tensor)));
    return r;
  }

  Range conv_range(ConvForm& f, const Ranges& in, int64_t o) {
    const Window& w = f.window;
    int64_t low = f.bias[static_cast<size_t>(o)], high = low;
    int64_t taps = w.kernel_h * w.kernel_w, per = std::max<int64_t>(w.out_c / w.in_c, 1);
    for (int64_t c = 0; c < (f.depthwise ? 1 : w.in_c); ++c) {
      Range r = in[static_cast<size_t>((f.depthwise ? o / per : c) % static_cast<int64_t>(in.size()))];
      if (!w.inside()) r.include(f.input_zero);
      for (int64_t k = 0; k < taps; ++k) {
        int64_t v = weight_at(f, o, k, c) - f.weight_zero, a = v * (r.low - f.input_zero),
                b = v * (r.high - f.input_zero);
        low += std::min(a, b), high += std::max(a, b);
      }
    }
    return {finish(f.rescale, low, o), finish(f.rescale, high, o)};
  }

  void forwards() {
    for (Step& step : m_.steps) {
      if (!quantised(step.output)) continue;
      ranges(step.output);  // any value, unless something better is known
      Ranges& out = ranges_[static_cast<size_t>(step.output)];
      if (!std::all_of(step.inputs.begin(), step.inputs.end(), [&](int t) { return quantised(t); })) continue;
      const Ranges& in = ranges(step.inputs[0]);
      auto conv = std::get_if<ConvForm>(&step.form);
      // An image that was flattened has other channels than the rows that are made from it.
      if (!conv && in.size() != out.size()) continue;
      if (conv && !conv->is_float) {
        for (size_t o = 0; o < out.size(); ++o) {
          out[o] = conv_range(*conv, in, static_cast<int64_t>(o));
          if (!step.residual) continue;
          const Ranges& other = ranges(step.inputs[1]);
          out[o] = other.size() == out.size() ? added(*step.residual, out[o], other[o]) : Range();
        }
      } else if (auto* pool = std::get_if<PoolForm>(&step.form)) {
        for (size_t o = 0; o < out.size(); ++o)
          out[o] = {std::clamp(in[o].low, pool->low, pool->high), std::clamp(in[o].high, pool->low, pool->high)};
      } else if (auto* add = std::get_if<AddForm>(&step.form)) {
        const Ranges& b = ranges(step.inputs[1]);
        if (b.size() == out.size() && in.size() == out.size())
          for (size_t o = 0; o < out.size(); ++o) out[o] = added(*add, in[o], b[o]);
      } else if (auto* table = std::get_if<TableForm>(&step.form)) {
        for (size_t o = 0; o < out.size(); ++o) {
          auto first = table->table.begin() + in[o].low + 128, last = table->table.begin() + in[o].high + 129;
          out[o] = {*std::min_element(first, last), *std::max_element(first, last)};
        }
      }
    }
  }

  // Whether a sum of products can do without channel c of its input.
  bool folds(ConvForm& f, const Range& r, int64_t c, int64_t channels) {
    if (f.weight_zero != 0) return false;
    if (r.constant() && (f.window.inside() || r.low == f.input_zero)) return true;
    for (int64_t o = 0; o < f.window.out_c; ++o)
      for (int64_t k = 0; k < f.window.kernel_h * f.window.kernel_w; ++k)
        for (int64_t i = c; i < f.window.in_c; i += channels)
          if (weight_at(f, o, k, i) != 0) return false;
    return true;
  }

  bool reader_can_do_without(Step& step, size_t slot, int tensor, int64_t c) {
    auto follows = [&] {
      const std::vector<char>& gone = dropped_[static_cast<size_t>(step.output)];
      return static_cast<size_t>(c) < gone.size() && gone[static_cast<size_t>(c)];
    };
    int64_t channels = channels_of(m_, tensor);
    auto* conv = std::get_if<ConvForm>(&step.form);
    if (conv && slot == 0) {
      if (conv->is_float) return false;
      if (conv->depthwise) return conv->window.out_c == conv->window.in_c && follows();
      return conv->window.in_c % channels == 0 && folds(*conv, ranges(tensor)[static_cast<size_t>(c)], c, channels);
    }
    if (std::holds_alternative<SoftmaxForm>(step.form) || std::holds_alternative<RenameForm>(step.form) ||
        std::holds_alternative<PadForm>(step.form))
      return false;
    return channels_of(m_, step.output) == channels && follows();
  }

  void backwards() {
    for (size_t s = m_.steps.size(); s-- > 0;) {
      int t = m_.steps[s].output;
      std::vector<char>& gone = dropped_[static_cast<size_t>(t)];
      int64_t n = channels_of(m_, t);
      gone.assign(static_cast<size_t>(n), 0);
      if (!quantised(t) || m_.is_output(t) || !can_shrink(m_.steps[s])) continue;
      for (int64_t c = 0; c < n; ++c) {
        bool without = true;
        for (Step& reader : m_.steps)
          for (size_t slot = 0; slot < reader.inputs.size(); ++slot)
            if (reader.inputs[slot] == t) without = without && reader_can_do_without(reader, slot, t, c);
        gone[static_cast<size_t>(c)] = without;
      }
      if (std::count(gone.begin(), gone.end(), 0) == 0) gone[0] = 0;  // a tensor has at least one channel
    }
    // What follows its result must go on following it: channel 0 may just have been kept above.
    for (bool changed = true; changed;) {
      changed = false;
      for (Step& step : m_.steps)
        for (size_t slot = 0; slot < step.inputs.size(); ++slot) {
          int t = step.inputs[slot];
          std::vector<char>& gone = dropped_[static_cast<size_t>(t)];
          for (size_t c = 0; c < gone.size(); ++c)
            if (gone[c] && !reader_can_do_without(step, slot, t, static_cast<int64_t>(c)))
              gone[c] = 0, changed = true;
          // and an elementwise result cannot lose a channel that its operand keeps
          if (!shape_keeping(step, slot)) continue;
          std::vector<char>& result = dropped_[static_cast<size_t>(step.output)];
          if (gone.empty()) gone.assign(static_cast<size_t>(channels_of(m_, t)), 0);
          bool alike = gone.size() == result.size();
          for (size_t c = 0; c < result.size(); ++c)
            if (result[c] && !(alike && gone[c])) result[c] = 0, changed = true;
        }
    }
  }

  bool shape_keeping(const Step& step, size_t slot) const {
    auto* conv = std::get_if<ConvForm>(&step.form);
    if (conv) return slot == 1 || conv->depthwise;
    return true;
  }

  bool can_shrink(const Step& step) const {
    auto* conv = std::get_if<ConvForm>(&step.form);
    if (conv) return !conv->is_float && (!conv->depthwise || conv->window.in_c == conv->window.out_c);
    auto* pool = std::get_if<PoolForm>(&step.form);
    return (pool && !pool->is_float) || std::holds_alternative<AddForm>(step.form) ||
           std::holds_alternative<TableForm>(step.form);
  }

  template <class T>
  static std::vector<T> kept(const std::vector<T>& list, const std::vector<char>& gone) {
    std::vector<T> result;
    for (size_t i = 0; i < list.size(); ++i)
      if (!gone[i]) result.push_back(list[i]);
    return result;
  }

  int64_t cut() {
    int64_t removed = 0;
    for (Step& step : m_.steps) {
      std::vector<char> in = dropped_[static_cast<size_t>(step.inputs[0])],
                        out = dropped_[static_cast<size_t>(step.output)];
      auto some = [](const std::vector<char>& gone) { return std::count(gone.begin(), gone.end(), 1); };
      if (auto* conv = std::get_if<ConvForm>(&step.form)) {
        int64_t before = conv->window.in_c;
        if (!conv->depthwise && some(in)) {
          fold(*conv, ranges(step.inputs[0]), in);
          step.notes.push_back(
              fmt::format("{} of {} input channels folded into the bias", before - conv->window.in_c, before));
        }
        if (int64_t n = some(out)) {
          step.notes.push_back(
              fmt::format("{} of {} output channels removed: constant or unread", n, conv->window.out_c));
          remove_outputs(*conv, out);
          removed += n;
        }
        if (step.residual) step.residual->elements = conv->window.pixels() * conv->window.out_c;
      } else if (int64_t n = some(out)) {
        if (auto* pool = std::get_if<PoolForm>(&step.form)) pool->window.in_c -= n, pool->window.out_c -= n;
        if (auto* add = std::get_if<AddForm>(&step.form))
          add->elements -= add->elements / static_cast<int64_t>(out.size()) * n;
        if (auto* table = std::get_if<TableForm>(&step.form))
          table->elements -= table->elements / static_cast<int64_t>(out.size()) * n;
      }
    }
    for (size_t t = 0; t < m_.tensors.size(); ++t)
      if (auto n = std::count(dropped_[t].begin(), dropped_[t].end(), 1)) m_.tensors[t].dims.back() -= n;
    return removed;
  }

  void fold(ConvForm& f, const Ranges& in, const std::vector<char>& gone) {
    Window& w = f.window;
    auto channels = static_cast<int64_t>(gone.size());
    int64_t taps = w.kernel_h * w.kernel_w;
    std::vector<int8_t> weight;
    for (int64_t o = 0; o < w.out_c; ++o)
      for (int64_t k = 0; k < taps; ++k)
        for (int64_t c = 0; c < w.in_c; ++c) {
          int8_t v = weight_at(f, o, k, c);
          const Range& r = in[static_cast<size_t>(c % channels)];
          if (!gone[static_cast<size_t>(c % channels)])
            weight.push_back(v);
          else if (v != 0)  // constant: otherwise the channel would not have been dropped
            f.bias[static_cast<size_t>(o)] += v * (r.low - f.input_zero);
        }
    f.weight = std::move(weight);
    w.in_c -= w.in_c / channels * std::count(gone.begin(), gone.end(), 1);
  }

  void remove_outputs(ConvForm& f, const std::vector<char>& gone) {
    Window& w = f.window;
    int64_t taps = w.kernel_h * w.kernel_w, left = w.out_c - std::count(gone.begin(), gone.end(), 1);
    std::vector<int8_t> weight;
    if (f.depthwise) {
      for (int64_t k = 0; k < taps; ++k)
        for (int64_t o = 0; o < w.out_c; ++o)
          if (!gone[static_cast<size_t>(o)]) weight.push_back(weight_at(f, o, k, 0));
      w.in_c = left;
    } else {
      int64_t row = taps * w.in_c;
      for (int64_t o = 0; o < w.out_c; ++o)
        if (!gone[static_cast<size_t>(o)])
          weight.insert(weight.end(), f.weight.begin() + o * row, f.weight.begin() + (o + 1) * row);
    }
    f.weight = std::move(weight);
    f.bias = kept(f.bias, gone);
    if (f.rescale.real.size() > 1) f.rescale.real = kept(f.rescale.real, gone);
    if (f.rescale.multiplier.size() > 1) f.rescale.multiplier = kept(f.rescale.multiplier, gone);
    if (f.rescale.shift.size() > 1) f.rescale.shift = kept(f.rescale.shift, gone);
    w.out_c = left;
  }

  Model& m_;
  std::vector<Ranges> ranges_;
  std::vector<std::vector<char>> dropped_;
};

}  // namespace

void remove_channels(Model& model) {
  int64_t removed = 0;
  while (int64_t n = Channels(model).run()) removed += n;
  if (removed) model.notes.push_back(fmt::format("{} channels removed: constant or unread", removed));
}

}  // namespace sorus::device
