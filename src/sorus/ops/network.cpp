// Operators of neural networks that are composites (a body of smaller operators that keeps its name), or that look
// elements up. Attention has a kernel of its own.
#include <array>
#include <cmath>
#include <cstring>

#include "sorus/graph/scalar.h"
#include "sorus/kernels/attention.h"
#include "sorus/kernels/cross_entropy.h"
#include "sorus/kernels/scatter.h"
#include "sorus/ops/wide.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

TypesRule like_input = [](const TypeCall& c) -> std::vector<TensorType> {
  return {{c.input(0).dtype, c.input(0).shape, false}};
};

Shape last_dim(const Call& c) { return Shape{wrap_dim(c.attr("dim").to_int(), c.input(0).dim(), c.op.name())}; }

// What keeps exp from overflowing. The result does not depend on it, so no gradient goes through it.
Tensor row_maximum(const Tensor& x, const Shape& d) {
  GradMode off(false);
  return amax(x, d, true);
}

TensorList softmax_body(const Call& c) {
  Tensor x = c.attr(1).is_none() ? c.input(0) : to(c.input(0), c.attr(1).dtype());
  Shape d = last_dim(c);
  Tensor w = widened(x), e = exp(w - row_maximum(w, d));
  return {to(e / sum(e, d, true), x.dtype())};
}

TensorList log_softmax_body(const Call& c) {
  Tensor x = c.attr(1).is_none() ? c.input(0) : to(c.input(0), c.attr(1).dtype());
  Shape d = last_dim(c);
  Tensor w = widened(x), shifted = w - row_maximum(w, d);
  return {to(shifted - log(sum(exp(shifted), d, true)), x.dtype())};
}

TypesRule softmax_types = [](const TypeCall& c) -> std::vector<TensorType> {
  wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(c.input(0).shape.size()), c.op.name());
  DType t = c.attr(1).is_none() ? c.input(0).dtype : c.attr(1).dtype();
  SORUS_CHECK(is_floating(t), TypeError, "{}: expected a floating type, got {}", c.op.name(), name(t));
  return {{c.attr(1).is_none() ? c.input(0).dtype : c.attr(1).dtype(), c.input(0).shape, false}};
};

const bool softmaxes = [] {
  op("softmax(input, dim: int, dtype: dtype? = none)")
      .types(softmax_types)
      .body(softmax_body)
      .axes("input[a..; dim d!] -> output[a..; dim d!]")
      .doc("exp(x) / sum(exp(x)) along `dim`, computed from x - max(x).");
  op("log_softmax(input, dim: int, dtype: dtype? = none)").types(softmax_types).body(log_softmax_body);
  op("sum_to_size(input, size: int[])").expand([](const Call& c) -> TensorList {
    const Shape &from = c.input(0).sizes(), &target = c.attr(0).ints();
    // As in PyTorch, the sum of a single number too has the type of a sum: i64 for truth values and integers.
    bool counts = target.empty() && !is_differentiable(c.input(0).dtype());
    if (from == target && !counts) return {c.input(0)};
    SORUS_CHECK(broadcast_shapes(from, target, "sum_to_size") == from, ValueError,
                "sum_to_size: {} is not what {} broadcasts to", to_string(from), to_string(target));
    Shape dims;
    int64_t lead = static_cast<int64_t>(from.size() - target.size());
    for (int64_t i = 0; i < static_cast<int64_t>(from.size()); ++i)
      if (i < lead || (target[i - lead] == 1 && from[i] != 1)) dims.push_back(i);
    return {reshape(dims.empty() ? to(c.input(0), DType::i64) : sum(c.input(0), dims, true), target)};
  });
  return true;
}();

// Operators that look rows up by index end with the attributes `whole` and `start`: what they see is a block of a
// table of `whole` rows, from `start` on. Rows of other blocks count as zeros, so that the results of all blocks add
// up to that of the table.
kernels::IndexWindow window_of(const Attrs& attrs) {
  const Attr& whole = attrs[attrs.size() - 2];
  return {whole.is_none() ? -1 : whole.to_int(), attrs.back().to_int()};
}
std::optional<int64_t> whole_of(const Attrs& attrs) {
  const Attr& whole = attrs[attrs.size() - 2];
  return whole.is_none() ? std::nullopt : std::optional(whole.to_int());
}

