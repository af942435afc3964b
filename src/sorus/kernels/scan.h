// Running sums, products, maxima and minima along one dimension of strided tensors.
#pragma once

#include <cstdint>
#include <span>

#include "sorus/kernels/strided.h"
#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

enum class ScanOp : uint8_t { sum, product, logsumexp };

/// `out_type` may be wider than `type` (PyTorch's cumsum of integers gives i64). Floating sums are kept in f64 (f32
/// for halves). `reverse` starts at the end, which is what gradients need.
void scan(ScanOp op, DType type, DType out_type, std::span<const int64_t> shape, int dim, const void* in,
          Strides in_strides, void* out, Strides out_strides, bool reverse = false);

/// Running maximum (or minimum) and the index of its last occurrence; NaN stays once met.
void scan_extremum(bool maximum, DType type, std::span<const int64_t> shape, int dim, const void* in,
                   Strides in_strides, void* values, Strides value_strides, int64_t* indices, Strides index_strides);

/// y[k] = b[k] + a[k] y[k - 1], and y = b at the start (at the end with `reverse`, where y[k + 1] is the one before).
void recurrence(DType type, std::span<const int64_t> shape, int dim, bool reverse, const void* a, Strides a_strides,
                const void* b, Strides b_strides, void* out, Strides out_strides);

}  // namespace sorus::kernels
