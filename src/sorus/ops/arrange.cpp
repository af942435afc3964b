// Other arrangements of the same elements: turned, rolled, repeated, joined, cut to a triangle. All are made of
// views, joins, lookups and comparisons, so nothing here states a gradient or a sharding of its own.
#include <algorithm>

#include "sorus/ops.h"

namespace sorus {
namespace {

Tensor lookup(const Tensor& x, int64_t d, const Tensor& places) { return index(x, Shape{d}, TensorList{places}); }

Tensor flipped(Tensor x, const Shape& dims) {
  std::vector<bool> seen(static_cast<size_t>(std::max<int64_t>(x.dim(), 1)));
  for (int64_t given : dims) {
    int64_t d = wrap_dim(given, std::max<int64_t>(x.dim(), 1), "flip");
    SORUS_CHECK(!seen[static_cast<size_t>(d)], Error, "flip: dimension {} occurs twice in {}", d, to_string(dims));
    seen[static_cast<size_t>(d)] = true;
    if (x.dim() == 0 || x.size(d) < 2) continue;
    x = lookup(x, d, arange(Scalar(x.size(d) - 1), Scalar(int64_t{-1}), Scalar(int64_t{-1})));
  }
  return x;
}

Tensor rolled(const Tensor& x, int64_t shift, int64_t d) {
  int64_t n = x.size(d);
  if (n == 0) return x;
  int64_t back = ((shift % n) + n) % n;
  return back == 0 ? x : cat(TensorList{slice(x, d, n - back, n), slice(x, d, 0, n - back)}, d);
}

// Each dimension of `x`, which has as many as `times`, that often in a row.
Tensor repeated(const Tensor& x, const Shape& times) {
  Shape apart, wide, whole;
  for (size_t i = 0; i < times.size(); ++i) {
    int64_t n = x.sizes()[i];
    for (int64_t v : {int64_t{1}, n}) apart.push_back(v);
    for (int64_t v : {times[i], n}) wide.push_back(v);
    whole.push_back(times[i] * n);
  }
  return reshape(expand(reshape(x, apart), wide), whole);
}
Tensor with_rank(const Tensor& x, size_t rank) {
  Shape s = x.sizes();
  while (s.size() < rank) s.insert(s.begin(), 1);
  return s == x.sizes() ? x : reshape(x, s);
}

// Whether element (i, j) of the last two dimensions is on or below the diagonal.
Tensor below(const Tensor& x, int64_t diagonal) {
  return le(arange(x.size(-1)),
            unsqueeze(arange(Scalar(diagonal), Scalar(x.size(-2) + diagonal), Scalar(int64_t{1})), 1));
}
Tensor triangle(const Tensor& x, const Tensor& kept, std::string_view who) {
  SORUS_CHECK(x.dim() >= 2, Error, "{}: expected at least 2 dimensions, got {}", who, to_string(x.sizes()));
  return where(kept, x, x.dtype() == DType::boolean ? zeros(Shape{}, DType::boolean) : Tensor::weak_scalar(0));
}

Tensor moved(const Tensor& x, const Shape& source, const Shape& destination) {
  SORUS_CHECK(source.size() == destination.size(), ValueError, "movedim: {} dimensions cannot go to {} places",
              source.size(), destination.size());
  int64_t rank = x.dim();
  Shape order(static_cast<size_t>(rank), -1);
  std::vector<bool> taken(order.size());
  for (size_t i = 0; i < source.size(); ++i) {
    int64_t from = wrap_dim(source[i], rank, "movedim"), to = wrap_dim(destination[i], rank, "movedim");
    SORUS_CHECK(!taken[static_cast<size_t>(from)] && order[static_cast<size_t>(to)] < 0, ValueError,
                "movedim: a dimension occurs twice in {} or {}", to_string(source), to_string(destination));
    order[static_cast<size_t>(to)] = from;
    taken[static_cast<size_t>(from)] = true;
  }
  int64_t next = 0;
  for (int64_t& d : order) {
    if (d >= 0) continue;
    while (taken[static_cast<size_t>(next)]) ++next;
    d = next++;
  }
  return permute(x, order);
}

const bool turns = [] {
  op("flip(input, dims: int[])")
      .expand([](const Call& c) -> TensorList {
        Tensor y = flipped(c.input(0), c.attr(0).ints());
        return {y.is(c.input(0)) ? clone(y) : y};
      })
      .doc("The order of elements reversed along `dims`.");
  op("fliplr(input)").expand([](const Call& c) -> TensorList { return {flip(c.input(0), Shape{1})}; });
  op("flipud(input)").expand([](const Call& c) -> TensorList { return {flip(c.input(0), Shape{0})}; });
  op("roll(input, shifts: int[], dims: int[]? = none)")
      .expand([](const Call& c) -> TensorList {
        Tensor x = c.input(0);
        const Shape& shifts = c.attr(0).ints();
        if (c.attr(1).is_none() || c.attr(1).ints().empty()) {
          SORUS_CHECK(shifts.size() == 1, Error, "roll: without dims there must be one shift, not {}", shifts.size());
          return {reshape(rolled(reshape(x, Shape{-1}), shifts[0], 0), x.sizes())};
        }
        const Shape& dims = c.attr(1).ints();
        SORUS_CHECK(shifts.size() == dims.size(), Error, "roll: {} shifts for {} dims", shifts.size(), dims.size());
        for (size_t i = 0; i < dims.size(); ++i) x = rolled(x, shifts[i], wrap_dim(dims[i], x.dim(), "roll"));
        return {x.is(c.input(0)) ? clone(x) : x};
      })
      .doc("Elements shifted along `dims`; what leaves at the end comes in at the start.");
  op("movedim(input, source: int[], destination: int[])").expand([](const Call& c) -> TensorList {
    return {moved(c.input(0), c.attr(0).ints(), c.attr(1).ints())};
  });
  op("swapaxes(input, axis0: int, axis1: int)").expand([](const Call& c) -> TensorList {
    return {transpose(c.input(0), c.attr(0).to_int(), c.attr(1).to_int())};
  });
  op("swapdims(input, dim0: int, dim1: int)").expand([](const Call& c) -> TensorList {
    return {transpose(c.input(0), c.attr(0).to_int(), c.attr(1).to_int())};
  });
  op("tril(input, diagonal: int = 0)")
      .expand([](const Call& c) -> TensorList {
        return {triangle(c.input(0), below(c.input(0), c.attr(0).to_int()), "tril")};
      })
      .doc("What lies on and below a diagonal of the last two dimensions; 0 elsewhere.");
  op("triu(input, diagonal: int = 0)")
      .expand([](const Call& c) -> TensorList {
        return {triangle(c.input(0), logical_not(below(c.input(0), c.attr(0).to_int() - 1)), "triu")};
      })
      .doc("What lies on and above a diagonal of the last two dimensions; 0 elsewhere.");
  op("diag(input, diagonal: int = 0)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    SORUS_CHECK(x.dim() == 1 || x.dim() == 2, Error, "diag: expected 1 or 2 dimensions, got {}",
                to_string(x.sizes()));
    return {x.dim() == 1 ? diag_embed(x, c.attr(0).to_int()) : clone(diagonal(x, c.attr(0).to_int()))};
  });
  op("diag_embed(input, offset: int = 0, dim1: int = -2, dim2: int = -1)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    int64_t offset = c.attr(0).to_int(), rank = x.dim() + 1, a = wrap_dim(c.attr(1).to_int(), rank, "diag_embed"),
            b = wrap_dim(c.attr(2).to_int(), rank, "diag_embed"), n = x.size(-1), side = n + std::abs(offset);
    SORUS_CHECK(a != b, Error, "diag_embed: two different dimensions are needed");
    // Row i takes element i (or i + offset) where the column is on the diagonal.
    Tensor row = arange(side), source = clamp(offset < 0 ? row + static_cast<double>(offset) : row,
                                              Scalar(int64_t{0}), Scalar(std::max<int64_t>(n - 1, 0)));
    Tensor on = eq(arange(side), unsqueeze(arange(Scalar(offset), Scalar(side + offset), Scalar(int64_t{1})), 1));
    if (n == 0)
      return {moved(zeros(
                        [&] {
                          Shape s = x.sizes();
                          s.back() = side;
                          s.push_back(side);
                          return s;
                        }(),
                        x.dtype()),
                    Shape{-2, -1}, Shape{a, b})};
    Tensor spread = unsqueeze(lookup(x, x.dim() - 1, to(source, DType::i64)), -1);
    Tensor y = where(on, spread, zeros(Shape{}, x.dtype()));
    return {moved(y, Shape{-2, -1}, Shape{a, b})};
  });
  op("trace(input)").expand([](const Call& c) -> TensorList {
    SORUS_CHECK(c.input(0).dim() == 2, Error, "trace: expected a matrix, got {}", to_string(c.input(0).sizes()));
    return {sum(diagonal(c.input(0)))};
  });
  return true;
}();

