// Images in other sizes. Resampling works on one dimension after the other: each result is a weighted sum of a few
// elements that are looked up ("taps"), so that the gradient is a scatter of the same weights.
#include <algorithm>
#include <cmath>

#include "sorus/ops.h"

namespace sorus {
namespace {

struct Axis {
  int64_t in, out;
  double step;  // distance in the input between neighbours of the result
};

struct Tap {
  std::vector<int64_t> places;
  std::vector<double> weights;
};

Tensor looked_up(const Tensor& x, int64_t d, const std::vector<int64_t>& places) {
  return index(x, Shape{d}, TensorList{Tensor::of(places, Shape{static_cast<int64_t>(places.size())})});
}

std::vector<int64_t> nearest(const Axis& a, bool exact) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < a.out; ++i) {
    auto at = static_cast<float>((static_cast<double>(i) + (exact ? 0.5 : 0.0))) * static_cast<float>(a.step);
    places.push_back(std::min(static_cast<int64_t>(std::floor(at)), a.in - 1));
  }
  return places;
}

double source(const Axis& a, int64_t i, bool align) {
  return align ? static_cast<double>(i) * a.step : (static_cast<double>(i) + 0.5) * a.step - 0.5;
}

std::vector<Tap> linear_taps(const Axis& a, bool align) {
  std::vector<Tap> taps(2);
  for (int64_t i = 0; i < a.out; ++i) {
    double at = std::max(source(a, i, align), 0.0);
    int64_t low = std::min(static_cast<int64_t>(at), a.in - 1);
    double w = std::clamp(at - static_cast<double>(low), 0.0, 1.0);
    taps[0].places.push_back(low), taps[0].weights.push_back(1 - w);
    taps[1].places.push_back(std::min(low + 1, a.in - 1)), taps[1].weights.push_back(w);
  }
  return taps;
}

// Cubic convolution with a = -3/4 (Keys 1981).
std::vector<Tap> cubic_taps(const Axis& a, bool align) {
  constexpr double k = -0.75;
  auto near = [](double x) { return ((k + 2) * x - (k + 3)) * x * x + 1; };
  auto far = [](double x) { return ((k * x - 5 * k) * x + 8 * k) * x - 4 * k; };
  std::vector<Tap> taps(4);
  for (int64_t i = 0; i < a.out; ++i) {
    double at = source(a, i, align), low = std::floor(at), t = at - low;
    const double weights[4] = {far(t + 1), near(t), near(1 - t), far(2 - t)};
    for (int64_t j = 0; j < 4; ++j) {
      auto& tap = taps[static_cast<size_t>(j)];
      tap.places.push_back(std::clamp<int64_t>(static_cast<int64_t>(low) - 1 + j, 0, a.in - 1));
      tap.weights.push_back(weights[j]);
    }
  }
  return taps;
}

// Without ripples where an image gets smaller: each element of the result is a mean of those that lie under a kernel
// as wide as the step, a triangle or Keys' cubic with a = -1/2. One tap for each place under the widest.
std::vector<Tap> smooth_taps(const Axis& a, bool cubic) {
  auto kernel = [cubic](double x) {
    constexpr double k = -0.5;
    x = std::abs(x);
    if (!cubic) return std::max(1 - x, 0.0);
    if (x < 1) return ((k + 2) * x - (k + 3)) * x * x + 1;
    return x < 2 ? ((k * x - 5 * k) * x + 8 * k) * x - 4 * k : 0.0;
  };
  double wide = std::max(a.step, 1.0), reach = (cubic ? 2 : 1) * wide;
  std::vector<Tap> taps(static_cast<size_t>(std::ceil(reach)) * 2 + 1);
  for (int64_t i = 0; i < a.out; ++i) {
    double centre = a.step * (static_cast<double>(i) + 0.5), total = 0;
    int64_t begin = std::max<int64_t>(static_cast<int64_t>(centre - reach + 0.5), 0);
    int64_t end = std::min(static_cast<int64_t>(centre + reach + 0.5), a.in);
    for (int64_t j = begin; j < end; ++j) total += kernel((static_cast<double>(j) - centre + 0.5) / wide);
    for (size_t t = 0; t < taps.size(); ++t) {
      int64_t j = begin + static_cast<int64_t>(t);
      taps[t].places.push_back(std::min(j, a.in - 1));
      taps[t].weights.push_back(j < end ? kernel((static_cast<double>(j) - centre + 0.5) / wide) / total : 0.0);
    }
  }
  return taps;
}

