// Stable sort, argsort and top-k along one dimension of strided tensors. NaN counts as the largest value, as in
// PyTorch: last when ascending, first when descending. Complex numbers have no order and are refused.
#pragma once

#include <cstdint>
#include <span>

#include "sorus/kernels/strided.h"
#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

/// `values` may be null (argsort), and so may `indices`. Strides are in elements; a 0-dimensional tensor has dim 0.
void sort(DType type, std::span<const int64_t> shape, int dim, const void* in, Strides in_strides, void* values,
          Strides value_strides, int64_t* indices, Strides index_strides, bool descending);

/// The `k` largest (or smallest) along `dim`, in order, ties by position. Outputs have k in place of shape[dim].
void topk(DType type, std::span<const int64_t> shape, int dim, int64_t k, bool largest, const void* in,
          Strides in_strides, void* values, Strides value_strides, int64_t* indices, Strides index_strides);

}  // namespace sorus::kernels
