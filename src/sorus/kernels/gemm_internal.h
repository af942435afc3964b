// What the files of gemm share; not for others.
#pragma once

#include <algorithm>

#include "sorus/base/threads.h"
#include "sorus/kernels/gemm.h"
#include "sorus/kernels/gemm_isa.h"

namespace sorus::kernels {

void gemm_plain(const GemmArgs& g);
bool gemm_own_supports(const GemmArgs& g);
void gemm_own(const GemmArgs& g);
bool gemm_onednn_supports(const GemmArgs& g);
bool gemm_amx_supports(const GemmArgs& g);
void gemm_amx(const GemmArgs& g);
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

/// Where one product of a batch lies.
struct BlockResult {
  const char *a, *b;
  char *c, *aux;
  int64_t batch;
};

/// What follows the sums of a block of C at (row, col): scale, bias, epilogue, and the store into C or the sink. The
/// sums may be changed; rows have room for whole vectors.
void finish_block(const GemmArgs& g, Arithmetic t, const BlockResult& out, char* sums, int64_t sums_row, int64_t row,
                  int64_t rows, int64_t col, int64_t cols);

/// Calls run(args, result, threaded) for every product of the batch: one after another, each with all threads, or,
/// where they are small, one on each thread. Rows that follow each other over a batch that shares B are just more
/// rows, so `args` may be larger than `g`.
template <class F>
void run_batches(const GemmArgs& g, F&& run) {
  int64_t batches = 1;
  for (int d = 0; d < g.batch_dims; ++d) batches *= g.batch[d];
  if (g.m == 0 || g.n == 0 || batches == 0) return;
  if (g.batch_dims == 1 && g.b_batch[0] == 0 && !g.sink.store && g.a_batch[0] == g.m * g.a_row &&
      g.c_batch[0] == g.m * g.c_row) {
    GemmArgs flat = g;
    flat.batch_dims = 0, flat.m = g.m * g.batch[0];
    return run_batches(flat, run);
  }
  double flops = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  bool nested = detail::inside_parallel() || num_threads() == 1;
  bool by_batch = !nested && batches >= num_threads() && flops < 1e8;
  auto one = [&](int64_t i, int64_t a, int64_t b, int64_t c, bool threaded) {
    int64_t size = static_cast<int64_t>(size_of(g.type)), out_size = static_cast<int64_t>(size_of(g.out_type));
    run(g,
        BlockResult{static_cast<const char*>(g.a) + a * size, static_cast<const char*>(g.b) + b * size,
                    g.c ? static_cast<char*>(g.c) + c * out_size : nullptr,
                    g.aux ? static_cast<char*>(g.aux) + c * out_size : nullptr, i},
        threaded);
  };
  if (!by_batch) {
    for_each_batch(g, [&](int64_t i, int64_t a, int64_t b, int64_t c) { one(i, a, b, c, !nested && flops > 1e6); });
    return;
  }
  parallel_for(batches, 1, [&](int64_t begin, int64_t end) {
    for_each_batch(g, [&](int64_t i, int64_t a, int64_t b, int64_t c) {
      if (i >= begin && i < end) one(i, a, b, c, false);
    });
  });
}

}  // namespace sorus::kernels
