// The inner loops of the own matrix products and of attention, compiled once for each instruction set from
// gemm_body.h and attention_body.h and reached through a table of functions.
//
// A step is what one multiply-add instruction consumes along k: one number, or a pair of bf16 for dot products.
// Packed forms, for `mr` rows of A and a panel of `panel` columns of B:
//   A, k-major:   [step][row]                     when A's columns are contiguous
//   A, row-major: [steps / 64][row][64]           when A's rows are; all offsets are constants either way
//   B:            [step][column]
#pragma once

#include <cstdint>

#include "sorus/kernels/attention.h"
#include "sorus/kernels/gemm.h"

namespace sorus::kernels {

enum class Arithmetic : uint8_t { f32, f64, bf16_dot };
inline constexpr int64_t kChunk = 64;  ///< steps of A, row-major, that lie together
inline constexpr int kMaxRows = 14, kMaxPanel = 64;

/// What happens to a finished tile of sums, in f32 or f64.
struct Finish {
  DType out_type;
  double alpha, beta;
  const void* bias;  ///< at the tile's first column, or null
  DType bias_type;
  Epilogue epilogue;
  char* c;    ///< at the tile's first element
  char* aux;  ///< same, or null
  int64_t c_row;
};

inline constexpr int kAttentionQueries = 64;  ///< a block of queries
/// The query blocks [first, last) of one key/value head, counted through the query heads that share it.
struct AttentionTask {
  int64_t batch, kv_head, first, last;
  float* partial = nullptr;  ///< backward: room for the gradients of K and V, when other tasks add to them too
};

struct GemmIsa {
  const char* name;
  bool bf16_dot;
  int rows;          ///< largest tile
  int vector_bytes;  ///< a panel is `vectors` of them
  int vectors;

  int64_t panel(Arithmetic t) const { return int64_t{vectors} * vector_bytes / (t == Arithmetic::f64 ? 8 : 4); }

  /// Steps [0, steps) of `rows` rows; `k` numbers exist along k, the rest is zero.
  void (*pack_a)(Arithmetic, DType, const void* a, int64_t a_row, int64_t a_col, int64_t rows, int64_t k, void* to,
                 bool k_major);
  /// One panel: `cols` columns exist, the rest is zero.
  void (*pack_b)(Arithmetic, DType, const void* b, int64_t b_row, int64_t b_col, int64_t cols, int64_t k, void* to);
  /// C tile of `rows` x panel (+)= A B.
  void (*tile)(Arithmetic, bool k_major, int64_t rows, const void* a, const void* b, int64_t steps, void* c,
               int64_t c_row, bool accumulate);
  void (*finish)(const Finish&, Arithmetic, const void* tile, int64_t tile_row, int64_t rows, int64_t cols);

  /// Small products without packing or threads, sums into `tile` (row stride n): B's rows contiguous, or its columns.
  void (*small_f32)(const float* a, int64_t a_row, int64_t a_col, const float* b, int64_t b_row, int64_t b_col,
                    int64_t m, int64_t n, int64_t k, float* c, int64_t c_row, bool accumulate);
  void (*small_f64)(const double* a, int64_t a_row, int64_t a_col, const double* b, int64_t b_row, int64_t b_col,
                    int64_t m, int64_t n, int64_t k, double* c, int64_t c_row, bool accumulate);

  /// Attention, see attention_body.h; `memory` has attention_scratch(args, backward) bytes and belongs to the thread.
  int64_t (*attention_scratch)(const AttentionArgs&, bool backward);
  void (*attention_forward)(const AttentionArgs&, const AttentionTask&, void* memory);
  void (*attention_backward)(const AttentionArgs&, const AttentionGradArgs&, const AttentionTask&, void* memory);
  int64_t (*attention_partial)(const AttentionArgs&);  ///< floats of AttentionTask::partial
  /// Gradients of keys [first, last): the sum of `count` partial ones, which lie one after another and are changed.
  void (*attention_join)(const AttentionArgs&, const AttentionGradArgs&, int64_t batch, int64_t kv_head,
                         int64_t first, int64_t last, float* partials, int64_t count);
};

const GemmIsa* gemm_isa_avx512();  ///< null if not compiled in
const GemmIsa* gemm_isa_avx512_bf16();
const GemmIsa* gemm_isa_avx2();
const GemmIsa* gemm_isa_portable();
const GemmIsa& gemm_isa();  ///< the best for this machine

// ---- Tiles (AMX), for blocks of attention ----

bool gemm_amx_available();  ///< the processor has tiles for bf16, and the kernel lets us use them

/// Tiles are configured for the calling thread while it lives, if there are any.
class TilesInUse {
 public:
  TilesInUse();
  ~TilesInUse();
  TilesInUse(const TilesInUse&) = delete;
  TilesInUse& operator=(const TilesInUse&) = delete;
};

inline constexpr int64_t kTileSide = 16;  ///< rows of a tile, and words in each

/// C[rows, cols] (+)= A[rows, steps] B[steps, cols]: words that are pairs of bf16 along the steps, all counts
/// multiples of kTileSide. With `from_diagonal`, row i of A is zero before step i / 2, with `to_diagonal` after it.
struct TilesProduct {
  const uint32_t* a;
  int64_t a_row;
  const uint32_t* b;
  int64_t b_row, rows, cols, steps;
  float* c;
  int64_t c_row;
  bool add, from_diagonal = false, to_diagonal = false;
};
void tiles_product(const TilesProduct& p);  ///< while TilesInUse lives

/// to[j, i] = from[i, j] for words; counts are multiples of kTileSide.
void tiles_turn(const uint32_t* from, int64_t from_row, int64_t rows, int64_t cols, uint32_t* to, int64_t to_row);

inline int64_t group_of(Arithmetic t) { return t == Arithmetic::bf16_dot ? 2 : 1; }
inline int64_t step_bytes(Arithmetic t) { return t == Arithmetic::f64 ? 8 : 4; }

}  // namespace sorus::kernels
