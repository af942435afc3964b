// Operators that show memory in another shape: nothing is computed, the result shares its input's elements.
//
// Each entry is a rule from geometry to geometry and a gradient written with the others. In a recorded graph these
// are ordinary nodes on values; whoever executes the graph decides whether a view costs nothing or a copy.
#include <algorithm>

#include "sorus/ops.h"

namespace sorus {
namespace {

using View = std::optional<Geometry>;

int64_t rank(const TypeCall& c) { return static_cast<int64_t>(c.input(0).shape.size()); }

Shape wrapped(const Shape& dims, int64_t rank, std::string_view what) {
  Shape out(dims);
  for (int64_t& d : out) d = wrap_dim(d, rank, what);
  Shape sorted(out);
  std::sort(sorted.begin(), sorted.end());
  SORUS_CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), ValueError,
              "{}: a dimension occurs twice in {}", what, to_string(dims));
  return out;
}

View reshape_view(const TypeCall& c, const Geometry& in) {
  Shape target = infer_reshape(numel(in.sizes), c.attr(0).ints(), c.op.name());
  auto strides = reshape_strides(in.sizes, in.strides, target);
  if (!strides) return std::nullopt;
  return Geometry{target, *strides, in.offset};
}

View permute_view(const TypeCall& c, const Geometry& in) {
  const Shape& dims = c.attr(0).ints();
  SORUS_CHECK(static_cast<int64_t>(dims.size()) == rank(c), ValueError,
              "permute: {} dimensions were named, the tensor {} has {}", dims.size(), to_string(in.sizes), rank(c));
  Geometry out{{}, {}, in.offset};
  for (int64_t d : wrapped(dims, rank(c), "permute")) {
    out.sizes.push_back(in.sizes[d]);
    out.strides.push_back(in.strides[d]);
  }
  return out;
}

View transpose_view(const TypeCall& c, const Geometry& in) {
  int64_t a = wrap_dim(c.attr(0).to_int(), rank(c), "transpose"),
          b = wrap_dim(c.attr(1).to_int(), rank(c), "transpose");
  Geometry out = in;
  if (rank(c) == 0) return out;
  std::swap(out.sizes[a], out.sizes[b]);
  std::swap(out.strides[a], out.strides[b]);
  return out;
}

View expand_view(const TypeCall& c, const Geometry& in) {
  Shape target = c.attr(0).ints();
  SORUS_CHECK(target.size() >= in.sizes.size(), ValueError, "expand: {} has fewer dimensions than the tensor {}",
              to_string(target), to_string(in.sizes));
  size_t lead = target.size() - in.sizes.size();
  for (size_t i = 0; i < target.size(); ++i) {
    if (target[i] == -1) {
      SORUS_CHECK(i >= lead, ValueError, "expand: -1 cannot stand for a new dimension in {}", to_string(target));
      target[i] = in.sizes[i - lead];
    }
    SORUS_CHECK(i < lead || in.sizes[i - lead] == target[i] || in.sizes[i - lead] == 1, ValueError,
                "expand: the tensor {} cannot be expanded to {}", to_string(in.sizes), to_string(target));
  }
  return Geometry{target, broadcast_strides(in.sizes, in.strides, target), in.offset};
}

View unsqueeze_view(const TypeCall& c, const Geometry& in) {
  int64_t d = wrap_dim(c.attr(0).to_int(), rank(c) + 1, "unsqueeze");
  Geometry out = in;
  int64_t stride = d < rank(c) ? in.sizes[d] * in.strides[d] : 1;
  out.sizes.insert(out.sizes.begin() + d, 1);
  out.strides.insert(out.strides.begin() + d, stride);
  return out;
}

