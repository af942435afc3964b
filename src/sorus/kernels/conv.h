// Convolution (cross-correlation, as everywhere in deep learning) over one to three spatial dimensions.
//
//   y[n, o, p] = bias[o] + sum(c, j) x[n, c, p * stride - padding + j * dilation] * w[o, c, j]
//
// with `groups` independent slices of the channels. Tensors are dense: x [batch, in_channels, in...],
// w [out_channels, in_channels / groups, kernel...], y [batch, out_channels, out...]. f32 and bf16 go to oneDNN,
// which sees any layout it likes through cached reorders; all other types are plain loops.
#pragma once

#include <cstdint>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

struct ConvArgs {
  DType type = DType::f32;
  int spatial = 2;  ///< 1, 2 or 3; arrays below use the first `spatial` entries
  int64_t batch = 0, in_channels = 0, out_channels = 0, groups = 1;
  int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
};

/// Output size of one dimension: floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.
int64_t conv_out_size(int64_t in, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation);

/// `bias` has `type`, or is null.
void conv_forward(const ConvArgs& args, const void* x, const void* w, const void* bias, void* y);
void conv_backward_data(const ConvArgs& args, const void* grad_y, const void* w, void* grad_x);
/// `grad_bias` may be null.
void conv_backward_weights(const ConvArgs& args, const void* x, const void* grad_y, void* grad_w, void* grad_bias);

}  // namespace sorus::kernels
