#include "sorus/run/access.h"

namespace sorus {
namespace {

struct Dims {
  Shape sizes, strides;
};

}  // namespace

std::optional<RowAccess> access_rows(const Geometry& g, const Shape& o, int64_t columns) {
  Shape strides = broadcast_strides(g.sizes, g.strides, o);
  RowAccess out;
  int64_t left = columns;
  bool first = true;
  size_t d = o.size();
  Dims rows;
  while (d-- > 0) {
    int64_t size = o[d], stride = strides[d];
    if (size == 1) continue;
    if (left > 1) {
      int64_t take = size;
      if (size > left) {
        if (size % left != 0) return std::nullopt;
        take = left;
      } else if (left % size != 0) {
        return std::nullopt;
      }
      // All of the columns must be walked with one stride.
      if (first) {
        out.inner = stride;
        first = false;
      } else if (stride != out.inner * (columns / left)) {
        return std::nullopt;
      }
      left /= take;
      if (take == size) continue;
      size /= take;
      stride *= take;
    }
    rows.sizes.push_back(size);
    rows.strides.push_back(stride);
  }
  if (left > 1) return std::nullopt;
  // Outermost first, runs merged.
  for (size_t i = rows.sizes.size(); i-- > 0;) {
    if (!out.rows.empty() && out.rows.back().stride == rows.strides[i] * rows.sizes[i]) {
      out.rows.back().size *= rows.sizes[i];
      out.rows.back().stride = rows.strides[i];
    } else {
      out.rows.push_back({rows.sizes[i], rows.strides[i]});
    }
  }
  return out;
}

bool is_linear(const Geometry& g, const Shape& o) {
  if (g.offset != 0) return false;
  Shape strides = broadcast_strides(g.sizes, g.strides, o);
  return is_contiguous(o, strides) && numel(g.sizes) == numel(o);
}

}  // namespace sorus