View squeeze_view(const TypeCall& c, const Geometry& in) {
  Shape dims;
  if (c.attr(0).is_none())
    for (int64_t d = 0; d < rank(c); ++d) dims.push_back(d);
  else
    dims = wrapped(c.attr(0).ints(), rank(c), "squeeze");
  Geometry out{{}, {}, in.offset};
  for (int64_t d = 0; d < rank(c); ++d) {
    bool named = std::find(dims.begin(), dims.end(), d) != dims.end();
    if (named && in.sizes[d] == 1) continue;
    out.sizes.push_back(in.sizes[d]);
    out.strides.push_back(in.strides[d]);
  }
  return out;
}

// Python's slice: start and end are clamped, negative ones count from the end.
struct Range {
  int64_t start, length, step;
};
Range slice_range(const Attrs& attrs, int64_t size) {
  int64_t step = attrs[3].to_int();
  SORUS_CHECK(step > 0, ValueError, "slice: the step must be positive, it is {}", step);
  auto clamp = [&](const Attr& a, int64_t none) {
    int64_t v = a.is_none() ? none : a.to_int();
    return std::clamp<int64_t>(v < 0 ? v + size : v, 0, size);
  };
  int64_t start = clamp(attrs[1], 0), end = clamp(attrs[2], size);
  return {start, end > start ? (end - start + step - 1) / step : 0, step};
}

View slice_view(const TypeCall& c, const Geometry& in) {
  int64_t d = wrap_dim(c.attr(0).to_int(), rank(c), "slice");
  SORUS_CHECK(rank(c) > 0, IndexError, "slice: a tensor without dimensions cannot be sliced");
  Range r = slice_range(c.attrs, in.sizes[d]);
  Geometry out = in;
  out.offset += r.start * in.strides[d];
  out.sizes[d] = r.length;
  out.strides[d] *= r.step;
  return out;
}

View select_view(const TypeCall& c, const Geometry& in) {
  SORUS_CHECK(rank(c) > 0, IndexError, "select: a tensor without dimensions has no elements to select");
  int64_t d = wrap_dim(c.attr(0).to_int(), rank(c), "select"), i = c.attr(1).to_int();
  SORUS_CHECK(i >= -in.sizes[d] && i < in.sizes[d], IndexError,
              "index {} is out of range for dimension {} of size {}", i, d, in.sizes[d]);
  Geometry out = in;
  out.offset += (i < 0 ? i + in.sizes[d] : i) * in.strides[d];
  out.sizes.erase(out.sizes.begin() + d);
  out.strides.erase(out.strides.begin() + d);
  return out;
}

View diagonal_view(const TypeCall& c, const Geometry& in) {
  int64_t offset = c.attr(0).to_int(), a = wrap_dim(c.attr(1).to_int(), rank(c), "diagonal"),
          b = wrap_dim(c.attr(2).to_int(), rank(c), "diagonal");
  SORUS_CHECK(a != b && rank(c) >= 2, ValueError, "diagonal: two different dimensions are needed");
  Geometry out{{}, {}, in.offset};
  int64_t length =
      offset >= 0 ? std::min(in.sizes[a], in.sizes[b] - offset) : std::min(in.sizes[a] + offset, in.sizes[b]);
  length = std::max<int64_t>(length, 0);
  if (length > 0) out.offset += offset >= 0 ? offset * in.strides[b] : -offset * in.strides[a];
  for (int64_t d = 0; d < rank(c); ++d) {
    if (d == a || d == b) continue;
    out.sizes.push_back(in.sizes[d]);
    out.strides.push_back(in.strides[d]);
  }
  out.sizes.push_back(length);
  out.strides.push_back(in.strides[a] + in.strides[b]);
  return out;
}

TensorList reshape_gradient(const GradCall& c) { return {reshape(c.grad(), c.input(0).sizes())}; }

