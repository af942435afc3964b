// Losses of pairs of tensors. Each is an expression of smaller operators followed by its `reduction`.
#include <cmath>
#include <numbers>

#include "sorus/ops/reduction_of_losses.h"

namespace sorus {
namespace {

Tensor weighted(const Tensor& loss, const Tensor& weight) { return weight.defined() ? loss * weight : loss; }
Tensor optional_input(const Call& c, int slot) { return c.has(slot) ? c.input(slot) : Tensor(); }
void same_shape(const Call& c) {
  SORUS_CHECK(c.input(0).sizes() == c.input(1).sizes(), ValueError,
              "{}: input {} and target {} must have the same shape", c.op.name(), to_string(c.input(0).sizes()),
              to_string(c.input(1).sizes()));
}
double number(const Call& c, std::string_view name) { return c.attr(name).to_double(); }
Tensor last_norm(const Tensor& x, double p, double eps, bool keepdim = false) {
  return norm(x + eps, Scalar(p), Shape{-1}, keepdim);
}

const bool classification = [] {
  // Logarithms are kept above -100, as in PyTorch, so that a certain but wrong answer costs a finite amount.
  op("binary_cross_entropy_each(input, target)")
      .each("-(target * max(log(input), -100) + (1 - target) * max(log1p(-input), -100))")
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor &p = c.input(0), &t = c.input(1);
            Tensor by_input = c.grad() * (p - t) / clamp(p * (1.0 - p), Scalar(1e-12));
            if (!c.needs[1]) return {by_input, Tensor()};
            return {by_input, c.grad() * (log1p(neg(p)) - log(p))};
          },
          "input target");
  op("binary_cross_entropy(input, target, weight: Tensor? = none, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        same_shape(c);
        return {reduced(c, weighted(binary_cross_entropy_each(c.input(0), c.input(1)), optional_input(c, 2)))};
      })
      .doc("-(t log p + (1 - t) log(1 - p)) of probabilities p and targets t in [0, 1].");
  op("binary_cross_entropy_with_logits(input, target, weight: Tensor? = none, reduction: str = 'mean', "
     "pos_weight: Tensor? = none)")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        same_shape(c);
        const Tensor &x = c.input(0), &t = c.input(1);
        Tensor minus_log = neg(logsigmoid(x));
        if (c.has(3)) minus_log = minus_log * (1.0 + (c.input(3) - 1.0) * t);
        return {reduced(c, weighted((1.0 - t) * x + minus_log, optional_input(c, 2)))};
      })
      .doc("Binary cross entropy of sigmoid(input), computed without overflow.");
  op("kl_div(input, target, reduction: str = 'mean', log_target: bool = false)")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &t = c.input(1);
        Tensor loss = c.attr("log_target").to_bool()
                          ? exp(t) * t - exp(t) * x
                          : where(gt(t, Tensor::weak_scalar(0)), t * (log(clamp(t, Scalar(1e-300))) - x), t * 0.0);
        if (c.attr("reduction").string() == "batchmean") return {sum(loss) / static_cast<double>(x.size(0))};
        return {reduced(c, loss)};
      })
      .doc("target * (log target - input): `input` holds logarithms.");
  op("soft_margin_loss(input, target, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList { return {reduced(c, neg(logsigmoid(c.input(0) * c.input(1))))}; });
  op("hinge_embedding_loss(input, target, margin: float = 1.0, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &t = c.input(1);
        Tensor one = Tensor::weak_scalar(1), zero = Tensor::weak_scalar(0.0);
        Tensor apart = where(ne(t, one), relu(number(c, "margin") - x), zero);
        return {reduced(c, apart + where(ne(t, neg(ones(Shape{}, t.dtype()))), x, zero))};
      });
  return true;
}();

