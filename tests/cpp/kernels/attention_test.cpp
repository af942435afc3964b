// The blocked attention against the plain loops in f64, forward and backward, for every instruction set this machine
// has; the plain gradient against differences.
#include "sorus/kernels/attention.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "sorus/base/threads.h"
#include "sorus/kernels/attention_plain.h"
#include "sorus/kernels/gemm_isa.h"

namespace sorus::kernels {
namespace {

std::mt19937 rng(11);

struct Case {
  int64_t b, h, kvh, t, s, d, dv;
  bool causal;
  int mask;  // 0 none, 1 boolean, 2 added
  double scale = 0.3;
  int64_t start = 0;
};

std::vector<const GemmIsa*> instruction_sets() {
  std::vector<const GemmIsa*> all = {gemm_isa_portable()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
    all.push_back(gemm_isa_avx2());
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    all.push_back(gemm_isa_avx512());
    if (__builtin_cpu_supports("avx512bf16")) all.push_back(gemm_isa_avx512_bf16());
  }
#endif
  return all;
}

/// All of it as one task for each batch and key/value head.
void run_with(const GemmIsa& isa, const AttentionArgs& g, const AttentionGradArgs& r) {
  std::vector<double> memory(
      static_cast<size_t>(std::max(isa.attention_scratch(g, false), isa.attention_scratch(g, true))) / 8 + 16);
  auto at = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  std::fill(memory.begin(), memory.end(),
            std::numeric_limits<double>::quiet_NaN());  // what it reads it must have written
  int64_t blocks = g.heads / g.kv_heads * ((g.q_len + kAttentionQueries - 1) / kAttentionQueries);
  for (bool backward : {false, true})
    for (int64_t i = 0; i < g.batch * g.kv_heads; ++i) {
      AttentionTask task{i / g.kv_heads, i % g.kv_heads, 0, blocks};
      if (backward)
        isa.attention_backward(g, r, task, at);
      else
        isa.attention_forward(g, task, at);
    }
}

/// Runs forward and backward in one type; all results as double: o, dq, dk, dv, lse.
template <DType T>
std::vector<std::vector<double>> run(const Case& c, const std::vector<std::vector<double>>& in, const void* mask,
                                     const GemmIsa* isa = nullptr) {
  using E = typename ElementOf<T>::type;
  auto fill = [](const std::vector<double>& x) {
    std::vector<E> y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = element_cast<E>(x[i]);
    return y;
  };
  auto q = fill(in[0]), k = fill(in[1]), v = fill(in[2]), go = fill(in[3]);
  std::vector<E> o(go.size()), dq(q.size()), dk(k.size()), dv(v.size());
  std::vector<double> lse64(static_cast<size_t>(c.b * c.h * c.t));
  std::vector<float> lse32(lse64.size());
  AttentionArgs g;
  g.type = T, g.batch = c.b, g.heads = c.h, g.kv_heads = c.kvh, g.q_len = c.t, g.kv_len = c.s, g.head_dim = c.d,
  g.value_dim = c.dv;
  g.q = q.data(), g.k = k.data(), g.v = v.data(), g.o = o.data();
  auto strides = [](int64_t heads, int64_t tokens, int64_t d) {
    return AttentionStrides{tokens * heads * d, d, heads * d};
  };
  g.q_stride = strides(c.h, c.t, c.d), g.k_stride = strides(c.kvh, c.s, c.d), g.v_stride = strides(c.kvh, c.s, c.dv);
  g.o_stride = strides(c.h, c.t, c.dv);
  g.lse = T == DType::f64 ? static_cast<void*>(lse64.data()) : lse32.data();
  g.scale = c.scale, g.causal = c.causal, g.q_start = c.start;
  if (c.mask) {
    g.mask = mask, g.mask_type = c.mask == 1 ? DType::boolean : DType::f32;
    g.mask_stride[0] = c.t * c.s, g.mask_stride[2] = c.s, g.mask_stride[3] = 1;
  }
  AttentionGradArgs r{go.data(), g.o_stride, dq.data(), dk.data(), dv.data(), g.q_stride, g.k_stride, g.v_stride};
  if (isa) {
    run_with(*isa, g, r);
  } else {
    attention_forward(g);
    attention_backward(g, r);
  }
  std::vector<std::vector<double>> out(5);
  auto put = [&](size_t i, const std::vector<E>& x) {
    for (E e : x) out[i].push_back(element_cast<double>(e));
  };
  put(0, o), put(1, dq), put(2, dk), put(3, dv);
  for (size_t i = 0; i < lse64.size(); ++i)
    out[4].push_back(T == DType::f64 ? lse64[i] : static_cast<double>(lse32[i]));
  return out;
}

std::vector<std::vector<double>> inputs(const Case& c, bool coarse) {
  std::uniform_real_distribution<double> u(-1, 1);
  std::vector<std::vector<double>> in(4);
  int64_t sizes[] = {c.b * c.h * c.t * c.d, c.b * c.kvh * c.s * c.d, c.b * c.kvh * c.s * c.dv,
                     c.b * c.h * c.t * c.dv};
  for (size_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < sizes[i]; ++j) in[i].push_back(coarse ? std::round(u(rng) * 16) / 16 : u(rng));
  return in;
}

void expect_near(const std::vector<std::vector<double>>& got, const std::vector<std::vector<double>>& want,
                 double tolerance, const Case& c, const char* what) {
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].size(), want[i].size());
    for (size_t j = 0; j < want[i].size(); ++j) {
      if (want[i][j] == got[i][j]) continue;  // infinities
      ASSERT_NEAR(got[i][j], want[i][j], tolerance * (1 + std::abs(want[i][j])))
          << what << ": result " << i << " at " << j << "; heads " << c.h << "/" << c.kvh << " q " << c.t << " kv "
          << c.s << " dims " << c.d << " " << c.dv << " causal " << c.causal << " mask " << c.mask << " scale "
          << c.scale << " start " << c.start;
    }
  }
}

