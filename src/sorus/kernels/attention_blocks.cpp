#include "sorus/kernels/attention_blocks.h"

#include <atomic>
#include <cmath>
#include <limits>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/gemm_isa.h"
#include "sorus/kernels/onednn.h"

namespace sorus::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

/// Cuts one allocation into aligned pieces; the first pass, without memory, only counts.
struct Arena {
  char* base;
  size_t used = 0;
  template <class T>
  T* take(int64_t count) {
    T* p = reinterpret_cast<T*>(base + used);
    used += static_cast<size_t>(round_up(count * static_cast<int64_t>(sizeof(T)) + 64, 64));
    return p;
  }
};

struct Blocks {
  const AttentionArgs& g;
  const GemmIsa& isa = gemm_isa();
  Arithmetic t = g.type == DType::bf16 && isa.bf16_dot ? Arithmetic::bf16_dot : Arithmetic::f32;
  int64_t size = static_cast<int64_t>(size_of(g.type)), panel = isa.panel(t), group = group_of(t);
  int64_t rows = isa.rows * (g.kv_len <= 1024 ? std::max(1, 48 / isa.rows) : 1);  ///< of Q at a time
  int64_t width = round_up(g.kv_len, panel), dims = round_up(g.head_dim, panel), values = round_up(g.value_dim, panel);
  int64_t head_group = g.heads / g.kv_heads;

  const char* row(const void* base, const AttentionStrides& s, int64_t b, int64_t h, int64_t i) const {
    return static_cast<const char*>(base) + (b * s.batch + h * s.head + i * s.token) * size;
  }
  char* row(void* base, const AttentionStrides& s, int64_t b, int64_t h, int64_t i) const {
    return static_cast<char*>(base) + (b * s.batch + h * s.head + i * s.token) * size;
  }
  int64_t steps(int64_t k) const { return (k + group - 1) / group; }

  /// All panels of B[k, n].
  void pack_b(DType type, const void* b, int64_t b_row, int64_t b_col, int64_t k, int64_t n, float* to) const {
    for (int64_t p = 0; p < n; p += panel)
      isa.pack_b(t, type, static_cast<const char*>(b) + p * b_col * static_cast<int64_t>(size_of(type)), b_row, b_col,
                 std::min(panel, n - p), k, to + p * steps(k));
  }
  /// c[m, n] (+)= A B; B was packed with `b_k` numbers along k, of which the first k count.
  void multiply(DType type, const void* a, int64_t a_row, int64_t a_col, const float* b, int64_t b_k, int64_t m, int64_t n,
                int64_t k, float* c, int64_t c_row, bool accumulate, float* packed_a) const {
    bool k_major = a_col != 1;
    for (int64_t i = 0; i < m; i += isa.rows) {
      int64_t r = std::min<int64_t>(isa.rows, m - i);
      isa.pack_a(t, type, static_cast<const char*>(a) + i * a_row * static_cast<int64_t>(size_of(type)), a_row, a_col, r, k,
                 packed_a, k_major);
      for (int64_t p = 0; p < n; p += panel)
        isa.tile(t, k_major, r, packed_a, b + p * steps(b_k), steps(k), c + i * c_row + p, c_row, accumulate);
    }
  }
  /// Columns that some row of [i, i + m) may see.
  int64_t limit(int64_t i, int64_t m) const { return g.causal ? std::min(g.kv_len, i + m) : g.kv_len; }

  /// Scores of one row become what goes into exp; returns the factor still to apply.
  float mask_row(float* s, int64_t b, int64_t h, int64_t i, int64_t cols) const {
    float scale = static_cast<float>(g.scale);
    int64_t seen = g.causal ? std::min(cols, i + 1) : cols, padded = round_up(cols, panel);
    if (g.mask) {
      const int64_t* st = g.mask_stride;
      int64_t at = b * st[0] + h * st[1] + i * st[2];
      for (int64_t j = 0; j < seen; ++j) {
        if (g.mask_type == DType::boolean) s[j] = static_cast<const bool*>(g.mask)[at + j * st[3]] ? s[j] * scale : -kInfinity;
        else if (g.mask_type == DType::f32) s[j] = s[j] * scale + static_cast<const float*>(g.mask)[at + j * st[3]];
        else s[j] = s[j] * scale + load_float(g.mask_type, g.mask, at + j * st[3]);
      }
      scale = 1;
    }
    for (int64_t j = seen; j < padded; ++j) s[j] = scale < 0 ? kInfinity : -kInfinity;
    return scale;
  }
  /// Half types go through `half`, so that the next product reads what it can multiply.
  const void* operand(const float* x, int64_t m, int64_t cols, uint16_t* half) const {
    if (t != Arithmetic::bf16_dot) return x;
    for (int64_t i = 0; i < m; ++i) isa.row_store(DType::bf16, x + i * width, cols, 1, half + i * width);
    return half;
  }
  DType operand_type() const { return t == Arithmetic::bf16_dot ? DType::bf16 : DType::f32; }
  int64_t packed_a_size() const {
    return isa.rows * round_up(std::max({g.kv_len, g.head_dim, g.value_dim, rows}), 2 * kChunk) + kChunk * isa.rows;
  }