const bool views = [] {
  op("reshape(input, shape: int[])").view(reshape_view).axes("; sized by shape").gradient(reshape_gradient);
  op("squeeze(input, dim: int[]? = none)").view(squeeze_view).gradient(reshape_gradient);
  op("unsqueeze(input, dim: int)").view(unsqueeze_view).gradient(reshape_gradient);
  op("permute(input, dims: int[])").view(permute_view).gradient([](const GradCall& c) -> TensorList {
    Shape dims = wrapped(c.attrs[0].ints(), c.input(0).dim(), "permute"), inverse(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) inverse[dims[i]] = static_cast<int64_t>(i);
    return {permute(c.grad(), inverse)};
  });
  op("transpose(input, dim0: int, dim1: int)").view(transpose_view).gradient([](const GradCall& c) -> TensorList {
    return {transpose(c.grad(), c.attrs[0].to_int(), c.attrs[1].to_int())};
  });
  op("expand(input, size: int[])")
      .view(expand_view)
      .axes("; sized by size")
      .gradient([](const GradCall& c) -> TensorList { return {sum_to_size(c.grad(), c.input(0).sizes())}; });
  op("slice(input, dim: int = 0, start: int? = none, end: int? = none, step: int = 1)")
      .view(slice_view)
      .gradient([](const GradCall& c) -> TensorList {
        const Tensor& x = c.input(0);
        int64_t d = wrap_dim(c.attrs[0].to_int(), x.dim(), "slice");
        Range r = slice_range(c.attrs, x.sizes()[d]);
        return {slice_backward(c.grad(), x.sizes(), d, r.start, r.step)};
      });
  op("select(input, dim: int, index: int)").view(select_view).gradient([](const GradCall& c) -> TensorList {
    const Tensor& x = c.input(0);
    int64_t d = wrap_dim(c.attrs[0].to_int(), x.dim(), "select"), i = c.attrs[1].to_int();
    return {slice_backward(unsqueeze(c.grad(), d), x.sizes(), d, i < 0 ? i + x.sizes()[d] : i, 1)};
  });
  op("diagonal(input, offset: int = 0, dim1: int = 0, dim2: int = 1)")
      .view(diagonal_view)
      .gradient([](const GradCall& c) -> TensorList {
        Tensor zero = zeros(c.input(0).sizes(), c.grad().dtype());
        Tensor flat = diagonal(zero, c.attrs[0].to_int(), c.attrs[1].to_int(), c.attrs[2].to_int());
        Geometry g = flat.geometry();
        return {as_strided_scatter(zero, c.grad(), g.sizes, g.strides, g.offset)};
      });
  op("as_strided(input, size: int[], stride: int[], storage_offset: int = 0)")
      .view([](const TypeCall& c, const Geometry& in) -> View {
        if (!is_contiguous(in.sizes, in.strides)) return std::nullopt;
        return Geometry{c.attr(0).ints(), c.attr(1).ints(), in.offset + c.attr(2).to_int()};
      })
      .axes("input[a..!] -> output[b..!]")
      .gradient([](const GradCall& c) -> TensorList {
        return {as_strided_backward(c.grad(), c.input(0).sizes(), c.attrs[0].ints(), c.attrs[1].ints(),
                                    c.attrs[2].to_int())};
      });
  return true;
}();

