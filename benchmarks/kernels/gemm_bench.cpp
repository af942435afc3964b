// GFLOP/s of gemm on the products of GPT training steps: forward (x W^T), dX (dy W), dW (dy^T x), and forward with a
// packed weight. Prints the best wall time and the mean of process CPU time over threads, which a busy machine spoils
// less.
//
//   gemm_bench [path]        path: "", "own", "tiny" or "plain"
#include <cstdio>
#include <vector>

#include "clock.h"
#include "sorus/base/threads.h"
#include "sorus/kernels/gemm.h"

using namespace sorus;
using namespace sorus::kernels;

int main(int argc, char** argv) {
  force_gemm_path(argc > 1 ? argv[1] : "");
  const int64_t shapes[][3] = {{2048, 384, 1536}, {2048, 1536, 384}, {2048, 384, 1152}, {2048, 384, 384},
                               {768, 128, 512},   {768, 128, 128},   {256, 768, 3072},  {256, 3072, 768},
                               {256, 768, 2304},  {256, 768, 50257}, {1, 784, 128}};
  for (DType t : {DType::f32, DType::bf16}) {
    for (const auto& s : shapes) {
      int64_t m = s[0], k = s[1], n = s[2];
      size_t e = size_of(t);
      std::vector<char> x(static_cast<size_t>(m * k) * e, 0x3c), w(static_cast<size_t>(n * k) * e, 0x3c),
          y(static_cast<size_t>(m * n) * 4, 0x3c);
      std::vector<char> dw(static_cast<size_t>(n * k) * 4), dx(static_cast<size_t>(m * k) * 4);
      GemmArgs f;
      f.type = f.out_type = t;
      f.m = m, f.n = n, f.k = k, f.a = x.data(), f.a_row = k, f.b = w.data(), f.b_row = 1, f.b_col = k,
      f.c = y.data(), f.c_row = n;
      GemmArgs gx = f;
      gx.n = k, gx.k = n, gx.a = y.data(), gx.a_row = n, gx.b_row = k, gx.b_col = 1, gx.c = dx.data(), gx.c_row = k;
      GemmArgs gw;
      gw.type = t, gw.out_type = DType::f32;
      gw.m = n, gw.n = k, gw.k = m, gw.a = y.data(), gw.a_row = 1, gw.a_col = n, gw.b = x.data(), gw.b_row = k,
      gw.c = dw.data(), gw.c_row = k;
      PackLayout layout = pack_layout(t, k, n);
      std::vector<char> packed(static_cast<size_t>(layout.bytes) + 64);
      pack_b(layout, w.data(), 1, k, packed.data());
      GemmArgs fp = f;
      fp.b = packed.data(), fp.b_packed = true;
      std::printf("%-4s %5ld %5ld %5ld", t == DType::f32 ? "f32" : "bf16", m, k, n);
      for (const auto& [name, g] :
           {std::pair<const char*, GemmArgs*>{"fwd", &f}, {"dX", &gx}, {"dW", &gw}, {"packed", &fp}}) {
        gemm(*g);
        gemm(*g);
        double best = 1e9, start = wall(), c0 = cpu();
        int rounds = 0;
        while (wall() - start < 0.15) {
          double t0 = wall();
          gemm(*g);
          best = std::min(best, wall() - t0), ++rounds;
        }
        double flops = 2e-9 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
        std::printf("  %s %6.1f (%6.1f)", name, flops / best, flops * rounds * num_threads() / (cpu() - c0));
      }
      std::printf("\n");
    }
  }
}
