// Discrete Fourier transforms of lines of complex numbers.
#pragma once

#include <cstdint>
#include <span>

#include "sorus/kernels/strided.h"
#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

/// out[k] = sum over j of in[j] exp(-2 pi i j k / n) along `dim`; with `inverse` exp(+..), not divided by n. `type`
/// is c64 or c128; every length is n log n (mixed radix, and Bluestein's way for lengths with a large prime factor).
void fft(DType type, std::span<const int64_t> shape, int dim, bool inverse, const void* in, Strides in_strides,
         void* out, Strides out_strides);

}  // namespace sorus::kernels
