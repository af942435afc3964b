// Scattering with products and extrema, and PyTorch's functions that name the way elements meet.
#include <limits>

#include "sorus/kernels/scatter.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

Tensor weak(double v) { return Tensor::weak_scalar(v); }

kernels::ScatterMode mode_of(const std::string& reduce) {
  if (reduce == "prod") return kernels::ScatterMode::multiply;
  SORUS_CHECK(reduce == "amax" || reduce == "amin", ValueError,
              "scatter_reduce: reduce must be 'sum', 'prod', 'mean', 'amax' or 'amin', not '{}'", reduce);
  return reduce == "amax" ? kernels::ScatterMode::maximum : kernels::ScatterMode::minimum;
}

/// What changes nothing when it meets an element.
Scalar neutral(const std::string& reduce, DType t) {
  if (reduce == "sum" || reduce == "mean") return Scalar(int64_t{0});
  if (reduce == "prod") return Scalar(int64_t{1});
  bool most = reduce == "amin";
  if (is_floating(t)) return Scalar(most ? INFINITY : -INFINITY);
  if (t == DType::boolean) return Scalar(most);
  SORUS_CHECK(!is_complex(t), TypeError, "scatter_reduce: '{}' has no meaning for complex numbers", reduce);
  if (t == DType::u8) return Scalar(int64_t{most ? 255 : 0});
  int bits = static_cast<int>(8 * size_of(t));
  int64_t top = bits == 64 ? std::numeric_limits<int64_t>::max() : (int64_t{1} << (bits - 1)) - 1;
  return Scalar(most ? top : -top - 1);
}