// gather and scatter_add along the last dimension with one index a row, as a loop over all columns. `body` says what
// a column contributes, with `picked`: whether the index names it.
LoopRule compare_columns(const std::vector<std::string>& inputs, const std::string& body, int table, bool sum) {
  return [=](const TypeCall& c) -> std::optional<LoopForm> {
    const Shape &x = c.input(0).shape, &index = c.input(1).shape;
    size_t last = x.size() - 1;
    if (x.empty() ||
        wrap_dim(c.attr(0).to_int(), static_cast<int64_t>(x.size()), c.op.name()) != static_cast<int64_t>(last))
      return std::nullopt;
    // Columns are compared as f32.
    kernels::IndexWindow window = window_of(c.attrs);
    if (window.whole < 0) window.whole = x[last];
    if (index[last] != 1 || x[last] < 2 || window.whole >= (int64_t{1} << 24)) return std::nullopt;
    LoopForm f;
    f.points = x;
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::vector<int> dims;
      for (size_t d = 0; d < x.size(); ++d) {
        bool row = static_cast<int>(i) != table;
        if (d != last && c.input(static_cast<int>(i)).shape[d] != x[d]) return std::nullopt;
        dims.push_back(row && d == last ? -1 : static_cast<int>(d));
      }
      f.slots.push_back(static_cast<int>(i));
      f.dims.push_back(std::move(dims));
    }
    std::vector<std::string> names = inputs;
    names.push_back("column");
    f.body = std::make_shared<const ScalarFunction>(
        parse_scalar(fmt::format("picked = column{} == (index < 0 ? index + {} : index); {}",
                                 window.start ? fmt::format(" + {}", window.start) : "", window.whole, body),
                     names));
    f.sum_last = sum;
    f.index_slot = 1;
    f.index_size = window.whole;
    return f;
  };
}

// An operator that writes `src` into a copy of `input` where `index` says: its shapes and types.
TypesRule scattered = [](const TypeCall& c) -> std::vector<TensorType> {
  const Shape &x = c.input(0).shape, &index = c.input(1).shape, &src = c.input(2).shape;
  const std::string who = c.op.signature.base == "scatter_from" ? "scatter" : c.op.signature.base;
  SORUS_CHECK(c.input(0).dtype == c.input(2).dtype, Error, "{}: input is {} and src is {}; they must be the same",
              who, name(c.input(0).dtype), name(c.input(2).dtype));
  bool fits = (index.size() == x.size() && src.size() == x.size()) ||
              (x.empty() && index.size() <= 1 && src.size() == index.size());
  int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(static_cast<int64_t>(x.size()), 1), who);
  for (size_t i = 0; fits && i < x.size(); ++i)
    fits = index[i] <= src[i] && (static_cast<int64_t>(i) == d || index[i] <= x[i]);
  SORUS_CHECK(fits || numel(index) == 0, Error,
              "{}: the index {} must be no larger than src {}, and than input {} outside of dimension {}", who,
              to_string(index), to_string(src), to_string(x), d);
  return like_input(c);
};

