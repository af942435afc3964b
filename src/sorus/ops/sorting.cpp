// Order: sorting and what follows from it, running sums and extrema, and where values stand among others.
#include <algorithm>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/scan.h"
#include "sorus/kernels/sort.h"
#include "sorus/ops.h"

namespace sorus {
namespace {

int64_t dim_of(const Attr& dim, size_t rank, std::string_view who) {
  return wrap_dim(dim.to_int(), std::max<int64_t>(static_cast<int64_t>(rank), 1), who);
}
int64_t length(const Shape& s, int64_t d) { return s.empty() ? 1 : s[static_cast<size_t>(d)]; }

// Values go back to where the indices say they came from.
TensorList scatter_back(const GradCall& c) {
  const Tensor &x = c.input(0), &where = c.output(1);
  if (!c.grad(0).defined()) return {Tensor()};
  return {scatter_add(zeros(x.sizes(), c.grad(0).dtype()), c.attr("dim").to_int(), where, c.grad(0))};
}

Tensor along(const Tensor& x, int64_t d, int64_t i, bool keepdim) {
  if (x.dim() == 0) return x;
  Tensor y = select(x, d, i);
  return keepdim ? unsqueeze(y, d) : y;
}

// The k-th smallest of a line that is sorted in ascending order. NaN is last, so a median of a line with NaN is NaN.
TensorList median_of(const Tensor& x, const Attr& dim, bool keepdim, bool skip_nan) {
  int64_t d = dim_of(dim, x.sizes().size(), "median"), n = length(x.sizes(), d);
  SORUS_CHECK(n > 0, IndexError, "median: dimension {} of {} has no elements", d, to_string(x.sizes()));
  auto [values, places] = sort(x, d);
  if (x.dim() == 0) return {values, places};
  bool floating = is_floating(x.dtype());
  Tensor last = unsqueeze(select(values, d, n - 1), d);
  Tensor rank = full(last.sizes(), Scalar((n - 1) / 2), DType::i64);
  if (floating) {
    Tensor counted = sum(logical_not(isnan(values)), Shape{d}, true);  // of each line
    rank = skip_nan
               ? floor_divide(clamp(sub(counted, Tensor::weak_scalar(1)), Scalar(int64_t{0})), Tensor::weak_scalar(2))
               : where(lt(counted, Tensor::weak_scalar(n)), counted, rank);
  }
  Tensor v = gather(values, d, rank), i = gather(places, d, rank);
  if (!keepdim) v = squeeze(v, Shape{d}), i = squeeze(i, Shape{d});
  return {v, i};
}

TypesRule ordered_types = [](const TypeCall& c) -> std::vector<TensorType> {
  SORUS_CHECK(!is_complex(c.input(0).dtype), TypeError, "{}: complex numbers have no order", c.op.name());
  dim_of(c.attr("dim"), c.input(0).shape.size(), c.op.name());
  return {{c.input(0).dtype, c.input(0).shape, false}, {DType::i64, c.input(0).shape, false}};
};

const bool sorts = [] {
  op("sort(input, dim: int = -1, descending: bool = false, stable: bool = false) -> values, indices")
      .types(ordered_types)
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        auto d = static_cast<int>(dim_of(c.attr(0), x.sizes().size(), "sort"));
        kernels::sort(x.dtype(), x.sizes(), d, x.data(), x.strides(), out[0].data(), out[0].strides(),
                      out[1].data<int64_t>(), out[1].strides(), c.attr(1).to_bool());
      })
      .gradient(scatter_back, "indices")
      .axes("input[a..; dim d!] -> values[a..; dim d!], indices[a..; dim d!]")
      .doc("Along `dim`; equal elements keep their order. NaN counts as the largest.");
  op("argsort(input, dim: int = -1, descending: bool = false, stable: bool = false)")
      .expand([](const Call& c) -> TensorList {
        return {sort(c.input(0).detach(), c.attr(0).to_int(), c.attr(1).to_bool(), c.attr(2).to_bool())[1]};
      });
  op("msort(input)").expand([](const Call& c) -> TensorList { return {sort(c.input(0), 0)[0]}; });
  op("topk(input, k: int, dim: int = -1, largest: bool = true, sorted: bool = true) -> values, indices")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        auto types = ordered_types(c);
        int64_t d = dim_of(c.attr("dim"), c.input(0).shape.size(), "topk"), k = c.attr(0).to_int();
        SORUS_CHECK(k >= 0 && k <= length(c.input(0).shape, d), ValueError,
                    "topk: k must lie between 0 and {}, the size of dimension {} of {}, it is {}",
                    length(c.input(0).shape, d), d, to_string(c.input(0).shape), k);
        for (TensorType& t : types)
          if (!t.shape.empty()) t.shape[static_cast<size_t>(d)] = k;
        return types;
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        const Tensor& x = c.input(0);
        auto d = static_cast<int>(dim_of(c.attr(1), x.sizes().size(), "topk"));
        kernels::topk(x.dtype(), x.sizes(), d, c.attr(0).to_int(), c.attr(2).to_bool(), x.data(), x.strides(),
                      out[0].data(), out[0].strides(), out[1].data<int64_t>(), out[1].strides());
      })
      .gradient(scatter_back, "indices")
      .doc("The k largest (or smallest) elements along `dim`, in order.");
  op("kthvalue(input, k: int, dim: int = -1, keepdim: bool = false) -> values, indices")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        int64_t k = c.attr(0).to_int(), d = dim_of(c.attr(1), x.sizes().size(), "kthvalue");
        SORUS_CHECK(k >= 1 && k <= length(x.sizes(), d), Error,
                    "kthvalue: k must lie between 1 and {}, the size of dimension {}, it is {}", length(x.sizes(), d),
                    d, k);
        auto [values, indices] = sort(x, d);
        return {along(values, d, k - 1, c.attr(2).to_bool()), along(indices, d, k - 1, c.attr(2).to_bool())};
      });
  op("median(input)").expand([](const Call& c) -> TensorList {
    return {median_of(reshape(c.input(0), Shape{-1}), Attr(0), false, false)[0]};
  });
  op("median.dim(input, dim: int, keepdim: bool = false) -> values, indices").expand([](const Call& c) {
    return median_of(c.input(0), c.attr(0), c.attr(1).to_bool(), false);
  });
  op("nanmedian(input)").expand([](const Call& c) -> TensorList {
    return {median_of(reshape(c.input(0), Shape{-1}), Attr(0), false, true)[0]};
  });
  op("nanmedian.dim(input, dim: int, keepdim: bool = false) -> values, indices").expand([](const Call& c) {
    return median_of(c.input(0), c.attr(0), c.attr(1).to_bool(), true);
  });
  return true;
}();

