#include "sorus/nn/utils.h"

#include <array>
#include <cmath>

#include "sorus/autodiff/tape.h"
#include "sorus/ops/wide.h"

namespace sorus::nn {
namespace {

TensorList grads_of(TensorSpan parameters) {
  TensorList out;
  for (const Tensor& p : parameters)
    if (Tensor g = grad_of(p); g.defined()) out.push_back(g);
  return out;
}

}  // namespace

Tensor total_norm(TensorSpan tensors, double p, bool error_if_nonfinite) {
  SORUS_CHECK(p > 0, ValueError, "clip_grad_norm_: norm_type must be positive, found {}", p);
  GradMode off(false);
  Tensor total;
  for (const Tensor& t : tensors) {
    Tensor x = widened(t);
    Tensor part = std::isinf(p) ? (t.numel() ? amax(abs(x)) : Tensor())
                  : p == 2      ? sum(square(x))
                                : sum(pow(abs(x), Tensor::weak_scalar(p)));
    if (!part.defined()) continue;
    total = !total.defined() ? part : std::isinf(p) ? maximum(total, part) : total + part;
  }
  if (!total.defined()) return zeros(Shape{}, DType::f32);
  if (!std::isinf(p)) total = p == 2 ? sqrt(total) : pow(total, Tensor::weak_scalar(1 / p));
  if (error_if_nonfinite) {
    double v = total.item().to_double();
    SORUS_CHECK(std::isfinite(v), Error,
                "clip_grad_norm_: the norm of order {} of the gradients is {}, so they cannot be clipped; "
                "error_if_nonfinite=False scales them anyway",
                p, v);
  }
  return total;
}

Tensor clip_grad_norm(TensorSpan parameters, double max_norm, double norm_type, bool error_if_nonfinite) {
  static const OpDef& mul = find_op("mul");
  GradMode off(false);
  TensorList grads = grads_of(parameters);
  Tensor norm = total_norm(grads, norm_type, error_if_nonfinite);
  // Always multiplied, so that a recorded step takes no decision.
  Tensor factor = clamp(max_norm / (norm + 1e-6), std::nullopt, Scalar(1.0));
  for (const Tensor& g : grads) call_into(mul, std::array{g, factor}, {}, std::array{g});
  return norm;
}

void clip_grad_value(TensorSpan parameters, double clip_value) {
  static const OpDef& clamp_range = find_op("clamp_range");
  SORUS_CHECK(clip_value >= 0, ValueError, "clip_grad_value_: clip_value must not be negative, found {}", clip_value);
  GradMode off(false);
  for (const Tensor& g : grads_of(parameters))
    call_into(clamp_range, std::array{g}, {Scalar(-clip_value), Scalar(clip_value)}, std::array{g});
}

Tensor parameters_to_vector(TensorSpan parameters) {
  SORUS_CHECK(!parameters.empty(), ValueError, "parameters_to_vector: there are no parameters");
  TensorList flat;
  for (const Tensor& p : parameters) flat.push_back(reshape(p, Shape{-1}));
  return cat(flat);
}

void vector_to_parameters(const Tensor& vector, TensorSpan parameters) {
  static const OpDef& copy = find_op("copy");
  GradMode off(false);
  int64_t wanted = 0, at = 0;
  for (const Tensor& p : parameters) wanted += p.numel();
  SORUS_CHECK(vector.dim() == 1 && vector.numel() == wanted, ValueError,
              "vector_to_parameters: expected a vector of {} elements, found {}", wanted, vector.type().to_string());
  for (const Tensor& p : parameters) {
    Tensor part = reshape(narrow(vector, 0, at, p.numel()), p.sizes()), target = p.detach();
    call_into(copy, std::array{target, part}, {}, std::array{target});
    at += p.numel();
  }
}

}  // namespace sorus::nn
