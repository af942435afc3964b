// Pooling. Averages are sums over windows; a maximum gives its gradient to the first element that reached it, as in
// PyTorch, so it keeps that element's place.
#include <algorithm>

#include "sorus/base/threads.h"
#include "sorus/graph/index.h"
#include "sorus/kernels/element.h"
#include "sorus/ops/apply.h"

namespace sorus {
namespace {

struct Pool {
  int64_t size, stride, padding, dilation;
  int64_t out(int64_t in, bool ceil, std::string_view who) const {
    SORUS_CHECK(size > 0 && stride > 0 && dilation > 0, Error, "{}: kernel, stride and dilation must be positive",
                who);
    SORUS_CHECK(2 * padding <= size && padding >= 0, Error, "{}: padding {} is more than half of the kernel {}", who,
                padding, size);
    int64_t room = in + 2 * padding - dilation * (size - 1) - 1;
    SORUS_CHECK(room + (ceil ? stride - 1 : 0) >= 0, Error, "{}: the window is larger than the padded input of {}",
                who, in + 2 * padding);
    int64_t n = (room + (ceil ? stride - 1 : 0)) / stride + 1;
    // The last window must start inside of the input or its left padding.
    if (ceil && (n - 1) * stride >= in + padding) --n;
    return n;
  }
};

int64_t at(const Attr& list, size_t i, int64_t otherwise) {
  if (list.is_none() || list.ints().empty()) return otherwise;
  return list.ints().size() == 1 ? list.ints()[0] : list.ints()[i];
}

// Attributes: kernel_size, stride, padding, dilation, ceil_mode.
Pool pool_of(const Attrs& a, size_t i) {
  int64_t k = at(a[0], i, 1);
  return {k, at(a[1], i, k), at(a[2], i, 0), at(a[3], i, 1)};
}

template <size_t spatial>
std::vector<TensorType> max_types(const TypeCall& c) {
  Shape s = c.input(0).shape;
  SORUS_CHECK(s.size() == spatial + 1 || s.size() == spatial + 2, Error,
              "{}: expected {} or {} dimensions, got shape {}", c.op.name(), spatial + 1, spatial + 2, to_string(s));
  for (size_t i = 0; i < spatial; ++i) {
    int64_t& n = s[s.size() - spatial + i];
    n = pool_of(c.attrs, i).out(n, c.attr(4).to_bool(), c.op.name());
  }
  return {{c.input(0).dtype, s, false}, {DType::i64, s, false}};
}

template <size_t spatial>
void max_kernel(const Call& c, std::span<Tensor> out) {
  const Tensor& x = c.input(0);
  const Shape &in = x.sizes(), &to = out[0].sizes();
  size_t r = in.size();
  Pool rows{1, 1, 0, 1}, cols = pool_of(c.attrs, spatial - 1);
  int64_t h = 1, oh = 1, w = in[r - 1], ow = to[r - 1];
  if (spatial == 2) {
    rows = pool_of(c.attrs, 0);
    h = in[r - 2];
    oh = to[r - 2];
  }
  int64_t window_count = ow * oh, planes = window_count > 0 ? out[0].numel() / window_count : 0;
  auto* where = out[1].data<int64_t>();
  kernels::visit_dtype(x.dtype(), [&]<DType T>() {
    using Element = typename kernels::ElementOf<T>::type;
    using C = typename kernels::ElementOf<T>::compute;
    if constexpr (requires(C v) { v.real(); }) {
      fail<TypeError>("{}: complex numbers have no order", c.op.name());
    } else {
      auto* p = static_cast<const Element*>(x.data());
      auto* y = static_cast<Element*>(out[0].data());
      parallel_for(planes, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, oh * ow)), [&](int64_t b, int64_t e) {
        for (int64_t plane = b; plane < e; ++plane)
          for (int64_t i = 0; i < oh; ++i)
            for (int64_t j = 0; j < ow; ++j) {
              int64_t best = -1;
              C top{};
              for (int64_t k = 0; k < rows.size; ++k) {
                int64_t u = i * rows.stride - rows.padding + k * rows.dilation;
                if (u < 0 || u >= h) continue;
                for (int64_t l = 0; l < cols.size; ++l) {
                  int64_t v = j * cols.stride - cols.padding + l * cols.dilation;
                  if (v < 0 || v >= w) continue;
                  C value = kernels::element_cast<C>(p[(plane * h + u) * w + v]);
                  if (best < 0 || value > top || value != value) {
                    best = u * w + v;
                    top = value;
                  }
                }
              }
              int64_t o = (plane * oh + i) * ow + j;
              y[o] = kernels::element_cast<Element>(top);
              where[o] = best;
            }
      });
    }
  });
}

