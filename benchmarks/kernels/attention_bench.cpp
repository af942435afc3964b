// Milliseconds of causal attention, forward and backward: best wall time and CPU time / threads.
#include <cstdio>
#include <vector>

#include "clock.h"
#include "sorus/base/threads.h"
#include "sorus/kernels/attention.h"

using namespace sorus;
using namespace sorus::kernels;

template <class F>
void report(const char* name, F f) {
  f();
  double best = 1e9, start = wall(), c0 = cpu();
  int rounds = 0;
  while (wall() - start < 0.3) {
    double t = wall();
    f();
    best = std::min(best, wall() - t), ++rounds;
  }
  std::printf("  %s %.3f (%.3f)", name, best * 1e3, (cpu() - c0) / rounds / num_threads() * 1e3);
}

int main() {
  const int64_t shapes[][4] = {{8, 6, 256, 64}, {12, 4, 64, 32}, {1, 12, 256, 64}};
  for (DType t : {DType::f32, DType::bf16})
    for (const auto& s : shapes) {
      int64_t b = s[0], h = s[1], n = s[2], d = s[3], w = 3 * h * d;
      std::vector<char> qkv(static_cast<size_t>(b * n * w) * size_of(t), 0x3c), grad(qkv.size()), o(qkv.size() / 3),
          go(o.size(), 0x3c);
      std::vector<float> lse(static_cast<size_t>(b * h * n));
      size_t head = static_cast<size_t>(h * d) * size_of(t);
      AttentionArgs g;
      g.type = t, g.batch = b, g.heads = g.kv_heads = h, g.q_len = g.kv_len = n, g.head_dim = g.value_dim = d,
      g.causal = true, g.scale = 0.125;
      g.q = qkv.data(), g.k = qkv.data() + head, g.v = qkv.data() + 2 * head, g.o = o.data(), g.lse = lse.data();
      g.q_stride = g.k_stride = g.v_stride = {n * w, d, w}, g.o_stride = {n * h * d, d, h * d};
      AttentionGradArgs r{go.data(),  g.o_stride, grad.data(), grad.data() + head, grad.data() + 2 * head,
                          g.q_stride, g.q_stride, g.q_stride};
      std::printf("%-4s batch %2ld heads %2ld tokens %ld dim %ld", t == DType::f32 ? "f32" : "bf16", b, h, n, d);
      report("forward", [&] { attention_forward(g); });
      report("backward", [&] { attention_backward(g, r); });
      std::printf("\n");
    }
}
