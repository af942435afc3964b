// Random quantised networks and a slow, plain evaluation of their steps: what generated code is compared with.
#pragma once

#include <algorithm>
#include <random>

#include "sorus/device/model.h"

namespace sorus::device::testing {

class RandomModel {
 public:
  explicit RandomModel(unsigned seed) : random_(seed) {}
  Model model;

  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  int8_t byte() { return static_cast<int8_t>(below(256) - 128); }

  int input(Shape dims) {
    model.inputs.push_back(tensor(std::move(dims)));
    return model.inputs.back();
  }
  int tensor(Shape dims) {
    DeviceTensor t;
    t.dims = std::move(dims);
    t.name = "t";
    model.tensors.push_back(t);
    return static_cast<int>(model.tensors.size()) - 1;
  }
  const Shape& dims(int t) const { return model.tensors[static_cast<size_t>(t)].dims; }

  Rescale rescale(int64_t channels, int64_t depth, bool relu) {
    Rescale r;
    int bits = 0;
    while ((int64_t{1} << (2 * bits)) < depth) ++bits;
    for (int64_t c = 0; c < channels; ++c) {
      r.multiplier.push_back(static_cast<int32_t>((int64_t{1} << 30) + below(int64_t{1} << 30)));
      r.shift.push_back(static_cast<int32_t>(-(6 + bits) - below(2)));
    }
    r.zero_point = relu ? -128 : static_cast<int32_t>(below(20) - 10);
    return r;
  }

  /// `dead`: every third output channel has no weights, so that it is a constant.
  int conv(int in, int64_t out_c, int64_t kernel, int64_t stride, bool same, bool depthwise, bool relu, bool dead) {
    const Shape d = dims(in);
    ConvForm f;
    Window& w = f.window;
    w.in_h = d[1], w.in_w = d[2], w.in_c = d[3], w.out_c = depthwise ? w.in_c : out_c;
    w.kernel_h = kernel, w.kernel_w = kernel, w.stride_h = w.stride_w = stride;
    w.out_h = same ? (w.in_h + stride - 1) / stride : (w.in_h - kernel) / stride + 1;
    w.out_w = same ? (w.in_w + stride - 1) / stride : (w.in_w - kernel) / stride + 1;
    if (same) {
      w.pad_top = std::max<int64_t>((w.out_h - 1) * stride + kernel - w.in_h, 0) / 2;
      w.pad_left = std::max<int64_t>((w.out_w - 1) * stride + kernel - w.in_w, 0) / 2;
    }
    f.depthwise = depthwise;
    f.input_zero = zero_of(in);
    int64_t depth = kernel * kernel * (depthwise ? 1 : w.in_c);
    f.weight.resize(static_cast<size_t>(depth * w.out_c));
    for (int8_t& v : f.weight) v = byte();
    for (int64_t o = 0; o < w.out_c; ++o) {
      f.bias.push_back(static_cast<int32_t>(below(4000) - 2000));
      if (!dead || o % 3 != 1) continue;
      for (int64_t k = 0; k < depth; ++k)
        f.weight[static_cast<size_t>(depthwise ? k * w.out_c + o : o * depth + k)] = 0;
    }
    f.rescale = rescale(w.out_c, depth, relu);
    int out = tensor({1, w.out_h, w.out_w, w.out_c});
    zeros_[out] = f.rescale.zero_point;
    return step(f, {in}, out);
  }

  int dense(int in, int64_t out_c) {
    ConvForm f;
    f.window.in_c = model.tensors[static_cast<size_t>(in)].elements(), f.window.out_c = out_c;
    f.input_zero = zero_of(in);
    for (int64_t i = 0; i < f.window.in_c * out_c; ++i) f.weight.push_back(byte());
    for (int64_t o = 0; o < out_c; ++o) f.bias.push_back(static_cast<int32_t>(below(4000) - 2000));
    f.rescale = rescale(1, f.window.in_c, false);
    int out = tensor({1, out_c});
    zeros_[out] = f.rescale.zero_point;
    return step(f, {in}, out);
  }

  int add(int a, int b) {
    AddForm f;
    f.elements = model.tensors[static_cast<size_t>(a)].elements();
    f.zero_a = zero_of(a), f.zero_b = zero_of(b);
    f.multiplier_a = 1 << 30, f.shift_a = 0, f.multiplier_b = 1717986918, f.shift_b = -1;
    f.rescale = {{1518500250}, {-19}, static_cast<int32_t>(below(9)), -128, 127};
    int out = tensor(dims(a));
    zeros_[out] = f.rescale.zero_point;
    return step(f, {a, b}, out);
  }

