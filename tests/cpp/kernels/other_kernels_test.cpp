// Convolution, sort, scan, gather and scatter, embedding: against definitions written out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "sorus/kernels/conv.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/measure.h"
#include "sorus/kernels/scan.h"
#include "sorus/kernels/scatter.h"
#include "sorus/kernels/sort.h"

namespace sorus::kernels {
namespace {

std::mt19937 rng(3);
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_floats(int64_t n) {
  std::uniform_real_distribution<float> u(-1, 1);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = u(rng);
  return x;
}

TEST(Conv, OneDnnAgreesWithLoopsInF64) {
  struct Shape {
    int spatial;
    int64_t n, c, o, groups, in, kernel, stride, pad, dil;
  };
  for (const Shape& s : {Shape{2, 2, 3, 8, 1, 9, 3, 1, 1, 1}, Shape{2, 1, 4, 6, 2, 8, 3, 2, 0, 1},
                         Shape{1, 2, 4, 4, 4, 17, 5, 1, 4, 2}, Shape{3, 1, 2, 3, 1, 6, 2, 2, 1, 1},
                         Shape{2, 2, 16, 32, 1, 7, 1, 2, 0, 1}}) {
    ConvArgs g;
    g.spatial = s.spatial, g.batch = s.n, g.in_channels = s.c, g.out_channels = s.o, g.groups = s.groups;
    int64_t in = 1, out = 1, kernel = 1;
    for (int d = 0; d < s.spatial; ++d) {
      g.in[d] = s.in + d, g.kernel[d] = s.kernel, g.stride[d] = s.stride, g.padding[d] = s.pad, g.dilation[d] = s.dil;
      g.out[d] = conv_out_size(g.in[d], s.kernel, s.stride, s.pad, s.dil);
      in *= g.in[d], out *= g.out[d], kernel *= s.kernel;
    }
    int64_t xs = s.n * s.c * in, ws = s.o * s.c / s.groups * kernel, ys = s.n * s.o * out;
    auto x = random_floats(xs), w = random_floats(ws), b = random_floats(s.o), gy = random_floats(ys);
    std::vector<float> y(gy.size()), gx(x.size()), gw(w.size()), gb(b.size());
    conv_forward(g, x.data(), w.data(), b.data(), y.data());
    conv_backward_data(g, gy.data(), w.data(), gx.data());
    conv_backward_weights(g, x.data(), gy.data(), gw.data(), gb.data());
    auto wide = [](const std::vector<float>& v) { return std::vector<double>(v.begin(), v.end()); };
    auto x2 = wide(x), w2 = wide(w), b2 = wide(b), gy2 = wide(gy);
    std::vector<double> y2(y.size()), gx2(x.size()), gw2(w.size()), gb2(b.size());
    g.type = DType::f64;
    conv_forward(g, x2.data(), w2.data(), b2.data(), y2.data());
    conv_backward_data(g, gy2.data(), w2.data(), gx2.data());
    conv_backward_weights(g, x2.data(), gy2.data(), gw2.data(), gb2.data());
    for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], y2[i], 1e-4);
    for (size_t i = 0; i < gx.size(); ++i) ASSERT_NEAR(gx[i], gx2[i], 1e-4);
    for (size_t i = 0; i < gw.size(); ++i) ASSERT_NEAR(gw[i], gw2[i], 1e-4);
    for (size_t i = 0; i < gb.size(); ++i) ASSERT_NEAR(gb[i], gb2[i], 1e-4);
    // The adjoint identities pin the plain loops themselves: <y, gy> = <x, gx> + <bias, gb> = <w, gw> + <bias, gb>.
    auto dot = [](const auto& p, const auto& q) { return std::inner_product(p.begin(), p.end(), q.begin(), 0.0); };
    EXPECT_NEAR(dot(y2, gy2), dot(x2, gx2) + dot(b2, gb2), 1e-9);
    EXPECT_NEAR(dot(y2, gy2), dot(w2, gw2) + dot(b2, gb2), 1e-9);
  }
}

TEST(Sort, StableWithNanLast) {
  std::vector<float> x{3, kNan, 1, 3, -2, kNan, 1}, v(7);
  std::vector<int64_t> i(7);
  int64_t shape[] = {7}, one[] = {1};
  sort(DType::f32, shape, 0, x.data(), one, v.data(), one, i.data(), one, false);
  EXPECT_EQ(i, (std::vector<int64_t>{4, 2, 6, 0, 3, 1, 5}));
  sort(DType::f32, shape, 0, x.data(), one, v.data(), one, i.data(), one, true);
  EXPECT_EQ(i, (std::vector<int64_t>{1, 5, 0, 3, 2, 6, 4}));
  topk(DType::f32, shape, 0, 3, false, x.data(), one, v.data(), one, i.data(), one);
  EXPECT_EQ(std::vector<int64_t>(i.begin(), i.begin() + 3), (std::vector<int64_t>{4, 2, 6}));
  EXPECT_THROW(topk(DType::f32, shape, 0, 8, true, x.data(), one, v.data(), one, i.data(), one), ValueError);
}

TEST(Sort, StridedLines) {
  int64_t shape[] = {40, 30}, strides[] = {1, 40}, dense[] = {30, 1};
  std::vector<int32_t> x(1200), v(1200);
  for (auto& e : x) e = static_cast<int32_t>(rng() % 9);
  std::vector<int64_t> i(1200);
  sort(DType::i32, shape, 0, x.data(), strides, v.data(), dense, i.data(), dense, false);
  for (size_t c = 0; c < 30; ++c)
    for (size_t r = 0; r < 40; ++r) {
      ASSERT_EQ(v[r * 30 + c], x[static_cast<size_t>(i[r * 30 + c]) + 40 * c]);
      if (r == 0) continue;
      size_t now = r * 30 + c, before = now - 30;
      ASSERT_TRUE(v[now] > v[before] || (v[now] == v[before] && i[now] > i[before]));
    }
}

