// Reading and writing through indices that are data. All are deterministic: work is split between threads by
// destination, so the order of additions never depends on the number of threads.
//
// Indices are i64 or i32, may be negative (counted from the end, as in Python) and are checked: an index outside
// gives an IndexError that names the operator.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "sorus/kernels/strided.h"
#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

enum class ScatterMode : uint8_t { assign, add, multiply, maximum, minimum };

struct IndexTensor {
  const void* data = nullptr;
  DType type = DType::i64;
  Strides strides;
};

/// What is indexed is rows `start`, `start` + 1, ... of `whole` (-1: all there are): indices count in the whole, and
/// those of other rows are passed over. A shard of a table has it.
struct IndexWindow {
  int64_t whole = -1, start = 0;
};

/// Throws what the kernels below throw for an index outside of [-size, size). `index` is contiguous.
void check_indices(std::string_view who, const void* index, DType type, int64_t count, int64_t size);

/// out[i][j][k] = in[i][index[i][j][k]][k] for dim = 1. `shape` is that of index and out; `size` that of in along
/// dim. Outside of the window out is zero.
void gather(DType type, std::span<const int64_t> shape, int dim, const void* in, Strides in_strides, int64_t size,
            const IndexTensor& index, void* out, Strides out_strides, IndexWindow window = {});

/// out[i][index[i][j][k]][k] (op)= source[i][j][k]. `shape` is that of index; source has at least that.
void scatter(ScatterMode mode, DType type, std::span<const int64_t> shape, int dim, void* out, Strides out_strides,
             int64_t size, const IndexTensor& index, const void* source, Strides source_strides,
             IndexWindow window = {});

/// out[.., index[j], ..] (op)= alpha * source[.., j, ..] with a one-dimensional index along `dim`; `shape` is
/// source's.
void index_add(DType type, std::span<const int64_t> shape, int dim, void* out, Strides out_strides, int64_t size,
               const void* index, DType index_type, int64_t index_stride, const void* source, Strides source_strides,
               double alpha = 1, ScatterMode mode = ScatterMode::add);

/// out[i, :] = table[index[i], :] for `count` indices and rows of `width` contiguous elements, zeros
/// outside of the window.
void embedding(DType type, const void* table, int64_t rows, int64_t table_row, int64_t width, const void* index,
               DType index_type, int64_t count, void* out, int64_t out_row, IndexWindow window = {});

/// grad_table[index[i], :] += grad[i, :]. `grad_table` must hold zeros or a sum to add to; rows equal to `padding`
/// are skipped. `grad_type` may be a half type while the table's gradient is f32.
void embedding_backward(DType grad_type, DType table_type, void* grad_table, int64_t rows, int64_t table_row,
                        int64_t width, const void* index, DType index_type, int64_t count, const void* grad,
                        int64_t grad_row, int64_t padding = -1, IndexWindow window = {});

}  // namespace sorus::kernels
