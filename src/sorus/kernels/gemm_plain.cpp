// The plain path: every type, every stride, sums in the compute type. Also the reference that tests of the fast paths
// compare with.
#include <cmath>
#include <vector>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/gemm_internal.h"

namespace sorus::kernels {
namespace {

template <class T>
double apply_epilogue(Epilogue e, double x, T* aux) {
  constexpr double kSqrt2OverPi = 0.7978845608028654, kCubic = 0.044715, kSqrtHalf = 0.7071067811865476;
  switch (e) {
    case Epilogue::none:
      return x;
    case Epilogue::relu:
      return x < 0 ? 0 : x;
    case Epilogue::gelu_tanh:
      if (aux) *aux = element_cast<T>(x);
      return 0.5 * x * (1 + std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x)));
    case Epilogue::gelu_erf:
      if (aux) *aux = element_cast<T>(x);
      return 0.5 * x * (1 + std::erf(x * kSqrtHalf));
    case Epilogue::gelu_tanh_backward: {
      double h = element_cast<double>(*aux), t = std::tanh(kSqrt2OverPi * (h + kCubic * h * h * h));
      return x * (0.5 * (1 + t) + 0.5 * h * (1 - t * t) * kSqrt2OverPi * (1 + 3 * kCubic * h * h));
    }
    case Epilogue::gelu_erf_backward: {
      double h = element_cast<double>(*aux);
      return x * (0.5 * (1 + std::erf(h * kSqrtHalf)) + h * std::exp(-0.5 * h * h) * 0.3989422804014327);
    }
  }
  return x;
}

template <class In, class Out, class Compute>
void plain_2d(const GemmArgs& g, const In* a, const In* b, Out* c, Out* aux, int64_t batch) {
  int64_t work = std::max<int64_t>(1, g.n * std::max<int64_t>(1, g.k));
  parallel_for(g.m, std::max<int64_t>(1, 32768 / work), [&](int64_t begin, int64_t end) {
    std::vector<Compute> sums(static_cast<size_t>(g.n));
    std::vector<float> row(g.sink.store ? static_cast<size_t>(g.n) : 0);
    for (int64_t i = begin; i < end; ++i) {
      std::fill(sums.begin(), sums.end(), Compute(0));
      for (int64_t p = 0; p < g.k; ++p) {
        Compute x = element_cast<Compute>(a[i * g.a_row + p * g.a_col]);
        const In* y = b + p * g.b_row;
        for (int64_t j = 0; j < g.n; ++j) sums[static_cast<size_t>(j)] += x * element_cast<Compute>(y[j * g.b_col]);
      }
      Out* out = c + i * g.c_row;
      for (int64_t j = 0; j < g.n; ++j) {
        Compute s = sums[static_cast<size_t>(j)];
        if (g.alpha != 1) s = static_cast<Compute>(s * static_cast<Compute>(g.alpha));
        if (g.beta != 0) s += static_cast<Compute>(g.beta) * element_cast<Compute>(out[j]);
        if constexpr (std::is_floating_point_v<Compute>) {
          if (g.bias) s += static_cast<Compute>(load_float(g.bias_type, g.bias, j));
          if (g.epilogue != Epilogue::none)
            s = static_cast<Compute>(
                apply_epilogue(g.epilogue, static_cast<double>(s), aux ? aux + i * g.c_row + j : nullptr));
          if (g.sink.store) {
            row[static_cast<size_t>(j)] = static_cast<float>(s);
            continue;
          }
        }
        out[j] = element_cast<Out>(s);
      }
      if (g.sink.store) g.sink.store(g.sink.context, row.data(), g.n, batch, i, 0, 1, g.n);
    }
  });
}

template <class In, class Out, class Compute>
void plain(const GemmArgs& g) {
  for_each_batch(g, [&](int64_t index, int64_t a, int64_t b, int64_t c) {
    Out* out = g.c ? static_cast<Out*>(g.c) + c : nullptr;
    Out* aux = g.aux ? static_cast<Out*>(g.aux) + c : nullptr;
    plain_2d<In, Out, Compute>(g, static_cast<const In*>(g.a) + a, static_cast<const In*>(g.b) + b, out, aux, index);
  });
}

}  // namespace

void gemm_plain(const GemmArgs& g) {
  visit_dtype(g.type, [&]<DType T>() {
    using In = typename ElementOf<T>::type;
    using Compute = typename ElementOf<T>::compute;
    if constexpr (T == DType::bf16 || T == DType::f16) {
      if (g.out_type == DType::f32) return plain<In, float, Compute>(g);
    }
    plain<In, In, Compute>(g);
  });
}

}  // namespace sorus::kernels