// Weights as numbers of 16 bits, the form in which PyTorch and Pillow resample bytes: ties then round as theirs do.
// At a border several taps read one place, with one weight.
void cut_to_16_bits(std::vector<Tap>& taps) {
  for (size_t i = 0; i < taps[0].places.size(); ++i)
    for (size_t t = taps.size(); --t > 0;) {
      if (taps[t].places[i] != taps[t - 1].places[i]) continue;
      taps[t - 1].weights[i] += taps[t].weights[i];
      taps[t].weights[i] = 0;
    }
  double most = 0, steps = 2;
  for (const Tap& tap : taps)
    for (double w : tap.weights) most = std::max(most, w);
  while (steps < 8388608 && std::floor(0.5 + most * steps) < 32768) steps *= 2;
  steps /= 2;
  for (Tap& tap : taps)
    for (double& w : tap.weights) w = std::trunc(w * steps + std::copysign(0.5, w)) / steps;
}

Tensor resampled(const Tensor& x, int64_t d, const std::vector<Tap>& taps) {
  Shape along = along_dim(x.dim(), d, static_cast<int64_t>(taps[0].places.size()));
  Tensor y;
  for (const Tap& tap : taps) {
    Tensor part = looked_up(x, d, tap.places) * to(Tensor::of(tap.weights, along), x.dtype());
    y = y.defined() ? y + part : part;
  }
  return y;
}

// Means of the windows of adaptive pooling, as a product with a matrix of weights.
Tensor averaged(const Tensor& x, int64_t d, const Axis& a) {
  std::vector<double> w(static_cast<size_t>(a.out * a.in), 0.0);
  for (int64_t o = 0; o < a.out; ++o) {
    int64_t begin = o * a.in / a.out, end = ((o + 1) * a.in + a.out - 1) / a.out;
    for (int64_t i = begin; i < end; ++i)
      w[static_cast<size_t>(o * a.in + i)] = 1.0 / static_cast<double>(end - begin);
  }
  Tensor weights = to(Tensor::of(w, Shape{a.out, a.in}), x.dtype());
  return movedim(linear(movedim(x, Shape{d}, Shape{-1}), weights), Shape{-1}, Shape{d});
}

TensorList interpolated(const Call& c) {
  Tensor x = c.input(0);
  const std::string& mode = c.attr("mode").string();
  int64_t spatial = x.dim() - 2;
  SORUS_CHECK(spatial >= 1 && spatial <= 3, Error, "interpolate: expected 3 to 5 dimensions, got {}",
              to_string(x.sizes()));
  bool near = mode.starts_with("nearest"), cubic = mode == "bicubic", area = mode == "area";
  static const char* const linear_of[] = {"linear", "bilinear", "trilinear"};
  SORUS_CHECK(mode == "nearest" || mode == "nearest-exact" || area || (cubic && spatial == 2) ||
                  mode == linear_of[spatial - 1],
              NotImplementedError,
              "interpolate: mode must be 'nearest', 'nearest-exact', 'area' or '{}'{} for an input of {}, not '{}'",
              linear_of[spatial - 1], spatial == 2 ? " or 'bicubic'" : "", to_string(x.sizes()), mode);
  bool smooth = c.attr("antialias").to_bool();
  SORUS_CHECK(!smooth || (spatial == 2 && (cubic || mode == "bilinear")), ValueError,
              "interpolate: antialias=True is for images and the modes 'bilinear' and 'bicubic', not for '{}' and {}",
              mode, to_string(x.sizes()));
  bool align = !c.attr("align_corners").is_none() && c.attr("align_corners").to_bool();
  SORUS_CHECK(!(align && (near || area)), ValueError, "interpolate: mode '{}' takes no align_corners", mode);
  const Attr &size = c.attr("size"), &factor = c.attr("scale_factor");
  SORUS_CHECK(size.is_none() != factor.is_none(), ValueError, "interpolate: give either size or scale_factor");
  bool again = !c.attr("recompute_scale_factor").is_none() && c.attr("recompute_scale_factor").to_bool();
  auto pick = [&](const auto& list, int64_t i) {
    SORUS_CHECK(list.size() == 1 || static_cast<int64_t>(list.size()) == spatial, ValueError,
                "interpolate: {} numbers for {} dimensions", list.size(), spatial);
    return list[list.size() == 1 ? 0 : static_cast<size_t>(i)];
  };
  DType type = x.dtype();
  // Images of bytes are bytes again after each dimension, the last one first, as PyTorch has them.
  bool bytes = type == DType::u8 && !near;
  SORUS_CHECK(near || bytes || is_differentiable(type), TypeError, "interpolate: mode '{}' is not for {}", mode,
              name(type));
  if (is_half(type) || bytes) x = to(x, DType::f32);
  for (int64_t step = 0; step < spatial; ++step) {
    int64_t i = bytes ? spatial - 1 - step : step;
    Axis a{x.size(i + 2), 0, 0};
    double scale = factor.is_none() ? 0 : pick(factor.reals(), i);
    a.out =
        factor.is_none() ? pick(size.ints(), i) : static_cast<int64_t>(std::floor(static_cast<double>(a.in) * scale));
    SORUS_CHECK(a.in > 0 && a.out > 0, Error, "interpolate: sizes must be positive, found {} of {} to {}", a.in,
                to_string(x.sizes()), a.out);
    if (align)
      a.step = a.out > 1 ? static_cast<double>(a.in - 1) / static_cast<double>(a.out - 1) : 0;
    else
      a.step = scale > 0 && !again ? 1 / scale : static_cast<double>(a.in) / static_cast<double>(a.out);
    if (near) {
      x = looked_up(x, i + 2, nearest(a, mode == "nearest-exact"));
    } else if (area) {
      x = averaged(x, i + 2, a);
    } else {
      std::vector<Tap> taps = smooth ? smooth_taps(a, cubic) : cubic ? cubic_taps(a, align) : linear_taps(a, align);
      if (bytes) cut_to_16_bits(taps);
      x = resampled(x, i + 2, taps);
    }
    if (bytes) x = clamp(floor(x + 0.5), Scalar(int64_t{0}), Scalar(int64_t{255}));
  }
  return {to(x, type)};
}

