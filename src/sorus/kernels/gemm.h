// Matrix products, the kernel in which a training step spends most of its time.
//
//   C[m, n] = epilogue(alpha * sum(k) A[m, k] * B[k, n] + beta * C[m, n] + bias[n])
//
// for any strides of A and B (so transposed operands cost nothing to describe), any batch dimensions (stride 0
// broadcasts), and all element types. `gemm` looks at the shape and picks among: own micro-kernels without threads
// for tiny sizes, own packed kernels (AMX, AVX-512, AVX-512 BF16, AVX2, portable vectors), and oneDNN where it is
// faster.
//
//   GemmArgs g;                                  // y = x W^T + b, W as [n, k] like nn.Linear
//   g.type = g.out_type = DType::bf16;
//   g.m = tokens, g.n = outputs, g.k = inputs;
//   g.a = x, g.a_row = inputs;                   // column stride is 1 unless said
//   g.b = w, g.b_row = 1, g.b_col = inputs;
//   g.c = y, g.c_row = outputs;
//   g.bias = b;
//   gemm(g);
//
// A weight that is used again can be packed once (`pack_b`) in the layout the kernels read fastest. The layout is
// public (`PackLayout`), so that an optimizer can write it while the value is still in registers.
#pragma once

#include <cstdint>

#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

/// What happens to the f32 sums before they are stored. `aux` has C's shape, row stride and batch strides.
enum class Epilogue : uint8_t {
  none,
  relu,
  gelu_tanh,           ///< gelu, tanh form; writes the value before it to `aux` (out_type) if that is given
  gelu_erf,            ///< gelu, exact form; same
  gelu_tanh_backward,  ///< multiplies by gelu'(aux)
  gelu_erf_backward,
};

/// Called instead of storing C: `sums` is a finished block, `rows` x `cols`, in f32, at (row, col) of batch `batch`.
/// It may be changed. Calls come from several threads, each block once.
struct GemmSink {
  void (*store)(void* context, float* sums, int64_t sums_row, int64_t batch, int64_t row, int64_t col, int64_t rows,
                int64_t cols) = nullptr;
  void* context = nullptr;
};

struct GemmArgs {
  static constexpr int kMaxBatch = 6;

  DType type = DType::f32;      ///< of A and B
  DType out_type = DType::f32;  ///< of C; the same as `type`, or f32 for bf16 and f16
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t a_row = 0, a_col = 1;  ///< strides in elements, as all below
  const void* b = nullptr;
  int64_t b_row = 0, b_col = 1;
  void* c = nullptr;
  int64_t c_row = 0;  ///< the column stride of C is 1

  int batch_dims = 0;  ///< dimensions before m, n, k; the last varies fastest
  int64_t batch[kMaxBatch] = {};
  int64_t a_batch[kMaxBatch] = {}, b_batch[kMaxBatch] = {}, c_batch[kMaxBatch] = {};

  double alpha = 1, beta = 0;    ///< with beta == 0, C is never read
  const void* bias = nullptr;    ///< [n], stride 1
  DType bias_type = DType::f32;  ///< floating types only
  Epilogue epilogue = Epilogue::none;
  void* aux = nullptr;
  GemmSink sink;          ///< halves and f32 only; then `c` is not used
  bool b_packed = false;  ///< `b` points to what `pack_b` wrote for this type, k and n; no batch on b
};

/// How exactly products of f32 are computed where tiles (AMX) can do it faster: in f32; of two parts in bf16 for each
/// number, with an error of 2^-16; of numbers rounded to bf16. Infinite numbers may become NaN in the last two.
enum class Float32Precision : uint8_t { highest, high, medium };
void set_float32_precision(Float32Precision precision);
Float32Precision float32_precision();

/// Computes C. Threads: the pool of base/threads.h, none inside a parallel region or for tiny sizes.
void gemm(const GemmArgs& args);

/// How `pack_b` lays out B[k, n] on this machine: panels of `panel` columns, in each of them `group` (1, or 2 for
/// bf16 dot products) consecutive k of one column side by side:
///   element (k, n) lies at ((n / panel) * k_padded + (k / group) * group) * panel + (n % panel) * group + k % group.
/// Rows k .. k_padded and columns n .. n_padded hold zeros. With AMX, `panel` is 1: columns one after another.
struct PackLayout {
  DType type = DType::f32;
  DType source = DType::f32;  ///< of B before packing; halves without dot products are packed as f32
  int64_t k = 0, n = 0;
  int64_t panel = 1, group = 1;
  int64_t k_padded = 0, n_padded = 0;
  int64_t bytes = 0;  ///< of the packed form
  int64_t offset(int64_t row, int64_t col) const {
    return ((col / panel) * k_padded + (row / group) * group) * panel + (col % panel) * group + row % group;
  }
};

/// `m` is a hint: the usual number of rows of A.
PackLayout pack_layout(DType type, int64_t k, int64_t n, int64_t m = 0);

/// Packs B with any strides. `packed` has `layout.bytes` bytes, aligned to 64.
void pack_b(const PackLayout& layout, const void* b, int64_t b_row, int64_t b_col, void* packed);

/// Which path `gemm` takes for these arguments: "tiny", "own", "onednn", "amx", "plain". For tests and profiles.
const char* gemm_path(const GemmArgs& args);

/// Forces a path where it is possible ("" lets `gemm` choose). For tests and benchmarks only; not thread safe.
void force_gemm_path(const char* path);

}  // namespace sorus::kernels