// Convenience that never appears in graphs.
const bool shorthands = [] {
  op("view(input, shape: int[])").expand([](const Call& c) -> TensorList {
    return {reshape(c.input(0), c.attr(0).ints())};
  });
  op("flatten(input, start_dim: int = 0, end_dim: int = -1)").expand([](const Call& c) -> TensorList {
    const Shape& s = c.input(0).sizes();
    int64_t n = c.input(0).dim(), a = wrap_dim(c.attr(0).to_int(), n, "flatten"),
            b = wrap_dim(c.attr(1).to_int(), n, "flatten");
    SORUS_CHECK(a <= b, ValueError, "flatten: start_dim {} comes after end_dim {}", a, b);
    if (n == 0) return {reshape(c.input(0), Shape{1})};
    Shape out(s.begin(), s.begin() + a);
    out.push_back(numel(IntSpan(s).subspan(static_cast<size_t>(a), static_cast<size_t>(b - a + 1))));
    for (int64_t d = b + 1; d < n; ++d) out.push_back(s[d]);
    return {reshape(c.input(0), out)};
  });
  op("unflatten(input, dim: int, sizes: int[])").expand([](const Call& c) -> TensorList {
    const Shape& s = c.input(0).sizes();
    int64_t d = wrap_dim(c.attr(0).to_int(), c.input(0).dim(), "unflatten");
    Shape out(s.begin(), s.begin() + d);
    for (int64_t n : infer_reshape(s[d], c.attr(1).ints(), "unflatten")) out.push_back(n);
    for (size_t i = d + 1; i < s.size(); ++i) out.push_back(s[i]);
    return {reshape(c.input(0), out)};
  });
  op("t(input)").expand([](const Call& c) -> TensorList {
    SORUS_CHECK(c.input(0).dim() <= 2, ValueError, "t: expected at most 2 dimensions, got {}",
                to_string(c.input(0).sizes()));
    return {c.input(0).dim() < 2 ? c.input(0) : transpose(c.input(0), 0, 1)};
  });
  op("narrow(input, dim: int, start: int, length: int)").expand([](const Call& c) -> TensorList {
    const Tensor& x = c.input(0);
    SORUS_CHECK(x.dim() > 0, IndexError, "narrow: a tensor without dimensions cannot be narrowed");
    int64_t d = wrap_dim(c.attr(0).to_int(), x.dim(), "narrow"), size = x.size(d), length = c.attr(2).to_int();
    int64_t start = c.attr(1).to_int() < 0 ? c.attr(1).to_int() + size : c.attr(1).to_int();
    SORUS_CHECK(start >= 0 && start <= size, IndexError,
                "narrow: start {} is out of range for dimension {} of size {}", c.attr(1).to_int(), d, size);
    SORUS_CHECK(length >= 0 && length <= size - start, ValueError,
                "narrow: {} elements from {} on reach beyond dimension {} of size {}", length, start, d, size);
    return {slice(x, d, start, start + length)};
  });
  op("expand_as(input, other: mask)").expand([](const Call& c) -> TensorList {
    return {expand(c.input(0), c.input(1).sizes())};
  });
  op("split(input, split_size: int[], dim: int = 0) -> list").expand([](const Call& c) -> TensorList {
    int64_t d = wrap_dim(c.attr(1).to_int(), c.input(0).dim(), "split"), size = c.input(0).size(d), at = 0;
    const Shape& asked = c.attr(0).ints();
    TensorList out;
    if (asked.size() == 1) {  // one number: pieces of that size, the last may be smaller
      SORUS_CHECK(asked[0] > 0, ValueError, "split: the size of a piece must be positive, it is {}", asked[0]);
      do {
        out.push_back(slice(c.input(0), d, at, std::min(at + asked[0], size)));
        at += asked[0];
      } while (at < size);
      return out;
    }
    for (int64_t n : asked) {
      SORUS_CHECK(n >= 0 && n <= size - at, ValueError, "split: the pieces {} do not add up to {}", to_string(asked),
                  size);
      out.push_back(slice(c.input(0), d, at, at + n));
      at += n;
    }
    SORUS_CHECK(at == size, ValueError, "split: the pieces {} do not add up to {}", to_string(asked), size);
    return out;
  });
  op("chunk(input, chunks: int, dim: int = 0) -> list").expand([](const Call& c) -> TensorList {
    int64_t n = c.attr(0).to_int(), d = c.attr(1).to_int();
    SORUS_CHECK(n > 0, ValueError, "chunk: expected at least one chunk, got {}", n);
    int64_t size = c.input(0).size(d);
    return split(c.input(0), Shape{std::max<int64_t>((size + n - 1) / n, 1)}, d);
  });
  op("unbind(input, dim: int = 0) -> list").expand([](const Call& c) -> TensorList {
    TensorList out;
    int64_t d = c.attr(0).to_int();
    for (int64_t i = 0; i < c.input(0).size(d); ++i) out.push_back(select(c.input(0), d, i));
    return out;
  });
  return true;
}();

}  // namespace
}  // namespace sorus
