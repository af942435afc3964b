// What the files of gemm share; not for others.
#pragma once

#include <algorithm>

#include "sorus/kernels/gemm.h"

namespace sorus::kernels {

void gemm_plain(const GemmArgs& g);
bool gemm_own_supports(const GemmArgs& g);
void gemm_own(const GemmArgs& g);
bool gemm_onednn_supports(const GemmArgs& g);
bool gemm_onednn_preferred(DType type);      ///< where oneDNN has instructions that the own kernels lack: AMX
bool gemm_onednn_direct(const GemmArgs& g);  ///< without a second pass over the result
void gemm_onednn(const GemmArgs& g);
void gemm_small(const GemmArgs& g);

/// Calls f(index, a_offset, b_offset, c_offset) for every batch, offsets in elements.
template <class F>
void for_each_batch(const GemmArgs& g, F&& f) {
  int64_t count = 1;
  for (int d = 0; d < g.batch_dims; ++d) count *= g.batch[d];
  int64_t at[GemmArgs::kMaxBatch] = {}, a = 0, b = 0, c = 0;
  for (int64_t i = 0; i < count; ++i) {
    f(i, a, b, c);
    for (int d = g.batch_dims - 1; d >= 0; --d) {
      a += g.a_batch[d], b += g.b_batch[d], c += g.c_batch[d];
      if (++at[d] < g.batch[d]) break;
      a -= g.batch[d] * g.a_batch[d], b -= g.batch[d] * g.b_batch[d], c -= g.batch[d] * g.c_batch[d];
      at[d] = 0;
    }
  }
}

}  // namespace sorus::kernels