const bool lookups = [] {
  op("embedding(input: mask, weight, padding_idx: int? = none, *, whole: int? = none, start: int = 0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        SORUS_CHECK(c.input(1).shape.size() == 2, ValueError, "embedding: the weight must be a matrix, not {}",
                    to_string(c.input(1).shape));
        SORUS_CHECK(c.input(0).dtype == DType::i64 || c.input(0).dtype == DType::i32, TypeError,
                    "embedding: indices must be int64 or int32, not {}", name(c.input(0).dtype));
        Shape s = c.input(0).shape;
        s.push_back(c.input(1).shape[1]);
        return {{c.input(1).dtype, s, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor &i = c.input(0), &w = c.input(1);
        kernels::embedding(w.dtype(), w.data(), w.sizes()[0], w.sizes()[1], w.sizes()[1], i.data(), i.dtype(),
                           i.numel(), out[0].data(), w.sizes()[1], window_of(c.attrs));
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Shape& s = c.input(1).sizes();
            return {Tensor(),
                    embedding_backward(c.grad(), c.input(0), s[0],
                                       c.attrs[0].is_none() ? std::nullopt : std::optional(c.attrs[0].to_int()),
                                       whole_of(c.attrs), c.attrs[2].to_int())};
          },
          "input")
      .axes("input[a..], weight[v, d] -> output[a.., d]+v; v placed by whole start")
      .doc(
          "Row `input[..]` of `weight`. If `weight` is a block of a table of `whole` rows, from `start` on, rows of "
          "other "
          "blocks are zeros.");
  op("embedding_backward(grad, indices: mask, num_weights: int, padding_idx: int? = none, *, whole: int? = none, "
     "start: int = 0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &g = c.input(0).shape, &i = c.input(1).shape;
        SORUS_CHECK(!g.empty() && Shape(g.begin(), g.end() - 1) == i, ValueError,
                    "embedding_backward: gradients {} are not rows for indices {}", to_string(g), to_string(i));
        SORUS_CHECK(c.attr(0).to_int() >= 0, ValueError, "embedding_backward: num_weights is {}", c.attr(0).to_int());
        return {{c.input(0).dtype, Shape{c.attr(0).to_int(), g.back()}, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        std::memset(out[0].data(), 0, out[0].nbytes());
        const Tensor &g = c.input(0), &i = c.input(1);
        int64_t width = out[0].sizes()[1];
        kernels::embedding_backward(g.dtype(), out[0].dtype(), out[0].data(), out[0].sizes()[0], width, width,
                                    i.data(), i.dtype(), i.numel(), g.data(), width,
                                    c.attr(1).is_none() ? -1 : c.attr(1).to_int(), window_of(c.attrs));
      })
      .axes("grad[a.., d], indices[a..] -> output[v, d]+a..; v sized by num_weights; v placed by whole start")
      .gradient(
          [](const GradCall& c) -> TensorList {
            return {embedding(c.input(1), c.grad(), {}, whole_of(c.attrs), c.attrs[3].to_int()), Tensor()};
          },
          "indices");
  op("gather(input, dim: int, index: mask, *, whole: int? = none, start: int = 0)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        // As in PyTorch, a number counts as a vector of one element, and where nothing is looked up anything goes.
        bool free = (c.input(0).shape.empty() && c.input(1).shape.size() == 1) || numel(c.input(1).shape) == 0;
        const Shape &x = c.input(0).shape, &index = c.input(1).shape;
        SORUS_CHECK(free || x.size() == index.size(), ValueError,
                    "gather: input {} and index {} must have as many dimensions", to_string(x), to_string(index));
        int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(static_cast<int64_t>(x.size()), 1), "gather");
        for (size_t i = 0; !free && i < x.size(); ++i)
          SORUS_CHECK(static_cast<int64_t>(i) == d || index[i] <= x[i], ValueError,
                      "gather: the index {} must be no larger than input {} outside of dimension {}",
                      to_string(index), to_string(x), d);
        return {{c.input(0).dtype, index, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor &x = c.input(0), &i = c.input(1);
        if (i.numel() == 0) return;
        int64_t d = wrap_dim(c.attr(0).to_int(), x.dim(), "gather");
        kernels::IndexTensor index{i.data(), i.dtype(), i.strides()};
        Shape strides = x.dim() ? x.strides() : Shape(i.sizes().size(), 1);
        kernels::gather(x.dtype(), i.sizes(), static_cast<int>(d), x.data(), strides, x.dim() ? x.size(d) : 1, index,
                        out[0].data(), out[0].strides(), window_of(c.attrs));
      })
      .axes("input[a..; dim v], index[a..; dim i] -> output[a..; dim i]+v; v placed by whole start")
      .doc(
          "Elements of `input` that `index` names along `dim`. If `input` is a block of `whole` elements along "
          "`dim`, "
          "from `start` on, those of other blocks are zeros.")
      .loop(compare_columns({"input", "index"}, "picked ? input : 0", 0, true))
      .gradient(
          [](const GradCall& c) -> TensorList {
            const Tensor& x = c.input(0);
            return {scatter_add(zeros(x.sizes(), x.dtype()), c.attrs[0].to_int(), c.input(1), c.grad(),
                                whole_of(c.attrs), c.attrs[2].to_int()),
                    Tensor()};
          },
          "index");
  op("scatter_add(input, dim: int, index: mask, src, *, whole: int? = none, start: int = 0)")
      .types(scattered)
      .kernel([](const Call& c, std::span<Tensor> out) {
        copy_elements(out[0], c.input(0));
        const Tensor &i = c.input(1), &s = c.input(2);
        if (i.numel() == 0) return;
        int64_t d = wrap_dim(c.attr(0).to_int(), out[0].dim(), "scatter_add");
        kernels::IndexTensor index{i.data(), i.dtype(), i.strides()};
        Shape strides = out[0].dim() ? out[0].strides() : Shape(i.sizes().size(), 1);
        kernels::scatter(kernels::ScatterMode::add, s.dtype(), i.sizes(), static_cast<int>(d), out[0].data(), strides,
                         out[0].dim() ? out[0].size(d) : 1, index, s.data(), s.strides(), window_of(c.attrs));
      })
      .axes(
          "input[a..; dim v]+i, index[a..; dim i], src[a..; dim i] -> output[a..; dim v]+i; "
          "v placed by whole start")
      .loop(compare_columns({"input", "index", "src"}, "picked ? input + src : input", 0, false))
      .gradient(
          [](const GradCall& c) -> TensorList {
            return {c.grad(), Tensor(),
                    gather(c.grad(), c.attrs[0].to_int(), c.input(1), whole_of(c.attrs), c.attrs[2].to_int())};
          },
          "index");
  op("scatter_from(input, dim: int, index: mask, src)")
      .types(scattered)
      .kernel([](const Call& c, std::span<Tensor> out) {
        copy_elements(out[0], c.input(0));
        const Tensor &i = c.input(1), &s = c.input(2);
        int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(out[0].dim(), 1), "scatter");
        kernels::IndexTensor index{i.data(), i.dtype(), i.strides()};
        Shape strides = out[0].dim() ? out[0].strides() : Shape(i.sizes().size(), 1);
        kernels::scatter(kernels::ScatterMode::assign, s.dtype(), i.sizes(), static_cast<int>(d), out[0].data(),
                         strides, out[0].dim() ? out[0].size(d) : 1, index, s.data(), s.strides());
      })
      .gradient(
          [](const GradCall& c) -> TensorList {
            int64_t d = c.attrs[0].to_int();
            Tensor nothing = zeros(c.input(1).sizes(), c.grad().dtype()), by_src;
            if (c.needs[2]) {  // what index does not reach of src has no part in the result
              by_src = gather(c.grad(), d, c.input(1));
              const Shape &from = by_src.sizes(), &whole = c.input(2).sizes();
              Shape padding;
              for (size_t k = from.size(); k-- > 0;)
                for (int64_t v : {int64_t{0}, whole[k] - from[k]}) padding.push_back(v);
              if (from != whole) by_src = pad(by_src, padding);
            }
            return {scatter_from(c.grad(), d, c.input(1), nothing), Tensor(), by_src};
          },
          "index");
  // The value first: a number would also do for `src`.
  op("scatter.value(input, dim: int, index: mask, value: scalar)").expand([](const Call& c) -> TensorList {
    const Tensor &x = c.input(0), &i = c.input(1);
    return {scatter_from(x, c.attr(0).to_int(), i, full(i.sizes(), c.attr(1).scalar(), x.dtype()))};
  });
  op("scatter(input, dim: int, index: mask, src)")
      .expand([](const Call& c) -> TensorList {
        return {scatter_from(c.input(0), c.attr(0).to_int(), c.input(1), c.input(2))};
      })
      .doc("A copy of `input` in which index names the places along `dim` that are replaced by `src`.");
  op("scatter.reduced_value(input, dim: int, index: mask, value: scalar, *, reduce: str)")
      .expand([](const Call& c) -> TensorList {
        const Tensor &x = c.input(0), &i = c.input(1);
        return {
            scatter(x, c.attr(0).to_int(), i, full(i.sizes(), c.attr(1).scalar(), x.dtype()), c.attr(2).string())};
      });
  op("scatter.reduced(input, dim: int, index: mask, src, *, reduce: str)").expand([](const Call& c) -> TensorList {
    const std::string& reduce = c.attr(1).string();
    SORUS_CHECK(reduce == "add" || reduce == "multiply", ValueError,
                "scatter: reduce must be 'add' or 'multiply', not '{}'", reduce);
    return {scatter_reduce(c.input(0), c.attr(0).to_int(), c.input(1), c.input(2), reduce == "add" ? "sum" : "prod")};
  });
  return true;
}();