const bool scans = [] {
  op("running_sum(input, dim: int, reverse: bool = false, dtype: dtype? = none)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        dim_of(c.attr(0), c.input(0).shape.size(), "cumsum");
        DType t = c.attr(2).is_none() ? c.input(0).dtype : c.attr(2).dtype();
        return {{t, c.input(0).shape, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        Tensor x = to(c.input(0), out[0].dtype());
        auto d = static_cast<int>(dim_of(c.attr(0), x.sizes().size(), "cumsum"));
        kernels::scan(kernels::ScanOp::sum, x.dtype(), out[0].dtype(), x.sizes(), d, x.data(), x.strides(),
                      out[0].data(), out[0].strides(), c.attr(1).to_bool());
      })
      .gradient([](const GradCall& c) -> TensorList {
        return {to(running_sum(c.grad(), c.attr("dim").to_int(), !c.attr("reverse").to_bool()), c.input(0).dtype())};
      })
      .axes("input[a..; dim d!] -> output[a..; dim d!]");
  op("cumsum(input, dim: int, *, dtype: dtype? = none)")
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        DType t = !c.attr(1).is_none() ? c.attr(1).dtype() : is_differentiable(x.dtype()) ? x.dtype() : DType::i64;
        return {running_sum(to(x, t), c.attr(0).to_int())};
      })
      .doc("Sums of all elements up to each along `dim`.");
  auto extremum = [](bool maximum) {
    return [maximum](const Call& c, std::span<Tensor> out) {
      const Tensor& x = c.input(0);
      auto d = static_cast<int>(dim_of(c.attr(0), x.sizes().size(), c.op.name()));
      kernels::scan_extremum(maximum, x.dtype(), x.sizes(), d, x.data(), x.strides(), out[0].data(), out[0].strides(),
                             out[1].data<int64_t>(), out[1].strides());
    };
  };
  op("cummax(input, dim: int) -> values, indices")
      .types(ordered_types)
      .kernel(extremum(true))
      .gradient(scatter_back, "indices");
  op("cummin(input, dim: int) -> values, indices")
      .types(ordered_types)
      .kernel(extremum(false))
      .gradient(scatter_back, "indices");
  op("diff(input, n: int = 1, dim: int = -1, prepend: Tensor? = none, append: Tensor? = none)")
      .expand([](const Call& c) -> TensorList {
        Tensor x = c.input(0);
        if (c.attr(0).to_int() == 0) return {clone(x)};
        int64_t d = wrap_dim(c.attr(1).to_int(), x.dim(), "diff");
        TensorList parts;
        for (const Tensor& t : {c.has(1) ? c.input(1) : Tensor(), x, c.has(2) ? c.input(2) : Tensor()})
          if (t.defined()) parts.push_back(t);
        if (parts.size() > 1) x = cat(parts, d);
        for (int64_t i = 0; i < c.attr(0).to_int() && x.size(d) > 0; ++i) {
          Tensor after = slice(x, d, 1, x.size(d)), before = slice(x, d, 0, x.size(d) - 1);
          x = x.dtype() == DType::boolean ? logical_xor(after, before) : after - before;
        }
        return {x};
      });
  return true;
}();

