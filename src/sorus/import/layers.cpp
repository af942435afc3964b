#include "sorus/import/layers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sorus/import/builder.h"
#include "sorus/ops.h"

namespace sorus::importer {
namespace {

bool even(const Shape& p) { return p[0] == p[1] && p[2] == p[3]; }

Tensor padded(const Tensor& x, const Shape& p, double value) {
  if (std::ranges::all_of(p, [](int64_t n) { return n == 0; })) return x;
  // Rows of the value that have the input's other sizes, whatever they are when the graph is run.
  auto around = [&](const Tensor& t, int64_t dim, int64_t before, int64_t behind) {
    if (!before && !behind) return t;
    Shape size(4, -1);
    Tensor row = where(Tensor::weak_scalar(true), Tensor::weak_scalar(value), narrow(t, dim, 0, 1));
    TensorList parts;
    auto add = [&](int64_t n) {
      size[static_cast<size_t>(dim)] = n;
      if (n) parts.push_back(expand(row, size));
    };
    add(before);
    parts.push_back(t);
    add(behind);
    return cat(parts, dim);
  };
  if (x.numel() == 0) return pad(x, Shape{p[2], p[3], p[0], p[1]}, "constant", value);
  return around(around(x, 3, p[2], p[3]), 2, p[0], p[1]);
}

void check(const Tensor& x, const Window2d& w) {
  SORUS_CHECK(x.dim() == 4, ValueError, "expected an image of four dimensions, found {}", x.type().to_string());
  for (const Shape* s : {&w.kernel, &w.stride, &w.dilation})
    SORUS_CHECK(s->size() == 2 && (*s)[0] > 0 && (*s)[1] > 0, ValueError,
                "kernel, stride and dilation must be positive");
  for (int64_t p : w.padding) SORUS_CHECK(p >= 0 && p < (1 << 24), ValueError, "a padding of {}", p);
}

Tensor int64s(const std::vector<int64_t>& v) { return Tensor::of(v, Shape{static_cast<int64_t>(v.size())}); }

double place_of(int64_t i, int64_t in, int64_t out, Places p, double factor) {
  double scale = factor > 0 ? 1 / factor : static_cast<double>(in) / static_cast<double>(out),
         x = static_cast<double>(i);
  switch (p) {
    case Places::align_corners:
      return out > 1 ? x * static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
    case Places::asymmetric:
      return x * scale;
    case Places::half_pixel_unless_one:
      if (out == 1) return 0;
      [[fallthrough]];
    case Places::half_pixel:
      return (x + 0.5) * scale - 0.5;
  }
  return 0;
}

void check_resize(const Tensor& x, int64_t dim, int64_t size) {
  SORUS_CHECK(dim < x.dim() && x.size(dim) > 0 && size > 0 && size < (1 << 24), ValueError,
              "{} cannot be resized to {}", to_string(x.sizes()), size);
}

}  // namespace

Tensor convolution2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Window2d& w, int64_t groups) {
  check(x, w);
  if (even(w.padding))
    return conv2d(x, weight, bias, w.stride, Shape{w.padding[0], w.padding[2]}, w.dilation, groups);
  return conv2d(padded(x, w.padding, 0), weight, bias, w.stride, Shape{0, 0}, w.dilation, groups);
}

Tensor average_pool2d(const Tensor& x, const Window2d& w, bool count_outside) {
  check(x, w);
  const Shape &p = w.padding, &k = w.kernel;
  if (even(p) && 2 * p[0] <= k[0] && 2 * p[2] <= k[1])
    return avg_pool2d(x, k, w.stride, Shape{p[0], p[2]}, false, count_outside);
  if (count_outside) return avg_pool2d(padded(x, p, 0), k, w.stride);
  Tensor sums = avg_pool2d(padded(x, p, 0), k, w.stride, Shape{0, 0}, false, true, 1);
  Tensor count = computed([&] {
    Tensor one = ones(Shape{1, 1, x.size(2), x.size(3)}, x.dtype());
    return avg_pool2d(padded(one, p, 0), k, w.stride, Shape{0, 0}, false, true, 1);
  });
  return sums / count;
}

Tensor maximum_pool2d(const Tensor& x, const Window2d& w) {
  check(x, w);
  const Shape &p = w.padding, &k = w.kernel;
  if (even(p) && 2 * p[0] <= k[0] && 2 * p[2] <= k[1])
    return max_pool2d(x, k, w.stride, Shape{p[0], p[2]}, w.dilation);
  double low = is_floating(x.dtype()) ? -std::numeric_limits<double>::infinity() : x.dtype() == DType::u8 ? 0 : -128;
  return max_pool2d(padded(x, p, low), k, w.stride, Shape{0, 0}, w.dilation);
}

Tensor transposed_convolution2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Window2d& w,
                                const Shape& before, const Shape& size, int64_t groups) {
  check(x, w);
  Tensor y = conv_transpose2d(x, weight, {}, w.stride, Shape{0, 0}, Shape{0, 0}, groups, w.dilation);
  for (size_t i = 0; i < 2; ++i) {
    auto dim = static_cast<int64_t>(i) + 2;
    int64_t missing = before[i] + size[i] - y.size(dim);
    SORUS_CHECK(before[i] >= 0 && size[i] > 0 && missing < (1 << 24), ValueError, "a result of {} places", size[i]);
    if (missing > 0) y = pad(y, i == 0 ? Shape{0, 0, 0, missing} : Shape{0, missing});
    if (before[i] > 0 || y.size(dim) != size[i]) y = narrow(y, dim, before[i], size[i]);
  }
  if (!bias.defined()) return y;
  return y + reshape(bias, Shape{-1, 1, 1});
}

