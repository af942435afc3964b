#include "sorus/nn/norm.h"

#include <algorithm>
#include <array>

#include "sorus/nn/basic.h"
#include "sorus/nn/functional.h"
#include "sorus/ops.h"

namespace sorus::nn {

LayerNorm::LayerNorm(Shape shape, double eps, bool affine, bool with_bias)
    : normalized_shape(std::move(shape)), eps(eps), elementwise_affine(affine) {
  register_parameter("weight", weight, affine ? ones(normalized_shape) : Tensor());
  register_parameter("bias", bias, affine && with_bias ? zeros(normalized_shape) : Tensor());
}
Tensor LayerNorm::forward(const Tensor& input) { return layer_norm(input, normalized_shape, weight, bias, eps); }
std::string LayerNorm::extra_repr() const {
  return fmt::format("{}, eps={}, elementwise_affine={}, bias={}", python_text(normalized_shape), python_text(eps),
                     python_text(elementwise_affine), python_text(bias.defined()));
}

RMSNorm::RMSNorm(Shape shape, std::optional<double> eps, bool affine)
    : normalized_shape(std::move(shape)), eps(eps), elementwise_affine(affine) {
  register_parameter("weight", weight, affine ? ones(normalized_shape) : Tensor());
}
Tensor RMSNorm::forward(const Tensor& input) { return rms_norm(input, normalized_shape, weight, eps); }
std::string RMSNorm::extra_repr() const {
  return fmt::format("{}, eps={}, elementwise_affine={}", python_text(normalized_shape),
                     eps ? python_text(*eps) : "None", python_text(elementwise_affine));
}

GroupNorm::GroupNorm(int64_t groups, int64_t channels, double eps, bool affine, bool with_bias)
    : num_groups(groups), num_channels(channels), eps(eps), affine(affine) {
  SORUS_CHECK(groups > 0 && channels % groups == 0, ValueError,
              "GroupNorm: num_channels {} must be divisible by num_groups {}", channels, groups);
  register_parameter("weight", weight, affine ? ones(Shape{channels}) : Tensor());
  register_parameter("bias", bias, affine && with_bias ? zeros(Shape{channels}) : Tensor());
}
Tensor GroupNorm::forward(const Tensor& input) { return group_norm(input, num_groups, weight, bias, eps); }
std::string GroupNorm::extra_repr() const {
  return fmt::format("{}, {}, eps={}, affine={}, bias={}", num_groups, num_channels, python_text(eps),
                     python_text(affine), python_text(bias.defined()));
}

BatchNorm::BatchNorm(std::vector<int64_t> ranks, int64_t features, double eps, std::optional<double> momentum,
                     bool affine, bool track, bool with_bias)
    : num_features(features),
      eps(eps),
      momentum(momentum),
      affine(affine),
      track_running_stats(track),
      ranks_(std::move(ranks)) {
  Shape shape{features};
  register_parameter("weight", weight, affine ? ones(shape) : Tensor());
  register_parameter("bias", bias, affine && with_bias ? zeros(shape) : Tensor());
  register_buffer("running_mean", running_mean, track ? zeros(shape) : Tensor());
  register_buffer("running_var", running_var, track ? ones(shape) : Tensor());
  register_buffer("num_batches_tracked", num_batches_tracked, track ? Tensor::zeros(Shape{}, DType::i64) : Tensor());
}

void BatchNorm::reset_running_stats() {
  if (!track_running_stats) return;
  uniform_(running_mean, 0, 0);
  uniform_(running_var, 1, 1);
  *num_batches_tracked.data<int64_t>() = 0;
  num_batches_tracked.storage()->bump_version();
}

Tensor BatchNorm::forward(const Tensor& input) {
  SORUS_CHECK(std::find(ranks_.begin(), ranks_.end(), input.dim()) != ranks_.end(), ValueError,
              "{}: expected an input of {} dimensions, got shape {}", class_name(), fmt::join(ranks_, " or "),
              to_string(input.sizes()));
  double moves = momentum.value_or(0);
  if (is_training() && num_batches_tracked.defined()) {
    static const OpDef& add = find_op("add");
    GradMode off(false);
    call_into(add, std::array{num_batches_tracked, Tensor::weak_scalar(1)}, {Attr(1)},
              std::array{num_batches_tracked});
    if (!momentum) {
      SORUS_CHECK(
          !is_tracing(), NotImplementedError,
          "{}: momentum=None depends on the number of batches, which a compiled function does not see; give a "
          "momentum",
          class_name());
      moves = 1 / static_cast<double>(*num_batches_tracked.data<int64_t>());
    }
  }
  return batch_norm(input, running_mean, running_var, weight, bias, is_training(), moves, eps);
}
std::string BatchNorm::extra_repr() const {
  return fmt::format("{}, eps={}, momentum={}, affine={}, bias={}, track_running_stats={}", num_features,
                     python_text(eps), momentum ? python_text(*momentum) : "None", python_text(affine),
                     python_text(bias.defined()), python_text(track_running_stats));
}

}  // namespace sorus::nn