// ---- values among others
// ---------------------------------------------------------------------------------------------

Tensor starts_of_runs(const Tensor& differs) {  // n - 1 comparisons of neighbours; n > 0
  Tensor first = ones(Shape{1}, DType::boolean);
  return cat(TensorList{first, differs}, 0);
}

// Equal neighbours become one: what is left, which of them each was, how many there were.
TensorList runs(const Tensor& rows, const Tensor& order) {
  int64_t n = rows.size(0);
  if (n == 0) return {rows, zeros(Shape{0}, DType::i64), zeros(Shape{0}, DType::i64)};
  Tensor differs = ne(slice(rows, 0, 1, n), slice(rows, 0, 0, n - 1));
  for (int64_t d = differs.dim() - 1; d > 0; --d) differs = any(differs, Shape{d});
  Tensor start = starts_of_runs(differs), places = reshape(nonzero(start), Shape{-1});
  Tensor group = sub(cumsum(start, 0), Tensor::weak_scalar(1));
  Tensor inverse = order.defined() ? scatter_add(zeros(Shape{n}, DType::i64), 0, order, group) : group;
  Tensor ends = cat(TensorList{slice(places, 0, 1, places.size(0)), full(Shape{1}, Scalar(n), DType::i64)}, 0);
  return {index(rows, Shape{0}, TensorList{places}), inverse, ends - places};
}

TensorList unique_of(const Call& c, bool sorted) {
  Tensor x = c.input(0).detach();
  bool flat = c.attr(0).is_none();
  SORUS_CHECK(flat || x.dim() > 0, IndexError, "{}: a tensor without dimensions has no dimension {}", c.op.name(),
              c.attr(0).to_int());
  int64_t d = flat ? 0 : wrap_dim(c.attr(0).to_int(), x.dim(), c.op.name());
  Tensor rows = contiguous(flat ? reshape(x, Shape{-1}) : movedim(x, Shape{d}, Shape{0})), order;
  if (sorted && rows.dim() == 1) {
    auto [values, places] = sort(rows, 0);
    rows = values, order = places;
  } else if (sorted) {  // by the last column first, stably
    int64_t n = rows.size(0);
    Tensor wide = reshape(rows, Shape{n, n ? rows.numel() / n : 0});
    order = arange(n);
    for (int64_t k = wide.size(1) - 1; k >= 0; --k) {
      Tensor column = index(select(wide, 1, k), Shape{0}, TensorList{order});
      order = index(order, Shape{0}, TensorList{argsort(column, 0)});
    }
    rows = index(rows, Shape{0}, TensorList{order});
  }
  TensorList out = runs(rows, order);
  if (flat)
    out[1] = reshape(out[1], x.sizes());
  else
    out[0] = movedim(out[0], Shape{0}, Shape{d});
  return out;
}