Tensor resize_nearest(const Tensor& x, int64_t dim, int64_t size, Places places, const std::string& rounding,
                      double factor) {
  check_resize(x, dim, size);
  std::vector<int64_t> from;
  for (int64_t i = 0; i < size; ++i) {
    // In f32, as the kernels that files are made for.
    auto at = static_cast<float>(place_of(i, x.size(dim), size, places, factor));
    float r = 0;
    if (rounding == "floor")
      r = std::floor(at);
    else if (rounding == "ceil")
      r = std::ceil(at);
    else if (rounding == "round_prefer_ceil")
      r = std::floor(at + 0.5f);
    else if (rounding == "round_prefer_floor")
      r = std::ceil(at - 0.5f);
    else
      fail<NotImplementedError>("resizing with the rounding '{}'", rounding);
    from.push_back(std::clamp<int64_t>(static_cast<int64_t>(r), 0, x.size(dim) - 1));
  }
  return index_select(x, dim, int64s(from));
}

Tensor resize_linear(const Tensor& x, int64_t dim, int64_t size, Places places, double factor) {
  check_resize(x, dim, size);
  std::vector<int64_t> low, high;
  std::vector<float> part;
  int64_t last = x.size(dim) - 1;
  for (int64_t i = 0; i < size; ++i) {
    double at = std::clamp(place_of(i, x.size(dim), size, places, factor), 0.0, static_cast<double>(last));
    auto below = static_cast<int64_t>(at);
    low.push_back(below);
    high.push_back(std::min(below + 1, last));
    part.push_back(static_cast<float>(at - static_cast<double>(below)));
  }
  Shape along(static_cast<size_t>(x.dim() - dim), 1);
  along[0] = size;
  Tensor t = computed([&] { return to(Tensor::of(part, along), x.dtype()); });
  return lerp(index_select(x, dim, int64s(low)), index_select(x, dim, int64s(high)), t);
}

Tensor reversed(const Tensor& x, int64_t dim) {
  std::vector<int64_t> from;
  SORUS_CHECK(x.size(dim) < (1 << 24), ValueError, "a dimension of {} places cannot be reversed", x.size(dim));
  for (int64_t i = x.size(dim); i-- > 0;) from.push_back(i);
  return index_select(x, dim, int64s(from));
}

Tensor strided_slice(const Tensor& x, int64_t dim, int64_t start, int64_t end, int64_t step) {
  SORUS_CHECK(step != 0, ValueError, "a slice with a step of 0");
  int64_t n = x.size(dim);
  if (step > 0) return slice(x, dim, start, end, step);
  // Backwards: the same elements forwards, then reversed.
  int64_t first = start < 0 ? start + n : start, last = end < 0 ? std::max<int64_t>(end + n, -1) : end;
  first = std::min(first, n - 1);
  SORUS_CHECK(-step < (int64_t{1} << 40), ValueError, "a slice with a step of {}", step);
  int64_t count = first > last ? (first - last - step - 1) / -step : 0;
  if (count <= 0) return slice(x, dim, 0, 0);
  return reversed(slice(x, dim, first + (count - 1) * step, first + 1, -step), dim);
}

Tensor reshaped_batch(const Tensor& x, Shape shape) {
  if (!is_constant(x) && !shape.empty() && x.dim() > 0 && shape[0] == x.size(0) && x.numel() > 0 &&
      std::ranges::find(shape, -1) == shape.end())
    shape[0] = -1;
  return reshape(x, shape);
}

int64_t dim_of(int64_t d, const Tensor& t) {
  SORUS_CHECK(d >= -t.dim() && d < t.dim(), ValueError, "dimension {} of {}", d, to_string(t.sizes()));
  return d < 0 ? d + t.dim() : d;
}

TensorList unstacked(const Tensor& x, int64_t dim, size_t outputs) {
  SORUS_CHECK(x.size(dim) == static_cast<int64_t>(outputs), ValueError, "{} elements for {} outputs", x.size(dim),
              outputs);
  TensorList parts;
  for (size_t i = 0; i < outputs; ++i) parts.push_back(select(x, dim, static_cast<int64_t>(i)));
  return parts;
}

Tensor tiled(const Tensor& x, const Shape& repeats) {
  SORUS_CHECK(static_cast<int64_t>(repeats.size()) == x.dim(), ValueError, "{} numbers of repeats for {} dimensions",
              repeats.size(), x.dim());
  Tensor y = x;
  for (size_t d = 0; d < repeats.size(); ++d) {
    SORUS_CHECK(repeats[d] >= 0 && repeats[d] < 65536 && repeats[d] * y.numel() < kMaxElements, ValueError,
                "{} repeats", repeats[d]);
    if (repeats[d] != 1)
      y = repeats[d] == 0 ? slice(y, static_cast<int64_t>(d), 0, 0)
                          : cat(std::vector<Tensor>(static_cast<size_t>(repeats[d]), y), static_cast<int64_t>(d));
  }
  return y;
}

}  // namespace sorus::importer
