// Functions of layers that are more than an operator: they draw random numbers or write running statistics.
#pragma once

#include <optional>

#include "sorus/nn/random.h"

namespace sorus::nn {

/// Zeroes elements with probability p and scales the others by 1/(1-p). The mask is a function of the draw, so the
/// backward pass draws it again instead of keeping it.
Tensor dropout(const Tensor& input, double p, Generator& generator = default_generator());
/// The same for whole channels: all elements after the first two dimensions.
Tensor dropout_channels(const Tensor& input, double p, Generator& generator = default_generator());

/// Normalizes each channel (dimension 1): by the statistics of this batch if `training` or if there are none to go
/// by, else by the running ones. Training moves these by `momentum` towards the batch's (variance with n - 1), in
/// place.
Tensor batch_norm(const Tensor& input, const Tensor& running_mean, const Tensor& running_var, const Tensor& weight,
                  const Tensor& bias, bool training, double momentum, double eps);

struct AttentionOptions {
  double dropout = 0;  ///< on the weights; the caller passes 0 unless training
  bool causal = false;
  std::optional<double> scale;
};
/// softmax(q k^T * scale + mask) v for [batch.., heads, time, width]; key and value may have fewer heads, which are
/// then shared by groups of query heads. A boolean mask says what takes part. Without mask and dropout nothing of
/// size time x time is kept.
Tensor attention(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& mask = {},
                 const AttentionOptions& options = {}, Generator& generator = default_generator());

/// Rotates pairs (i, i + width/2) of the last dimension of [.., time, width] by angle position * base^(-2i/width) (Su
/// et al. 2021, in the layout of Llama). `offset` is the position of the first row.
Tensor rotary(const Tensor& input, int64_t offset = 0, double base = 10000);

}  // namespace sorus::nn