void check(const Case& c, const std::vector<const GemmIsa*>& sets) {
  auto in = inputs(c, true);
  std::vector<char> boolean(static_cast<size_t>(c.b * c.t * c.s));
  std::vector<float> added(boolean.size());
  for (size_t i = 0; i < boolean.size(); ++i)
    boolean[i] = i < static_cast<size_t>(c.s) ? 0 : rng() % 3 != 0, added[i] = static_cast<float>(rng() % 5) * 0.5f;
  const void* mask = c.mask == 1 ? static_cast<void*>(boolean.data()) : added.data();
  auto want = run<DType::f64>(c, in, mask);
  for (const GemmIsa* isa : sets) {
    const char* name = isa ? isa->name : "attention_forward";
    expect_near(run<DType::f32>(c, in, mask, isa), want, 2e-5, c, name);
    expect_near(run<DType::bf16>(c, in, mask, isa), want, 4e-2, c, name);
    expect_near(run<DType::f16>(c, in, mask, isa), want, 6e-3, c, name);
  }
}

TEST(Attention, BlocksAgreeWithPlainLoops) {
  const Case cases[] = {{2, 3, 3, 5, 5, 8, 8, true, 0},       {1, 4, 2, 33, 33, 16, 16, true, 0},
                        {2, 4, 1, 50, 70, 20, 12, false, 0},  {1, 2, 2, 70, 50, 32, 32, true, 0},
                        {1, 2, 2, 256, 256, 64, 64, true, 0}, {2, 2, 1, 40, 65, 32, 32, false, 1},
                        {2, 2, 2, 40, 65, 32, 48, true, 2},   {1, 1, 1, 1, 1, 1, 1, false, 0},
                        {1, 1, 1, 3, 1100, 16, 16, false, 0}, {1, 2, 2, 1, 100, 64, 64, false, 1},
                        {3, 8, 4, 64, 64, 32, 32, true, 0},   {1, 3, 1, 130, 130, 64, 64, true, 0}};
  for (const Case& c : cases) check(c, {nullptr});
}

TEST(Attention, EveryInstructionSetAndShape) {
  const int64_t lengths[] = {1, 2, 7, 15, 16, 17, 31, 33, 48, 63, 64, 65, 79, 100, 127, 129};
  const int64_t dims[] = {16, 32, 64, 96, 128, 160, 1, 3, 17, 24, 40, 47, 80, 100};
  auto pick = [](auto& from) { return from[rng() % std::size(from)]; };
  for (int i = 0; i < 60; ++i) {
    int64_t group = 1 + static_cast<int64_t>(rng() % 3), kvh = 1 + static_cast<int64_t>(rng() % 2);
    int64_t d = dims[static_cast<size_t>(i) % std::size(dims)], t = pick(lengths);
    bool square = rng() % 2;
    double scale = i % 7 == 3 ? -0.2 : i % 11 == 5 ? 0.0 : 1 / std::sqrt(static_cast<double>(d));
    check({1, group * kvh, kvh, t, square ? t : pick(lengths), d, rng() % 2 ? d : pick(dims), rng() % 2 == 0,
           static_cast<int>(rng() % 3), scale},
          instruction_sets());
    if (HasFatalFailure()) return;
  }
}