Tensor reduced(const Tensor& x, const std::string& reduction, std::string_view who) {
  if (reduction == "none") return x;
  SORUS_CHECK(reduction == "mean" || reduction == "sum", ValueError,
              "{}: reduction must be 'mean', 'sum' or 'none', not '{}'", who, reduction);
  return reduction == "mean" ? mean(x) : sum(x);
}

// ---- cross entropy of class indices in the last dimension ----

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
          return {reduced(neg(sum(weighted * share, Shape{d})), reduction, "cross_entropy")};
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
        if (reduction != "mean") return {reduced(loss, reduction, "cross_entropy")};
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
        if (c.attr(1).string() != "mean") return {reduced(loss, c.attr(1).string(), "nll_loss")};
        return {sum(loss) / sum(factor)};
      });
  op("mse_loss(input, target, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        return {reduced(square(c.input(0) - c.input(1)), c.attr(0).string(), "mse_loss")};
      });
  op("l1_loss(input, target, reduction: str = 'mean')")
      .autocast(Autocast::full)
      .expand([](const Call& c) -> TensorList {
        return {reduced(abs(c.input(0) - c.input(1)), c.attr(0).string(), "l1_loss")};
      });
  return true;
}();

// ---- attention
// -------------------------------------------------------------------------------------------------------