// The gradient is a scatter along the flat plane.
template <size_t spatial>
TensorList max_gradient(const GradCall& c) {
  Shape plane = c.input(0).sizes(), windows = c.output(1).sizes();
  int64_t flat = 1, places = 1;
  for (size_t i = 0; i < spatial; ++i) {
    flat *= plane.back();
    places *= windows.back();
    plane.pop_back();
    windows.pop_back();
  }
  plane.push_back(flat);
  windows.push_back(places);
  Tensor zero = apply("zeros", {}, {Attr(plane), Attr(c.grad().dtype())});
  Tensor g =
      apply("scatter_add",
            {zero, apply("reshape", {c.output(1)}, {Attr(windows)}), apply("reshape", {c.grad()}, {Attr(windows)})},
            {Attr(-1)});
  return {apply("reshape", {g}, {Attr(c.input(0).sizes())})};
}

const OpDef& max_pool1d_indices =
    op("max_pool1d_with_indices(input, kernel_size: int[1], stride: int[1]? = none, padding: int[1] = 0, dilation: "
       "int[1] = 1, ceil_mode: bool = false) -> values, indices")
        .types(max_types<1>)
        .kernel(max_kernel<1>)
        .gradient(max_gradient<1>, "indices")
        .axes("input[b.., h!] -> values[b.., h!], indices[b.., h!]")
        .doc("Largest element of each window, and its place in the row.");
const OpDef& max_pool2d_indices =
    op("max_pool2d_with_indices(input, kernel_size: int[2], stride: int[2]? = none, padding: int[2] = 0, dilation: "
       "int[2] = 1, ceil_mode: bool = false) -> values, indices")
        .types(max_types<2>)
        .kernel(max_kernel<2>)
        .gradient(max_gradient<2>, "indices")
        .axes("input[b.., h!, v!] -> values[b.., h!, v!], indices[b.., h!, v!]")
        .doc("Largest element of each window, and its place in the plane.");
const OpDef& max_pool1d =
    op("max_pool1d(input, kernel_size: int[1], stride: int[1]? = none, padding: int[1] = 0, dilation: int[1] = 1, "
       "ceil_mode: bool = false)")
        .expand([](const Call& c) { return TensorList{call(max_pool1d_indices, c.inputs, c.attrs)[0]}; })
        .doc("Largest element of each window.");
const OpDef& max_pool2d =
    op("max_pool2d(input, kernel_size: int[2], stride: int[2]? = none, padding: int[2] = 0, dilation: int[2] = 1, "
       "ceil_mode: bool = false)")
        .expand([](const Call& c) { return TensorList{call(max_pool2d_indices, c.inputs, c.attrs)[0]}; })
        .doc("Largest element of each window.");

// Sums over windows; `places` is the number of windows in each dimension.
const OpDef& window_sum =
    op("window_sum(input, kernel_size: int[2], stride: int[2], padding: int[2], places: int[2])")
        .index(
            "y[.., h, v] = sum(i, j) input[.., h*stride[0] + i - padding[0]?, v*stride[1] + j - padding[1]?]"
            " where i < kernel_size[0], j < kernel_size[1], h < places[0], v < places[1]")
        .doc("Sums over windows of the last two dimensions; outside of the input there are zeros.");

Tensor average(const Tensor& x, const Shape& kernel, const Shape& stride, const Shape& padding, bool ceil,
               bool count_padding, std::optional<int64_t> divisor, std::string_view who) {
  SORUS_CHECK(x.dim() == 3 || x.dim() == 4, Error, "{}: expected 3 or 4 dimensions, got shape {}", who,
              to_string(x.sizes()));
  Shape places;
  std::vector<double> counts[2];
  for (size_t d = 0; d < 2; ++d) {
    Pool p{kernel[d], stride[d], padding[d], 1};
    int64_t n = x.sizes()[static_cast<size_t>(x.dim()) - 2 + d];
    places.push_back(p.out(n, ceil, who));
    for (int64_t i = 0; i < places[d]; ++i) {
      int64_t begin = i * p.stride - p.padding, end = std::min(begin + p.size, n + p.padding);
      if (!count_padding) {
        begin = std::max<int64_t>(begin, 0);
        end = std::min(end, n);
      }
      counts[d].push_back(static_cast<double>(end - begin));
    }
  }
  Tensor s = call_one(window_sum, {x}, {Attr(kernel), Attr(stride), Attr(padding), Attr(places)});
  // Means of integers are integers, rounded towards zero, as in PyTorch.
  const char* divide = is_integral(s.dtype()) ? "trunc_divide" : "div";
  if (divisor) return apply(divide, {s, Tensor::weak_scalar(Scalar(*divisor))});
  bool same = true;
  for (auto& c : counts)
    for (double v : c) same &= v == c[0];
  if (same) {
    double count = counts[0].empty() || counts[1].empty() ? 1.0 : counts[0][0] * counts[1][0];
    Scalar number = is_integral(s.dtype()) ? Scalar(static_cast<int64_t>(count)) : Scalar(count);
    return apply(divide, {s, Tensor::weak_scalar(number)});
  }
  Tensor count = Tensor::empty(places, real_of(s.dtype()));
  kernels::visit_dtype(count.dtype(), [&]<DType T>() {
    using E = typename kernels::ElementOf<T>::type;
    auto* p = static_cast<E*>(count.data());
    for (double a : counts[0])
      for (double b : counts[1]) *p++ = kernels::element_cast<E>(a * b);
  });
  return apply(divide, {s, count});
}

