// Attention by plain loops over one row of Q at a time: every type, every mask; the f64 path and the reference of
// tests.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "sorus/base/threads.h"
#include "sorus/kernels/attention.h"
#include "sorus/kernels/element.h"

namespace sorus::kernels {

template <class E>
struct PlainAttention {
  using C = std::conditional_t<std::is_same_v<E, double>, double, float>;
  const AttentionArgs& g;

  const E* row(const void* base, const AttentionStrides& s, int64_t b, int64_t h, int64_t t) const {
    return static_cast<const E*>(base) + b * s.batch + h * s.head + t * s.token;
  }
  E* row(void* base, const AttentionStrides& s, int64_t b, int64_t h, int64_t t) const {
    return static_cast<E*>(base) + b * s.batch + h * s.head + t * s.token;
  }
  static C dot(const E* x, const E* y, int64_t n) {
    C sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += element_cast<C>(x[i]) * element_cast<C>(y[i]);
    return sum;
  }
  C masked(C score, int64_t b, int64_t h, int64_t i, int64_t j) const {
    if (g.causal && j > g.q_start + i) return -std::numeric_limits<C>::infinity();
    if (!g.mask) return score;
    const int64_t* s = g.mask_stride;
    int64_t at = b * s[0] + h * s[1] + i * s[2] + j * s[3];
    if (g.mask_type == DType::boolean)
      return static_cast<const bool*>(g.mask)[at] ? score : -std::numeric_limits<C>::infinity();
    if (g.mask_type == DType::f64) return score + static_cast<C>(static_cast<const double*>(g.mask)[at]);
    return score + static_cast<C>(load_float(g.mask_type, g.mask, at));
  }
  int64_t kv_head(int64_t h) const { return h / (g.heads / g.kv_heads); }

  void forward() const {
    parallel_for(g.batch * g.heads, 1, [&](int64_t begin, int64_t end) {
      std::vector<C> p(static_cast<size_t>(g.kv_len)), out(static_cast<size_t>(g.value_dim));
      for (int64_t task = begin; task < end; ++task) {
        int64_t b = task / g.heads, h = task % g.heads;
        for (int64_t i = 0; i < g.q_len; ++i) forward_row(b, h, i, p.data(), out.data());
      }
    });
  }
  void forward_row(int64_t b, int64_t h, int64_t i, C* p, C* out) const {
    C top = -std::numeric_limits<C>::infinity(), sum = 0;
    for (int64_t j = 0; j < g.kv_len; ++j) {
      C s = dot(row(g.q, g.q_stride, b, h, i), row(g.k, g.k_stride, b, kv_head(h), j), g.head_dim);
      p[j] = masked(s * static_cast<C>(g.scale), b, h, i, j);
      top = p[j] > top || p[j] != p[j] ? p[j] : top;
    }
    bool nothing = top == -std::numeric_limits<C>::infinity();
    for (int64_t d = 0; d < g.value_dim; ++d) out[d] = 0;
    for (int64_t j = 0; j < g.kv_len && !nothing; ++j) {
      C e = std::exp(p[j] - top);
      sum += e;
      const E* v = row(g.v, g.v_stride, b, kv_head(h), j);
      if (e != 0)
        for (int64_t d = 0; d < g.value_dim; ++d) out[d] += e * element_cast<C>(v[d]);
    }
    E* o = row(g.o, g.o_stride, b, h, i);
    for (int64_t d = 0; d < g.value_dim; ++d) o[d] = element_cast<E>(nothing ? C(0) : out[d] / sum);
    if (g.lse) static_cast<C*>(g.lse)[(b * g.heads + h) * g.q_len + i] = nothing ? top : top + std::log(sum);
  }

  void backward(const AttentionGradArgs& r) const {
    parallel_for(g.batch * g.kv_heads, 1, [&](int64_t begin, int64_t end) {
      std::vector<C> dk(static_cast<size_t>(g.kv_len * g.head_dim)), dv(static_cast<size_t>(g.kv_len * g.value_dim));
      std::vector<C> dq(static_cast<size_t>(g.head_dim));
      for (int64_t task = begin; task < end; ++task) {
        std::fill(dk.begin(), dk.end(), C(0));
        std::fill(dv.begin(), dv.end(), C(0));
        int64_t b = task / g.kv_heads, kvh = task % g.kv_heads, group = g.heads / g.kv_heads;
        for (int64_t h = kvh * group; h < (kvh + 1) * group; ++h)
          for (int64_t i = 0; i < g.q_len; ++i) backward_row(r, b, h, i, dq.data(), dk.data(), dv.data());
        for (int64_t j = 0; j < g.kv_len; ++j) {
          E* to_k = row(r.grad_k, r.grad_k_stride, b, kvh, j);
          E* to_v = row(r.grad_v, r.grad_v_stride, b, kvh, j);
          for (int64_t d = 0; d < g.head_dim; ++d)
            to_k[d] = element_cast<E>(dk[static_cast<size_t>(j * g.head_dim + d)]);
          for (int64_t d = 0; d < g.value_dim; ++d)
            to_v[d] = element_cast<E>(dv[static_cast<size_t>(j * g.value_dim + d)]);
        }
      }
    });
  }
  void backward_row(const AttentionGradArgs& r, int64_t b, int64_t h, int64_t i, C* dq, C* dk, C* dv) const {
    const E* q = row(g.q, g.q_stride, b, h, i);
    const E* go = row(r.grad_o, r.grad_o_stride, b, h, i);
    C delta = dot(go, row(static_cast<const void*>(g.o), g.o_stride, b, h, i), g.value_dim);
    C lse = static_cast<const C*>(g.lse)[(b * g.heads + h) * g.q_len + i];
    C scale = static_cast<C>(g.scale);
    for (int64_t d = 0; d < g.head_dim; ++d) dq[d] = 0;
    for (int64_t j = 0; j < g.kv_len && lse != -std::numeric_limits<C>::infinity(); ++j) {
      const E* k = row(g.k, g.k_stride, b, kv_head(h), j);
      C p = std::exp(masked(dot(q, k, g.head_dim) * scale, b, h, i, j) - lse);
      if (p == 0) continue;
      C ds = p * (dot(go, row(g.v, g.v_stride, b, kv_head(h), j), g.value_dim) - delta) * scale;
      for (int64_t d = 0; d < g.head_dim; ++d) {
        dq[d] += ds * element_cast<C>(k[d]);
        dk[j * g.head_dim + d] += ds * element_cast<C>(q[d]);
      }
      for (int64_t d = 0; d < g.value_dim; ++d) dv[j * g.value_dim + d] += p * element_cast<C>(go[d]);
    }
    E* to = row(r.grad_q, r.grad_q_stride, b, h, i);
    for (int64_t d = 0; d < g.head_dim; ++d) to[d] = element_cast<E>(dq[d]);
  }
};

}  // namespace sorus::kernels
