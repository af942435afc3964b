// Transposed convolutions as convolutions, for kernels with vectors; see passes.h.
#include <algorithm>

#include <fmt/format.h>

#include "sorus/device/passes.h"

namespace sorus::device {
namespace {

// One dimension. Places q * stride + r of the result, 0 <= r < stride, see the inputs q + d for d from `first` on,
// `taps` of them, each under the tap r + padding - stride * d where the window has such a one.
struct Phases {
  int64_t stride, padding, kernel, first, taps;
  Phases(int64_t s, int64_t p, int64_t k) : stride(s), padding(p), kernel(k) {
    auto floored = [&](int64_t v) { return v >= 0 ? v / s : -((s - 1 - v) / s); };
    first = std::min<int64_t>(0, -floored(k - 1 - p));
    taps = std::max<int64_t>(0, floored(p + s - 1)) - first + 1;
  }
  int64_t tap(int64_t r, int64_t u) const {  // of the window, or -1
    int64_t i = r + padding - stride * (first + u);
    return i >= 0 && i < kernel ? i : -1;
  }
};

template <class T>
std::vector<T> repeated(const std::vector<T>& of, int64_t times) {
  std::vector<T> all;
  if (of.size() < 2) return of;
  for (int64_t i = 0; i < times; ++i) all.insert(all.end(), of.begin(), of.end());
  return all;
}

// Weights [phases, o, taps, taps, c] out of [o, kernel, kernel, c]; what a phase does not see is `nothing`.
template <class T>
std::vector<T> by_phase(const std::vector<T>& of, const TransposedForm& f, const Phases& h, const Phases& w,
                        T nothing) {
  std::vector<T> all;
  for (int64_t r = 0; r < h.stride; ++r)
    for (int64_t q = 0; q < w.stride; ++q)
      for (int64_t o = 0; o < f.out_c; ++o)
        for (int64_t u = 0; u < h.taps; ++u)
          for (int64_t v = 0; v < w.taps; ++v) {
            int64_t i = h.tap(r, u), j = w.tap(q, v);
            auto from = of.begin() + ((o * f.kernel_h + i) * f.kernel_w + j) * f.in_c;
            if (i < 0 || j < 0)
              all.insert(all.end(), static_cast<size_t>(f.in_c), nothing);
            else
              all.insert(all.end(), from, from + f.in_c);
          }
  return all;
}

// More products than this for one that counts are not worth it.
constexpr double kMostZeros = 2.5;

}  // namespace

bool unfold_transposed(Model& model) {
  bool any = false;
  std::vector<Step> steps;
  for (Step& step : model.steps) {
    steps.push_back(std::move(step));
    Step& conv = steps.back();
    const auto* f = std::get_if<TransposedForm>(&conv.form);
    if (!f || f->halves || f->dilation_h != 1 || f->dilation_w != 1 || f->out_h % f->stride_h ||
        f->out_w % f->stride_w)
      continue;
    Phases h(f->stride_h, f->pad_top, f->kernel_h), w(f->stride_w, f->pad_left, f->kernel_w);
    int64_t phases = h.stride * w.stride, made = phases * h.taps * w.taps, wanted = f->kernel_h * f->kernel_w;
    if (static_cast<double>(made) > kMostZeros * static_cast<double>(wanted)) continue;
    ConvForm c;
    c.window.batch = f->batch, c.window.in_h = f->in_h, c.window.in_w = f->in_w, c.window.in_c = f->in_c;
    c.window.out_h = f->out_h / h.stride, c.window.out_w = f->out_w / w.stride, c.window.out_c = phases * f->out_c;
    c.window.kernel_h = h.taps, c.window.kernel_w = w.taps;
    c.window.pad_top = -h.first, c.window.pad_left = -w.first;
    c.is_float = f->is_float, c.input_zero = f->input_zero, c.weight_zero = f->weight_zero;
    if (f->is_float) {
      c.weight_f = by_phase(f->weight_f, *f, h, w, 0.0F);
      c.bias_f =
          f->out_c > 1 ? repeated(f->bias_f, phases) : std::vector<float>(static_cast<size_t>(phases), f->bias_f[0]);
    } else {
      c.weight = by_phase(f->weight, *f, h, w, static_cast<int8_t>(f->weight_zero));
      c.bias =
          f->out_c > 1 ? repeated(f->bias, phases) : std::vector<int64_t>(static_cast<size_t>(phases), f->bias[0]);
      c.rescale = f->rescale;
      c.rescale.multiplier = repeated(f->rescale.multiplier, phases);
      c.rescale.shift = repeated(f->rescale.shift, phases);
      c.rescale.real = repeated(f->rescale.real, phases);
    }
    any = true;
    conv.notes.push_back(fmt::format("transposed: {} x {} pixels of the result at once", h.stride, w.stride));
    if (phases == 1) {
      conv.form = std::move(c);
      continue;
    }
    int64_t row = w.stride * f->out_c, pixel = h.stride * row, line = c.window.out_w * pixel;
    MoveForm move{{{f->batch * c.window.out_h, h.stride, c.window.out_w, row}, {line, row, pixel, 1}, 0}};
    DeviceTensor apart = model.tensors[static_cast<size_t>(conv.output)];
    apart.name += ", by phase";
    apart.dims = {f->batch, c.window.out_h, c.window.out_w, c.window.out_c};
    conv.form = std::move(c);
    Step back;
    back.form = std::move(move);
    back.inputs = {static_cast<int>(model.tensors.size())}, back.output = conv.output;
    back.name = conv.name + ", in order";
    conv.output = back.inputs[0];
    model.tensors.push_back(std::move(apart));
    steps.push_back(std::move(back));
  }
  model.steps = std::move(steps);
  return any;
}

}  // namespace sorus::device
