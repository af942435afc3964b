// Matrix products and what is made of them.
#include <algorithm>
#include <map>

#include "sorus/graph/index.h"
#include "sorus/ops/apply.h"

namespace sorus {
namespace {

// beta * input + alpha * product, without reading what is multiplied by zero.
Tensor add_scaled(const Tensor& input, Tensor product, const Attr& beta, const Attr& alpha) {
  // The factors become numbers of the product's type, as in PyTorch: 0.6 times integers is 0.
  auto factor = [t = product.dtype()](const Attr& a) {
    return t == DType::boolean ? Scalar(a.scalar().to_complex() != 0.0)
           : is_integral(t)    ? Scalar(static_cast<int64_t>(a.scalar().to_double()))
                               : a.scalar();
  };
  auto scaled = [](const Tensor& t, const Scalar& by) {
    return by.to_complex() == 1.0 ? t : apply("mul", {t, Tensor::weak_scalar(by)});
  };
  product = scaled(product, factor(alpha));
  if (factor(beta).to_complex() == 0.0) return product;
  return apply("add", {scaled(input, factor(beta)), product});
}

const OpDef& matmul_batched = op("matmul_batched(input, other)")
                                  .index("y[.., m, n] = sum(k) input[.., m, k] * other[.., k, n]")
                                  .autocast(Autocast::lower)
                                  .doc("Matrix product of tensors with at least two dimensions.");

Tensor matmul_any(Tensor a, Tensor b) {
  SORUS_CHECK(a.dim() > 0 && b.dim() > 0, Error, "matmul: both arguments need at least one dimension, got {} and {}",
              to_string(a.sizes()), to_string(b.sizes()));
  bool row = a.dim() == 1, column = b.dim() == 1;
  if (row) a = apply("unsqueeze", {a}, {Attr(0)});
  if (column) b = apply("unsqueeze", {b}, {Attr(1)});
  Tensor y = call_one(matmul_batched, {a, b});
  if (column) y = apply("squeeze", {y}, {Attr(Shape{-1})});
  if (row) y = apply("squeeze", {y}, {Attr(Shape{column ? -1 : -2})});
  return y;
}

const OpDef& matmul =
    op("matmul(input, other)")
        .expand([](const Call& c) { return TensorList{matmul_any(c.input(0), c.input(1))}; })
        .doc("Matrix product of the last two dimensions; vectors are rows on the left and columns on the right.");
const OpDef& mm = op("mm(input, mat2)")
                      .index("y[m, n] = sum(k) input[m, k] * mat2[k, n]")
                      .autocast(Autocast::lower)
                      .doc("Product of two matrices.");
const OpDef& bmm = op("bmm(input, mat2)")
                       .index("y[b, m, n] = sum(k) input[b, m, k] * mat2[b, k, n]")
                       .autocast(Autocast::lower)
                       .doc("Products of two batches of matrices.");
const OpDef& mv =
    op("mv(input, vec)").index("y[m] = sum(k) input[m, k] * vec[k]").doc("Product of a matrix and a vector.");
const OpDef& dot =
    op("dot(input, tensor)").index("y[] = sum(k) input[k] * tensor[k]").doc("Sum of the products of two vectors.");
const OpDef& outer = op("outer(input, vec2)")
                         .index("y[m, n] = input[m] * vec2[n]")
                         .doc("All products of an element of one vector and one of another.");
const OpDef& linear = op("linear(input, weight, bias: Tensor? = none)")
                          .index("y[.., n] = bias[n] + sum(k) input[.., k] * weight[n, k]")
                          .autocast(Autocast::lower)
                          .doc("`input @ weight.T + bias`.");
const OpDef& addmm =
    op("addmm(input, mat1, mat2, *, beta: scalar = 1, alpha: scalar = 1)")
        .autocast(Autocast::lower)
        .expand([](const Call& c) {
          return TensorList{add_scaled(c.input(0), call_one(mm, {c.input(1), c.input(2)}), c.attr(0), c.attr(1))};
        })
        .doc("`beta * input + alpha * (mat1 @ mat2)`.");
const OpDef& baddbmm =
    op("baddbmm(input, batch1, batch2, *, beta: scalar = 1, alpha: scalar = 1)")
        .autocast(Autocast::lower)
        .expand([](const Call& c) {
          return TensorList{add_scaled(c.input(0), call_one(bmm, {c.input(1), c.input(2)}), c.attr(0), c.attr(1))};
        })
        .doc("`beta * input + alpha * bmm(batch1, batch2)`.");

const OpDef& addmv = op("addmv(input, mat, vec, *, beta: scalar = 1, alpha: scalar = 1)").expand([](const Call& c) {
  return TensorList{add_scaled(c.input(0), call_one(mv, {c.input(1), c.input(2)}), c.attr(0), c.attr(1))};
});
const OpDef& addr = op("addr(input, vec1, vec2, *, beta: scalar = 1, alpha: scalar = 1)").expand([](const Call& c) {
  return TensorList{add_scaled(c.input(0), call_one(outer, {c.input(1), c.input(2)}), c.attr(0), c.attr(1))};
});
const OpDef& addbmm =
    op("addbmm(input, batch1, batch2, *, beta: scalar = 1, alpha: scalar = 1)").expand([](const Call& c) {
      Tensor products = call_one(bmm, {c.input(1), c.input(2)});
      Tensor product = apply("sum", {products}, {Attr(Shape{0}), Attr(false), Attr(products.dtype())});
      return TensorList{add_scaled(c.input(0), product, c.attr(0), c.attr(1))};
    });
const OpDef& vdot = op("vdot(input, other)").expand([](const Call& c) {
  return TensorList{call_one(dot, {apply("conj", {c.input(0)}), c.input(1)})};
});
const OpDef& inner = op("inner(input, other)").expand([](const Call& c) {
  const Tensor &a = c.input(0), &b = c.input(1);
  if (a.dim() == 0 || b.dim() == 0) return TensorList{apply("mul", {a, b})};
  Shape whole(a.sizes().begin(), a.sizes().end() - 1);
  SORUS_CHECK(a.size(-1) == b.size(-1), Error, "inner: the last dimensions of {} and {} differ", to_string(a.sizes()),
              to_string(b.sizes()));
  int64_t k = a.size(-1);
  auto rows = [k](const Tensor& t) { return apply("reshape", {t}, {Attr(Shape{k ? t.numel() / k : 0, k})}); };
  for (int64_t i = 0; i + 1 < b.dim(); ++i) whole.push_back(b.size(i));
  return TensorList{apply("reshape", {call_one(mm, {rows(a), apply("t", {rows(b)})})}, {Attr(whole)})};
});
const OpDef& kron = op("kron(input, other)").expand([](const Call& c) {
  auto rank = static_cast<size_t>(std::max(c.input(0).dim(), c.input(1).dim()));
  Shape a = c.input(0).sizes(), b = c.input(1).sizes(), left, right, whole;
  while (a.size() < rank) a.insert(a.begin(), 1);
  while (b.size() < rank) b.insert(b.begin(), 1);
  for (size_t i = 0; i < rank; ++i) {
    for (int64_t v : {a[i], int64_t{1}}) left.push_back(v);
    for (int64_t v : {int64_t{1}, b[i]}) right.push_back(v);
    whole.push_back(a[i] * b[i]);
  }
  Tensor y =
      apply("mul", {apply("reshape", {c.input(0)}, {Attr(left)}), apply("reshape", {c.input(1)}, {Attr(right)})});
  return TensorList{apply("reshape", {y}, {Attr(whole)})};
});

// ---- einsum: each pair of operands becomes one batched product of matrices
// -------------------------------------------

using Letters = std::string;

// Brings `t` to the order of letters of `to`, with new dimensions of size one for those it lacks.
Tensor arrange(Tensor t, const Letters& from, const Letters& to) {
  Shape order;
  for (char x : to)
    if (size_t i = from.find(x); i != Letters::npos) order.push_back(static_cast<int64_t>(i));
  bool sorted = std::is_sorted(order.begin(), order.end());
  if (!sorted) t = apply("permute", {t}, {Attr(order)});
  for (size_t i = 0; i < to.size(); ++i)
    if (from.find(to[i]) == Letters::npos) t = apply("unsqueeze", {t}, {Attr(static_cast<int64_t>(i))});
  return t;
}

Tensor sum_away(const Tensor& t, Letters& letters, const Letters& keep) {
  Shape dims;
  Letters left;
  for (size_t i = 0; i < letters.size(); ++i)
    if (keep.find(letters[i]) == Letters::npos) {
      dims.push_back(static_cast<int64_t>(i));
    } else {
      left += letters[i];
    }
  letters = left;
  return dims.empty() ? t : apply("sum", {t}, {Attr(dims), Attr(false)});
}

// Repeated letters in one operand mean its diagonal.
Tensor take_diagonals(Tensor t, Letters& letters) {
  for (size_t i = 0; i < letters.size(); ++i)
    for (size_t j = i + 1; j < letters.size(); ++j)
      if (letters[i] == letters[j]) {
        char x = letters[i];
        t = apply("diagonal", {t}, {Attr(0), Attr(static_cast<int64_t>(i)), Attr(static_cast<int64_t>(j))});
        letters.erase(j, 1);
        letters.erase(i, 1);
        letters += x;
        return take_diagonals(t, letters);
      }
  return t;
}

Tensor contract_pair(Tensor a, Letters la, Tensor b, Letters lb, const Letters& keep, Letters& result) {
  a = sum_away(a, la, keep + lb);
  b = sum_away(b, lb, keep + la);
  Letters batch, m, n, k;
  auto size_of = [](const Tensor& t, const Letters& l, char x) { return t.sizes()[l.find(x)]; };
  for (char x : la) {
    bool in_b = lb.find(x) != Letters::npos, kept = keep.find(x) != Letters::npos;
    (!in_b ? m : kept ? batch : k) += x;
  }
  for (char x : lb)
    if (la.find(x) == Letters::npos) n += x;
  // A letter may have size one on one side: summing it there is the same as broadcasting it.
  Letters broadcast;
  for (char x : k)
    if (size_of(a, la, x) != size_of(b, lb, x)) broadcast += x;
  for (char x : broadcast) {
    Letters all = la + lb, others;
    Tensor& one = size_of(a, la, x) == 1 ? a : b;
    Letters& l = size_of(a, la, x) == 1 ? la : lb;
    SORUS_CHECK(size_of(one, l, x) == 1, ValueError, "einsum: sizes differ along one letter");
    for (char y : l)
      if (y != x) others += y;
    one = sum_away(one, l, others);
    return contract_pair(a, la, b, lb, keep, result);
  }
  a = arrange(a, la, batch + m + k);
  b = arrange(b, lb, batch + k + n);
  auto sizes = [](const Tensor& t, size_t from, size_t count) {
    return Shape(t.sizes().begin() + static_cast<long>(from), t.sizes().begin() + static_cast<long>(from + count));
  };
  auto product = [](const Shape& s) {
    int64_t p = 1;
    for (int64_t x : s) p *= x;
    return p;
  };
  Shape sm = sizes(a, batch.size(), m.size()), sk = sizes(a, batch.size() + m.size(), k.size()),
        sn = sizes(b, batch.size() + k.size(), n.size()), ba = sizes(a, 0, batch.size()),
        bb = sizes(b, 0, batch.size());
  auto flat = [](Shape head, int64_t x, int64_t y) {
    head.push_back(x);
    head.push_back(y);
    return Attr(head);
  };
  a = apply("reshape", {a}, {flat(ba, product(sm), product(sk))});
  b = apply("reshape", {b}, {flat(bb, product(sk), product(sn))});
  Tensor y = call_one(matmul_batched, {a, b});
  Shape whole = broadcast_shapes(ba, bb, "einsum");
  for (int64_t x : sm) whole.push_back(x);
  for (int64_t x : sn) whole.push_back(x);
  result = batch + m + n;
  return apply("reshape", {y}, {Attr(whole)});
}

Tensor einsum_of(std::string equation, TensorSpan operands) {
  std::erase(equation, ' ');
  std::string left = equation, right;
  bool explicit_result = false;
  if (size_t arrow = equation.find("->"); arrow != std::string::npos) {
    left = equation.substr(0, arrow);
    right = equation.substr(arrow + 2);
    explicit_result = true;
  }
  std::vector<Letters> letters(1);
  for (char c : left) {
    if (c == ',')
      letters.emplace_back();
    else
      letters.back() += c;
  }
  SORUS_CHECK(letters.size() == operands.size(), ValueError, "einsum: '{}' has {} operands, got {}", equation,
              letters.size(), operands.size());
  // Dimensions behind "..." get letters that nobody can write, counted from the right.
  size_t most = 0;
  auto expand_dots = [&](Letters& l, size_t count) {
    size_t at = l.find("...");
    if (at == Letters::npos) return;
    Letters dots;
    for (size_t i = count; i-- > 0;) dots += static_cast<char>(1 + i);
    l.replace(at, 3, dots);
  };
  for (size_t i = 0; i < letters.size(); ++i) {
    bool dots = letters[i].find("...") != Letters::npos;
    size_t named = letters[i].size() - (dots ? 3 : 0);
    auto rank = static_cast<size_t>(operands[i].dim());
    SORUS_CHECK(dots ? rank >= named : rank == named, ValueError, "einsum: operand {} of '{}' has shape {}", i,
                equation, to_string(operands[i].sizes()));
    if (!dots) continue;
    most = std::max(most, rank - named);
    expand_dots(letters[i], rank - named);
  }
  if (explicit_result) {
    expand_dots(right, most);
  } else {
    std::map<char, int> count;
    for (const Letters& l : letters)
      for (char x : l) ++count[x];
    for (size_t i = most; i-- > 0;) right += static_cast<char>(1 + i);
    for (auto [x, n] : count)
      if (n == 1 && x > 30) right += x;
  }
  for (char x : right) {
    bool known = false;
    for (const Letters& l : letters) known |= l.find(x) != Letters::npos;
    SORUS_CHECK(known, ValueError, "einsum: the result of '{}' names a dimension that no operand has", equation);
  }
  Tensor y = take_diagonals(operands[0], letters[0]);
  Letters ly = letters[0];
  for (size_t i = 1; i < letters.size(); ++i) {
    Tensor next = take_diagonals(operands[i], letters[i]);
    Letters keep = right;
    for (size_t j = i + 1; j < letters.size(); ++j) keep += letters[j];
    Letters result;
    y = contract_pair(y, ly, next, letters[i], keep, result);
    ly = result;
  }
  y = sum_away(y, ly, right);
  return arrange(y, ly, right);
}

const OpDef& einsum = op("einsum(equation: str, operands: Tensor[])")
                          .expand([](const Call& c) { return TensorList{einsum_of(c.attr(0).string(), c.inputs)}; })
                          .doc("Sums of products in Einstein's notation: `einsum(\"bij,bjk->bik\", a, b)`.");

}  // namespace
}  // namespace sorus