const bool scatters = [] {
  op("scatter_combined(input, dim: int, index: mask, src, reduce: str)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType &x = c.input(0), &i = c.input(1), &s = c.input(2);
        mode_of(c.attr(1).string());
        bool fits = i.shape == s.shape && i.shape.size() == x.shape.size();
        int64_t d = wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(x.shape.size()), "scatter_reduce");
        for (size_t k = 0; fits && k < x.shape.size(); ++k)
          fits = static_cast<int64_t>(k) == d || i.shape[k] <= x.shape[k];
        SORUS_CHECK(fits && x.dtype == s.dtype, Error, "scatter_reduce: index {} and src {} do not fit {}",
                    i.to_string(), s.to_string(), x.to_string());
        return {{x.dtype, x.shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        copy_elements(out[0], c.input(0));
        const Tensor &i = c.input(1), &s = c.input(2);
        if (i.numel() == 0) return;
        int64_t d = wrap_dim(c.attr(0).to_int(), out[0].dim(), "scatter_reduce");
        kernels::IndexTensor index{i.data(), i.dtype(), i.strides()};
        kernels::scatter(mode_of(c.attr(1).string()), s.dtype(), i.sizes(), static_cast<int>(d), out[0].data(),
                         out[0].strides(), out[0].size(d), index, s.data(), s.strides());
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &x = c.input(0), &i = c.input(1), &s = c.input(2), &g = c.grad();
            int64_t d = c.attrs[0].to_int();
            const std::string& reduce = c.attrs[1].string();
            auto at = [&](const Tensor& t) { return gather(t, d, i); };
            if (reduce != "prod") {  // shared by all that are equal to the extremum
              Tensor here = to(eq(x, c.output()), g.dtype()), there = to(eq(s, at(c.output())), g.dtype());
              Tensor share = g / clamp_min(scatter_add(here, d, i, there), weak(1.0));
              return {here * share, Tensor(), there * at(share)};
            }
            // The product of all others: with zeros counted apart, so that nothing is divided by 0.
            Tensor xc = conj(x), sc = conj(s), ones_x = ones_like(x);
            Tensor gx = g * scatter_combined(ones_x, d, i, sc, reduce);
            Tensor x_zero = eq(x, weak(0.0)), s_zero = eq(s, weak(0.0));
            Tensor zeros_at = at(scatter_add(to(x_zero, DType::i64), d, i, to(s_zero, DType::i64)));
            Tensor filled = where(s_zero, weak(1.0), sc);
            Tensor product = at(g * scatter_combined(where(x_zero, weak(1.0), xc), d, i, filled, reduce));
            Tensor alone = where(s_zero, product, product / filled);
            Tensor own = to(s_zero, DType::i64);
            return {gx, Tensor(), where(eq(zeros_at, own), alone, weak(0.0))};
          },
          "input index src output")
      .axes("input[a..; dim v!], index[a..; dim i!], src[a..; dim i!] -> output[a..; dim v!]")
      .doc(
          "A copy of `input` in which the elements of `src` meet those that `index` names along `dim`: reduce is "
          "'prod', 'amax' or 'amin'.");

  op("scatter_reduce(input, dim: int, index: mask, src, reduce: str, *, include_self: bool = true)")
      .expand([](const Call& c) -> TensorList {
        Tensor x = c.input(0), i = c.input(1), s = c.input(2);
        const std::string& reduce = c.attr(1).string();
        SORUS_CHECK(x.dtype() == s.dtype(), Error, "scatter_reduce: input is {} and src is {}; they must be the same",
                    name(x.dtype()), name(s.dtype()));
        if (reduce != "sum" && reduce != "mean") mode_of(reduce);
        Shape whole = x.sizes();
        if (x.dim() == 0) x = reshape(x, Shape{1});
        if (i.dim() == 0) i = reshape(i, Shape{1});
        if (s.dim() == 0) s = reshape(s, Shape{1});
        int64_t d = wrap_dim(c.attr(0).to_int(), x.dim(), "scatter_reduce");
        if (i.numel() == 0) return {clone(c.input(0))};
        SORUS_CHECK(i.dim() == s.dim(), Error, "scatter_reduce: index {} and src {} must have as many dimensions",
                    to_string(i.sizes()), to_string(s.sizes()));
        for (int64_t k = 0; k < i.dim(); ++k)  // what index does not reach of src has no part in the result
          if (i.size(k) < s.size(k)) s = narrow(s, k, 0, i.size(k));
        Tensor base = x;
        if (!c.attr(2).to_bool())
          base = scatter_from(x, d, i, full(i.sizes(), neutral(reduce, x.dtype()), x.dtype()));
        Tensor y;
        if (reduce == "sum" || reduce == "mean") {
          y = scatter_add(base, d, i, s);
          if (reduce == "mean") {
            Tensor one = ones(i.sizes(), DType::i64), count = ones(x.sizes(), DType::i64);
            if (!c.attr(2).to_bool()) count = scatter_from(count, d, i, zeros(i.sizes(), DType::i64));
            count = to(scatter_add(count, d, i, one), x.dtype());
            y = is_integral(x.dtype()) ? floor_divide(y, count) : y / count;
          }
        } else {
          y = scatter_combined(base, d, i, s, reduce);
        }
        return {reshape(y, whole)};
      })
      .doc(
          "A copy of `input` in which the elements of `src` are gathered where `index` names along `dim`, by 'sum', "
          "'prod', 'mean', 'amax' or 'amin'; without include_self the old values there have no part.");

  op("index_reduce(input, dim: int, index: mask, source, reduce: str, *, include_self: bool = true)")
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &s = c.input(2);
        int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, x.dim()), "index_reduce");
        Tensor i = reshape(c.input(1), Shape{-1});
        if (s.dim() > 0) i = expand(reshape(i, along_dim(s.dim(), d, i.numel())), s.sizes());
        return {scatter_reduce(x, c.attr(0).to_int(), i, s, c.attr(1).string(), c.attr(2).to_bool())};
      })
      .doc("scatter_reduce with one index for a whole slice of `source`.");
  return true;
}();

}  // namespace
}  // namespace sorus