  int pool(int in, bool average) {
    const Shape d = dims(in);
    PoolForm f;
    f.kind = average ? PoolForm::Kind::average : PoolForm::Kind::maximum;
    Window& w = f.window;
    w.in_h = d[1], w.in_w = d[2], w.in_c = w.out_c = d[3];
    w.kernel_h = average ? w.in_h : 2, w.kernel_w = average ? w.in_w : 2;
    w.stride_h = w.kernel_h, w.stride_w = w.kernel_w;
    w.out_h = w.in_h / w.kernel_h, w.out_w = w.in_w / w.kernel_w;
    int out = tensor({1, w.out_h, w.out_w, w.out_c});
    zeros_[out] = zero_of(in);
    return step(f, {in}, out);
  }

  int softmax(int in) {
    SoftmaxForm f;
    f.columns = dims(in).back();
    f.multiplier = 1 << 30, f.shift = 23;
    return step(f, {in}, tensor(dims(in)));
  }

  int step(DeviceForm form, std::vector<int> inputs, int out) {
    Step s;
    s.form = std::move(form), s.inputs = std::move(inputs), s.output = out;
    s.name = "step " + std::to_string(model.steps.size());
    model.steps.push_back(s);
    return out;
  }

 private:
  int32_t zero_of(int t) const {
    auto it = zeros_.find(t);
    return it == zeros_.end() ? 0 : it->second;
  }
  std::mt19937_64 random_;
  std::map<int, int32_t> zeros_;
};

using Bytes = std::vector<int8_t>;

inline int32_t finished(const Rescale& r, int64_t sum, int64_t c) {
  return std::clamp(r.zero_point + rescaled(sum, r.multiplier_of(c), r.shift_of(c)), r.low, r.high);
}

inline Bytes evaluate(const ConvForm& f, const Bytes& x) {
  const Window& w = f.window;
  Bytes y;
  int64_t depth = w.kernel_h * w.kernel_w * w.in_c;
  for (int64_t p = 0; p < w.pixels(); ++p)
    for (int64_t o = 0; o < w.out_c; ++o) {
      int64_t sum = f.bias[static_cast<size_t>(o)], place = 0;
      for (int64_t i = 0; i < w.kernel_h; ++i)
        for (int64_t j = 0; j < w.kernel_w; ++j, ++place) {
          int64_t v = p / w.out_w * w.stride_h + i - w.pad_top, z = p % w.out_w * w.stride_w + j - w.pad_left;
          if (v < 0 || v >= w.in_h || z < 0 || z >= w.in_w) continue;
          for (int64_t c = f.depthwise ? o : 0; c < (f.depthwise ? o + 1 : w.in_c); ++c) {
            int64_t at = f.depthwise ? place * w.out_c + o : o * depth + place * w.in_c + c;
            sum += f.weight[static_cast<size_t>(at)] *
                   (x[static_cast<size_t>((v * w.in_w + z) * w.in_c + c)] - f.input_zero);
          }
        }
      y.push_back(static_cast<int8_t>(finished(f.rescale, sum, o)));
    }
  return y;
}

inline Bytes evaluate(const AddForm& f, const Bytes& a, const Bytes& b) {
  Bytes y;
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t s = rescaled(int64_t{a[i] - f.zero_a} << f.left_shift, f.multiplier_a, f.shift_a);
    int64_t t = rescaled(int64_t{b[i] - f.zero_b} << f.left_shift, f.multiplier_b, f.shift_b);
    y.push_back(static_cast<int8_t>(finished(f.rescale, f.negate_b ? s - t : s + t, 0)));
  }
  return y;
}

inline Bytes evaluate(const PoolForm& f, const Bytes& x) {
  const Window& w = f.window;
  Bytes y;
  for (int64_t p = 0; p < w.pixels(); ++p)
    for (int64_t c = 0; c < w.in_c; ++c) {
      int64_t sum = 0, top = -128, n = w.kernel_h * w.kernel_w;
      for (int64_t k = 0; k < n; ++k) {
        int64_t v = p / w.out_w * w.stride_h + k / w.kernel_w, z = p % w.out_w * w.stride_w + k % w.kernel_w;
        int64_t e = x[static_cast<size_t>((v * w.in_w + z) * w.in_c + c)];
        sum += e, top = std::max(top, e);
      }
      int64_t mean = sum > 0 ? (sum + n / 2) / n : (sum - n / 2) / n;
      y.push_back(static_cast<int8_t>(f.kind == PoolForm::Kind::average ? mean : top));
    }
  return y;
}

/// The output of a model without softmax, given its only input.
inline Bytes evaluate(const Model& m, const Bytes& input) {
  std::map<int, Bytes> values{{m.inputs[0], input}};
  for (const Step& s : m.steps) {
    const Bytes& x = values[s.inputs[0]];
    if (auto* conv = std::get_if<ConvForm>(&s.form)) values[s.output] = evaluate(*conv, x);
    if (auto* add = std::get_if<AddForm>(&s.form)) values[s.output] = evaluate(*add, x, values[s.inputs[1]]);
    if (auto* pool = std::get_if<PoolForm>(&s.form)) values[s.output] = evaluate(*pool, x);
    if (std::holds_alternative<RenameForm>(s.form)) values[s.output] = x;
  }
  return values[m.outputs[0]];
}

}  // namespace sorus::device::testing
