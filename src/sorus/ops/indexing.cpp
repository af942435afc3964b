// Reading and writing through arrays of indices, as x[rows, :, columns] does.
//
// `dims` says which dimension each array of indices stands for; the arrays broadcast to one shape. That shape takes
// the place of the indexed dimensions if they are neighbours, else it comes first (NumPy's rule).
#include <cstring>

#include "sorus/base/threads.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

struct Layout {
  Shape picked;     // what the arrays of indices broadcast to
  Shape rest;       // lengths of the other dimensions
  Shape rest_dims;  // and which they are
  Shape result;
  int64_t place = 0;  // where `picked` stands in the result
};

Layout layout_of(IntSpan sizes, const Shape& dims, std::span<const Shape> indices, std::string_view who) {
  Layout l;
  SORUS_CHECK(!dims.empty() && dims.size() == indices.size(), ValueError,
              "{}: {} dimensions for {} arrays of indices", who, dims.size(), indices.size());
  for (const Shape& s : indices) l.picked = broadcast_shapes(l.picked, s, who);
  bool neighbours = true;
  for (size_t i = 0; i < dims.size(); ++i) {
    SORUS_CHECK(dims[i] >= 0 && dims[i] < static_cast<int64_t>(sizes.size()), IndexError,
                "{}: there is no dimension {} in {}", who, dims[i], to_string(sizes));
    if (i > 0) {
      SORUS_CHECK(dims[i] > dims[i - 1], ValueError, "{}: dimensions must ascend, got {}", who, to_string(dims));
      neighbours = neighbours && dims[i] == dims[i - 1] + 1;
    }
  }
  for (int64_t d = 0; d < static_cast<int64_t>(sizes.size()); ++d) {
    if (std::find(dims.begin(), dims.end(), d) != dims.end()) continue;
    l.rest.push_back(sizes[static_cast<size_t>(d)]);
    l.rest_dims.push_back(d);
  }
  l.place = neighbours ? dims[0] : 0;
  l.result.assign(l.rest.begin(), l.rest.begin() + l.place);
  for (int64_t n : l.picked) l.result.push_back(n);
  for (size_t d = static_cast<size_t>(l.place); d < l.rest.size(); ++d) l.result.push_back(l.rest[d]);
  return l;
}

// Offsets of all elements of a shape, in row-major order.
std::vector<int64_t> offsets(const Shape& shape, const Shape& strides) {
  std::vector<int64_t> out{0};
  for (size_t d = 0; d < shape.size(); ++d) {
    std::vector<int64_t> next;
    next.reserve(out.size() * static_cast<size_t>(shape[d]));
    for (int64_t base : out)
      for (int64_t i = 0; i < shape[d]; ++i) next.push_back(base + i * strides[d]);
    out = std::move(next);
  }
  return out;
}

struct Paths {
  std::vector<int64_t> picked_in, picked_out, rest_in, rest_out;
};

// `whole`: the tensor that is indexed; `part`: one of the result's shape (strides may be 0).
Paths paths(const Tensor& whole, const Layout& l, const Shape& dims, TensorSpan indices, const Shape& part_strides,
            std::string_view who) {
  Paths p;
  p.picked_in.assign(static_cast<size_t>(numel(l.picked)), 0);
  for (size_t k = 0; k < dims.size(); ++k) {
    Tensor index = Tensor::empty(l.picked, DType::i64);
    copy_elements(index, indices[k]);
    int64_t n = whole.size(dims[k]), stride = whole.strides()[static_cast<size_t>(dims[k])];
    for (size_t i = 0; i < p.picked_in.size(); ++i) {
      int64_t at = index.data<int64_t>()[i];
      SORUS_CHECK(at >= -n && at < n, IndexError, "{}: index {} is out of range for dimension {} of size {}", who, at,
                  dims[k], n);
      p.picked_in[i] += (at < 0 ? at + n : at) * stride;
    }
  }
  size_t place = static_cast<size_t>(l.place);
  Shape picked_strides(part_strides.begin() + place, part_strides.begin() + place + l.picked.size());
  Shape rest_strides(part_strides.begin(), part_strides.begin() + place), whole_strides;
  for (size_t d = place + l.picked.size(); d < part_strides.size(); ++d) rest_strides.push_back(part_strides[d]);
  for (int64_t d : l.rest_dims) whole_strides.push_back(whole.strides()[static_cast<size_t>(d)]);
  p.picked_out = offsets(l.picked, picked_strides);
  p.rest_out = offsets(l.rest, rest_strides);
  p.rest_in = offsets(l.rest, whole_strides);
  return p;
}

