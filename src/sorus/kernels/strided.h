// Walking all lines of a strided tensor along one dimension: the common part of sort, scan and scatter.
//
// A `Lines` names the tensor's shape and the dimension; `for_each_line` splits the other dimensions between threads
// and calls `f(offsets)` with one element offset for each of the tensors, whose strides were given in the same order.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "sorus/base/error.h"
#include "sorus/base/threads.h"

namespace sorus::kernels {

inline constexpr int kMaxRank = 16;

/// A tensor of which only the strides matter here; `shape` is shared by all tensors of a call.
using Strides = std::span<const int64_t>;

template <size_t N, class F>
void for_each_line(std::span<const int64_t> shape, int dim, const std::array<Strides, N>& strides, F&& f) {
  SORUS_ASSERT(shape.size() <= kMaxRank);
  int rank = static_cast<int>(shape.size());
  int64_t lines = 1;
  for (int d = 0; d < rank; ++d)
    if (d != dim) lines *= shape[static_cast<size_t>(d)];
  if (lines == 0) return;
  int64_t length = rank ? shape[static_cast<size_t>(dim)] : 1;
  int64_t grain = std::max<int64_t>(1, 8192 / std::max<int64_t>(1, length));
  parallel_for(lines, grain, [&](int64_t begin, int64_t end) {
    int64_t index[kMaxRank] = {};
    std::array<int64_t, N> offset{};
    int64_t rest = begin;
    for (int d = rank - 1; d >= 0; --d) {
      if (d == dim) continue;
      size_t s = static_cast<size_t>(d);
      index[d] = rest % shape[s];
      rest /= shape[s];
      for (size_t t = 0; t < N; ++t) offset[t] += index[d] * strides[t][s];
    }
    for (int64_t line = begin; line < end; ++line) {
      f(offset);
      for (int d = rank - 1; d >= 0; --d) {
        if (d == dim) continue;
        size_t s = static_cast<size_t>(d);
        for (size_t t = 0; t < N; ++t) offset[t] += strides[t][s];
        if (++index[d] < shape[s]) break;
        for (size_t t = 0; t < N; ++t) offset[t] -= shape[s] * strides[t][s];
        index[d] = 0;
      }
    }
  });
}

}  // namespace sorus::kernels
