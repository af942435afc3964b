#include "sorus/tensor/shape.h"

#include <fmt/ranges.h>

#include <numeric>

#include "sorus/base/error.h"

namespace sorus {

int64_t numel(IntSpan shape) {
  int64_t n = 1;
  bool overflow = false, zero = false;
  for (int64_t s : shape) {
    zero |= s == 0;
    overflow |= __builtin_mul_overflow(n, s, &n);
  }
  if (zero) return 0;
  SORUS_CHECK(!overflow, ValueError, "a tensor of shape {} has more elements than an int64 can count",
              to_string(shape));
  return n;
}

Shape contiguous_strides(IntSpan shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

bool is_contiguous(IntSpan shape, IntSpan strides) {
  int64_t expected = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

std::string to_string(IntSpan shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Shape broadcast_shapes(IntSpan a, IntSpan b, std::string_view what) {
  if (a.size() < b.size()) std::swap(a, b);
  Shape out(a);
  size_t lead = a.size() - b.size();
  for (size_t i = 0; i < b.size(); ++i) {
    int64_t& o = out[lead + i];
    if (o == b[i]) continue;
    SORUS_CHECK(o == 1 || b[i] == 1, ValueError, "{}: shapes {} and {} cannot be broadcast together", what,
                to_string(a), to_string(b));
    if (o == 1) o = b[i];
  }
  return out;
}

Shape broadcast_strides(IntSpan shape, IntSpan strides, IntSpan target) {
  Shape out(target.size(), 0);
  size_t lead = target.size() - shape.size();
  for (size_t i = 0; i < shape.size(); ++i) out[lead + i] = shape[i] == 1 && target[lead + i] != 1 ? 0 : strides[i];
  return out;
}

Shape along_dim(int64_t rank, int64_t dim, int64_t size) {
  Shape shape(static_cast<size_t>(rank), 1);
  shape[static_cast<size_t>(dim)] = size;
  return shape;
}

int64_t wrap_dim(int64_t dim, int64_t rank, std::string_view what) {
  int64_t bound = std::max<int64_t>(rank, 1);
  SORUS_CHECK(dim >= -bound && dim < bound, IndexError,
              "{}: dimension {} is out of range for a tensor of {} dimensions", what, dim, rank);
  return dim < 0 ? dim + bound : dim;
}

std::optional<Shape> reshape_strides(IntSpan shape, IntSpan strides, IntSpan target) {
  if (shape.empty() || numel(shape) == 0) return contiguous_strides(target);
  Shape out(target.size(), 1);
  // Walk both shapes from the back; every run of old dimensions that lies evenly in memory becomes some new ones.
  int64_t to = static_cast<int64_t>(target.size()) - 1;
  int64_t run = 1, base = shape.empty() ? 1 : strides[shape.size() - 1];
  for (int64_t from = static_cast<int64_t>(shape.size()) - 1; from >= 0; --from) {
    run *= shape[from];
    bool ends = from == 0 || (shape[from - 1] != 1 && strides[from - 1] != run * base);
    if (!ends) continue;
    int64_t covered = 1;
    while (to >= 0 && (covered < run || target[to] == 1)) {
      out[to] = covered * base;
      covered *= target[to--];
    }
    if (covered != run) return std::nullopt;
    if (from > 0) base = strides[from - 1];
    run = 1;
  }
  return to < 0 ? std::optional(out) : std::nullopt;
}

Shape infer_reshape(int64_t count, IntSpan target, std::string_view what) {
  Shape out(target);
  int64_t known = 1, unknown = -1;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i] == -1) {
      SORUS_CHECK(unknown < 0, ValueError, "{}: only one size of {} may be -1", what, to_string(target));
      unknown = static_cast<int64_t>(i);
    } else {
      SORUS_CHECK(out[i] >= 0, ValueError, "{}: sizes of {} must not be negative", what, to_string(target));
      known *= out[i];
    }
  }
  if (unknown >= 0) {
    SORUS_CHECK(known > 0 && count % known == 0, ValueError, "{}: {} elements do not fill the shape {}", what, count,
                to_string(target));
    out[unknown] = count / known;
  }
  SORUS_CHECK(numel(out) == count, ValueError, "{}: {} elements do not fill the shape {}", what, count,
              to_string(target));
  return out;
}

bool may_overlap(IntSpan shape, IntSpan strides) {
  struct Dim {
    int64_t stride, size;
  };
  SmallVector<Dim, 6> dims;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return false;
    if (shape[i] > 1) dims.push_back({std::abs(strides[i]), shape[i]});
  }
  std::sort(dims.begin(), dims.end(), [](Dim a, Dim b) { return a.stride < b.stride; });
  int64_t reach = 0;  // the furthest element the smaller strides get to
  for (auto [stride, size] : dims) {
    if (stride <= reach) return true;
    reach += stride * (size - 1);
  }
  return false;
}

}  // namespace sorus
