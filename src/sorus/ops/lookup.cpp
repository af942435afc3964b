// Operators that look rows or elements up by an index, and their opposites, which add or write there.
#include <array>
#include <cstring>

#include "sorus/graph/scalar.h"
#include "sorus/kernels/scatter.h"
#include "sorus/ops/wide.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

TypesRule like_input = [](const TypeCall& c) -> std::vector<TensorType> {
  return {{c.input(0).dtype, c.input(0).shape, false}};
};

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

}  // namespace
}  // namespace sorus