const bool repeats = [] {
  op("repeat(input, repeats: int[])")
      .expand([](const Call& c) -> TensorList {
        const Shape& times = c.attr(0).ints();
        SORUS_CHECK(static_cast<int64_t>(times.size()) >= c.input(0).dim(), Error,
                    "repeat: {} numbers for a tensor of shape {}", times.size(), to_string(c.input(0).sizes()));
        Tensor y = repeated(with_rank(c.input(0), times.size()), times);
        return {contiguous(y)};
      })
      .doc("The tensor as often as `repeats` says along each dimension.");
  op("tile(input, dims: int[])").expand([](const Call& c) -> TensorList {
    Shape times = c.attr(0).ints();
    while (static_cast<int64_t>(times.size()) < c.input(0).dim()) times.insert(times.begin(), 1);
    return {repeat(c.input(0), times)};
  });
  op("repeat_interleave(input, repeats: int, dim: int? = none, *, output_size: int? = none)")
      .expand([](const Call& c) -> TensorList {
        bool flat = c.attr(1).is_none();
        Tensor x = flat ? reshape(c.input(0), Shape{-1}) : with_rank(c.input(0), 1);
        int64_t d = flat ? 0 : wrap_dim(c.attr(1).to_int(), x.dim(), "repeat_interleave"), n = c.attr(0).to_int();
        SORUS_CHECK(n >= 0, Error, "repeat_interleave: the number of repeats must not be negative, it is {}", n);
        Shape wide = x.sizes(), whole = x.sizes();
        wide.insert(wide.begin() + d + 1, n);
        whole[static_cast<size_t>(d)] *= n;
        return {contiguous(reshape(expand(unsqueeze(x, d + 1), wide), whole))};
      })
      .doc("Each element (along `dim`) several times in a row.");
  op("repeat_interleave.tensor(input, repeats: mask, dim: int? = none, *, output_size: int? = none)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .expand([](const Call& c) -> TensorList {
        bool flat = c.attr(0).is_none();
        const Tensor x = flat ? reshape(c.input(0), Shape{-1}) : c.input(0);
        const Tensor& times = c.input(1);
        int64_t d = flat ? 0 : wrap_dim(c.attr(0).to_int(), x.dim(), "repeat_interleave");
        SORUS_CHECK(times.dim() <= 1 && (times.numel() == 1 || times.numel() == x.size(d)), Error,
                    "repeat_interleave: {} repeats for dimension {} of {}", to_string(times.sizes()), d,
                    to_string(x.sizes()));
        Tensor wide = contiguous(expand(to(reshape(times, Shape{-1}), DType::i64), Shape{x.size(d)}));
        std::vector<int64_t> places;
        for (int64_t i = 0; i < x.size(d); ++i) {
          int64_t n = wide.data<int64_t>()[i];
          SORUS_CHECK(n >= 0, Error, "repeat_interleave: the number of repeats must not be negative, it is {}", n);
          places.insert(places.end(), static_cast<size_t>(n), i);
        }
        return {lookup(x, d, Tensor::of(places, Shape{static_cast<int64_t>(places.size())}))};
      })
      .value_shaped();
  op("broadcast_to(input, size: int[])").expand([](const Call& c) -> TensorList {
    return {expand(c.input(0), c.attr(0).ints())};
  });
  op("broadcast_tensors(tensors: Tensor[]) -> list").expand([](const Call& c) -> TensorList {
    Shape both;
    for (const Tensor& t : c.inputs) both = broadcast_shapes(both, t.sizes(), "broadcast_tensors");
    TensorList out;
    for (const Tensor& t : c.inputs) out.push_back(expand(t, both));
    return out;
  });
  op("meshgrid(tensors: Tensor[], *, indexing: str = 'ij') -> list")
      .expand([](const Call& c) -> TensorList {
        const std::string& indexing = c.attr(0).string();
        SORUS_CHECK(indexing == "ij" || indexing == "xy", Error, "meshgrid: indexing must be 'ij' or 'xy', not '{}'",
                    indexing);
        size_t n = c.inputs.size();
        bool swap = indexing == "xy" && n >= 2;
        auto place = [&](size_t i) { return swap && i < 2 ? 1 - i : i; };
        Shape whole(n, 1);
        for (size_t i = 0; i < n; ++i) {
          SORUS_CHECK(c.inputs[i].dim() <= 1, Error, "meshgrid: expected tensors of at most 1 dimension, got {}",
                      to_string(c.inputs[i].sizes()));
          whole[place(i)] = c.inputs[i].numel();
        }
        TensorList out;
        for (size_t i = 0; i < n; ++i) {
          Shape one(n, 1);
          one[place(i)] = c.inputs[i].numel();
          out.push_back(expand(reshape(c.inputs[i], one), whole));
        }
        return out;
      })
      .doc("The coordinates of all points of a grid, one tensor for each axis.");
  return true;
}();