kernels::AttentionStrides strides_of(const Tensor& t) { return {t.strides()[0], t.strides()[1], t.strides()[2]}; }

// `attrs`: is_causal, scale, start.
kernels::AttentionArgs attention_args(const Tensor& q, const Tensor& k, const Tensor& v, const Attrs& attrs) {
  kernels::AttentionArgs a;
  a.type = q.dtype();
  a.batch = q.sizes()[0], a.heads = q.sizes()[1], a.kv_heads = k.sizes()[1];
  a.q_len = q.sizes()[2], a.kv_len = k.sizes()[2], a.head_dim = q.sizes()[3], a.value_dim = v.sizes()[3];
  a.q = q.data(), a.k = k.data(), a.v = v.data();
  a.q_stride = strides_of(q), a.k_stride = strides_of(k), a.v_stride = strides_of(v);
  a.causal = attrs[0].to_bool();
  a.scale = attrs[1].to_double();
  a.q_start = attrs[2].to_int();
  return a;
}

// The kernel wants the last dimension side by side; nothing else.
Tensor rows(const Tensor& t) {
  if (t.strides().back() == 1 || t.sizes().back() <= 1) return t;
  Tensor copy = Tensor::empty(t.sizes(), t.dtype());
  copy_elements(copy, t);
  return copy;
}

DType lse_type(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

// Attention in small operators, for what the kernels do not do: second derivatives, and gradients of `lse`.
struct SmallAttention {
  const Tensor& q;
  int64_t batch, groups, shared;  // `shared` heads of queries read one head of keys and values
  Tensor k, v, p;
  double scale;

  // Heads that are shared are repeated, and their gradients added.
  Tensor repeated(const Tensor& t) const {
    if (shared == 1) return t;
    return reshape(expand(unsqueeze(t, 2), Shape{batch, groups, shared, t.size(2), t.size(3)}),
                   Shape{batch, groups * shared, t.size(2), t.size(3)});
  }
  Tensor folded(const Tensor& t) const {
    if (shared == 1) return t;
    return sum(reshape(t, Shape{batch, groups, shared, t.size(2), t.size(3)}), Shape{2});
  }
  SmallAttention(const Tensor& query, const Tensor& key, const Tensor& value, const Attrs& attrs)
      : q(query), batch(q.size(0)), groups(key.size(1)), shared(q.size(1) / groups), scale(attrs[1].to_double()) {
    k = repeated(key), v = repeated(value);
    Tensor scores = matmul(q, transpose(k, -2, -1)) * scale;
    if (attrs[0].to_bool()) {
      int64_t start = attrs[2].to_int();
      Tensor i = unsqueeze(arange(start, start + scores.size(-2)), 1), j = arange(int64_t{0}, scores.size(-1));
      scores = where(le(j, i), scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()));
    }
    p = softmax(scores, -1);
  }
  // Gradients of query and key from that of the scores.
  std::array<Tensor, 2> from_scores(const Tensor& ds) const {
    return {matmul(ds, k) * scale, folded(matmul(transpose(ds, -2, -1), q)) * scale};
  }
};

