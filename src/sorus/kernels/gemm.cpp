#include "sorus/kernels/gemm.h"

#include "sorus/base/error.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/gemm_internal.h"

namespace sorus::kernels {

void gemm(const GemmArgs& args) {
  if (args.b_packed) {
    PackLayout l = pack_layout(args.type, args.k, args.n, args.m);
    GemmArgs g = args;
    g.b_packed = false, g.b_row = l.panel, g.b_col = 1;
    return gemm_plain(g);
  }
  gemm_plain(args);
}

PackLayout pack_layout(DType type, int64_t k, int64_t n, int64_t) {
  PackLayout l;
  l.type = type, l.k = k, l.n = n, l.panel = n, l.group = 1, l.k_padded = k, l.n_padded = n;
  l.bytes = k * n * static_cast<int64_t>(size_of(type));
  return l;
}

void pack_b(const PackLayout& layout, const void* b, int64_t b_row, int64_t b_col, void* packed) {
  visit_dtype(layout.type, [&]<DType T>() {
    using E = typename ElementOf<T>::type;
    for (int64_t p = 0; p < layout.k; ++p)
      for (int64_t j = 0; j < layout.n; ++j)
        static_cast<E*>(packed)[layout.offset(p, j)] = static_cast<const E*>(b)[p * b_row + j * b_col];
  });
}

const char* gemm_path(const GemmArgs&) { return "plain"; }
void force_gemm_path(const char*) {}

}  // namespace sorus::kernels