template <size_t N>
void gather_elements(const Paths& p, const std::byte* from, std::byte* to) {
  int64_t rest = static_cast<int64_t>(p.rest_in.size());
  parallel_for(static_cast<int64_t>(p.picked_in.size()), std::max<int64_t>(16384 / std::max<int64_t>(rest, 1), 1),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i)
                   for (size_t r = 0; r < p.rest_in.size(); ++r)
                     std::memcpy(to + (p.picked_out[static_cast<size_t>(i)] + p.rest_out[r]) * int64_t{N},
                                 from + (p.picked_in[static_cast<size_t>(i)] + p.rest_in[r]) * int64_t{N}, N);
               });
}
void gather_elements(size_t size, const Paths& p, const void* from, void* to) {
  auto* f = static_cast<const std::byte*>(from);
  auto* t = static_cast<std::byte*>(to);
  switch (size) {
    case 1:
      return gather_elements<1>(p, f, t);
    case 2:
      return gather_elements<2>(p, f, t);
    case 4:
      return gather_elements<4>(p, f, t);
    case 8:
      return gather_elements<8>(p, f, t);
    default:
      return gather_elements<16>(p, f, t);
  }
}

// Writes one after the other, so that what repeats has a defined result.
template <class T, class Sum>
void put_elements(const Paths& p, T* whole, const T* part, bool accumulate) {
  for (size_t i = 0; i < p.picked_in.size(); ++i)
    for (size_t r = 0; r < p.rest_in.size(); ++r) {
      T& to = whole[p.picked_in[i] + p.rest_in[r]];
      const T& from = part[p.picked_out[i] + p.rest_out[r]];
      to = accumulate ? T(static_cast<Sum>(to) + static_cast<Sum>(from)) : from;
    }
}
void put_elements(DType t, const Paths& p, const Tensor& whole, const Tensor& part, bool add) {
  switch (t) {
    case DType::f64:
      return put_elements<double, double>(p, whole.data<double>(), part.data<double>(), add);
    case DType::f32:
      return put_elements<float, float>(p, whole.data<float>(), part.data<float>(), add);
    case DType::bf16:
      return put_elements<bfloat16, float>(p, whole.data<bfloat16>(), part.data<bfloat16>(), add);
    case DType::f16:
      return put_elements<float16, float>(p, whole.data<float16>(), part.data<float16>(), add);
    case DType::i64:
      return put_elements<int64_t, int64_t>(p, whole.data<int64_t>(), part.data<int64_t>(), add);
    case DType::i32:
      return put_elements<int32_t, int32_t>(p, whole.data<int32_t>(), part.data<int32_t>(), add);
    case DType::i16:
      return put_elements<int16_t, int16_t>(p, whole.data<int16_t>(), part.data<int16_t>(), add);
    case DType::i8:
      return put_elements<int8_t, int8_t>(p, whole.data<int8_t>(), part.data<int8_t>(), add);
    case DType::u8:
      return put_elements<uint8_t, uint8_t>(p, whole.data<uint8_t>(), part.data<uint8_t>(), add);
    case DType::boolean:
      return put_elements<bool, bool>(p, whole.data<bool>(), part.data<bool>(), add);
    case DType::c64: {
      using C = std::complex<float>;
      return put_elements<C, C>(p, whole.data<C>(), part.data<C>(), add);
    }
    case DType::c128: {
      using C = std::complex<double>;
      return put_elements<C, C>(p, whole.data<C>(), part.data<C>(), add);
    }
  }
}

