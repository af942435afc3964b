// Updates of parameters by their gradients: one pass over memory each. What changes from step to step (learning rate,
// bias corrections, decay) comes as 0-d tensors, so that a compiled step does not depend on its value.
#include "sorus/ops.h"

namespace sorus {
namespace {

const bool updates = [] {
  // `rate1` is 1 - beta1, rounded once: 1 - 0.999f would be off by 5e-5. `keep` shrinks the parameter (AdamW), `l2`
  // adds to the gradient (Adam); `step_size` is lr / (1 - beta1^n) and `root` is 1 / sqrt(1 - beta2^n).
  op("adam(param, grad, exp_avg, exp_avg_sq, keep, l2, step_size, root, rate1: float, rate2: float, eps: float) "
     "-> param, exp_avg, exp_avg_sq")
      .each(
          "g = grad + l2 * param; m = exp_avg + rate1 * (g - exp_avg);"
          "v = exp_avg_sq + rate2 * (g * g - exp_avg_sq);"
          "param * keep - step_size * m / (sqrt(v) * root + eps), m, v")
      .not_differentiable()
      .doc("A step of Adam (Kingma, Ba 2015) or AdamW (Loshchilov, Hutter 2019).");
  op("adam.amsgrad(param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq, keep, l2, step_size, root, rate1: float, "
     "rate2: float, eps: float) -> param, exp_avg, exp_avg_sq, max_exp_avg_sq")
      .each(
          "g = grad + l2 * param; m = exp_avg + rate1 * (g - exp_avg);"
          "v = exp_avg_sq + rate2 * (g * g - exp_avg_sq); top = max(max_exp_avg_sq, v);"
          "param * keep - step_size * m / (sqrt(top) * root + eps), m, v, top")
      .not_differentiable()
      .doc("A step of Adam or AdamW with the largest second moment so far (Reddi, Kale, Kumar 2018).");
  op("sgd(param, grad, lr, weight_decay) -> param")
      .each("param - lr * (grad + weight_decay * param)")
      .not_differentiable();
  // `taken`: how much of the gradient enters the buffer.
  op("sgd.momentum(param, grad, momentum_buffer, lr, weight_decay, taken, momentum: float, nesterov: bool) "
     "-> param, momentum_buffer")
      .each(
          "d = grad + weight_decay * param; b = momentum * momentum_buffer + taken * d;"
          "param - lr * (nesterov ? d + momentum * b : b), b")
      .not_differentiable();
  // A gradient that overflowed shrinks the scale of the loss; `interval` steps in a row without one let it grow,
  // unless it would overflow itself.
  op("amp_update_scale(scale, tracker: mask, found_inf: mask, growth: float, backoff: float, interval: int) -> "
     "scale, tracker")
      .each(
          "n = found_inf ? 0 : tracker + 1; bigger = scale * growth;"
          "found_inf ? scale * backoff : n == interval && isfinite(bigger) ? bigger : scale, n == interval ? 0 : n")
      .not_differentiable()
      .doc("The loss scale and the count of good steps after one more step (Micikevicius et al. 2018).");
  return true;
}();

}  // namespace
}  // namespace sorus