  // ---- Forward ----

  struct ForwardScratch {
    float *k, *v, *s, *o, *a;
    uint16_t* half;
  };
  size_t lay_out(char* base, ForwardScratch& f) const {
    Arena m{base};
    f.k = m.take<float>(width * steps(g.head_dim)), f.v = m.take<float>(values * steps(g.kv_len));
    f.s = m.take<float>(rows * width), f.o = m.take<float>(rows * values), f.a = m.take<float>(packed_a_size());
    f.half = m.take<uint16_t>(rows * width);
    return m.used;
  }
  void forward_head(int64_t b, int64_t kvh, int64_t first, int64_t last, const ForwardScratch& f) const {
    pack_b(g.type, row(g.k, g.k_stride, b, kvh, 0), 1, g.k_stride.token, g.head_dim, g.kv_len, f.k);
    pack_b(g.type, row(g.v, g.v_stride, b, kvh, 0), g.v_stride.token, 1, g.kv_len, g.value_dim, f.v);
    for (int64_t h = first; h < last; ++h)
      for (int64_t i = 0; i < g.q_len; i += rows) forward_rows(b, h, i, std::min(rows, g.q_len - i), f);
  }
  void forward_rows(int64_t b, int64_t h, int64_t i0, int64_t m, const ForwardScratch& f) const {
    int64_t cols = limit(i0, m), padded = round_up(cols, panel);
    multiply(g.type, row(g.q, g.q_stride, b, h, i0), g.q_stride.token, 1, f.k, g.head_dim, m, cols, g.head_dim, f.s, width, false, f.a);
    float inverse[64];
    for (int64_t i = 0; i < m; ++i) {
      float* s = f.s + i * width;
      float scale = mask_row(s, b, h, i0 + i, cols);
      if (scale < 0)  // the row's maximum below needs a positive factor
        for (int64_t j = 0; j < padded; ++j) s[j] *= scale;
      if (scale < 0) scale = 1;
      float top = isa.row_max(s, padded) * scale;
      bool nothing = top == -kInfinity || cols == 0 || top != top;
      float sum = nothing ? 0 : isa.row_exp(s, padded, scale, top);
      if (nothing) std::fill(s, s + padded, top != top ? top : 0.0f);
      inverse[i] = nothing ? 1 : 1 / sum;
      if (g.lse) static_cast<float*>(g.lse)[(b * g.heads + h) * g.q_len + i0 + i] = nothing ? top : top + std::log(sum);
    }
    const void* p = operand(f.s, m, cols, f.half);
    multiply(operand_type(), p, width, 1, f.v, g.kv_len, m, g.value_dim, cols, f.o, values, false, f.a);
    for (int64_t i = 0; i < m; ++i)
      isa.row_store(g.type, f.o + i * values, g.value_dim, inverse[i], row(g.o, g.o_stride, b, h, i0 + i));
  }

  // ---- Backward ----