Layout layout_of(const Tensor& whole, const Shape& dims, TensorSpan indices, std::string_view who) {
  std::vector<Shape> shapes;
  for (const Tensor& t : indices) shapes.push_back(t.sizes());
  return layout_of(whole.sizes(), dims, shapes, who);
}
/// The same by types, of a call whose inputs are the tensor, the indices, and `after` others.
Layout layout_of(const TypeCall& c, size_t after) {
  std::vector<Shape> shapes;
  for (size_t i = 1; i + after < c.inputs.size(); ++i) {
    const TensorType& t = *c.inputs[i];
    SORUS_CHECK(is_integral(t.dtype), IndexError, "{}: indices must be integers, not {}", c.op.name(), name(t.dtype));
    shapes.push_back(t.shape);
  }
  return layout_of(c.input(0).shape, c.attr(0).ints(), shapes, c.op.name());
}
TensorList list_of(std::span<const Tensor> inputs, size_t after) {
  return TensorList(inputs.begin() + 1, inputs.end() - static_cast<ptrdiff_t>(after));
}

const bool indexing = [] {
  op("index(input, dims: int[], indices: Tensor[])")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{c.input(0).dtype, layout_of(c, 0).result, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            TensorSpan indices = c.inputs.subspan(1);
            Layout l = layout_of(c.input(0), c.attr(0).ints(), indices, "index");
            Paths p = paths(c.input(0), l, c.attr(0).ints(), indices, out[0].strides(), "index");
            gather_elements(size_of(out[0].dtype()), p, c.input(0).data(), out[0].data());
          },
          true)
      .gradient(
          [](const GradCall& c) -> TensorList {
            TensorList grads(c.inputs.size());
            grads[0] = index_put(zeros(c.input(0).sizes(), c.grad().dtype()), c.attrs[0].ints(), list_of(c.inputs, 0),
                                 c.grad(), true);
            return grads;
          },
          "indices")
      .doc("Elements picked along `dims` by arrays of indices, as x[rows, :, columns] does.");
  op("index_put(input, dims: int[], indices: Tensor[], values: mask, accumulate: bool = false)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        Shape result = layout_of(c, 1).result;
        SORUS_CHECK(broadcast_shapes(result, c.inputs.back()->shape, "index_put") == result, ValueError,
                    "index_put: values of shape {} do not fit into {}", to_string(c.inputs.back()->shape),
                    to_string(result));
        return {{c.input(0).dtype, c.input(0).shape, false}};
      })
      .kernel(
          [](const Call& c, std::span<Tensor> out) {
            if (out[0].data() != c.input(0).data() || out[0].strides() != c.input(0).strides())
              copy_elements(out[0], c.input(0));
            TensorList indices = list_of(c.inputs, 1);
            Layout l = layout_of(c.input(0), c.attr(0).ints(), indices, "index_put");
            Tensor values = Tensor::empty(l.result, out[0].dtype());
            copy_elements(values, c.inputs.back());
            Paths p = paths(out[0], l, c.attr(0).ints(), indices, values.strides(), "index_put");
            put_elements(out[0].dtype(), p, out[0], values, c.attr(1).to_bool());
          },
          true)
      .gradient(
          [](const GradCall& c) -> TensorList {
            TensorList grads(c.inputs.size()), indices = list_of(c.inputs, 1);
            bool accumulate = c.attrs[1].to_bool();
            if (c.needs[0])
              grads[0] = accumulate ? c.grad()
                                    : index_put(c.grad(), c.attrs[0].ints(), indices,
                                                zeros(Shape{}, c.grad().dtype()), false);
            if (c.needs[c.inputs.size() - 1])
              grads.back() = sum_to_size(index(c.grad(), c.attrs[0].ints(), indices), c.inputs.back().sizes());
            return grads;
          },
          "indices")
      .doc("A copy of `input` in which what `index` would read is replaced by `values`, or has them added.");
  op("nonzero(input)")
      .types([](const TypeCall& c) -> std::vector<TensorType> {
        return {{DType::i64, Shape{0, static_cast<int64_t>(c.input(0).shape.size())}, false}};
      })
      .expand([](const Call& c) -> TensorList {
        const Tensor& x = c.input(0);
        Tensor flags = Tensor::empty(x.sizes(), DType::boolean);
        copy_elements(flags, x);
        const bool* f = flags.data<bool>();
        int64_t n = flags.numel(), rank = x.dim(), count = 0;
        for (int64_t i = 0; i < n; ++i) count += f[i];
        Tensor out = Tensor::empty({count, rank}, DType::i64);
        int64_t* to = out.data<int64_t>();
        for (int64_t i = 0; i < n; ++i) {
          if (!f[i]) continue;
          int64_t left = i;
          for (int64_t d = rank - 1; d >= 0; --d) {
            int64_t size = x.sizes()[static_cast<size_t>(d)];
            to[d] = left % size;
            left /= size;
          }
          to += rank;
        }
        return {out};
      })
      .not_differentiable()
      .value_shaped()
      .doc("The places of all elements that are not zero, one row each.");
  op("index_select(input, dim: int, index: mask)").expand([](const Call& c) -> TensorList {
    int64_t d = wrap_dim(c.attr(0).to_int(), c.input(0).dim(), "index_select");
    SORUS_CHECK(c.input(1).dim() <= 1, ValueError, "index_select: the index must have one dimension, its shape is {}",
                to_string(c.input(1).sizes()));
    Tensor places = reshape(c.input(1), Shape{-1});
    if (c.input(0).dim() == 0)
      return {reshape(index(reshape(c.input(0), Shape{1}), Shape{0}, TensorList{places}), Shape{})};
    return {index(c.input(0), Shape{d}, TensorList{places})};
  });
  op("index_add(input, dim: int, index: mask, source, *, alpha: scalar = 1)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    Tensor source = c.input(2);
    SORUS_CHECK(x.dtype() == source.dtype(), Error, "index_add: input is {} and source is {}; they must be the same",
                name(x.dtype()), name(source.dtype()));
    if (c.attr(1).scalar().to_complex() != 1.0) source = mul(source, Tensor::weak_scalar(c.attr(1).scalar()));
    if (x.dim() == 0) {
      Tensor one = reshape(x, Shape{1}), places = reshape(c.input(1), Shape{-1});
      return {reshape(index_put(one, Shape{0}, TensorList{places}, reshape(source, Shape{-1}), true), Shape{})};
    }
    int64_t d = wrap_dim(c.attr(0).to_int(), x.dim(), "index_add");
    return {index_put(x, Shape{d}, TensorList{reshape(c.input(1), Shape{-1})}, source, true)};
  });
  op("index_copy(input, dim: int, index: mask, source)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    int64_t d = wrap_dim(c.attr(0).to_int(), std::max<int64_t>(x.dim(), 1), "index_copy");
    if (x.dim() == 0) return {reshape(c.input(2), Shape{})};
    return {index_put(x, Shape{d}, TensorList{reshape(c.input(1), Shape{-1})}, c.input(2), false)};
  });
  op("index_fill(input, dim: int, index: mask, value)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    Tensor v = to(c.input(2), x.dtype());
    SORUS_CHECK(v.dim() == 0, Error, "index_fill: the value must be a single number, not {}", to_string(v.sizes()));
    if (x.dim() == 0) return {where(full(Shape{}, c.input(1).numel() > 0, DType::boolean), v, x)};
    int64_t d = wrap_dim(c.attr(0).to_int(), x.dim(), "index_fill");
    // By a mask, so that an index named twice counts once in the gradient of the value.
    Tensor chosen = index_put(zeros(Shape{x.sizes()[d]}, DType::boolean), Shape{0},
                              TensorList{reshape(c.input(1), Shape{-1})}, ones(Shape{}, DType::boolean), false);
    return {where(reshape(chosen, along_dim(x.dim(), d, x.size(d))), v, x)};
  });
  // As Python knows it: one index for each of the first dimensions; masks stand for the places where they are true.
  op("index_put.given(input, indices: Tensor[], values: mask, accumulate: bool = false)")
      .expand([](const Call& c) -> TensorList {
        Shape dims;
        TensorList places;
        for (size_t i = 1; i + 1 < c.inputs.size(); ++i) {
          const Tensor& t = c.inputs[i];
          if (t.dtype() != DType::boolean) {
            dims.push_back(static_cast<int64_t>(dims.size()));
            places.push_back(t);
            continue;
          }
          for (const Tensor& column : unbind(nonzero(t), 1)) {
            dims.push_back(static_cast<int64_t>(dims.size()));
            places.push_back(column);
          }
        }
        return {index_put(c.input(0), dims, places, c.inputs.back(), c.attr(0).to_bool())};
      });
  op("take_along_dim(input, indices: mask, dim: int? = none)").expand([](const Call& c) -> TensorList {
    if (c.attr(0).is_none()) return {gather(reshape(c.input(0), Shape{-1}), 0, reshape(c.input(1), Shape{-1}))};
    int64_t d = wrap_dim(c.attr(0).to_int(), c.input(0).dim(), "take_along_dim");
    Shape a = c.input(0).sizes(), b = c.input(1).sizes();
    SORUS_CHECK(a.size() == b.size(), Error, "take_along_dim: input {} and indices {} must have as many dimensions",
                to_string(a), to_string(b));
    int64_t n = a[static_cast<size_t>(d)], m = b[static_cast<size_t>(d)];
    a[static_cast<size_t>(d)] = b[static_cast<size_t>(d)] = 1;
    Shape both = broadcast_shapes(a, b, "take_along_dim"), wide = both;
    wide[static_cast<size_t>(d)] = n, both[static_cast<size_t>(d)] = m;
    return {gather(expand(c.input(0), wide), d, expand(c.input(1), both))};
  });
  op("argwhere(input)").expand([](const Call& c) -> TensorList { return {nonzero(c.input(0))}; });
  op("masked_scatter(input, mask: mask, source: mask)").expand([](const Call& c) -> TensorList {
    Shape both = broadcast_shapes(c.input(0).sizes(), c.input(1).sizes(), "masked_scatter");
    Tensor mask = reshape(expand(c.input(1), both), Shape{-1}), flat = reshape(c.input(2), Shape{-1});
    // The n-th place that is masked takes the n-th element.
    Tensor rank = clamp(sub(cumsum(mask, 0), Tensor::weak_scalar(1)), Scalar(int64_t{0}));
    SORUS_CHECK(is_tracing() || sum(mask).item().to_int() <= flat.numel(), Error,
                "masked_scatter: the source has {} elements, fewer than the mask asks for", flat.numel());
    if (flat.numel() == 0) return {expand(c.input(0), both)};
    Tensor taken = index(flat, Shape{0}, TensorList{clamp(rank, {}, Scalar(flat.numel() - 1))});
    return {where(reshape(mask, both), reshape(taken, both), expand(c.input(0), both))};
  });
  op("masked_select(input, mask: mask)").expand([](const Call& c) -> TensorList {
    Shape both = broadcast_shapes(c.input(0).sizes(), c.input(1).sizes(), "masked_select");
    Tensor x = reshape(expand(c.input(0), both), Shape{-1}),
           places = nonzero(reshape(expand(c.input(1), both), Shape{-1}));
    return {index(x, Shape{0}, TensorList{reshape(places, Shape{-1})})};
  });
  op("take(input, index: mask)").expand([](const Call& c) -> TensorList {
    return {index(reshape(c.input(0), Shape{-1}), Shape{0}, TensorList{c.input(1)})};
  });
  return true;
}();

}  // namespace
}  // namespace sorus
