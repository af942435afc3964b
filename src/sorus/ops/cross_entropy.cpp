// Losses of classes: cross entropy of class indices in the last dimension, with a kernel of its own, and what is made
// of it.
#include <array>
#include <cmath>

#include "sorus/graph/scalar.h"
#include "sorus/kernels/cross_entropy.h"
#include "sorus/ops/reduction_of_losses.h"
#include "sorus/ops/wide.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

kernels::CrossEntropyArgs class_loss_args(const Call& c, const Tensor& logits, const Tensor& target) {
  kernels::CrossEntropyArgs a;
  a.type = logits.dtype();
  a.classes = logits.sizes().back();
  a.rows = target.numel();
  a.logits = logits.data();
  a.target = target.data<int64_t>();
  a.ignore_index = c.attr(0).to_int();
  const std::string& r = c.attr(1).string();
  a.reduction = r == "mean"  ? kernels::LossReduction::mean
                : r == "sum" ? kernels::LossReduction::sum
                             : kernels::LossReduction::none;
  return a;
}

struct Counted {
  Tensor index, factor;  // of each row: a class that exists, and 1 or 0
};
Counted counted_rows(const Tensor& target, const Attr& ignore_index, DType type) {
  Tensor counted = ne(target, Tensor::weak_scalar(ignore_index.scalar()));
  return {where(counted, target, Tensor::weak_scalar(0)), to(counted, type)};
}

TensorList class_loss_body(const Call& c) {
  const Tensor &x = c.input(0), &t = c.input(1);
  Counted rows = counted_rows(t, c.attr(0), x.dtype());
  Tensor loss = neg(squeeze(gather(log_softmax(x, -1), -1, unsqueeze(rows.index, -1)), Shape{-1})) * rows.factor;
  const std::string& reduction = c.attr(1).string();
  return {reduction == "mean" ? sum(loss) / sum(rows.factor) : reduction == "sum" ? sum(loss) : loss};
}

TensorList class_loss_backward_body(const Call& c) {
  const Tensor &grad = c.input(0), &x = c.input(1), &t = c.input(2);
  Counted rows = counted_rows(t, c.attr(0), x.dtype());
  Tensor scale = grad * rows.factor;
  if (c.attr(1).string() == "mean") scale = scale / sum(rows.factor);
  scale = unsqueeze(scale, -1);
  return {scatter_add(softmax(x, -1) * scale, -1, unsqueeze(rows.index, -1), neg(scale))};
}

void check_class_loss(const TypeCall& c, int logits) {
  const TensorType &x = c.input(logits), &t = c.input(logits + 1);
  Shape rows(x.shape.begin(), x.shape.end() - (x.shape.empty() ? 0 : 1));
  SORUS_CHECK(!x.shape.empty() && is_floating(x.dtype) && t.dtype == DType::i64 && t.shape == rows, ValueError,
              "{}: logits {} and targets {} do not fit together: expected a class (int64) for each row", c.op.name(),
              x.to_string(), t.to_string());
}

// Forms of cross_entropy that have no C++ functions: they are parts of it, or for models that keep samples and tokens
// apart.
constexpr const char
    *kClassLoss = "cross_entropy_classes(input, target: mask, ignore_index: int = -100, reduction: str = 'mean')",
    *kClassLossBackward =
        "cross_entropy_classes_backward(grad, input, target: mask, ignore_index: int = "
        "-100, reduction: str = 'mean')",
    *kClassLossLast = "cross_entropy_last(input, target: mask, ignore_index: int = -100, reduction: str = 'mean')";

const bool class_losses = [] {
  op(kClassLoss)
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_class_loss(c, 0);
        return {{c.input(0).dtype, c.attr(1).string() == "none" ? c.input(1).shape : Shape{}, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        kernels::cross_entropy(class_loss_args(c, c.input(0), c.input(1)), out[0].data());
      })
      .body(class_loss_body)
      .gradient(
          [](const GradCall& c) -> TensorList {
            static const OpDef& backward = find_op("cross_entropy_classes_backward");
            return {call_one(backward, {c.grad(), c.input(0), c.input(1)}, c.attrs), Tensor()};
          },
          "input target")
      .autocast(Autocast::full)
      .doc("cross_entropy of class indices, with the classes in the last dimension.");
  op(kClassLossBackward)
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        check_class_loss(c, 1);
        return {{c.input(1).dtype, c.input(1).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        kernels::cross_entropy_backward(class_loss_args(c, c.input(1), c.input(2)), c.input(0).data(), out[0].data());
      })
      .body(class_loss_backward_body);
  op(kClassLossLast)
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        if (is_tracing()) return class_loss_body(c);
        static const OpDef& whole = find_op("cross_entropy_classes");
        return call(whole, c.inputs, c.attrs);
      })
      .doc(
          "cross_entropy of class indices, with the classes in the last dimension and any dimensions in front, which "
          "a "
          "graph can be split along.");
  return true;
}();

