// Convolutions over one to three dimensions, and pooling over one and two.
//
// Lists of one number stand for that number in every dimension.
#pragma once

#include <optional>

#include "sorus/nn/module.h"

namespace sorus::nn {

struct ConvOptions {
  Shape stride = {1}, padding = {0}, dilation = {1};
  int64_t groups = 1;
  bool bias = true;
  std::string padding_mode = "zeros";  ///< zeros, reflect, replicate, circular
  std::string padding_name = {};       ///< "same" or "valid" in place of numbers; "same" needs stride 1
};

class Conv : public Module {
 public:
  Conv(int64_t spatial, int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  int64_t in_channels;
  const int64_t out_channels;
  const Shape kernel_size;
  const ConvOptions options;  ///< lists expanded to all dimensions
  Tensor weight, bias;

 private:
  Shape around_;  // what is padded before the convolution: (before, after) from the last dimension on; or empty
};
struct Conv1d : Conv {
  Conv1d(int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options = {})
      : Conv(1, in_channels, out_channels, std::move(kernel_size), std::move(options)) {}
};
struct Conv2d : Conv {
  Conv2d(int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options = {})
      : Conv(2, in_channels, out_channels, std::move(kernel_size), std::move(options)) {}
};
struct Conv3d : Conv {
  Conv3d(int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options = {})
      : Conv(3, in_channels, out_channels, std::move(kernel_size), std::move(options)) {}
};

class ConvTranspose : public Module {
 public:
  ConvTranspose(int64_t spatial, int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options,
                Shape output_padding);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  int64_t in_channels;
  const int64_t out_channels;
  const Shape kernel_size, output_padding;
  const ConvOptions options;
  Tensor weight, bias;
};
struct ConvTranspose1d : ConvTranspose {
  ConvTranspose1d(int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options = {},
                  Shape output_padding = {0})
      : ConvTranspose(1, in_channels, out_channels, std::move(kernel_size), std::move(options),
                      std::move(output_padding)) {}
};
struct ConvTranspose2d : ConvTranspose {
  ConvTranspose2d(int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options = {},
                  Shape output_padding = {0})
      : ConvTranspose(2, in_channels, out_channels, std::move(kernel_size), std::move(options),
                      std::move(output_padding)) {}
};
struct ConvTranspose3d : ConvTranspose {
  ConvTranspose3d(int64_t in_channels, int64_t out_channels, Shape kernel_size, ConvOptions options = {},
                  Shape output_padding = {0})
      : ConvTranspose(3, in_channels, out_channels, std::move(kernel_size), std::move(options),
                      std::move(output_padding)) {}
};

struct PoolOptions {
  std::optional<Shape> stride;  ///< the window if left out
  Shape padding = {0}, dilation = {1};
  bool ceil_mode = false, count_include_pad = true;
  std::optional<int64_t> divisor_override;
};
class Pool : public Module {
 public:
  enum class Kind : uint8_t { max, average };
  Pool(Kind kind, int64_t spatial, Shape kernel_size, PoolOptions options);
  Tensor forward(const Tensor& input) override;
  /// Of a maximum: the places within each plane too.
  TensorList forward_with_indices(const Tensor& input);
  std::string extra_repr() const override;
  const Shape kernel_size;
  const PoolOptions options;

 private:
  Kind kind_;
  int64_t spatial_;
};
struct MaxPool1d : Pool {
  explicit MaxPool1d(Shape k, PoolOptions o = {}) : Pool(Kind::max, 1, std::move(k), std::move(o)) {}
};
struct MaxPool2d : Pool {
  explicit MaxPool2d(Shape k, PoolOptions o = {}) : Pool(Kind::max, 2, std::move(k), std::move(o)) {}
};
struct AvgPool1d : Pool {
  explicit AvgPool1d(Shape k, PoolOptions o = {}) : Pool(Kind::average, 1, std::move(k), std::move(o)) {}
};
struct AvgPool2d : Pool {
  explicit AvgPool2d(Shape k, PoolOptions o = {}) : Pool(Kind::average, 2, std::move(k), std::move(o)) {}
};

/// As many means as asked for; -1 keeps the input's size.
class AdaptiveAvgPool : public Module {
 public:
  AdaptiveAvgPool(int64_t spatial, Shape output_size);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  const Shape output_size;

 private:
  int64_t spatial_;
};
struct AdaptiveAvgPool1d : AdaptiveAvgPool {
  explicit AdaptiveAvgPool1d(Shape output_size) : AdaptiveAvgPool(1, std::move(output_size)) {}
};
struct AdaptiveAvgPool2d : AdaptiveAvgPool {
  explicit AdaptiveAvgPool2d(Shape output_size) : AdaptiveAvgPool(2, std::move(output_size)) {}
};

}  // namespace sorus::nn