TEST(Scan, SumProductExtremum) {
  int64_t shape[] = {5}, one[] = {1};
  std::vector<int32_t> x{1, 2, 3, 4, 5};
  std::vector<int64_t> y(5);
  scan(ScanOp::sum, DType::i32, DType::i64, shape, 0, x.data(), one, y.data(), one);
  EXPECT_EQ(y, (std::vector<int64_t>{1, 3, 6, 10, 15}));
  scan(ScanOp::product, DType::i32, DType::i64, shape, 0, x.data(), one, y.data(), one, true);
  EXPECT_EQ(y, (std::vector<int64_t>{120, 120, 60, 20, 5}));
  std::vector<float> f{1, 3, 3, 2, kNan}, v(5);
  scan_extremum(true, DType::f32, shape, 0, f.data(), one, v.data(), one, y.data(), one);
  EXPECT_EQ(y, (std::vector<int64_t>{0, 1, 2, 2, 4}));
  EXPECT_TRUE(std::isnan(v[4]));
  std::vector<float> l{0, 0, 0, 0, 0};
  scan(ScanOp::logsumexp, DType::f32, DType::f32, shape, 0, l.data(), one, v.data(), one);
  EXPECT_NEAR(v[4], std::log(5.0f), 1e-6);
}

TEST(Scatter, GatherIsItsInverse) {
  int64_t shape[] = {6, 50}, strides[] = {50, 1};
  auto x = random_floats(300);
  std::vector<int64_t> index(300);
  for (size_t r = 0; r < 6; ++r) {
    std::iota(index.begin() + static_cast<std::ptrdiff_t>(r * 50),
              index.begin() + static_cast<std::ptrdiff_t>(r * 50 + 50), 0);
    std::shuffle(index.begin() + static_cast<std::ptrdiff_t>(r * 50),
                 index.begin() + static_cast<std::ptrdiff_t>(r * 50 + 50), rng);
  }
  index[3] -= 50;  // the same place, counted from the end
  std::vector<float> y(300), z(300);
  IndexTensor t{index.data(), DType::i64, strides};
  gather(DType::f32, shape, 1, x.data(), strides, 50, t, y.data(), strides);
  scatter(ScatterMode::assign, DType::f32, shape, 1, z.data(), strides, 50, t, y.data(), strides);
  EXPECT_EQ(x, z);
  scatter(ScatterMode::add, DType::f32, shape, 1, z.data(), strides, 50, t, y.data(), strides);
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(z[i], 2 * x[i]);
  index[7] = 50;
  EXPECT_THROW(gather(DType::f32, shape, 1, x.data(), strides, 50, t, y.data(), strides), IndexError);
}

TEST(Scatter, EmbeddingAndItsGradient) {
  constexpr int64_t kRows = 9, kWidth = 70, kCount = 500;
  auto table = random_floats(kRows * kWidth), grad = random_floats(kCount * kWidth);
  std::vector<int32_t> index(kCount);
  for (auto& i : index) i = static_cast<int32_t>(rng() % kRows);
  std::vector<float> out(kCount * kWidth), sum(kRows * kWidth), want(kRows * kWidth), added(kRows * kWidth);
  embedding(DType::f32, table.data(), kRows, kWidth, kWidth, index.data(), DType::i32, kCount, out.data(), kWidth);
  embedding_backward(DType::f32, DType::f32, sum.data(), kRows, kWidth, kWidth, index.data(), DType::i32, kCount,
                     grad.data(), kWidth, 4);
  for (int64_t i = 0; i < kCount; ++i)
    for (int64_t j = 0; j < kWidth; ++j) {
      size_t r = static_cast<size_t>(index[static_cast<size_t>(i)]) * kWidth + static_cast<size_t>(j),
             p = static_cast<size_t>(i * kWidth + j);
      ASSERT_EQ(out[p], table[r]);
      if (index[static_cast<size_t>(i)] != 4) want[r] += grad[p];
    }
  EXPECT_EQ(sum, want);
  int64_t shape[] = {kCount, kWidth}, strides[] = {kWidth, 1};
  index_add(DType::f32, shape, 0, added.data(), strides, kRows, index.data(), DType::i32, 1, grad.data(), strides);
  for (size_t i = 0; i < want.size(); ++i)
    if (i / kWidth != 4) {
      ASSERT_EQ(added[i], want[i]);
    }
  index[0] = kRows;
  EXPECT_THROW(embedding(DType::f32, table.data(), kRows, kWidth, kWidth, index.data(), DType::i32, kCount,
                         out.data(), kWidth),
               IndexError);
}

TEST(Element, HalvesRoundTrip) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    float16 h;
    h.bits = static_cast<uint16_t>(i);
    float f = to_float(h);
    if (f == f) {
      ASSERT_EQ(f16_bits(f), i);
    }
    bfloat16 b;
    b.bits = static_cast<uint16_t>(i);
    if (to_float(b) == to_float(b)) {
      ASSERT_EQ(bf16_bits(to_float(b)), i);
    }
  }
}

TEST(Measure, FeaturesAreNamed) {
  EXPECT_FALSE(cpu_name().empty());
#if defined(__x86_64__)
  EXPECT_FALSE(cpu_features().empty());
#endif
}

}  // namespace
}  // namespace sorus::kernels
