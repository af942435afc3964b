// Products through oneDNN's matmul, where it is faster than the own kernels. What matmul cannot store itself
// (epilogues, sinks) goes through f32 memory and one more pass.
#include <dnnl.h>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/gemm_internal.h"
#include "sorus/kernels/gemm_isa.h"
#include "sorus/kernels/onednn.h"

namespace sorus::kernels {
namespace {

using dnnl::memory;

struct MatmulPlan {
  dnnl::matmul primitive;
  memory::desc a, b, bias, c, scratchpad;
};

MatmulPlan make_plan(const GemmArgs& g, DType out, bool bias, bool add) {
  MatmulPlan plan;
  plan.a = memory::desc({g.m, g.k}, dnnl_type(g.type), memory::dims{g.a_row, g.a_col});
  plan.b = memory::desc({g.k, g.n}, dnnl_type(g.type), memory::dims{g.b_row, g.b_col});
  plan.c = memory::desc({g.m, g.n}, dnnl_type(out), memory::dims{g.c_row, 1});
  if (bias) plan.bias = memory::desc({1, g.n}, dnnl_type(g.bias_type), memory::dims{g.n, 1});
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attr.set_post_ops(sum);
  }
  dnnl::matmul::desc desc =
      bias ? dnnl::matmul::desc(plan.a, plan.b, plan.bias, plan.c) : dnnl::matmul::desc(plan.a, plan.b, plan.c);
  dnnl::matmul::primitive_desc pd(desc, attr, dnnl_engine());
  plan.primitive = dnnl::matmul(pd);
  plan.scratchpad = pd.scratchpad_desc();
  return plan;
}

/// Where oneDNN's sgemm is faster than its matmul, which does not know it. Measured on Sapphire Rapids in turns
/// (benchmarks/kernels): with B's rows contiguous, as in the gradient of an input, by 0-6%, and up to 40% where
/// matmul meets its slow layouts; with a transposed A besides, as in the gradient of a weight, by 5-30% for sums over
/// up to 1024 rows, while longer ones are as fast or, wide times narrow, 20% slower.
bool sgemm_is_faster(const GemmArgs& g) { return g.b_col == 1 && (g.a_col == 1 || g.k <= 1024); }

void multiply(const GemmArgs& g, DType out, const void* a, const void* b, const void* bias, bool add, void* c) {
  if (g.type == DType::f32 && !bias && sgemm_is_faster(g)) {
    const bool turned = g.a_col != 1;
    dnnl_sgemm(turned ? 'T' : 'N', 'N', g.m, g.n, g.k, 1.0f, static_cast<const float*>(a), turned ? g.a_col : g.a_row,
               static_cast<const float*>(b), g.b_row, add ? 1.0f : 0.0f, static_cast<float*>(c), g.c_row);
    return;
  }
  static PlanCache<MatmulPlan> cache;
  ProblemKey key;
  const int64_t threads = detail::inside_parallel() ? 1 : num_threads();  // a primitive is made for so many
  for (int64_t v :
       {static_cast<int64_t>(g.type), static_cast<int64_t>(out), g.m, g.n, g.k, g.a_row, g.a_col, g.b_row, g.b_col,
        g.c_row, static_cast<int64_t>(bias ? static_cast<int>(g.bias_type) : -1), static_cast<int64_t>(add), threads})
    key.add(v);
  const MatmulPlan& plan = cache.find(key, [&] { return make_plan(g, out, bias, add); });
  thread_local Scratch scratchpad;
  auto mem = [](const memory::desc& d, const void* p) { return memory(d, dnnl_engine(), const_cast<void*>(p)); };
  std::unordered_map<int, memory> args{
      {DNNL_ARG_SRC, mem(plan.a, a)},
      {DNNL_ARG_WEIGHTS, mem(plan.b, b)},
      {DNNL_ARG_DST, mem(plan.c, c)},
      {DNNL_ARG_SCRATCHPAD, mem(plan.scratchpad, scratchpad.get(plan.scratchpad.get_size() + 64))}};
  if (bias) args.emplace(DNNL_ARG_BIAS, mem(plan.bias, bias));
  plan.primitive.execute(dnnl_stream(), args);
}

/// Each thread multiplies its part of the longer side by itself: rows that it has written a moment ago and goes on
/// with, where oneDNN would deal out blocks in an order of its own and have threads wait for each other. Measured on
/// Zen 5 (benchmarks/kernels): 10-30% less time in bf16, 3-10% in f32, where only columns are better left to oneDNN.
void multiply_in_parts(const GemmArgs& g, DType out, const char* a, const char* b, const void* bias, bool add,
                       char* c) {
  constexpr int64_t kUnit = 32, kLeast = 2 * kUnit;
  constexpr int64_t kMost = 1024;  // what oneDNN copies of one piece stays small
  const bool by_row = g.m >= g.n;
  const int64_t whole = by_row ? g.m : g.n, threads = num_threads(), size = static_cast<int64_t>(size_of(g.type));
  const int64_t units = whole / kUnit;
  if (threads == 1 || whole < threads * kLeast || (g.type == DType::f32 && !by_row))
    return multiply(g, out, a, b, bias, add, c);
  auto piece = [&](int64_t begin, int64_t end) {
    GemmArgs part = g;
    (by_row ? part.m : part.n) = end - begin;
    const int64_t at_a = by_row ? begin * g.a_row : 0, at_b = by_row ? 0 : begin * g.b_col,
                  at_c = by_row ? begin * g.c_row : begin;
    const int64_t at_bias = by_row ? 0 : begin * static_cast<int64_t>(size_of(g.bias_type));
    multiply(part, out, a + at_a * size, b + at_b * size, bias ? static_cast<const char*>(bias) + at_bias : nullptr,
             add, c + at_c * static_cast<int64_t>(size_of(out)));
  };
  parallel_for(threads, 1, [&](int64_t first, int64_t last) {
    FlushDenormals flush;
    for (int64_t thread = first; thread < last; ++thread) {
      const int64_t begin = units * thread / threads * kUnit,
                    end = thread + 1 == threads ? whole : units * (thread + 1) / threads * kUnit;
      for (int64_t at = begin; at < end; at += kMost) piece(at, std::min(end, at + kMost));
    }
  });
}

/// oneDNN copies all of B for a product of bf16: of the gradient before a large head, more than the step keeps. So
/// long sums are made in pieces, which add up in C if that is f32.
constexpr int64_t kLongestSum = 2048;
void multiply_in_pieces(const GemmArgs& g, DType out, const char* a, const char* b, const void* bias, bool add,
                        char* c) {
  const int64_t size = static_cast<int64_t>(size_of(g.type)), each = g.type == DType::f32 ? g.k : kLongestSum;
  for (int64_t k = 0; k < g.k; k += each) {
    GemmArgs piece = g;
    piece.k = std::min(each, g.k - k);
    multiply_in_parts(piece, out, a + k * g.a_col * size, b + k * g.b_row * size, k == 0 ? bias : nullptr,
                      add || k > 0, c);
  }
}

}  // namespace