TEST(Attention, ThreadsShareHeads) {
  // Numbers of heads that threads cannot share evenly are cut into ranges of queries.
  const int before = num_threads();
  for (int threads : {2, 3, 5, 8})
    for (const Case& c : {Case{1, 1, 1, 300, 300, 32, 32, true, 0}, Case{1, 3, 1, 200, 140, 16, 24, true, 0},
                          Case{1, 3, 3, 260, 130, 16, 16, false, 2}, Case{3, 3, 3, 129, 129, 16, 16, true, 0},
                          Case{7, 1, 1, 60, 60, 16, 16, true, 0}}) {
      set_num_threads(threads);
      check(c, {nullptr});
      set_num_threads(before);
      if (HasFatalFailure()) return;
    }
}

TEST(Attention, GrowingScores) {
  // Later keys matter more and more, so the running maximum has to follow.
  Case c{1, 1, 1, 90, 300, 16, 16, false, 0, 1.0};
  auto in = inputs(c, true);
  for (size_t i = 0; i < in[0].size(); ++i) in[0][i] = 1;
  for (size_t j = 0; j < in[1].size(); ++j)
    in[1][j] = static_cast<double>(j / 16 / 4) / 16 * (j / 16 < 280 ? 1 : 0.5);
  auto want = run<DType::f64>(c, in, nullptr);
  for (const GemmIsa* isa : instruction_sets()) {
    expect_near(run<DType::f32>(c, in, nullptr, isa), want, 5e-5, c, isa->name);
    expect_near(run<DType::bf16>(c, in, nullptr, isa), want, 8e-2, c, isa->name);
  }
}

TEST(Attention, HugeScores) {
  // The float of a maximum is off by more than an exponent holds: what is left is the largest key, not NaN or zero.
  Case c{1, 2, 1, 70, 130, 16, 16, true, 0, 1.0, 60};
  auto in = inputs(c, true);
  for (double& x : in[0]) x *= 1 << 18;
  for (double& x : in[1]) x *= 1 << 18;
  auto want = run<DType::f64>(c, in, nullptr);
  for (const GemmIsa* isa : instruction_sets()) {
    auto f32 = run<DType::f32>(c, in, nullptr, isa), bf16 = run<DType::bf16>(c, in, nullptr, isa);
    expect_near({f32[0]}, {want[0]}, 1e-6, c, isa->name);
    expect_near({bf16[0]}, {want[0]}, 1e-2, c, isa->name);
    for (const auto& out : {f32, bf16})
      for (size_t i = 1; i < 4; ++i)
        for (double x : out[i]) ASSERT_TRUE(std::isfinite(x)) << isa->name << ": gradient " << i;
  }
}

TEST(Attention, OneBufferForThreeAndTheirGradients) {
  // q, k and v as they leave one projection, [batch, token, heads * d | kv_heads * d | kv_heads * d], and a gap.
  constexpr int64_t b = 2, h = 4, kvh = 2, n = 70, d = 24, gap = 5, w = (h + 2 * kvh) * d + gap;
  std::uniform_real_distribution<float> u(-1, 1);
  std::vector<float> qkv(b * n * w), grad(qkv.size(), 7.0f), o(b * n * h * d), go(o.size()), lse(b * h * n);
  for (float& x : qkv) x = u(rng);
  for (float& x : go) x = u(rng);
  AttentionArgs g;
  g.batch = b, g.heads = h, g.kv_heads = kvh, g.q_len = g.kv_len = n, g.head_dim = g.value_dim = d, g.causal = true,
  g.scale = 0.2;
  g.q = qkv.data(), g.k = qkv.data() + h * d, g.v = qkv.data() + (h + kvh) * d, g.o = o.data(), g.lse = lse.data();
  g.q_stride = g.k_stride = g.v_stride = {n * w, d, w}, g.o_stride = {n * h * d, d, h * d};
  AttentionGradArgs r{go.data(),  g.o_stride, grad.data(), grad.data() + h * d, grad.data() + (h + kvh) * d,
                      g.q_stride, g.q_stride, g.q_stride};
  attention_forward(g);
  attention_backward(g, r);
  std::vector<float> o_blocks = o, grad_blocks = grad;
  std::fill(grad.begin(), grad.end(), 7.0f);
  PlainAttention<float>{g}.forward();
  PlainAttention<float>{g}.backward(r);
  for (size_t i = 0; i < o.size(); ++i) ASSERT_NEAR(o[i], o_blocks[i], 1e-5f);
  for (size_t i = 0; i < grad.size(); ++i) {
    const bool outside = static_cast<int64_t>(i) % w >= w - gap;
    ASSERT_NEAR(grad_blocks[i], outside ? 7.0f : grad[i], outside ? 0.0f : 1e-4f);
  }
}

