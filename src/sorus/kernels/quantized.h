// Convolution of 8- and 16-bit integers on a host, requantised as it is summed. Sums are exact, so the order of their
// terms is free and the result is equal, to the bit, to that of the operator's body (ops/quantized_conv.cpp).
#pragma once

#include <cstdint>
#include <vector>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

/// Sizes: images [n, h, w, c], weights [o, kh, kw, c / groups]. The default is a product of rows and a matrix.
struct QuantizedConv {
  int64_t in[4] = {1, 1, 1, 1}, out[4] = {1, 1, 1, 1}, weight[4] = {1, 1, 1, 1};
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1};  ///< padding: top and left
  int64_t groups = 1, input_zero_point = 0, weight_zero_point = 0;
};

/// How a sum becomes a result, by output channel.
struct QuantizedOutput {
  std::vector<int32_t> multiplier, shift;
  std::vector<int64_t> bias;  ///< empty: none
  int64_t zero_point = 0, low = -128, high = 127;
  bool wide = false;  ///< as `requantize_wide`
  int64_t operator()(int64_t sum, int64_t channel) const;
};

void quantized_conv(const QuantizedConv& conv, const QuantizedOutput& output, DType type, const void* input,
                    DType weight_type, const void* weight, void* out);

}  // namespace sorus::kernels
