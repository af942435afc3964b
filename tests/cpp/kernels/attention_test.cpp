// The blocked attention against the plain loops in f64, forward and backward; the plain gradient against differences.
#include "sorus/kernels/attention.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "sorus/kernels/attention_plain.h"

namespace sorus::kernels {
namespace {

std::mt19937 rng(11);

struct Case {
  int64_t b, h, kvh, t, s, d, dv;
  bool causal;
  int mask;  // 0 none, 1 boolean, 2 added
};

/// Runs forward and backward in one type; all results as double: o, dq, dk, dv, lse.
template <DType T>
std::vector<std::vector<double>> run(const Case& c, const std::vector<std::vector<double>>& in, const void* mask) {
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
  g.type = T, g.batch = c.b, g.heads = c.h, g.kv_heads = c.kvh, g.q_len = c.t, g.kv_len = c.s, g.head_dim = c.d, g.value_dim = c.dv;
  g.q = q.data(), g.k = k.data(), g.v = v.data(), g.o = o.data();
  auto strides = [](int64_t heads, int64_t tokens, int64_t d) { return AttentionStrides{tokens * heads * d, d, heads * d}; };
  g.q_stride = strides(c.h, c.t, c.d), g.k_stride = strides(c.kvh, c.s, c.d), g.v_stride = strides(c.kvh, c.s, c.dv);
  g.o_stride = strides(c.h, c.t, c.dv);
  g.lse = T == DType::f64 ? static_cast<void*>(lse64.data()) : lse32.data();
  g.scale = 0.3, g.causal = c.causal;
  if (c.mask) {
    g.mask = mask, g.mask_type = c.mask == 1 ? DType::boolean : DType::f32;
    g.mask_stride[0] = c.t * c.s, g.mask_stride[2] = c.s, g.mask_stride[3] = 1;
  }
  attention_forward(g);
  attention_backward(g, {go.data(), g.o_stride, dq.data(), dk.data(), dv.data(), g.q_stride, g.k_stride, g.v_stride});
  std::vector<std::vector<double>> out(5);
  auto put = [&](size_t i, const std::vector<E>& x) {
    for (E e : x) out[i].push_back(element_cast<double>(e));
  };
  put(0, o), put(1, dq), put(2, dk), put(3, dv);
  for (size_t i = 0; i < lse64.size(); ++i) out[4].push_back(T == DType::f64 ? lse64[i] : static_cast<double>(lse32[i]));
  return out;
}

std::vector<std::vector<double>> inputs(const Case& c, bool coarse) {
  std::uniform_real_distribution<double> u(-1, 1);
  std::vector<std::vector<double>> in(4);
  int64_t sizes[] = {c.b * c.h * c.t * c.d, c.b * c.kvh * c.s * c.d, c.b * c.kvh * c.s * c.dv, c.b * c.h * c.t * c.dv};
  for (size_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < sizes[i]; ++j) in[i].push_back(coarse ? std::round(u(rng) * 16) / 16 : u(rng));
  return in;
}

TEST(Attention, BlocksAgreeWithPlainLoops) {
  const Case cases[] = {{2, 3, 3, 5, 5, 8, 8, true, 0},      {1, 4, 2, 33, 33, 16, 16, true, 0},  {2, 4, 1, 50, 70, 20, 12, false, 0},
                        {1, 2, 2, 70, 50, 32, 32, true, 0},  {1, 2, 2, 256, 256, 64, 64, true, 0}, {2, 2, 1, 40, 65, 32, 32, false, 1},
                        {2, 2, 2, 40, 65, 32, 48, true, 2},  {1, 1, 1, 1, 1, 1, 1, false, 0},      {1, 1, 1, 3, 1100, 16, 16, false, 0},
                        {1, 2, 2, 1, 100, 64, 64, false, 1}, {3, 8, 4, 64, 64, 32, 32, true, 0}};
  for (const Case& c : cases) {
    auto in = inputs(c, true);
    std::vector<char> boolean(static_cast<size_t>(c.b * c.t * c.s));
    std::vector<float> added(boolean.size());
    for (size_t i = 0; i < boolean.size(); ++i) boolean[i] = i < static_cast<size_t>(c.s) ? 0 : rng() % 3 != 0, added[i] = static_cast<float>(rng() % 5) * 0.5f;
    const void* mask = c.mask == 1 ? static_cast<void*>(boolean.data()) : added.data();
    auto want = run<DType::f64>(c, in, mask);
    auto near = [&](const std::vector<std::vector<double>>& got, double tolerance) {
      for (size_t i = 0; i < want.size(); ++i)
        for (size_t j = 0; j < want[i].size(); ++j) {
          if (want[i][j] == got[i][j]) continue;  // infinities
          ASSERT_NEAR(got[i][j], want[i][j], tolerance * (1 + std::abs(want[i][j]))) << "result " << i << " at " << j << " t " << c.t << " s " << c.s;
        }
    };
    near(run<DType::f32>(c, in, mask), 2e-5);
    near(run<DType::bf16>(c, in, mask), 4e-2);
    near(run<DType::f16>(c, in, mask), 6e-3);
  }
}

TEST(Attention, NanStays) {
  Case c{1, 1, 1, 20, 20, 16, 16, true, 0};
  auto in = inputs(c, false);
  in[0][5 * 16] = std::numeric_limits<double>::quiet_NaN();
  auto o = run<DType::f32>(c, in, nullptr)[0];
  EXPECT_TRUE(std::isnan(o[5 * 16 + 3]));
  EXPECT_FALSE(std::isnan(o[4 * 16 + 3]));
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

}  // namespace
}  // namespace sorus::kernels