TEST(Attention, EmptySizes) {
  // No keys: zeros and lse = -inf; no queries: zero gradients of keys.
  Case none{1, 2, 2, 3, 0, 4, 4, false, 0};
  auto out = run<DType::f32>(none, inputs(none, true), nullptr);
  for (double x : out[0]) EXPECT_EQ(x, 0);
  for (double x : out[1]) EXPECT_EQ(x, 0);
  for (double x : out[4]) EXPECT_EQ(x, -std::numeric_limits<double>::infinity());
  Case unasked{1, 2, 2, 0, 3, 4, 4, true, 0};
  out = run<DType::f32>(unasked, inputs(unasked, true), nullptr);
  for (double x : out[2]) EXPECT_EQ(x, 0);
  for (double x : out[3]) EXPECT_EQ(x, 0);
  Case batch{0, 2, 2, 3, 3, 4, 4, true, 0};
  EXPECT_TRUE(run<DType::f32>(batch, inputs(batch, true), nullptr)[0].empty());
}

TEST(Attention, InfiniteScoresAreNaN) {
  Case c{1, 1, 1, 70, 70, 16, 16, true, 0};
  auto in = inputs(c, false);
  in[0][66 * 16] = in[1][5 * 16] = 1e30;
  for (const GemmIsa* isa : instruction_sets()) {
    auto out = run<DType::f32>(c, in, nullptr, isa);
    EXPECT_TRUE(std::isnan(out[0][66 * 16 + 3])) << isa->name;
    EXPECT_TRUE(std::isfinite(out[0][65 * 16 + 3])) << isa->name;
    EXPECT_TRUE(std::isfinite(out[0][67 * 16 + 3])) << isa->name;
    EXPECT_TRUE(std::isnan(out[1][66 * 16 + 3])) << isa->name;
  }
}

TEST(Attention, HiddenKeysDoNotMatter) {
  // A NaN in a key is seen by later queries only, forward and backward.
  Case c{1, 1, 1, 100, 100, 16, 16, true, 0};
  auto in = inputs(c, false);
  auto base = run<DType::f32>(c, in, nullptr);
  in[1][80 * 16] = std::numeric_limits<double>::quiet_NaN();
  for (const GemmIsa* isa : instruction_sets()) {
    auto o = run<DType::f32>(c, in, nullptr, isa)[0];
    for (size_t i = 0; i < 80 * 16; ++i) ASSERT_NEAR(o[i], base[0][i], 1e-5) << isa->name;
    for (size_t i = 80 * 16; i < o.size(); ++i) ASSERT_TRUE(std::isnan(o[i])) << isa->name;
  }
}

TEST(Attention, NanStays) {
  Case c{1, 1, 1, 20, 20, 16, 16, true, 0};
  auto in = inputs(c, false);
  in[0][5 * 16] = std::numeric_limits<double>::quiet_NaN();
  for (const GemmIsa* isa : instruction_sets()) {
    auto o = run<DType::f32>(c, in, nullptr, isa)[0];
    EXPECT_TRUE(std::isnan(o[5 * 16 + 3])) << isa->name;
    EXPECT_FALSE(std::isnan(o[4 * 16 + 3])) << isa->name;
    EXPECT_FALSE(std::isnan(o[6 * 16 + 3])) << isa->name;
  }
}

TEST(Attention, PlainGradientIsTheDerivative) {
  Case c{1, 2, 1, 4, 5, 3, 2, true, 0};
  auto in = inputs(c, false);
  auto base = run<DType::f64>(c, in, nullptr);
  auto loss = [&] {
    auto o = run<DType::f64>(c, in, nullptr)[0];
    double sum = 0;
    for (size_t i = 0; i < o.size(); ++i) sum += o[i] * in[3][i];
    return sum;
  };
  for (size_t which = 0; which < 3; ++which)
    for (size_t i = 0; i < in[which].size(); ++i) {
      double x = in[which][i];
      in[which][i] = x + 1e-6;
      double up = loss();
      in[which][i] = x - 1e-6;
      double down = loss();
      in[which][i] = x;
      ASSERT_NEAR((up - down) / 2e-6, base[which + 1][i], 1e-7);
    }
}

// Queries in the middle of a sequence, on the grid of blocks and askew; masks, and scales that keep no infinity.
TEST(Attention, BlocksOfASequence) {
  for (int64_t start : {1, 37, 63, 64, 65, 128, 190})
    for (int64_t t : {1, 40, 64, 90})
      for (double scale : {0.3, -0.2})
        check({1, 2, 1, t, start % 2 ? start + t : 200, 24, 16, true, start % 3 == 0 ? 2 : 0, scale, start},
              instruction_sets());
}

}  // namespace
}  // namespace sorus::kernels
