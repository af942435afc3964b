// The Fourier transform along one dimension; sorus.fft makes all others of it.
#include <cmath>

#include "sorus/kernels/fft.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

const bool fourier_entries = [] {
  op("fourier(input, dim: int = -1, inverse: bool = false)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const TensorType& x = c.input(0);
        SORUS_CHECK(is_differentiable(x.dtype) && !is_half(x.dtype), TypeError,
                    "fourier: expected float32, float64 or complex, got {}", name(x.dtype));
        wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(x.shape.size()), "fourier");
        return {{complex_of(x.dtype), x.shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            Tensor x = to(c.input(0), out[0].dtype());
            auto d = static_cast<int>(wrap_dim(c.attr(0).to_int(), x.dim(), "fourier"));
            kernels::fft(x.dtype(), x.sizes(), d, c.attr(1).to_bool(), x.data(), x.strides(), out[0].data(),
                         out[0].strides());
          },
          true)
      .gradient([](const GradCall& c) -> TensorList {
        Tensor g = fourier(c.grad(), c.attr("dim").to_int(), !c.attr("inverse").to_bool());
        return {is_complex(c.input(0).dtype()) ? g : real_part(g)};
      })
      .cost([](const TypeCall& c, std::span<const TensorType>) {
        const Shape& s = c.input(0).shape;
        auto d = static_cast<size_t>(wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(s.size()), "fourier"));
        return 5 * static_cast<double>(numel(s)) * std::log2(std::max<double>(2, static_cast<double>(s[d])));
      })
      .axes("input[a..; dim d!] -> output[a..; dim d!]")
      .doc("Sums of input[j] exp(-2 pi i j k / n) along `dim`; with `inverse` exp(+..). Neither is divided by n.");
  return true;
}();

}  // namespace
}  // namespace sorus