const bool losses = [] {
  // Classes in dimension 1 (0 if there is only one); targets are class indices.
  op("cross_entropy(input, target: mask, weight: Tensor? = none, ignore_index: int = -100, "
     "reduction: str = 'mean', label_smoothing: float = 0.0)")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &t = c.input(1);
        int64_t d = x.dim() == 1 ? 0 : 1;
        const std::string& reduction = c.attr(1).string();
        // One kernel where operators run one by one; a graph fuses the expression with its neighbours.
        if (!is_tracing() && x.dim() <= d + 1 && is_floating(x.dtype()) && t.dtype() == DType::i64 && !c.has(2) &&
            c.attr(2).to_double() == 0 && (reduction == "mean" || reduction == "sum" || reduction == "none")) {
          static const OpDef& whole = find_op("cross_entropy_classes");
          return call(whole, {x, t}, {c.attr(0), c.attr(1)});
        }
        Tensor logp = log_softmax(x, d);
        double smoothing = c.attr(2).to_double();
        Tensor weighted = logp;  // by the weight of each class
        if (c.has(2)) {
          SORUS_CHECK(c.input(2).sizes() == Shape{x.size(d)}, ValueError,
                      "cross_entropy: for {} classes the weight must be [{}], not {}", x.size(d), x.size(d),
                      to_string(c.input(2).sizes()));
          weighted = logp * reshape(c.input(2), along_dim(x.dim(), d, x.size(d)));
        }
        if (is_floating(t.dtype())) {
          SORUS_CHECK(t.sizes() == x.sizes(), ValueError,
                      "cross_entropy: for logits {} the probabilities must have the same shape, not {}",
                      to_string(x.sizes()), to_string(t.sizes()));
          // The mean is over samples, whatever their weights: there is no one class to weigh a sample by.
          Tensor share = smoothing > 0 ? t * (1 - smoothing) + smoothing / static_cast<double>(x.size(d)) : t;
          return {reduced(c, neg(sum(weighted * share, Shape{d})))};
        }
        SORUS_CHECK(t.dtype() == DType::i64, TypeError, "cross_entropy: class indices must be int64, not {}",
                    name(t.dtype()));
        Shape expected = x.sizes();
        expected.erase(expected.begin() + d);
        SORUS_CHECK(t.sizes() == expected, ValueError, "cross_entropy: for logits {} the target must be {}, not {}",
                    to_string(x.sizes()), to_string(expected), to_string(t.sizes()));
        Tensor counted = ne(t, Tensor::weak_scalar(c.attr(0).scalar()));
        Tensor index = where(counted, t, Tensor::weak_scalar(0));
        Tensor w = c.has(2) ? embedding(index, unsqueeze(c.input(2), 1)) : Tensor();
        Tensor factor = to(counted, logp.dtype());
        if (w.defined()) factor = factor * reshape(w, t.sizes());
        Tensor picked = squeeze(gather(logp, d, unsqueeze(index, d)), Shape{d});
        Tensor loss = neg(picked) * factor;
        if (smoothing > 0) {
          Tensor spread = neg(mean(weighted, Shape{d})) * to(counted, logp.dtype());
          loss = loss * (1 - smoothing) + spread * smoothing;
        }
        if (reduction != "mean") return {reduced(c, loss)};
        return {sum(loss) / sum(factor)};
      });
  op("nll_loss(input, target: mask, weight: Tensor? = none, ignore_index: int = -100, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &t = c.input(1);
        SORUS_CHECK(is_floating(x.dtype()), TypeError,
                    "nll_loss: expected log-probabilities of a floating type, got {}", name(x.dtype()));
        int64_t d = x.dim() == 1 ? 0 : 1;
        Tensor counted = ne(t, Tensor::weak_scalar(c.attr(0).scalar()));
        Tensor index = where(counted, t, Tensor::weak_scalar(0));
        Tensor factor = to(counted, x.dtype());
        if (c.has(2)) factor = factor * reshape(embedding(index, unsqueeze(c.input(2), 1)), t.sizes());
        Tensor loss = neg(squeeze(gather(x, d, unsqueeze(index, d)), Shape{d})) * factor;
        if (c.attr(1).string() != "mean") return {reduced(c, loss)};
        return {sum(loss) / sum(factor)};
      });
  return true;
}();

}  // namespace
}  // namespace sorus
