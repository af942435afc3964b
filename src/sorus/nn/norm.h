// Normalization layers.
#pragma once

#include <optional>

#include "sorus/nn/module.h"

namespace sorus::nn {

class LayerNorm : public Module {
 public:
  explicit LayerNorm(Shape normalized_shape, double eps = 1e-5, bool elementwise_affine = true, bool bias = true);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  const Shape normalized_shape;
  const double eps;
  const bool elementwise_affine;
  Tensor weight, bias;
};

class RMSNorm : public Module {
 public:
  explicit RMSNorm(Shape normalized_shape, std::optional<double> eps = std::nullopt, bool elementwise_affine = true);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  const Shape normalized_shape;
  const std::optional<double> eps;
  const bool elementwise_affine;
  Tensor weight;
};

class GroupNorm : public Module {
 public:
  GroupNorm(int64_t num_groups, int64_t num_channels, double eps = 1e-5, bool affine = true, bool bias = true);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  const int64_t num_groups, num_channels;
  const double eps;
  const bool affine;
  Tensor weight, bias;
};

/// Buffers running_mean, running_var and num_batches_tracked (int64) move while training and are used afterwards.
/// Without `momentum` they are the plain average of all batches.
class BatchNorm : public Module {
 public:
  BatchNorm(std::vector<int64_t> ranks, int64_t num_features, double eps, std::optional<double> momentum, bool affine,
            bool track_running_stats, bool bias);
  Tensor forward(const Tensor& input) override;
  std::string extra_repr() const override;
  void reset_running_stats();
  int64_t num_features;
  double eps;
  std::optional<double> momentum;
  const bool affine, track_running_stats;
  Tensor weight, bias, running_mean, running_var, num_batches_tracked;

 private:
  std::vector<int64_t> ranks_;
};
/// [batch, channels] or [batch, channels, length]
struct BatchNorm1d : BatchNorm {
  explicit BatchNorm1d(int64_t num_features, double eps = 1e-5, std::optional<double> momentum = 0.1,
                       bool affine = true, bool track_running_stats = true, bool bias = true)
      : BatchNorm({2, 3}, num_features, eps, momentum, affine, track_running_stats, bias) {}
};
/// [batch, channels, height, width]
struct BatchNorm2d : BatchNorm {
  explicit BatchNorm2d(int64_t num_features, double eps = 1e-5, std::optional<double> momentum = 0.1,
                       bool affine = true, bool track_running_stats = true, bool bias = true)
      : BatchNorm({4}, num_features, eps, momentum, affine, track_running_stats, bias) {}
};
/// [batch, channels, depth, height, width]
struct BatchNorm3d : BatchNorm {
  explicit BatchNorm3d(int64_t num_features, double eps = 1e-5, std::optional<double> momentum = 0.1,
                       bool affine = true, bool track_running_stats = true, bool bias = true)
      : BatchNorm({5}, num_features, eps, momentum, affine, track_running_stats, bias) {}
};

}  // namespace sorus::nn
