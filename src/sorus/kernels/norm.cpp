#include "sorus/kernels/norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sorus/base/clones.h"
#include "sorus/base/threads.h"
#include "sorus/kernels/rows.h"

namespace sorus::kernels {
namespace {

constexpr int64_t kElementsPerThread = 16384;

/// What a row is multiplied and shifted by: xhat = (x - mean) * scale.
template <class C>
struct Moments {
  C mean, scale;
};

// The loops, once for each type they are computed in: SORUS_CLONES takes no templates.
#define SORUS_NORM_LOOPS(C, CLONES)                                                                              \
  CLONES C row_sum(const C* x, int64_t n) {                                                                      \
    C s = 0;                                                                                                     \
    _Pragma("omp simd reduction(+ : s)") for (int64_t i = 0; i < n; ++i) s += x[i];                              \
    return s;                                                                                                    \
  }                                                                                                              \
  CLONES C row_squares(const C* x, int64_t n, C mean) {                                                          \
    C s = 0;                                                                                                     \
    _Pragma("omp simd reduction(+ : s)") for (int64_t i = 0; i < n; ++i) s += (x[i] - mean) * (x[i] - mean);     \
    return s;                                                                                                    \
  }                                                                                                              \
  CLONES void row_scaled(const C* x, int64_t n, C mean, C scale, const C* weight, const C* bias, C* out) {       \
    if (weight && bias) {                                                                                        \
      _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * weight[i] + bias[i];  \
      return;                                                                                                    \
    }                                                                                                            \
    _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale;                          \
    if (weight) _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) out[i] *= weight[i];                         \
    if (bias) _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) out[i] += bias[i];                             \
  }                                                                                                              \
  CLONES void row_products(const C* g, const C* x, int64_t n, C mean, C scale, const C* weight, C* sums) {       \
    C plain = 0, with = 0;                                                                                       \
    if (weight) {                                                                                                \
      _Pragma("omp simd reduction(+ : plain, with)") for (int64_t i = 0; i < n; ++i) {                           \
        C w = g[i] * weight[i];                                                                                  \
        plain += w;                                                                                              \
        with += w * ((x[i] - mean) * scale);                                                                     \
      }                                                                                                          \
    } else {                                                                                                     \
      _Pragma("omp simd reduction(+ : plain, with)") for (int64_t i = 0; i < n; ++i) {                           \
        plain += g[i];                                                                                           \
        with += g[i] * ((x[i] - mean) * scale);                                                                  \
      }                                                                                                          \
    }                                                                                                            \
    sums[0] = plain, sums[1] = with;                                                                             \
  }                                                                                                              \
  CLONES void row_gradient(const C* g, const C* x, int64_t n, C mean, C scale, const C* weight, C plain, C with, \
                           C* out) {                                                                             \
    if (weight) {                                                                                                \
      _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) out[i] =                                               \
          scale * (g[i] * weight[i] - plain - (x[i] - mean) * scale * with);                                     \
    } else {                                                                                                     \
      _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) out[i] =                                               \
          scale * (g[i] - plain - (x[i] - mean) * scale * with);                                                 \
    }                                                                                                            \
  }                                                                                                              \
  CLONES void add_products(const C* g, const C* x, int64_t n, C mean, C scale, C* sums) {                        \
    _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) sums[i] += g[i] * ((x[i] - mean) * scale);               \
  }                                                                                                              \
  CLONES void add_row(const C* g, int64_t n, C* sums) {                                                          \
    _Pragma("omp simd") for (int64_t i = 0; i < n; ++i) sums[i] += g[i];                                         \
  }
SORUS_NORM_LOOPS(float, SORUS_CLONES)
SORUS_NORM_LOOPS(double, inline)
#undef SORUS_NORM_LOOPS

template <class C>
Moments<C> moments(const NormArgs& a, const C* x) {
  const C n = static_cast<C>(a.n), mean = a.centred ? row_sum(x, a.n) / n : C(0);
  return {mean, C(1) / std::sqrt(row_squares(x, a.n, mean) / n + static_cast<C>(a.eps))};
}

}  // namespace

void norm(const NormArgs& a, void* out) {
  visit_floating("norm", a.type, [&]<DType t>() {
    using C = typename ElementOf<t>::compute;
    parallel_for(a.rows, std::max<int64_t>(1, kElementsPerThread / a.n), [&](int64_t begin, int64_t end) {
      Rows<t> rows(a.input, a.n);
      Results<t> results(out, a.n);
      for (int64_t r = begin; r < end; ++r) {
        const C* x = rows[r];
        const Moments<C> m = moments(a, x);
        row_scaled(x, a.n, m.mean, m.scale, static_cast<const C*>(a.weight), static_cast<const C*>(a.bias),
                   results.begin(r));
        results.end(r);
      }
    });
  });
}

void norm_backward(const NormArgs& a, const void* grad, void* grad_input, void* grad_weight, void* grad_bias) {
  constexpr int64_t kMostBlocks = 64, kFewestRows = 16;
  const int64_t block = std::max(kFewestRows, (a.rows + kMostBlocks - 1) / kMostBlocks),
                blocks = (a.rows + block - 1) / block;
  visit_floating("norm", a.type, [&]<DType t>() {
    using C = typename ElementOf<t>::compute;
    const size_t kept = static_cast<size_t>(blocks * a.n);
    std::vector<C> by_weight(grad_weight ? kept : 0), by_bias(grad_bias ? kept : 0);
    const C* weight = static_cast<const C*>(a.weight);
    parallel_for(blocks, std::max<int64_t>(1, kElementsPerThread / (block * a.n)), [&](int64_t first, int64_t last) {
      Rows<t> rows(a.input, a.n), grads(grad, a.n);
      Results<t> results(grad_input, a.n);
      for (int64_t b = first; b < last; ++b)
        for (int64_t r = b * block; r < std::min(a.rows, (b + 1) * block); ++r) {
          const C *x = rows[r], *g = grads[r];
          const Moments<C> m = moments(a, x);
          if (grad_input) {
            C sums[2];
            row_products(g, x, a.n, m.mean, m.scale, weight, sums);
            const C n = static_cast<C>(a.n);
            row_gradient(g, x, a.n, m.mean, m.scale, weight, a.centred ? sums[0] / n : C(0), sums[1] / n,
                         results.begin(r));
            results.end(r);
          }
          if (grad_weight) add_products(g, x, a.n, m.mean, m.scale, by_weight.data() + b * a.n);
          if (grad_bias) add_row(g, a.n, by_bias.data() + b * a.n);
        }
    });
    auto join = [&](const std::vector<C>& parts, void* out) {
      C* sums = static_cast<C*>(out);
      if (!sums) return;
      std::fill_n(sums, a.n, C(0));
      for (int64_t b = 0; b < blocks; ++b) add_row(parts.data() + b * a.n, a.n, sums);
    };
    join(by_weight, grad_weight);
    join(by_bias, grad_bias);
  });
}

}  // namespace sorus::kernels