const bool joins = [] {
  auto joined = [](const Call& c, size_t rank, int64_t dim) -> TensorList {
    TensorList parts;
    for (const Tensor& t : c.inputs) parts.push_back(with_rank(t, rank));
    SORUS_CHECK(!parts.empty(), Error, "{}: expected at least one tensor", c.op.name());
    return {cat(parts, parts[0].dim() == 1 ? 0 : dim)};
  };
  op("hstack(tensors: Tensor[])").expand([=](const Call& c) { return joined(c, 1, 1); });
  op("vstack(tensors: Tensor[])").expand([=](const Call& c) { return joined(c, 2, 0); });
  op("dstack(tensors: Tensor[])").expand([](const Call& c) -> TensorList {
    TensorList parts;
    for (const Tensor& t : c.inputs) {
      Tensor x = with_rank(t, 2);
      parts.push_back(x.dim() == 2 ? unsqueeze(x, -1) : x);
    }
    return {cat(parts, 2)};
  });
  op("column_stack(tensors: Tensor[])").expand([](const Call& c) -> TensorList {
    TensorList parts;
    for (const Tensor& t : c.inputs) parts.push_back(t.dim() <= 1 ? reshape(t, Shape{t.numel(), 1}) : t);
    return {cat(parts, 1)};
  });
  op("view_as(input, other: mask)").expand([](const Call& c) -> TensorList {
    return {reshape(c.input(0), c.input(1).sizes())};
  });
  op("reshape_as(input, other: mask)").expand([](const Call& c) -> TensorList {
    return {reshape(c.input(0), c.input(1).sizes())};
  });
  op("ravel(input)").expand([](const Call& c) -> TensorList { return {reshape(c.input(0), Shape{-1})}; });
  op("adjoint(input)").expand([](const Call& c) -> TensorList { return {conj(transpose(c.input(0), -2, -1))}; });
  op("tensor_split(input, indices: int[], dim: int = 0) -> list").expand([](const Call& c) -> TensorList {
    int64_t d = wrap_dim(c.attr(1).to_int(), c.input(0).dim(), "tensor_split"), n = c.input(0).size(d), at = 0;
    auto inside = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
    TensorList out;
    for (int64_t end : c.attr(0).ints()) {
      out.push_back(slice(c.input(0), d, at, std::max(at, inside(end))));
      at = inside(end);
    }
    out.push_back(slice(c.input(0), d, at, n));
    return out;
  });
  op("unfold(input, dimension: int, size: int, step: int)").expand([](const Call& c) -> TensorList {
    // A number counts as a vector of one element, whose windows are one or none.
    bool vector = c.input(0).dim() == 0;
    Tensor x = vector ? reshape(c.input(0), Shape{1}) : c.input(0);
    int64_t d = wrap_dim(c.attr(0).to_int(), x.dim(), "unfold"), size = c.attr(1).to_int(), step = c.attr(2).to_int();
    SORUS_CHECK(size >= 0 && size <= x.size(d) && step > 0, Error,
                "unfold: windows of {} with a step of {} do not fit dimension {} of {}", size, step, d,
                to_string(x.sizes()));
    TensorList windows;
    for (int64_t i = 0; i + size <= x.size(d); i += step)
      windows.push_back(movedim(slice(x, d, i, i + size), Shape{d}, Shape{-1}));
    return {vector ? windows[0] : stack(windows, d)};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
