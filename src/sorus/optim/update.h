// What rules are written with. Their updates are one operator or a few, which a compiled step fuses.
#pragma once

#include <array>

#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"

namespace sorus::optim {

/// Rules have no state: one of each is enough.
template <class R>
const Rule& the() {
  static const R rule;
  return rule;
}

inline void check_setting_of(const char* who, const std::string& name, double value, double below = 1e300) {
  SORUS_CHECK(value >= 0 && value < below, ValueError, "{}: {} must lie in [0, {}), found {}", who, name,
              below < 1e300 ? "1" : "inf", value);
}

inline void write(const Tensor& target, const Tensor& value) {
  static const OpDef& copy = find_op("copy");
  call_into(copy, std::array{target, value}, {}, std::array{target});
}

/// What most of them begin with: the gradient with the weight decay added.
inline Tensor decayed(const Tensor& grad, const Tensor& p, const Tensor& weight_decay) {
  return grad + weight_decay * p;
}
inline Tensor towards(const Tensor& average, const Tensor& value, double share) {
  return lerp(average, value, Tensor::weak_scalar(share));
}
/// 1 - beta^step
inline Tensor bias_correction(double beta, const Tensor& step) { return 1.0 - pow(Tensor::weak_scalar(beta), step); }

}  // namespace sorus::optim