Shape leading(const Tensor& x, int64_t last, std::string_view who) {
  SORUS_CHECK(x.dim() >= last, Error, "{}: expected at least {} dimensions, got {}", who, last, to_string(x.sizes()));
  return Shape(x.sizes().begin(), x.sizes().end() - last);
}
Shape identity(size_t n) {
  Shape s(n, 0);
  for (size_t i = 0; i < n; ++i) s[i] = static_cast<int64_t>(i);
  return s;
}

const bool resizing = [] {
  op("interpolate(input, size: int[]? = none, scale_factor: float[]? = none, mode: str = 'nearest', "
     "align_corners: bool? = none, recompute_scale_factor: bool? = none, antialias: bool = false)")
      .expand(interpolated)
      .doc(
          "Input [N, C, ..] resampled to `size` or by `scale_factor`. Modes: nearest, nearest-exact, linear, "
          "bilinear, "
          "trilinear, bicubic, area.");
  op("pixel_shuffle(input, upscale_factor: int)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        int64_t r = c.attr(0).to_int();
        Shape s = leading(x, 3, "pixel_shuffle");
        SORUS_CHECK(r > 0 && x.size(-3) % (r * r) == 0, Error,
                    "pixel_shuffle: {} channels of {} do not divide by {}^2", x.size(-3), to_string(x.sizes()), r);
        int64_t channels = x.size(-3) / (r * r), h = x.size(-2), w = x.size(-1);
        Shape order = identity(s.size()), whole = s, apart = s;
        auto n = static_cast<int64_t>(s.size());
        for (int64_t v : {channels, r, r, h, w}) apart.push_back(v);
        for (int64_t v : {n, n + 3, n + 1, n + 4, n + 2}) order.push_back(v);
        for (int64_t v : {channels, h * r, w * r}) whole.push_back(v);
        return {reshape(permute(reshape(x, apart), order), whole)};
      })
      .doc("[.., C r^2, H, W] to [.., C, H r, W r] (Shi et al. 2016).");
  op("pixel_unshuffle(input, downscale_factor: int)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    int64_t r = c.attr(0).to_int();
    Shape s = leading(x, 3, "pixel_unshuffle");
    SORUS_CHECK(r > 0 && x.size(-1) % r == 0 && x.size(-2) % r == 0, Error,
                "pixel_unshuffle: height and width of {} do not divide by {}", to_string(x.sizes()), r);
    int64_t channels = x.size(-3), h = x.size(-2) / r, w = x.size(-1) / r;
    Shape order = identity(s.size()), whole = s, apart = s;
    auto n = static_cast<int64_t>(s.size());
    for (int64_t v : {channels, h, r, w, r}) apart.push_back(v);
    for (int64_t v : {n, n + 2, n + 4, n + 1, n + 3}) order.push_back(v);
    for (int64_t v : {channels * r * r, h, w}) whole.push_back(v);
    return {reshape(permute(reshape(x, apart), order), whole)};
  });
  op("channel_shuffle(input, groups: int)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    int64_t groups = c.attr(0).to_int();
    SORUS_CHECK(x.dim() > 2 && groups > 0 && x.size(1) % groups == 0, Error,
                "channel_shuffle: the channels of {} (dimension 1) cannot be split into {} groups",
                to_string(x.sizes()), groups);
    Shape apart = x.sizes();
    apart[1] = x.size(1) / groups;
    apart.insert(apart.begin() + 1, groups);
    return {reshape(transpose(reshape(x, apart), 1, 2), x.sizes())};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