//   dV = P' dO,  dP = dO V',  dS = P (dP - sum(P dP)),  dQ = scale dS K,  dK = scale dS' Q
// Of each element along the inner dimension of a product of queries and keys: an add and a multiplication for every
// pair that sees each other. `query`: its input; the key is the next.
double attention_flops(const TypeCall& c, int query) {
  const Shape &q = c.input(query).shape, &k = c.input(query + 1).shape;
  auto rows = static_cast<double>(q[2]), keys = static_cast<double>(k[2]);
  auto start = static_cast<double>(c.attr(2).to_int());
  double pairs = static_cast<double>(q[0] * q[1]) * rows * keys;
  if (!c.attr(0).to_bool()) return 2 * pairs;
  // Half of them, or of a block of the sequence the keys in front of it and half of its own.
  return start == 0 ? pairs : 2 * static_cast<double>(q[0] * q[1]) * rows * std::min(keys, start + rows / 2);
}

TensorList attention_backward_body(const Call& c) {
  SmallAttention a(c.input(1), c.input(2), c.input(3), c.attrs);
  Tensor dp = matmul(c.input(0), transpose(a.v, -2, -1));
  auto [dq, dk] = a.from_scores(a.p * (dp - sum(a.p * dp, Shape{-1}, true)));
  return {dq, dk, a.folded(matmul(transpose(a.p, -2, -1), c.input(0)))};
}

TensorList attention_gradient(const GradCall& c) {
  std::array<Tensor, 3> g;
  if (c.grad(0).defined())
    g = flash_attention_backward(c.grad(0), c.input(0), c.input(1), c.input(2), c.output(0), c.output(1),
                                 c.attrs[0].to_bool(), c.attrs[1].to_double(), c.attrs[2].to_int());
  if (c.grad(1).defined()) {  // d lse = P . dS
    SmallAttention a(c.input(0), c.input(1), c.input(2), c.attrs);
    auto [dq, dk] = a.from_scores(a.p * unsqueeze(to(c.grad(1), a.p.dtype()), -1));
    g[0] = g[0].defined() ? g[0] + dq : dq;
    g[1] = g[1].defined() ? g[1] + dk : dk;
  }
  return {g[0], g[1], g[2]};
}