const bool regression = [] {
  op("smooth_l1_each(input, target, beta: float)")
      .each("d = abs(input - target); d < beta ? 0.5 * d * d / beta : d - 0.5 * beta");
  op("mse_loss(input, target, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList { return {reduced(c, square(c.input(0) - c.input(1)))}; });
  op("l1_loss(input, target, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList { return {reduced(c, abs(c.input(0) - c.input(1)))}; });
  op("smooth_l1_loss(input, target, reduction: str = 'mean', beta: float = 1.0)")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        SORUS_CHECK(number(c, "beta") >= 0, ValueError, "smooth_l1_loss: beta must not be negative, found {}",
                    number(c, "beta"));
        return {reduced(c, smooth_l1_each(c.input(0), c.input(1), number(c, "beta")))};
      })
      .doc("0.5 d^2 / beta where |d| < beta, |d| - 0.5 beta elsewhere; d is input - target.");
  op("huber_each(input, target, delta: float)")
      .each("d = abs(input - target); d <= delta ? 0.5 * d * d : delta * (d - 0.5 * delta)");
  op("huber_loss(input, target, reduction: str = 'mean', delta: float = 1.0, weight: Tensor? = none)")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        SORUS_CHECK(number(c, "delta") > 0, ValueError, "huber_loss: delta must be positive, found {}",
                    number(c, "delta"));
        return {reduced(c, weighted(huber_each(c.input(0), c.input(1), number(c, "delta")), optional_input(c, 2)))};
      });
  op("poisson_nll_loss(input, target, log_input: bool = true, full: bool = false, eps: float = 1e-08, "
     "reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &t = c.input(1);
        Tensor loss = c.attr("log_input").to_bool() ? exp(x) - t * x : x - t * log(x + number(c, "eps"));
        if (c.attr("full").to_bool()) {  // Stirling's approximation of log(t!)
          Tensor safe = clamp(t, Scalar(1.0));
          Tensor stirling = safe * log(safe) - safe + 0.5 * log(safe * (2 * std::numbers::pi));
          loss = loss + where(gt(t, Tensor::weak_scalar(1)), stirling, Tensor::weak_scalar(0.0));
        }
        return {reduced(c, loss)};
      });
  op("gaussian_nll_loss(input, target, var, full: bool = false, eps: float = 1e-06, reduction: str = 'mean')")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        Tensor v = c.input(2);
        if (v.dim() + 1 == x.dim()) v = unsqueeze(v, -1);
        // The floor on the variance does not bend its gradient, as in PyTorch.
        Tensor floored = v + (clamp(v.detach(), Scalar(number(c, "eps"))) - v.detach());
        Tensor loss = 0.5 * (log(floored) + square(x - c.input(1)) / floored);
        if (c.attr("full").to_bool()) loss = loss + 0.5 * std::log(2 * std::numbers::pi);
        return {reduced(c, loss)};
      });
  return true;
}();

const bool distances = [] {
  op("cosine_similarity(x1, x2, dim: int = 1, eps: float = 1e-08)")
      .expand([](const Call& c) -> TensorList {
        Shape d{c.attr("dim").to_int()};
        Shape both = broadcast_shapes(c.input(0).sizes(), c.input(1).sizes(), "cosine_similarity");
        auto direction = [&](const Tensor& t) {
          Tensor x = expand(t, both);
          return x / clamp(norm(x, Scalar(2.0), d, true), Scalar(number(c, "eps")));
        };
        return {sum(direction(c.input(0)) * direction(c.input(1)), d)};
      })
      .doc("x1 . x2 / (|x1| |x2|) along `dim`.");
  op("pairwise_distance(x1, x2, p: float = 2.0, eps: float = 1e-06, keepdim: bool = false)")
      .expand([](const Call& c) -> TensorList {
        return {last_norm(c.input(0) - c.input(1), number(c, "p"), number(c, "eps"), c.attr("keepdim").to_bool())};
      });
  op("normalize(input, p: float = 2.0, dim: int = 1, eps: float = 1e-12)")
      .expand([](const Call& c) -> TensorList {
        Tensor n = norm(c.input(0), Scalar(number(c, "p")), Shape{c.attr("dim").to_int()}, true);
        return {c.input(0) / clamp(n, Scalar(number(c, "eps")))};
      })
      .doc("input / max(norm of order p along `dim`, eps).");
  op("margin_ranking_loss(input1, input2, target, margin: float = 0.0, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        return {reduced(c, relu(neg(c.input(2)) * (c.input(0) - c.input(1)) + number(c, "margin")))};
      });
  op("cosine_embedding_loss(input1, input2, target, margin: float = 0.0, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        const Tensor& t = c.input(2);
        Shape last{-1};
        Tensor lengths = (sum(square(c.input(0)), last) + 1e-12) * (sum(square(c.input(1)), last) + 1e-12);
        Tensor cosine = sum(c.input(0) * c.input(1), last) / sqrt(lengths);
        Tensor one = Tensor::weak_scalar(1), zero = Tensor::weak_scalar(0.0);
        Tensor together = where(eq(t, one), 1.0 - cosine, zero);
        return {reduced(
            c, together + where(eq(t, neg(ones(Shape{}, t.dtype()))), relu(cosine - number(c, "margin")), zero))};
      });
  op("triplet_margin_loss(anchor, positive, negative, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, "
     "swap: bool = false, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        auto distance = [&](int a, int b) {
          return last_norm(c.input(a) - c.input(b), number(c, "p"), number(c, "eps"));
        };
        Tensor far = distance(0, 2);
        if (c.attr("swap").to_bool()) far = minimum(far, distance(1, 2));
        return {reduced(c, relu(distance(0, 1) - far + number(c, "margin")))};
      });
  return true;
}();

}  // namespace
}  // namespace sorus
