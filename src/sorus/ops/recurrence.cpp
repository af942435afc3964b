// Running products and logarithms of sums. Their gradients, and those of the gradients, are first-order recurrences
// y[k] = b[k] + a[k] y[k - 1], which stay exact where factors are 0 and where exponentials would overflow.
#include "sorus/kernels/scan.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

/// The neighbour before (by = -1) or behind (by = 1) along `dim`; zero where there is none.
Tensor neighbour(const Tensor& x, int64_t dim, int64_t by) {
  int64_t n = x.size(dim);
  Tensor kept = narrow(x, dim, by > 0 ? 1 : 0, n - 1);
  Shape one = x.sizes();
  one[static_cast<size_t>(dim)] = 1;
  Tensor zero = zeros(one, x.dtype());
  return cat(by > 0 ? TensorList{kept, zero} : TensorList{zero, kept}, dim);
}

const bool recurrences = [] {
  op("recurrence(a, b, dim: int, reverse: bool = false)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType &a = c.input(0), &b = c.input(1);
        SORUS_CHECK(a.shape == b.shape && a.dtype == b.dtype, Error, "recurrence: {} and {} must be the same",
                    a.to_string(), b.to_string());
        wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, static_cast<int64_t>(a.shape.size())), "recurrence");
        return {{b.dtype, b.shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            const Tensor &a = c.input(0), &b = c.input(1);
            auto d = static_cast<int>(wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, a.dim()), "recurrence"));
            kernels::recurrence(a.dtype(), a.sizes(), d, c.attr(1).to_bool(), a.data(), a.strides(), b.data(),
                                b.strides(), out[0].data(), out[0].strides());
          },
          true)
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &a = c.input(0), &y = c.output();
            if (a.dim() == 0 || a.numel() == 0) return {zeros_like(c.grad()), c.grad()};
            bool reverse = c.attrs[1].to_bool();
            int64_t d = wrap_dim(c.attrs[0].to_int(), a.dim(), "recurrence"), before = reverse ? 1 : -1;
            Tensor gb = recurrence(neighbour(conj(a), d, -before), c.grad(), d, !reverse);
            return {gb * neighbour(conj(y), d, before), gb};
          },
          "a output")
      .axes("a[b..; dim d!], b[b..; dim d!] -> output[b..; dim d!]")
      .doc("y[k] = b[k] + a[k] y[k - 1] along `dim`, beginning with b; with `reverse` from the other end.");
  op("cumprod(input, dim: int, *, dtype: dtype? = none)")
      .expand([](const Call& c) -> TensorList {
        DType t = !c.attr(1).is_none()                    ? c.attr(1).dtype()
                  : is_differentiable(c.input(0).dtype()) ? c.input(0).dtype()
                                                          : DType::i64;
        Tensor x = to(c.input(0), t);
        int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, x.dim()), "cumprod");
        if (x.dim() == 0 || x.size(d) == 0) return {clone(x)};
        Tensor first = narrow(x, d, 0, 1), rest = narrow(x, d, 1, x.size(d) - 1);
        return {recurrence(x, cat(TensorList{first, zeros(rest.sizes(), t)}, d), d)};
      })
      .doc("Products of all elements up to each along `dim`.");
  op("running_logsumexp(input, dim: int)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = c.input(0);
        SORUS_CHECK(is_differentiable(x.dtype), TypeError,
                    "logcumsumexp: expected a floating or complex type, got {}", name(x.dtype));
        wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, static_cast<int64_t>(x.shape.size())), "logcumsumexp");
        return {{x.dtype, x.shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            const Tensor& x = c.input(0);
            auto d = static_cast<int>(wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, x.dim()), "logcumsumexp"));
            kernels::scan(kernels::ScanOp::logsumexp, x.dtype(), x.dtype(), x.sizes(), d, x.data(), x.strides(),
                          out[0].data(), out[0].strides());
          },
          true)
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &x = c.input(0), &y = c.output();
            if (x.dim() == 0 || x.numel() == 0) return {c.grad()};
            int64_t d = wrap_dim(c.attrs[0].to_int(), x.dim(), "logcumsumexp");
            // The conjugate of exp(u - v), also where both are the same infinity.
            auto ratio = [](const Tensor& u, const Tensor& v) {
              return conj(exp(where(eq(u, v), Tensor::weak_scalar(0.0), u - v)));
            };
            Tensor from_behind = recurrence(ratio(y, neighbour(y, d, 1)), c.grad(), d, true);
            return {ratio(x, y) * from_behind};
          },
          "input output")
      .axes("input[a..; dim d!] -> output[a..; dim d!]");
  op("logcumsumexp(input, dim: int)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        if (!is_half(x.dtype())) return {running_logsumexp(x, c.attr(0).to_int())};
        return {
            to(running_logsumexp(to(x, DType::f32), c.attr(0).to_int()), x.dtype())};  // exp of it is its gradient
      })
      .doc("log of the sums of exp of all elements up to each along `dim`, computed without overflow.");
  return true;
}();

}  // namespace
}  // namespace sorus
