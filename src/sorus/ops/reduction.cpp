// Reductions: index notation for those that are one loop, composites for the rest.
#include <cmath>
#include <limits>

#include "sorus/graph/index.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/scan.h"
#include "sorus/ops/apply.h"

namespace sorus {
namespace {

using Dims = Shape;

/// The reduced dimensions of a tensor: attribute `dim` is none, a number or a list.
Dims reduced_dims(const Attr& dim, int64_t rank, std::string_view who) {
  Dims out;
  if (dim.is_none() || (dim.is_ints() && dim.ints().empty())) {
    for (int64_t d = 0; d < rank; ++d) out.push_back(d);
  } else {
    Shape list = dim.is_ints() ? dim.ints() : Shape{dim.to_int()};
    for (int64_t d : list) {
      int64_t w = wrap_dim(d, std::max<int64_t>(rank, 1), who);
      if (rank > 0) out.push_back(w);
    }
  }
  return out;
}

int64_t reduced_count(const Tensor& x, const Attr& dim, std::string_view who) {
  int64_t n = 1;
  for (int64_t d : reduced_dims(dim, x.dim(), who)) n *= x.sizes()[static_cast<size_t>(d)];
  return n;
}

/// A reduced tensor shaped so that it broadcasts against what it was reduced from.
Tensor keep_dims(Tensor t, const Attr& dim, bool keepdim, const Tensor& like, std::string_view who) {
  if (keepdim || t.dim() == like.dim()) return t;
  Shape shape = like.sizes();
  for (int64_t d : reduced_dims(dim, like.dim(), who)) shape[static_cast<size_t>(d)] = 1;
  return apply("reshape", {t}, {Attr(shape)});
}
Tensor spread(Tensor t, const Attr& dim, bool keepdim, const Tensor& like, std::string_view who) {
  return apply("expand", {keep_dims(std::move(t), dim, keepdim, like, who)}, {Attr(like.sizes())});
}
Tensor number(double v) { return Tensor::weak_scalar(Scalar(v)); }
Tensor integer(int64_t v) { return Tensor::weak_scalar(Scalar(v)); }

// ---- sum, mean, prod
// --------------------------------------------------------------------------------------------------

const OpDef& sum =
    op("sum(input, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
        .index("y[..] = sum(dim) input[.., dim]", "sum")
        .gradient([](const GradCall& c) {
          return TensorList{spread(c.grad(), c.attr("dim"), c.attr("keepdim").to_bool(), c.input(0), "sum")};
        })
        .doc("Sum of all elements, or over some dimensions.");

const OpDef& mean =
    op("mean(input, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
        .expand([](const Call& c) {
          DType t = c.attr(2).is_none() ? c.input(0).dtype() : c.attr(2).dtype();
          SORUS_CHECK(is_differentiable(t), Error, "mean: expected a floating or complex type, got {}", name(t));
          Tensor s = call_one(sum, {c.input(0)}, {c.attr(0), c.attr(1), Attr(t)});
          return TensorList{
              apply("div", {s, number(static_cast<double>(reduced_count(c.input(0), c.attr(0), "mean")))})};
        })
        .doc("Mean of all elements, or over some dimensions.");

// What products of all elements but one or two are made of: one division each, with zeros counted apart.
struct Factors {
  Tensor zero, filled, zeros, product;  // where x is 0; x with 1 there; how many; the product of the rest
  Attr dim;
  Factors(const Tensor& x, const Attr& d) : dim(d) {
    zero = apply("eq", {x, integer(0)});
    filled = apply("where", {zero, integer(1), x});
    zeros = call_one(sum, {zero}, {dim, Attr(true), Attr()});
    product = apply("prod.dims", {filled}, {dim, Attr(true), Attr()});
  }
  Tensor where_zeros(int n, const Tensor& value) const {
    return apply("where", {apply("eq", {zeros, integer(n)}), value, number(0)});
  }
  Tensor at_zeros(const Tensor& there, const Tensor& elsewhere) const {
    return apply("where", {zero, there, elsewhere});
  }
  Tensor total(const Tensor& t) const { return call_one(sum, {t}, {dim, Attr(true), Attr()}); }
};

// prod_others(x)[i]: the product of all elements but i. With one zero it is zero everywhere else, with two
// everywhere. Its gradient takes what is zero apart as well, so that it is right at zeros too:
//   d/dx[k] sum(i) G[i] prod_others(x)[i] = sum(i != k) G[i] prod(j != i, k) x[j]
const OpDef& prod_others =
    op("prod_others(input, dim: int[]? = none)")
        .types([](const TypeCall& c) {
          return std::vector<TensorType>{{c.input(0).dtype, c.input(0).shape, false}};
        })
        .body([](const Call& c) -> TensorList {
          Factors f(c.input(0), c.attr(0));
          return {f.at_zeros(f.where_zeros(1, f.product), f.where_zeros(0, apply("div", {f.product, f.filled})))};
        })
        .gradient(
            [](const GradCall& c) -> TensorList {
              Factors f(c.input(0), c.attr("dim"));
              // Products are those of the conjugates: sums over i of G conj(others).
              const Tensor& g = c.grad();
              Tensor x = apply("conj", {f.filled}), p = apply("conj", {f.product});
              Tensor share = f.at_zeros(number(0), apply("div", {g, x}));  // G[i] / x[i] where x is not 0
              Tensor at = f.at_zeros(g, number(0)), sum_at = f.total(at), sum_share = f.total(share);
              Tensor none = f.where_zeros(0, apply("div", {apply("mul", {p, apply("sub", {sum_share, share})}), x}));
              Tensor one = f.at_zeros(apply("mul", {p, sum_share}), apply("div", {apply("mul", {p, sum_at}), x}));
              Tensor two = f.at_zeros(apply("mul", {p, apply("sub", {sum_at, at})}), number(0));
              return {apply("add", {none, apply("add", {f.where_zeros(1, one), f.where_zeros(2, two)})})};
            },
            "input")
        .doc("Products of all elements but one, over some dimensions: the gradient of `prod`.");

Tensor prod_gradient(const Tensor& g, const Tensor& x, const Attr& dim, bool keepdim) {
  return apply("mul", {spread(g, dim, keepdim, x, "prod"), apply("conj", {call_one(prod_others, {x}, {dim})})});
}

const OpDef& prod = op("prod(input, *, dtype: dtype? = none)")
                        .expand([](const Call& c) {
                          return TensorList{apply("prod.dims", {c.input(0)}, {Attr(), Attr(false), c.attr(0)})};
                        })
                        .doc("Product of all elements, or over one dimension.");
const OpDef& prod_dims =
    op("prod.dims(input, dim: int[]?, keepdim: bool = false, *, dtype: dtype? = none)")
        .index("y[..] = prod(dim) input[.., dim]", "sum")
        .autocast(Autocast::full)
        .gradient(
            [](const GradCall& c) {
              return TensorList{prod_gradient(c.grad(), c.input(0), c.attr("dim"), c.attr("keepdim").to_bool())};
            },
            "input")
        .doc("Product over some dimensions.");

// ---- extrema, any, all
// --------------------------------------------------------------------------------------------------

const OpDef& amax =
    op("amax(input, dim: int[]? = none, keepdim: bool = false)")
        .index("y[..] = max(dim) input[.., dim]")
        .doc("Largest element over some dimensions; the gradient is shared by all that are equal to it.");
const OpDef& amin =
    op("amin(input, dim: int[]? = none, keepdim: bool = false)")
        .index("y[..] = min(dim) input[.., dim]")
        .doc("Smallest element over some dimensions; the gradient is shared by all that are equal to it.");
const OpDef& any = op("any(input, dim: int[]? = none, keepdim: bool = false)")
                       .index("y[..] = any(dim) input[.., dim]", "truth")
                       .not_differentiable()
                       .doc("Whether some element is not zero; of uint8 as uint8, else as bool.");
const OpDef& all = op("all(input, dim: int[]? = none, keepdim: bool = false)")
                       .index("y[..] = all(dim) input[.., dim]", "truth")
                       .not_differentiable()
                       .doc("Whether no element is zero; of uint8 as uint8, else as bool.");

// Position of the first extremum along a dimension (of the flat tensor if there is none); a NaN is the extremum.
void arg_extremum(const Call& c, std::span<Tensor> out, bool maximum) {
  const Tensor& x = c.input(0);
  int64_t outer = 1, n = x.numel(), inner = 1;
  if (!c.attr(0).is_none() && x.dim() > 0) {
    auto d = static_cast<size_t>(wrap_dim(c.attr(0).to_int(), x.dim(), c.op.name()));
    n = x.sizes()[d];
    for (size_t i = 0; i < d; ++i) outer *= x.sizes()[i];
    for (size_t i = d + 1; i < x.sizes().size(); ++i) inner *= x.sizes()[i];
  }
  auto* to = out[0].data<int64_t>();
  kernels::visit_dtype(x.dtype(), [&]<DType T>() {
    using Element = typename kernels::ElementOf<T>::type;
    using C = typename kernels::ElementOf<T>::compute;
    if constexpr (!requires(C c) { c.real(); }) {
      auto* p = static_cast<const Element*>(x.data());
      parallel_for(outer * inner, std::max<int64_t>(1, 16384 / std::max<int64_t>(n, 1)), [&](int64_t b, int64_t e) {
        for (int64_t k = b; k < e; ++k) {
          const Element* line = p + k / inner * n * inner + k % inner;
          C best = kernels::element_cast<C>(line[0]);
          int64_t where = 0;
          for (int64_t i = 1; i < n; ++i) {
            C v = kernels::element_cast<C>(line[i * inner]);
            if ((maximum ? v > best : v < best) || (v != v && best == best)) {
              best = v;
              where = i;
            }
          }
          to[k] = where;
        }
      });
    } else {
      fail<TypeError>("{}: complex numbers have no order", c.op.name());
    }
  });
}

std::vector<TensorType> arg_types(const TypeCall& c) {
  const Shape& in = c.input(0).shape;
  bool keep = c.attr(1).to_bool();
  Shape shape;
  SORUS_CHECK(numel(in) > 0 || !c.attr(0).is_none(), IndexError, "{}: the tensor has no elements", c.op.name());
  if (c.attr(0).is_none()) {
    if (keep) shape = Shape(in.size(), 1);
    return {{DType::i64, shape, false}};
  }
  int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(1, static_cast<int64_t>(in.size())), c.op.name());
  for (size_t i = 0; i < in.size(); ++i) {
    if (static_cast<int64_t>(i) != d)
      shape.push_back(in[i]);
    else if (keep)
      shape.push_back(1);
    SORUS_CHECK(static_cast<int64_t>(i) != d || in[i] > 0, IndexError, "{}: dimension {} has no elements",
                c.op.name(), d);
  }
  return {{DType::i64, shape, false}};
}

const OpDef& argmax = op("argmax(input, dim: int? = none, keepdim: bool = false)")
                          .types(arg_types)
                          .kernel([](const Call& c, std::span<Tensor> out) { arg_extremum(c, out, true); })
                          .not_differentiable()
                          .doc("Index of the first largest element.");
const OpDef& argmin = op("argmin(input, dim: int? = none, keepdim: bool = false)")
                          .types(arg_types)
                          .kernel([](const Call& c, std::span<Tensor> out) { arg_extremum(c, out, false); })
                          .not_differentiable()
                          .doc("Index of the first smallest element.");

// Values are gathered, so that the gradient goes to the one element that was chosen.
TensorList with_indices(const Call& c, const OpDef& arg) {
  const Tensor& x = c.input(0);
  if (x.dim() == 0) {
    return {apply("reshape", {x}, {Attr(Shape{})}), call_one(arg, {x}, {c.attr(0), Attr(false)})};
  }
  Tensor i = call_one(arg, {x}, {c.attr(0), Attr(true)});
  Tensor v = apply("gather", {x, i}, {c.attr(0)});
  if (!c.attr(1).to_bool()) {
    v = apply("squeeze", {v}, {Attr(Shape{c.attr(0).to_int()})});
    i = apply("squeeze", {i}, {Attr(Shape{c.attr(0).to_int()})});
  }
  return {v, i};
}

const OpDef& max_all = op("max(input)")
                           .expand([](const Call& c) {
                             return TensorList{call_one(amax, {c.input(0)}, {Attr(), Attr(false)})};
                           })
                           .doc("Largest element; over a dimension with its index; or elementwise of two tensors.");
const OpDef& max_dim =
    op("max.dim(input, dim: int, keepdim: bool = false) -> values, indices").expand([](const Call& c) {
      return with_indices(c, argmax);
    });
const OpDef& max_other = op("max.other(input, other)").expand([](const Call& c) {
  return TensorList{apply("maximum", {c.input(0), c.input(1)})};
});
const OpDef& min_all = op("min(input)")
                           .expand([](const Call& c) {
                             return TensorList{call_one(amin, {c.input(0)}, {Attr(), Attr(false)})};
                           })
                           .doc("Smallest element; over a dimension with its index; or elementwise of two tensors.");
const OpDef& min_dim =
    op("min.dim(input, dim: int, keepdim: bool = false) -> values, indices").expand([](const Call& c) {
      return with_indices(c, argmin);
    });
const OpDef& min_other = op("min.other(input, other)").expand([](const Call& c) {
  return TensorList{apply("minimum", {c.input(0), c.input(1)})};
});

// ---- spread of values, norms
// ----------------------------------------------------------------------------------------------

Tensor variance(const Tensor& x, const Attr& dim, double correction, bool keepdim) {
  SORUS_CHECK(is_differentiable(x.dtype()), Error, "var: expected a floating or complex type, got {}",
              name(x.dtype()));
  Tensor m = apply("mean", {x}, {dim, Attr(true)});
  Tensor d = apply("sub", {x, m});
  Tensor squares = is_complex(x.dtype()) ? apply("square", {apply("abs", {d})}) : apply("mul", {d, d});
  Tensor s = call_one(sum, {squares}, {dim, Attr(keepdim), Attr()});
  double n = static_cast<double>(reduced_count(x, dim, "var")) - correction;
  return apply("div", {s, number(std::max(n, 0.0))});
}
double correction_of(const Attr& a) { return a.is_none() ? 1.0 : a.to_double(); }

const OpDef& var =
    op("var(input, dim: int[]? = none, *, correction: scalar? = 1, keepdim: bool = false)")
        .expand([](const Call& c) {
          return TensorList{variance(c.input(0), c.attr(0), correction_of(c.attr(1)), c.attr(2).to_bool())};
        })
        .doc("Variance over some dimensions.");
const OpDef& var_unbiased =
    op("var.unbiased(input, dim: int[]?, unbiased: bool, keepdim: bool = false)").expand([](const Call& c) {
      return TensorList{variance(c.input(0), c.attr(0), c.attr(1).to_bool() ? 1 : 0, c.attr(2).to_bool())};
    });
const OpDef& var_all = op("var.all(input, unbiased: bool)").expand([](const Call& c) {
  return TensorList{variance(c.input(0), Attr(), c.attr(0).to_bool() ? 1 : 0, false)};
});
const OpDef& standard_deviation =
    op("std(input, dim: int[]? = none, *, correction: scalar? = 1, keepdim: bool = false)")
        .expand([](const Call& c) {
          return TensorList{
              apply("sqrt", {variance(c.input(0), c.attr(0), correction_of(c.attr(1)), c.attr(2).to_bool())})};
        })
        .doc("Standard deviation over some dimensions.");
const OpDef& std_unbiased =
    op("std.unbiased(input, dim: int[]?, unbiased: bool, keepdim: bool = false)").expand([](const Call& c) {
      return TensorList{
          apply("sqrt", {variance(c.input(0), c.attr(0), c.attr(1).to_bool() ? 1 : 0, c.attr(2).to_bool())})};
    });
const OpDef& std_all = op("std.all(input, unbiased: bool)").expand([](const Call& c) {
  return TensorList{apply("sqrt", {variance(c.input(0), Attr(), c.attr(0).to_bool() ? 1 : 0, false)})};
});

// sqrt has an infinite slope at 0; the norm of a zero vector has the gradient 0, as in PyTorch.
Tensor euclidean(const Tensor& x, const Attr& dim, bool keepdim) {
  Tensor a = is_complex(x.dtype()) ? apply("abs", {x}) : x;
  Tensor s = call_one(sum, {apply("mul", {a, a})}, {dim, Attr(keepdim), Attr()});
  Tensor zero = apply("eq", {s, number(0)});
  return apply("where", {zero, apply("mul", {s, number(0)}), apply("sqrt", {apply("where", {zero, number(1), s})})});
}
Tensor vector_norm_of(Tensor x, double p, const Attr& dim, bool keepdim, const Attr& dtype) {
  if (!dtype.is_none()) x = apply("to", {x}, {dtype});
  SORUS_CHECK(is_differentiable(x.dtype()), Error, "linalg.vector_norm: expected a floating or complex type, got {}",
              name(x.dtype()));
  if (p == 2) return euclidean(x, dim, keepdim);
  Tensor a = apply("abs", {x});
  if (p == INFINITY) return call_one(amax, {a}, {dim, Attr(keepdim)});
  if (p == -INFINITY) return call_one(amin, {a}, {dim, Attr(keepdim)});
  if (p == 1) return call_one(sum, {a}, {dim, Attr(keepdim), Attr()});
  if (p == 0) {
    Tensor n = apply("where", {apply("ne", {a, number(0)}), apply("add", {apply("mul", {a, number(0)}), number(1)}),
                               apply("mul", {a, number(0)})});
    return call_one(sum, {n}, {dim, Attr(keepdim), Attr()});
  }
  // The sum of powers leaves the range of a half type long before its root does.
  if (is_half(a.dtype()))
    return apply("to", {vector_norm_of(a, p, dim, keepdim, Attr(DType::f32))}, {Attr(a.dtype())});
  Tensor powers;
  if (p < 0) {  // infinite at 0, where the gradient is taken to be 0
    Tensor none = apply("eq", {a, number(0)});
    powers =
        apply("where", {none, number(INFINITY), apply("pow", {apply("where", {none, number(1), a}), number(p)})});
  } else if (p < 1) {  // infinitely steep at 0, where the gradient is taken to be 0
    Tensor none = apply("eq", {a, number(0)});
    powers = apply("where", {none, number(0), apply("pow", {apply("where", {none, number(1), a}), number(p)})});
  } else {
    powers = apply("pow", {a, number(p)});
  }
  Tensor s = call_one(sum, {powers}, {dim, Attr(keepdim), Attr()});
  Tensor zero = apply("eq", {s, number(0)});
  if (p < 0) {  // a zero anywhere makes the sum infinite and the norm 0, with the gradient 0
    Tensor none = apply("isinf", {s});
    return apply("where", {none, number(0), apply("pow", {apply("where", {none, number(1), s}), number(1 / p)})});
  }
  return apply("where", {zero, apply("mul", {s, number(0)}),
                         apply("pow", {apply("where", {zero, number(1), s}), number(1 / p)})});
}

const OpDef& vector_norm =
    op("linalg.vector_norm(x, ord: scalar = 2, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
        .expand([](const Call& c) {
          return TensorList{
              vector_norm_of(c.input(0), c.attr(0).to_double(), c.attr(1), c.attr(2).to_bool(), c.attr(3))};
        })
        .doc("p-norm of vectors: all elements, or some dimensions.");
const OpDef& norm =
    op("norm(input, p: scalar? = 2, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
        .expand([](const Call& c) {
          double p = c.attr(0).is_none() ? 2 : c.attr(0).to_double();
          return TensorList{vector_norm_of(c.input(0), p, c.attr(1), c.attr(2).to_bool(), c.attr(3))};
        })
        .doc("p-norm of all elements or over some dimensions.");

const OpDef& norm_named =
    op("norm.named(input, p: str, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
        .expand([](const Call& c) {
          const std::string& p = c.attr(0).string();
          SORUS_CHECK(p == "fro", NotImplementedError, "norm: p must be a number or 'fro', not '{}'", p);
          return TensorList{vector_norm_of(c.input(0), 2, c.attr(1), c.attr(2).to_bool(), c.attr(3))};
        });
const OpDef& count_nonzero = op("count_nonzero(input, dim: int[]? = none)").expand([](const Call& c) {
  return TensorList{call_one(sum, {apply("ne", {c.input(0), integer(0)})}, {c.attr(0), Attr(false), Attr()})};
});
const OpDef& nansum = op("nansum(input, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
                          .expand([](const Call& c) {
                            Tensor x = c.input(0);
                            if (is_floating(x.dtype())) x = apply("where", {apply("isnan", {x}), number(0), x});
                            return TensorList{call_one(sum, {x}, c.attrs)};
                          })
                          .doc("Sum of what is not NaN.");
const OpDef& nanmean =
    op("nanmean(input, dim: int[]? = none, keepdim: bool = false, *, dtype: dtype? = none)")
        .expand([](const Call& c) {
          const Tensor& x = c.input(0);
          Tensor there = apply("logical_not", {apply("isnan", {x})});
          Tensor n = call_one(sum, {there}, {c.attr(0), c.attr(1), Attr()}), s = call_one(nansum, {x}, c.attrs);
          return TensorList{apply("div", {s, n})};
        })
        .doc("Mean of what is not NaN.");
const OpDef& aminmax =
    op("aminmax(input, *, dim: int? = none, keepdim: bool = false) -> min, max").expand([](const Call& c) {
      Attr dims = c.attr(0).is_none() ? Attr() : Attr(Shape{c.attr(0).to_int()});
      return TensorList{call_one(amin, {c.input(0)}, {dims, c.attr(1)}),
                        call_one(amax, {c.input(0)}, {dims, c.attr(1)})};
    });
const OpDef& var_mean =
    op("var_mean(input, dim: int[]? = none, *, correction: scalar? = 1, keepdim: bool = false) -> var, mean")
        .expand([](const Call& c) {
          return TensorList{call_one(var, {c.input(0)}, c.attrs),
                            apply("mean", {c.input(0)}, {c.attr(0), c.attr(2)})};
        });
const OpDef& var_mean_unbiased =
    op("var_mean.unbiased(input, dim: int[]?, unbiased: bool, keepdim: bool = false) -> var, mean")
        .expand([](const Call& c) {
          return TensorList{call_one(var_unbiased, {c.input(0)}, c.attrs),
                            apply("mean", {c.input(0)}, {c.attr(0), c.attr(2)})};
        });
const OpDef& var_mean_all = op("var_mean.all(input, unbiased: bool) -> var, mean").expand([](const Call& c) {
  return TensorList{call_one(var_all, {c.input(0)}, c.attrs), apply("mean", {c.input(0)})};
});
const OpDef& std_mean =
    op("std_mean(input, dim: int[]? = none, *, correction: scalar? = 1, keepdim: bool = false) -> std, mean")
        .expand([](const Call& c) {
          return TensorList{call_one(standard_deviation, {c.input(0)}, c.attrs),
                            apply("mean", {c.input(0)}, {c.attr(0), c.attr(2)})};
        });
const OpDef& std_mean_unbiased =
    op("std_mean.unbiased(input, dim: int[]?, unbiased: bool, keepdim: bool = false) -> std, mean")
        .expand([](const Call& c) {
          return TensorList{call_one(std_unbiased, {c.input(0)}, c.attrs),
                            apply("mean", {c.input(0)}, {c.attr(0), c.attr(2)})};
        });
const OpDef& std_mean_all = op("std_mean.all(input, unbiased: bool) -> std, mean").expand([](const Call& c) {
  return TensorList{call_one(std_all, {c.input(0)}, c.attrs), apply("mean", {c.input(0)})};
});
const OpDef& dist = op("dist(input, other, p: float = 2.0)").expand([](const Call& c) {
  return TensorList{
      vector_norm_of(apply("sub", {c.input(0), c.input(1)}), c.attr(0).to_double(), Attr(), false, Attr())};
});

const OpDef& logsumexp =
    op("logsumexp(input, dim: int[], keepdim: bool = false)")
        .expand([](const Call& c) {
          Tensor x = c.input(0);
          if (!is_differentiable(x.dtype())) x = apply("to", {x}, {Attr(default_dtype())});
          const Attr& dim = c.attr(0);
          bool keep = c.attr(1).to_bool();
          if (x.numel() == 0)
            return TensorList{apply("log", {call_one(sum, {apply("exp", {x})}, {dim, Attr(keep), Attr()})})};
          // Shifting by the maximum changes nothing but the range, so no gradient goes through it.
          Tensor top =
              call_one(amax, {is_complex(x.dtype()) ? apply("real_part", {x}) : x}, {dim, Attr(true)}).detach();
          top = apply("where", {apply("isfinite", {top}), top, number(0)});
          Tensor s =
              apply("log", {call_one(sum, {apply("exp", {apply("sub", {x, top})})}, {dim, Attr(keep), Attr()})});
          if (!keep) top = apply("reshape", {top}, {Attr(s.sizes())});
          return TensorList{apply("add", {s, top})};
        })
        .doc("log(sum(exp(input))), computed without overflow.");

}  // namespace
}  // namespace sorus