  struct BackwardScratch {
    float *kt, *vt, *k, *s, *ds, *dq, *dk, *dv, *b, *a;
    uint16_t *half, *half2;
  };
  size_t lay_out(char* base, BackwardScratch& f) const {
    Arena m{base};
    f.kt = m.take<float>(width * steps(g.head_dim)), f.vt = m.take<float>(width * steps(g.value_dim));
    f.k = m.take<float>(dims * steps(g.kv_len)), f.s = m.take<float>(rows * width), f.ds = m.take<float>(rows * width);
    f.dq = m.take<float>(rows * dims), f.dk = m.take<float>(width * dims), f.dv = m.take<float>(width * values);
    f.b = m.take<float>(std::max(dims, values) * rows), f.a = m.take<float>(packed_a_size());
    f.half = m.take<uint16_t>(rows * width), f.half2 = m.take<uint16_t>(rows * width);
    return m.used;
  }
  void backward_head(const AttentionGradArgs& r, int64_t b, int64_t kvh, const BackwardScratch& f) const {
    const char *k = row(g.k, g.k_stride, b, kvh, 0), *v = row(g.v, g.v_stride, b, kvh, 0);
    pack_b(g.type, k, 1, g.k_stride.token, g.head_dim, g.kv_len, f.kt);
    pack_b(g.type, v, 1, g.v_stride.token, g.value_dim, g.kv_len, f.vt);
    pack_b(g.type, k, g.k_stride.token, 1, g.kv_len, g.head_dim, f.k);
    std::fill(f.dk, f.dk + width * dims, 0.0f);
    std::fill(f.dv, f.dv + width * values, 0.0f);
    for (int64_t h = kvh * head_group; h < (kvh + 1) * head_group; ++h)
      for (int64_t i = 0; i < g.q_len; i += rows) backward_rows(r, b, h, i, std::min(rows, g.q_len - i), f);
    for (int64_t j = 0; j < g.kv_len; ++j) {
      isa.row_store(g.type, f.dk + j * dims, g.head_dim, 1, row(r.grad_k, r.grad_k_stride, b, kvh, j));
      isa.row_store(g.type, f.dv + j * values, g.value_dim, 1, row(r.grad_v, r.grad_v_stride, b, kvh, j));
    }
  }
  void backward_rows(const AttentionGradArgs& r, int64_t b, int64_t h, int64_t i0, int64_t m, const BackwardScratch& f) const {
    int64_t cols = limit(i0, m), padded = round_up(cols, panel);
    const char *q = row(g.q, g.q_stride, b, h, i0), *go = row(r.grad_o, r.grad_o_stride, b, h, i0);
    multiply(g.type, q, g.q_stride.token, 1, f.kt, g.head_dim, m, cols, g.head_dim, f.s, width, false, f.a);
    multiply(g.type, go, r.grad_o_stride.token, 1, f.vt, g.value_dim, m, cols, g.value_dim, f.ds, width, false, f.a);
    for (int64_t i = 0; i < m; ++i) {
      float *s = f.s + i * width, *ds = f.ds + i * width;
      float scale = mask_row(s, b, h, i0 + i, cols), lse = static_cast<const float*>(g.lse)[(b * g.heads + h) * g.q_len + i0 + i];
      if (lse == -kInfinity) std::fill(s, s + padded, 0.0f);
      else isa.row_exp(s, padded, scale, lse);
      float delta = isa.row_dot(g.type, row(r.grad_o, r.grad_o_stride, b, h, i0 + i),
                                row(static_cast<const void*>(g.o), g.o_stride, b, h, i0 + i), g.value_dim);
      isa.row_score_gradient(s, ds, padded, delta, static_cast<float>(g.scale));
    }
    DType type = operand_type();
    const void *p = operand(f.s, m, cols, f.half), *ds = operand(f.ds, m, cols, f.half2);
    multiply(type, ds, width, 1, f.k, g.kv_len, m, g.head_dim, cols, f.dq, dims, false, f.a);
    for (int64_t i = 0; i < m; ++i)
      isa.row_store(g.type, f.dq + i * dims, g.head_dim, 1, row(r.grad_q, r.grad_q_stride, b, h, i0 + i));
    // Transposed scores are k-major operands as they are.
    pack_b(g.type, go, r.grad_o_stride.token, 1, m, g.value_dim, f.b);
    multiply(type, p, 1, width, f.b, m, cols, g.value_dim, m, f.dv, values, true, f.a);
    pack_b(g.type, q, g.q_stride.token, 1, m, g.head_dim, f.b);
    multiply(type, ds, 1, width, f.b, m, cols, g.head_dim, m, f.dk, dims, true, f.a);
  }
};

template <class Parts, class F>
void run_tasks(const Blocks& blocks, int64_t tasks, F&& f) {
  std::atomic<int64_t> next{0};
  parallel_for(std::min<int64_t>(tasks, num_threads()), 1, [&](int64_t, int64_t) {
    FlushDenormals flush;
    thread_local Scratch scratch;
    Parts parts;
    size_t bytes = blocks.lay_out(nullptr, parts);
    blocks.lay_out(static_cast<char*>(scratch.get(bytes)), parts);
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) f(i, parts);
  });
}

}  // namespace

void attention_forward_blocks(const AttentionArgs& g) {
  Blocks blocks{g};
  // With few key/value heads, the heads that share one are tasks of their own and pack it again.
  bool apart = g.batch * g.kv_heads < 2 * num_threads();
  int64_t per = apart ? 1 : blocks.head_group, count = g.heads / per;
  run_tasks<Blocks::ForwardScratch>(blocks, g.batch * count, [&](int64_t i, const Blocks::ForwardScratch& f) {
    int64_t first = i % count * per;
    blocks.forward_head(i / count, first / blocks.head_group, first, first + per, f);
  });
}

void attention_backward_blocks(const AttentionArgs& g, const AttentionGradArgs& r) {
  Blocks blocks{g};
  run_tasks<Blocks::BackwardScratch>(blocks, g.batch * g.kv_heads, [&](int64_t i, const Blocks::BackwardScratch& f) {
    blocks.backward_head(r, i / g.kv_heads, i % g.kv_heads, f);
  });
}

}  // namespace sorus::kernels