Shape two(const Attr& a, const Shape& otherwise) { return {at(a, 0, otherwise[0]), at(a, 1, otherwise[1])}; }

const OpDef& avg_pool2d =
    op("avg_pool2d(input, kernel_size: int[2], stride: int[2]? = none, padding: int[2] = 0, ceil_mode: bool = false, "
       "count_include_pad: bool = true, divisor_override: int? = none)")
        .expand([](const Call& c) {
          Shape kernel = two(c.attr(0), {1, 1});
          std::optional<int64_t> divisor;
          if (!c.attr(5).is_none()) divisor = c.attr(5).to_int();
          return TensorList{average(c.input(0), kernel, two(c.attr(1), kernel), two(c.attr(2), {0, 0}),
                                    c.attr(3).to_bool(), c.attr(4).to_bool(), divisor, "avg_pool2d")};
        })
        .doc("Mean of each window.");
const OpDef& avg_pool1d = op("avg_pool1d(input, kernel_size: int[1], stride: int[1]? = none, padding: int[1] = 0, "
                             "ceil_mode: bool = false, count_include_pad: bool = true)")
                              .expand([](const Call& c) {
                                Tensor x = apply("unsqueeze", {c.input(0)}, {Attr(-2)});
                                int64_t k = at(c.attr(0), 0, 1);
                                Tensor y = average(x, {1, k}, {1, at(c.attr(1), 0, k)}, {0, at(c.attr(2), 0, 0)},
                                                   c.attr(3).to_bool(), c.attr(4).to_bool(), {}, "avg_pool1d");
                                return TensorList{apply("squeeze", {y}, {Attr(Shape{-2})})};
                              })
                              .doc("Mean of each window.");

// Windows of adaptive pooling differ in size when the sizes do not divide; then each window is a mean of its own.
const OpDef& adaptive_avg_pool2d =
    op("adaptive_avg_pool2d(input, output_size: int[2])")
        .expand([](const Call& c) {
          const Tensor& x = c.input(0);
          SORUS_CHECK(x.dim() == 3 || x.dim() == 4, Error,
                      "adaptive_avg_pool2d: expected 3 or 4 dimensions, got shape {}", to_string(x.sizes()));
          int64_t h = x.size(-2), w = x.size(-1);
          Shape to = two(c.attr(0), {h, w});
          if (to[0] > 0 && to[1] > 0 && h % to[0] == 0 && w % to[1] == 0 && h > 0 && w > 0) {
            Shape k{h / to[0], w / to[1]};
            return TensorList{average(x, k, k, {0, 0}, false, true, {}, "adaptive_avg_pool2d")};
          }
          // As two products with matrices of weights, one for each dimension.
          auto weights = [&](int64_t in, int64_t out) {
            Tensor m = Tensor::zeros(Shape{out, in}, x.dtype());
            kernels::visit_floating("adaptive_avg_pool2d", x.dtype(), [&]<DType T>() {
              using E = typename kernels::ElementOf<T>::type;
              for (int64_t o = 0; o < out; ++o) {
                int64_t begin = o * in / out, end = ((o + 1) * in + out - 1) / out;
                for (int64_t i = begin; i < end; ++i)
                  static_cast<E*>(m.data())[o * in + i] =
                      kernels::element_cast<E>(1.0 / static_cast<double>(end - begin));
              }
            });
            return m;
          };
          Tensor y = apply("linear", {x, weights(w, to[1]), Tensor()});
          return TensorList{apply("matmul_batched", {weights(h, to[0]), y})};
        })
        .doc("Means of as many windows as asked for.");

}  // namespace
}  // namespace sorus