const bool attention = [] {
  op("flash_attention(query, key, value, is_causal: bool, scale: float, *, start: int = 0) -> output, lse")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &q = c.input(0).shape, &k = c.input(1).shape, &v = c.input(2).shape;
        SORUS_CHECK(q.size() == 4 && k.size() == 4 && v.size() == 4 && q[3] == k[3] && k[2] == v[2] && k[1] == v[1] &&
                        k[1] > 0 && q[1] % k[1] == 0 && q[0] == k[0] && k[0] == v[0],
                    ValueError, "scaled_dot_product_attention: query {}, key {} and value {} do not fit together",
                    to_string(q), to_string(k), to_string(v));
        DType t = c.input(0).dtype;
        SORUS_CHECK(
            is_floating(t) && c.input(1).dtype == t && c.input(2).dtype == t, TypeError,
            "scaled_dot_product_attention: expected query, key and value of one floating type, got {}, {} and {}",
            name(t), name(c.input(1).dtype), name(c.input(2).dtype));
        return {{c.input(0).dtype, Shape{q[0], q[1], q[2], v[3]}, false},
                {lse_type(c.input(0).dtype), Shape{q[0], q[1], q[2]}, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            Tensor q = rows(c.input(0)), k = rows(c.input(1)), v = rows(c.input(2));
            auto a = attention_args(q, k, v, c.attrs);
            a.o = out[0].data();
            a.o_stride = strides_of(out[0]);
            a.lse = out[1].data();
            kernels::attention_forward(a);
          },
          true)
      // By tokens, so that heads side by side are rows of the projection that follows.
      .memory_order({{0, 2, 1, 3}})
      .writes_strided()
      .axes(
          "query[b, h%, l, d!], key[b, h%, s!, d!], value[b, h%, s!, e!] -> output[b, h%, l, e!], lse[b, h%, l]; "
          "l placed by start")
      .doc(
          "softmax(scale query key') value by blocks; if causal, row i sees the keys up to `start` + i: `start` is "
          "where "
          "the block of a sequence begins that `query` is.")
      .cost([](const TypeCall& c, std::span<const TensorType>) {  // two products
        return attention_flops(c, 0) * static_cast<double>(c.input(0).shape[3] + c.input(2).shape[3]);
      })
      .gradient(attention_gradient, "query key value output lse")
      .autocast(Autocast::lower);
  op("flash_attention_backward(grad, query, key, value, output, lse, is_causal: bool, scale: float, *, start: int = "
     "0) "
     "-> grad_query, grad_key, grad_value")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(1).dtype, c.input(1).shape, false},
                {c.input(1).dtype, c.input(2).shape, false},
                {c.input(1).dtype, c.input(3).shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            Tensor g = rows(c.input(0)), q = rows(c.input(1)), k = rows(c.input(2)), v = rows(c.input(3)),
                   o = rows(c.input(4));
            auto a = attention_args(q, k, v, c.attrs);
            a.o = o.data();
            a.o_stride = strides_of(o);
            a.lse = c.input(5).data();
            kernels::AttentionGradArgs grads;
            grads.grad_o = g.data();
            grads.grad_o_stride = strides_of(g);
            grads.grad_q = out[0].data(), grads.grad_k = out[1].data(), grads.grad_v = out[2].data();
            grads.grad_q_stride = strides_of(out[0]), grads.grad_k_stride = strides_of(out[1]),
            grads.grad_v_stride = strides_of(out[2]);
            kernels::attention_backward(a, grads);
          },
          true)
      .memory_order({{0, 2, 1, 3}, {0, 2, 1, 3}, {0, 2, 1, 3}})
      .writes_strided()
      .axes(
          "grad[b, h%, l, e!], query[b, h%, l, d!], key[b, h%, s!, d!], value[b, h%, s!, e!], "
          "output[b, h%, l, e!], lse[b, h%, l] -> "
          "grad_query[b, h%, l, d!], grad_key[b, h%, s!, d!]+l, grad_value[b, h%, s!, e!]+l; l placed by start")
      .cost([](const TypeCall& c, std::span<const TensorType>) {  // five: the scores are made again
        return attention_flops(c, 1) * static_cast<double>(3 * c.input(1).shape[3] + 2 * c.input(3).shape[3]);
      })
      .body(attention_backward_body);
  op("scaled_dot_product_attention(query, key, value, attn_mask: Tensor? = none, dropout_p: float = 0.0, "
     "is_causal: bool = false, *, scale: float? = none, enable_gqa: bool = false)")
      .expand([](const Call& c) -> TensorList {
        const Tensor &q = c.input(0), &k = c.input(1), &v = c.input(2);
        double scale = c.attr(2).is_none() ? 1 / std::sqrt(static_cast<double>(q.size(-1))) : c.attr(2).to_double();
        bool causal = c.attr(1).to_bool();
        SORUS_CHECK(!(causal && c.has(3)), ValueError,
                    "scaled_dot_product_attention: is_causal and attn_mask exclude each other");
        SORUS_CHECK(c.attr(0).to_double() == 0, NotImplementedError,
                    "scaled_dot_product_attention: dropout_p other than 0 is not there yet");
        bool whole = !c.has(3) && q.dim() == 4 && q.sizes()[0] == k.sizes()[0];
        if (whole) return {flash_attention(q, k, v, causal, scale)[0]};
        // In half types a score of 100 has steps of 0.5, which is a factor of 1.6 in its weight.
        Tensor scores = matmul(widened(q), transpose(widened(k), -2, -1)) * scale;
        if (c.has(3)) {
          const Tensor& m = c.input(3);
          scores = m.dtype() == DType::boolean
                       ? where(m, scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()))
                       : scores + m;
        } else if (causal) {
          Tensor i = unsqueeze(arange(int64_t{0}, scores.size(-2)), 1), j = arange(int64_t{0}, scores.size(-1));
          scores = where(le(j, i), scores, Tensor::weak_scalar(-std::numeric_limits<double>::infinity()));
        }
        return {matmul(to(softmax(scores, -1), v.dtype()), v)};
      });
  return true;
}();

}  // namespace
}  // namespace sorus
