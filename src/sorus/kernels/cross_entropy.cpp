#include "sorus/kernels/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sorus/base/clones.h"
#include "sorus/base/threads.h"
#include "sorus/kernels/rows.h"

namespace sorus::kernels {
namespace {

constexpr int64_t kElementsPerThread = 16384;

// exp in f32, without branches; NaN stays.
inline __attribute__((always_inline)) float exp_of(float x) {
  float c = x > 89.0f ? 89.0f : x;
  c = c < -104.0f ? -104.0f : c;
  float n = (c * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  float r = c - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float y = p * (r * r) + r + 1.0f;
  int32_t k = static_cast<int32_t>(n), half = k >> 1;
  y = y * __builtin_bit_cast(float, static_cast<uint32_t>(half + 127) << 23);
  return y * __builtin_bit_cast(float, static_cast<uint32_t>(k - half + 127) << 23);
}

SORUS_CLONES float maximum(const float* x, int64_t n) {
  float m = x[0];
#pragma omp simd reduction(max : m)
  for (int64_t i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;
  return m;
}
SORUS_CLONES float sum_of_exp(const float* x, int64_t n, float m) {
  float s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; ++i) s += exp_of(x[i] - m);
  return s;
}
SORUS_CLONES void scaled_exp(const float* x, int64_t n, float minus, float scale, float* out) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = scale * exp_of(x[i] - minus);
}

double maximum(const double* x, int64_t n) { return *std::max_element(x, x + n); }
double sum_of_exp(const double* x, int64_t n, double m) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += std::exp(x[i] - m);
  return s;
}
void scaled_exp(const double* x, int64_t n, double minus, double scale, double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = scale * std::exp(x[i] - minus);
}

// The logarithm of the sum of exp over a row.
template <class C>
C log_sum(const C* x, int64_t n) {
  C m = maximum(x, n);
  return m + static_cast<C>(std::log(static_cast<double>(sum_of_exp(x, n, m))));
}

int64_t count_of(const CrossEntropyArgs& a) {
  int64_t count = 0;
  for (int64_t r = 0; r < a.rows; ++r) {
    int64_t t = a.target[r];
    if (t == a.ignore_index) continue;
    SORUS_CHECK(t >= 0 && t < a.classes, IndexError, "cross_entropy: target {} is out of range for {} classes", t,
                a.classes);
    ++count;
  }
  return count;
}

int64_t grain(const CrossEntropyArgs& a) {
  return std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, a.classes));
}

}  // namespace

void cross_entropy(const CrossEntropyArgs& a, void* out) {
  auto count = static_cast<double>(count_of(a));
  visit_floating("cross_entropy", a.type, [&]<DType t>() {
    using T = typename ElementOf<t>::type;
    auto loss = [&](Rows<t>& rows, int64_t r) -> double {
      int64_t target = a.target[r];
      if (target == a.ignore_index) return 0;
      auto* x = rows[r];
      return static_cast<double>(log_sum(x, a.classes) - x[target]);
    };
    T* y = static_cast<T*>(out);
    if (a.rows == 1) {
      Rows<t> rows(a.logits, a.classes);
      double one = loss(rows, 0);
      *y = element_cast<T>(a.reduction == LossReduction::mean ? one / count : one);
      return;
    }
    bool single = a.reduction != LossReduction::none;
    std::vector<double> losses(single ? static_cast<size_t>(a.rows) : 0);
    parallel_for(a.rows, grain(a), [&](int64_t begin, int64_t end) {
      Rows<t> rows(a.logits, a.classes);
      for (int64_t r = begin; r < end; ++r) {
        if (single)
          losses[static_cast<size_t>(r)] = loss(rows, r);
        else
          y[r] = element_cast<T>(loss(rows, r));
      }
    });
    if (!single) return;
    double sum = 0;
    for (double l : losses) sum += l;
    *y = element_cast<T>(a.reduction == LossReduction::mean ? sum / count : sum);
  });
}

void cross_entropy_backward(const CrossEntropyArgs& a, const void* grad, void* out) {
  auto count = static_cast<double>(count_of(a));
  visit_floating("cross_entropy", a.type, [&]<DType t>() {
    using T = typename ElementOf<t>::type;
    using C = typename Rows<t>::C;
    parallel_for(a.rows, grain(a), [&](int64_t begin, int64_t end) {
      Rows<t> rows(a.logits, a.classes);
      Results<t> results(out, a.classes);
      for (int64_t r = begin; r < end; ++r) {
        int64_t target = a.target[r];
        if (target == a.ignore_index) {
          std::fill_n(static_cast<T*>(out) + r * a.classes, a.classes, element_cast<T>(C(0)));
          continue;
        }
        C scale = element_cast<C>(static_cast<const T*>(grad)[a.reduction == LossReduction::none ? r : 0]);
        if (a.reduction == LossReduction::mean) scale = static_cast<C>(static_cast<double>(scale) / count);
        const C* x = rows[r];
        C minus = log_sum(x, a.classes), *y = results.begin(r);
        scaled_exp(x, a.classes, minus, scale, y);
        y[target] -= scale;
        results.end(r);
      }
    });
  });
}

}  // namespace sorus::kernels