template <class E>
int64_t place_in(const E* sorted, int64_t n, E v, bool right, const int64_t* sorter) {
  auto key = [&](int64_t i) { return sorted[sorter ? sorter[i] : i]; };
  auto before = [&](E a) {  // whether `a` stands before v; NaN is last
    if constexpr (std::is_floating_point_v<E>) {
      if (v != v) return right || a == a;
      if (a != a) return false;
    }
    return right ? !(v < a) : a < v;
  };
  int64_t low = 0, high = n;
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (before(key(middle)))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

const bool places = [] {
  TypesRule three = [](const TypeCall& c) -> std::vector<TensorType> {
    return {
        {c.input(0).dtype, Shape{0}, false}, {DType::i64, c.input(0).shape, false}, {DType::i64, Shape{0}, false}};
  };
  op("unique_parts(input, dim: int? = none) -> output, inverse, counts")
      .types(three)
      .expand([](const Call& c) { return unique_of(c, true); })
      .not_differentiable()
      .value_shaped()
      .doc(
          "The different elements (or slices along `dim`) in ascending order, which of them each element is, and how "
          "often they occur.");
  op("unique_consecutive_parts(input, dim: int? = none) -> output, inverse, counts")
      .types(three)
      .expand([](const Call& c) { return unique_of(c, false); })
      .not_differentiable()
      .value_shaped();
  op("search_sorted(sorted_sequence, input, sorter: mask?, right: bool)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        const Shape &s = c.input(0).shape, &x = c.input(1).shape;
        SORUS_CHECK(!s.empty(), Error, "searchsorted: the sorted sequence needs at least 1 dimension");
        bool fits = s.size() == 1 || s.size() == x.size();
        for (size_t i = 0; fits && s.size() > 1 && i + 1 < s.size(); ++i) fits = s[i] == x[i];
        SORUS_CHECK(
            fits, Error,
            "searchsorted: the sorted sequence {} must have one dimension or all but the last of the values {}",
            to_string(s), to_string(x));
        SORUS_CHECK(!c.has(2) || c.input(2).dtype == DType::i64, TypeError,
                    "searchsorted: sorter must be int64, not {}", name(c.has(2) ? c.input(2).dtype : DType::i64));
        SORUS_CHECK(!c.has(2) || c.input(2).shape == s, Error,
                    "searchsorted: sorter {} and sequence {} must have the same shape",
                    to_string(c.has(2) ? c.input(2).shape : s), to_string(s));
        return {{DType::i64, x, false}};
      })
      .kernel([](const Call& c, std::span<Tensor> out) {
        DType t = promote(c.input(0).dtype(), c.input(1).dtype());
        if (is_half(t)) t = DType::f32;
        Tensor s = contiguous(to(c.input(0), t)), x = contiguous(to(c.input(1), t));
        const int64_t* sorter = c.has(2) ? c.input(2).data<int64_t>() : nullptr;
        int64_t n = s.sizes().back(), lines = s.dim() == 1 ? 1 : (n ? s.numel() / n : 1);
        int64_t each = lines ? x.numel() / lines : 0;
        bool right = c.attr(0).to_bool();
        for (int64_t i = 0; sorter && i < s.numel(); ++i)
          SORUS_CHECK(sorter[i] >= 0 && sorter[i] < n, IndexError,
                      "searchsorted: index {} of sorter is out of range for sequences of {}", sorter[i], n);
        kernels::visit_dtype(t, [&]<DType T>() {
          if constexpr (T != DType::c64 && T != DType::c128 && T != DType::bf16 && T != DType::f16) {
            using E = typename kernels::ElementOf<T>::type;
            auto *keys = static_cast<const E*>(s.data()), *values = static_cast<const E*>(x.data());
            parallel_for(x.numel(), 1024, [&](int64_t begin, int64_t end) {
              for (int64_t i = begin; i < end; ++i) {
                int64_t line = s.dim() == 1 ? 0 : i / each;
                out[0].data<int64_t>()[i] =
                    place_in(keys + line * n, n, values[i], right, sorter ? sorter + line * n : nullptr);
              }
            });
          } else {
            fail<TypeError>("searchsorted: complex numbers have no order");
          }
        });
      })
      .not_differentiable();
  op("searchsorted(sorted_sequence, input, *, out_int32: bool = false, right: bool = false, side: str? = none, "
     "sorter: mask? = none)")
      .expand([](const Call& c) -> TensorList {
        bool right = c.attr(1).to_bool();
        if (!c.attr(2).is_none()) {
          const std::string& side = c.attr(2).string();
          SORUS_CHECK(side == "left" || side == "right", Error,
                      "searchsorted: side must be 'left' or 'right', not '{}'", side);
          right = side == "right";
        }
        Tensor y = search_sorted(c.input(0), c.input(1), c.has(2) ? c.input(2) : Tensor(), right);
        return {c.attr(0).to_bool() ? to(y, DType::i32) : y};
      })
      .doc(
          "Where each value would be inserted into a sorted sequence: before equal ones, or behind them if `right`.");
  op("bucketize(input, boundaries, *, out_int32: bool = false, right: bool = false)")
      .expand([](const Call& c) -> TensorList {
        Tensor y = search_sorted(c.input(1), c.input(0), Tensor(), c.attr(1).to_bool());
        return {c.attr(0).to_bool() ? to(y, DType::i32) : y};
      });
  op("isin(elements, test_elements, *, assume_unique: bool = false, invert: bool = false)")
      .expand([](const Call& c) -> TensorList {
        Tensor found = any(eq(unsqueeze(c.input(0), -1), reshape(c.input(1), Shape{-1})), Shape{-1});
        return {c.attr(1).to_bool() ? logical_not(found) : found};
      });
  op("bincount(input: mask, weights: Tensor? = none, minlength: int = 0)")
      .types([](const TypeCall&) -> std::vector<TensorType> {
        return {{DType::i64, Shape{0}, false}};
      })
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        SORUS_CHECK(x.dim() == 1 && !is_differentiable(x.dtype()), Error,
                    "bincount: expected a vector of integers, got {}", x.type().to_string());
        int64_t n = c.attr(0).to_int();
        if (x.numel() > 0) {
          SORUS_CHECK(amin(x).item().to_int() >= 0, Error, "bincount: the numbers must not be negative");
          n = std::max(n, amax(x).item().to_int() + 1);
        }
        Tensor w = c.has(1) ? c.input(1) : ones(x.sizes(), DType::i64);
        if (c.has(1) && !is_floating(w.dtype())) w = to(w, DType::f64);
        return {scatter_add(zeros(Shape{n}, w.dtype()), 0, to(x, DType::i64), w)};
      })
      .not_differentiable()
      .value_shaped();
  op("histc(input, bins: int = 100, min: scalar = 0, max: scalar = 0)").expand([](const Call& c) -> TensorList {
    Tensor x = reshape(c.input(0), Shape{-1}).detach();
    int64_t bins = c.attr(0).to_int();
    SORUS_CHECK(bins > 0, Error, "histc: the number of bins must be positive, it is {}", bins);
    Tensor low = full(Shape{}, c.attr(1).scalar(), x.dtype()), high = full(Shape{}, c.attr(2).scalar(), x.dtype());
    if (c.attr(1).to_double() == c.attr(2).to_double() && x.numel() > 0) low = amin(x), high = amax(x);
    Tensor same = eq(low, high);
    low = where(same, low - 1.0, low), high = where(same, high + 1.0, high);
    Tensor inside = logical_and(ge(x, low), le(x, high));
    Tensor bin =
        clamp(floor((x - low) * static_cast<double>(bins) / (high - low)), Scalar(int64_t{0}), Scalar(bins - 1));
    bin = to(where(inside, bin, Tensor::weak_scalar(0.0)), DType::i64);
    return {scatter_add(zeros(Shape{bins}, x.dtype()), 0, bin, to(inside, x.dtype()))};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