bool gemm_onednn_supports(const GemmArgs& g) {
  bool plain_a = g.a_row == 1 || g.a_col == 1, plain_b = g.b_row == 1 || g.b_col == 1;
  // Fitting strides only: oneDNN takes overlapping or broadcast ones for something else.
  bool a = g.a_col == 1 ? g.a_row >= g.k : g.a_col >= g.m, b = g.b_col == 1 ? g.b_row >= g.n : g.b_col >= g.k;
  return (g.type == DType::f32 || (g.type == DType::bf16 && gemm_isa().bf16_dot)) && plain_a && plain_b && a && b &&
         !g.b_packed && g.m > 0 && g.n > 0 && g.k > 0 && !detail::inside_parallel() && gemm_own_supports(g);
}

bool gemm_onednn_direct(const GemmArgs& g) {
  bool bias = !g.bias || g.bias_type == DType::f32 || (g.bias_type == DType::bf16 && g.type == DType::bf16);
  return g.alpha == 1 && (g.beta == 0 || g.beta == 1) && g.epilogue == Epilogue::none && !g.sink.store && bias;
}

void gemm_onednn(const GemmArgs& g) {
  bool direct = gemm_onednn_direct(g) && (g.out_type == DType::f32 || g.k <= kLongestSum);
  int64_t size = static_cast<int64_t>(size_of(g.type)), out_size = static_cast<int64_t>(size_of(g.out_type));
  for_each_batch(g, [&](int64_t index, int64_t a, int64_t b, int64_t c) {
    const char *pa = static_cast<const char*>(g.a) + a * size, *pb = static_cast<const char*>(g.b) + b * size;
    char *pc = g.c ? static_cast<char*>(g.c) + c * out_size : nullptr,
         *aux = g.aux ? static_cast<char*>(g.aux) + c * out_size : nullptr;
    if (direct) return multiply_in_pieces(g, g.out_type, pa, pb, g.bias, g.beta == 1, pc);
    thread_local Scratch scratch;
    auto* sums = static_cast<float*>(scratch.get(static_cast<size_t>(g.m * g.n) * 4 + 256));
    GemmArgs dense = g;
    dense.c_row = g.n;
    bool bias_first = g.sink.store && g.bias && g.alpha == 1;
    multiply_in_pieces(dense, DType::f32, pa, pb, bias_first ? g.bias : nullptr, false,
                       reinterpret_cast<char*>(sums));
    parallel_for(g.m, 16, [&](int64_t begin, int64_t end) {
      for (int64_t col = 0; col < g.n; col += 32) {
        int64_t cols = std::min<int64_t>(32, g.n - col);
        float tile[kMaxRows * kMaxPanel] = {};
        for (int64_t row = begin; row < end; row += 8) {
          int64_t rows = std::min<int64_t>(8, end - row);
          for (int64_t i = 0; i < rows; ++i) std::copy_n(sums + (row + i) * g.n + col, cols, tile + i * kMaxPanel);
          if (g.sink.store) {
            for (int64_t i = 0; i < rows && g.alpha != 1; ++i)
              for (int64_t j = 0; j < cols; ++j) {
                float& x = tile[i * kMaxPanel + j];
                x = x * static_cast<float>(g.alpha) + (g.bias ? load_float(g.bias_type, g.bias, col + j) : 0.0f);
              }
            g.sink.store(g.sink.context, tile, kMaxPanel, index, row, col, rows, cols);
            continue;
          }
          const char* bias =
              g.bias ? static_cast<const char*>(g.bias) + col * static_cast<int64_t>(size_of(g.bias_type)) : nullptr;
          int64_t offset = (row * g.c_row + col) * out_size;
          Finish f{g.out_type,  g.alpha,    g.beta,      bias,
                   g.bias_type, g.epilogue, pc + offset, aux ? aux + offset : nullptr,
                   g.c_row};
          gemm_isa().finish(f, Arithmetic::f32, tile, kMaxPanel, rows, cols);
        }
      }
    });
  });
}

}  // namespace sorus::kernels
