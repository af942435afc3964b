// Passes over lines, moves and padding; see passes.h.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/passes.h"

namespace sorus::device {
namespace {

bool free_of_bounds(float low, float high) { return low <= -kNoBound && high >= kNoBound; }
bool only_clamps(const LineForm& f) { return f.scale == std::vector<float>{1} && f.shift == std::vector<float>{0}; }
// First one clamp, then the line's.
void clamp_again(float& low, float& high, const LineForm& f) {
  low = std::clamp(low, f.low, f.high), high = std::clamp(high, f.low, f.high);
}

bool fold(ConvForm& conv, const LineForm& f) {
  const Window& w = conv.window;
  if (!conv.is_float) return false;
  if (!only_clamps(f)) {
    bool by_channel = f.scale.size() > 1 || f.shift.size() > 1;
    if (!free_of_bounds(conv.low_f, conv.high_f) || (by_channel && f.channels != w.out_c)) return false;
    int64_t row = w.kernel_h * w.kernel_w * w.in_c;
    for (size_t i = 0; i < conv.weight_f.size(); ++i) {
      auto at = static_cast<int64_t>(i);
      conv.weight_f[i] *= f.scale_of(conv.depthwise ? at % w.out_c : at / row);
    }
    for (int64_t o = 0; o < w.out_c; ++o) {
      float& b = conv.bias_f[static_cast<size_t>(o)];
      b = b * f.scale_of(o) + f.shift_of(o);
    }
  }
  clamp_again(conv.low_f, conv.high_f, f);
  return true;
}

bool fold(PoolForm& pool, const LineForm& f) {
  if (!pool.is_float) return false;
  if (!only_clamps(f)) {
    if (pool.kind != PoolForm::Kind::sum || !free_of_bounds(pool.low_f, pool.high_f) || f.scale.size() > 1 ||
        f.shift != std::vector<float>{0})
      return false;
    pool.scale_f *= f.scale[0];
  }
  clamp_again(pool.low_f, pool.high_f, f);
  return true;
}

bool fold(AddForm& add, const LineForm& f) {
  if (!add.is_float || !only_clamps(f)) return false;
  clamp_again(add.low_f, add.high_f, f);
  return true;
}

bool fold(LineForm& first, const LineForm& f) {
  if (!only_clamps(f)) {
    bool by_channel = std::max({first.scale.size(), first.shift.size(), f.scale.size(), f.shift.size()}) > 1;
    if (!free_of_bounds(first.low, first.high) || (by_channel && first.channels != f.channels)) return false;
    size_t n = by_channel ? static_cast<size_t>(f.channels) : 1;
    std::vector<float> scale(n), shift(n);
    for (size_t i = 0; i < n; ++i) {
      auto c = static_cast<int64_t>(i);
      scale[i] = first.scale_of(c) * f.scale_of(c);
      shift[i] = first.shift_of(c) * f.scale_of(c) + f.shift_of(c);
    }
    first.scale = scale, first.shift = shift;
  }
  clamp_again(first.low, first.high, f);
  return true;
}

bool fold_into(Step& step, const LineForm& f) {
  if (step.residual) return fold(*step.residual, f);
  return std::visit(
      [&](auto& form) {
        if constexpr (requires { fold(form, f); })
          return fold(form, f);
        else
          return false;
      },
      static_cast<DeviceForm::variant&>(step.form));
}

// For each element of the result its place in the input.
std::vector<int64_t> places(const Geometry& g) {
  std::vector<int64_t> list{g.offset};
  for (size_t d = 0; d < g.sizes.size(); ++d) {
    std::vector<int64_t> next;
    for (int64_t at : list)
      for (int64_t i = 0; i < g.sizes[d]; ++i) next.push_back(at + i * g.strides[d]);
    list = std::move(next);
  }
  return list;
}

template <class T>
void turn_columns(std::vector<T>& weight, const std::vector<int64_t>& place) {
  std::vector<T> turned(weight.size());
  size_t n = place.size();
  for (size_t row = 0; row + n <= weight.size(); row += n)
    for (size_t k = 0; k < n; ++k) turned[row + static_cast<size_t>(place[k])] = weight[row + k];
  weight = std::move(turned);
}

bool takes_padding(const DeviceForm& form, const PadForm& pad, const Window*& window) {
  if (auto* conv = std::get_if<ConvForm>(&form)) {
    window = &conv->window;
    return conv->is_float ? pad.value_f == 0 : pad.value == conv->input_zero;
  }
  auto* pool = std::get_if<PoolForm>(&form);
  if (!pool || pool->is_float != pad.is_float) return false;
  window = &pool->window;
  if (pool->kind == PoolForm::Kind::maximum)
    return pool->is_float ? pad.value_f <= -kNoBound : pad.value == (pool->halves ? -32768 : -128);
  return pool->kind == PoolForm::Kind::sum && pad.value_f == 0;
}

// Whether the padding is along rows or columns of the image that the window sees. How the padding's own window names
// its dimensions does not matter: memory is the same.
bool pads_image(const Window& pad, const Window& image, int64_t& rows, int64_t& columns) {
  if (pad.in_c != pad.out_c) return false;
  rows = columns = 0;
  if (pad.in_h != pad.out_h && pad.in_w != pad.out_w) {
    rows = pad.out_h - pad.in_h, columns = pad.out_w - pad.in_w;
    return pad.batch == image.batch && pad.out_h == image.in_h && pad.out_w == image.in_w && pad.out_c == image.in_c;
  }
  bool first = pad.in_w == pad.out_w;  // along the first of both
  int64_t outer = first ? pad.batch : pad.batch * pad.in_h, inner = first ? pad.in_w * pad.in_c : pad.in_c;
  int64_t n = first ? pad.out_h : pad.out_w, added = n - (first ? pad.in_h : pad.in_w);
  if (outer == image.batch && n == image.in_h && inner == image.in_w * image.in_c) {
    rows = added;
    return true;
  }
  columns = added;
  return outer == image.batch * image.in_h && n == image.in_w && inner == image.in_c;
}

}  // namespace

void fold_lines(Model& model) {
  for (size_t s = 0; s < model.steps.size();) {
    auto* line = std::get_if<LineForm>(&model.steps[s].form);
    int from = model.steps[s].inputs[0], writer = line ? model.writer(from) : -1;
    if (writer < 0 || model.is_output(from) || model.readers(from).size() != 1 ||
        !fold_into(model.steps[static_cast<size_t>(writer)], *line)) {
      ++s;
      continue;
    }
    Step& kept = model.steps[static_cast<size_t>(writer)];
    kept.output = model.steps[s].output;
    kept.notes.push_back(model.steps[s].name + " folded");
    model.steps.erase(model.steps.begin() + static_cast<std::ptrdiff_t>(s));
  }
}

void fold_moves(Model& model) {
  for (size_t s = 0; s < model.steps.size(); ++s) {
    auto* move = std::get_if<MoveForm>(&model.steps[s].form);
    int from = model.steps[s].inputs[0], to = model.steps[s].output;
    if (!move || model.is_output(to)) continue;
    int64_t n = model.tensors[static_cast<size_t>(from)].elements();
    std::vector<int64_t> place = places(move->from), sorted = place;
    std::sort(sorted.begin(), sorted.end());
    bool all =
        static_cast<int64_t>(place.size()) == n && std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
    std::vector<size_t> readers = model.readers(to);
    for (size_t r : readers) {
      auto* conv = std::get_if<ConvForm>(&model.steps[r].form);
      all = all && conv && !conv->depthwise && conv->window.pixels() == 1 && conv->window.in_c == n &&
            conv->window.inside() && (model.steps[r].inputs.size() < 2 || model.steps[r].inputs[1] != to);
    }
    if (!all) continue;
    for (size_t r : readers) {
      auto& conv = std::get<ConvForm>(model.steps[r].form);
      if (conv.is_float)
        turn_columns(conv.weight_f, place);
      else
        turn_columns(conv.weight, place);
      model.steps[r].inputs[0] = from;
      model.steps[r].notes.push_back(model.steps[s].name + " made in the order of the weights");
    }
    model.steps.erase(model.steps.begin() + static_cast<std::ptrdiff_t>(s--));
  }
}

// From the last step to the first: rows and columns are padded by two steps, and the first of them is read by the
// convolution once the second is gone.
void fuse_pads(Model& model) {
  for (size_t s = model.steps.size(); s-- > 0;) {
    auto* pad = std::get_if<PadForm>(&model.steps[s].form);
    int padded = model.steps[s].output;
    if (!pad || model.is_output(padded)) continue;
    const Window& p = pad->window;
    int64_t rows = 0, columns = 0;
    std::vector<size_t> readers = model.readers(padded);
    bool all = true;
    for (size_t r : readers) {
      const Window* w = nullptr;
      const Step& reader = model.steps[r];
      all = all && takes_padding(reader.form, *pad, w) && reader.inputs[0] == padded &&
            pads_image(p, *w, rows, columns) && (reader.inputs.size() < 2 || reader.inputs[1] != padded);
    }
    if (!all) continue;
    for (size_t r : readers) {
      auto* conv = std::get_if<ConvForm>(&model.steps[r].form);
      Window& w = conv ? conv->window : std::get<PoolForm>(model.steps[r].form).window;
      pads_image(p, w, rows, columns);  // readers may see images of their own
      int64_t before = p.pad_top + p.pad_left;
      if (rows && columns)
        w.pad_top += p.pad_top, w.pad_left += p.pad_left;
      else
        (rows ? w.pad_top : w.pad_left) += before;
      w.in_h -= rows, w.in_w -= columns;
      model.steps[r].inputs[0] = model.steps[s].inputs[0];
      model.steps[r].notes.push_back("zero padding " + model.steps[s].name + " fused");
    }
    model.steps.erase(model.steps.begin() + static_cast<std::ptrdiff_t>(s));
  }
}

}  // namespace sorus::device
