// Reductions and copies of eager mode against loops written out: all types, any layout, one thread and several.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"
#include "sorus/kernels/reduce.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus {
namespace {

using kernels::ReduceKind;

Tensor random_tensor(const Shape& shape, DType t, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> u(-3, 3);
  std::vector<float> v(static_cast<size_t>(numel(shape)));
  for (float& x : v) x = u(rng);
  return to(Tensor::of(v, shape), t);
}

// Element by element, in double precision, by index arithmetic alone.
std::vector<double> expected(ReduceKind kind, const Tensor& x, const std::vector<bool>& reduced) {
  Tensor wide = to(x, DType::f64);
  int64_t kept = 1;
  for (size_t d = 0; d < reduced.size(); ++d) kept *= reduced[d] ? 1 : x.sizes()[d];
  double first = kind == ReduceKind::sum    ? 0
                 : kind == ReduceKind::prod ? 1
                 : kind == ReduceKind::max  ? -INFINITY
                                            : INFINITY;
  std::vector<double> out(static_cast<size_t>(kept), first);
  for (int64_t i = 0; i < x.numel(); ++i) {
    int64_t left = i, to = 0, unit = 1, at = 0;
    for (size_t d = reduced.size(); d-- > 0;) {
      int64_t index = left % x.sizes()[d];
      left /= x.sizes()[d];
      at += index * wide.strides()[d];
      if (!reduced[d]) to += index * unit, unit *= x.sizes()[d];
    }
    double v = wide.data<double>()[at], &o = out[static_cast<size_t>(to)];
    if (kind == ReduceKind::sum)
      o += v;
    else if (kind == ReduceKind::prod)
      o *= v;
    else if (v != v || (kind == ReduceKind::max ? v > o : v < o))
      o = v;
  }
  return out;
}

void check(ReduceKind kind, const Tensor& x, const Shape& dims) {
  std::vector<bool> reduced(x.sizes().size(), false);
  for (int64_t d : dims) reduced[static_cast<size_t>(d)] = true;
  Tensor y = kind == ReduceKind::sum    ? sum(x, dims)
             : kind == ReduceKind::prod ? call_one(find_op("prod.dims"), {x}, {Attr(dims), Attr(false), Attr()})
             : kind == ReduceKind::max  ? amax(x, dims)
                                        : amin(x, dims);
  auto want = expected(kind, x, reduced);
  Tensor got = to(y, DType::f64);
  ASSERT_EQ(got.numel(), static_cast<int64_t>(want.size()));
  double unit = x.dtype() == DType::bf16  ? 8e-3
                : x.dtype() == DType::f16 ? 1e-3
                : x.dtype() == DType::f32 ? 1e-6
                                          : 1e-12;
  for (size_t i = 0; i < want.size(); ++i) {
    double g = got.data<double>()[i];
    if (std::isnan(want[i]))
      EXPECT_TRUE(std::isnan(g));
    else if (std::isinf(want[i]))
      EXPECT_EQ(g, want[i]);
    else
      EXPECT_NEAR(g, want[i], unit * (1 + std::abs(want[i]))) << i << " of " << x.type().to_string();
  }
}

TEST(Reduce, EveryTypeLayoutAndSize) {
  int before = num_threads();
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8,
                    DType::u8}) {
      Tensor x = random_tensor({5, 37, 6}, t, 1);
      if (t == DType::u8) x = to(random_tensor({5, 37, 6}, DType::i64, 2) + Tensor::weak_scalar(4), t);
      for (ReduceKind k : {ReduceKind::sum, ReduceKind::max, ReduceKind::min})
        for (const Shape& dims :
             {Shape{0}, Shape{1}, Shape{2}, Shape{0, 2}, Shape{0, 1}, Shape{1, 2}, Shape{0, 1, 2}}) {
          check(k, x, dims);
          check(k, permute(x, Shape{2, 0, 1}), dims);
          check(k, expand(slice(x, 0, 1, 2), Shape{4, 37, 6}), dims);
          check(k, slice(x, 1, 2, 30, 3), dims);
        }
    }
    for (DType t : {DType::f64, DType::f32, DType::bf16}) check(ReduceKind::prod, random_tensor({3, 7}, t, 3), {1});
    // Long enough to be cut into pieces, in either direction.
    for (ReduceKind k : {ReduceKind::sum, ReduceKind::max}) {
      for (const Shape& dims : {Shape{0}, Shape{1}, Shape{0, 1}})
        check(k, random_tensor({3000, 70}, DType::f32, 4), dims);
      check(k, random_tensor({2, 200003}, DType::f32, 5), {1});
      check(k, random_tensor({3, 1000, 2500}, DType::f32, 6), {1});
    }
  }
  set_num_threads(before);
}

TEST(Reduce, SumsOfManyF32AreAsGoodAsDouble) {
  // One running f32 sum of these stops growing at 2^24.
  int64_t n = (int64_t{1} << 24) + (int64_t{1} << 22);
  EXPECT_EQ(sum(ones(Shape{n})).item().to_double(), static_cast<double>(n));
  EXPECT_EQ(sum(ones(Shape{n / 4, 4}), Shape{0}).data<float>()[3], static_cast<float>(n / 4));
}

TEST(Reduce, NanIsEveryExtremumAndEmptySumsAreZero) {
  Tensor x = random_tensor({4, 50}, DType::f32, 7);
  x.data<float>()[77] = std::numeric_limits<float>::quiet_NaN();
  for (ReduceKind k : {ReduceKind::max, ReduceKind::min, ReduceKind::sum})
    for (const Shape& dims : {Shape{0}, Shape{1}}) check(k, x, dims);
  EXPECT_EQ(sum(zeros(Shape{0, 3}), Shape{0}).data<float>()[2], 0);
  EXPECT_EQ(sum(zeros(Shape{3, 0}), Shape{1}).data<float>()[2], 0);
  EXPECT_EQ(sum(zeros(Shape{3, 0}), Shape{0}).numel(), 0);
}

TEST(Reduce, TheSameBitsWhateverTheThreads) {
  Tensor x = random_tensor({3000, 70}, DType::f32, 8);
  int before = num_threads();
  set_num_threads(1);
  Tensor a = sum(x, Shape{0}), b = sum(x);
  set_num_threads(4);
  Tensor c = sum(x, Shape{0}), d = sum(x);
  set_num_threads(before);
  EXPECT_TRUE(std::equal(a.data<float>(), a.data<float>() + 70, c.data<float>()));
  EXPECT_EQ(*b.data<float>(), *d.data<float>());
}

TEST(Plans, OfOneOperatorWithOtherStridesTypesAndAttributes) {
  // The same shapes again and again with something else changed: a plan must not be used for another signature.
  for (int round = 0; round < 2; ++round) {
    Tensor x = random_tensor({6, 6}, DType::f32, 9), t = transpose(x, 0, 1);
    for (const Tensor& y : {x, t, to(x, DType::bf16), to(x, DType::f64)}) {
      check(ReduceKind::sum, y, {0});
      check(ReduceKind::sum, y, {1});
      EXPECT_EQ(sum(y, Shape{1}, true).dim(), 2);
      EXPECT_EQ(sum(y, Shape{1}).dim(), 1);
    }
    Tensor a = matmul(x, x), b = matmul(t, x), c = matmul(x, t);
    for (int64_t i = 0; i < 6; ++i)
      for (int64_t j = 0; j < 6; ++j) {
        auto at = [&](int64_t r, int64_t s) { return x.data<float>()[r * 6 + s]; };
        double wa = 0, wb = 0, wc = 0;
        for (int64_t k = 0; k < 6; ++k)
          wa += at(i, k) * at(k, j), wb += at(k, i) * at(k, j), wc += at(i, k) * at(j, k);
        EXPECT_NEAR(a.data<float>()[i * 6 + j], wa, 1e-4);
        EXPECT_NEAR(b.data<float>()[i * 6 + j], wb, 1e-4);
        EXPECT_NEAR(c.data<float>()[i * 6 + j], wc, 1e-4);
      }
  }
}

TEST(Copy, HalvesConvertLikeTheirDefinition) {
  // All halves there are, and floats around every boundary of rounding.
  std::vector<uint16_t> bits(65536);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(bits.size());
  for (DType t : {DType::bf16, DType::f16}) {
    convert_strided(DType::f32, wide.data(), 1, t, bits.data(), 1, 65536);
    for (size_t i = 0; i < bits.size(); ++i) {
      float want = t == DType::bf16 ? kernels::to_float(std::bit_cast<bfloat16>(bits[i]))
                                    : kernels::to_float(std::bit_cast<float16>(bits[i]));
      if (std::isnan(want))
        EXPECT_TRUE(std::isnan(wide[i]));
      else
        EXPECT_EQ(std::bit_cast<uint32_t>(wide[i]), std::bit_cast<uint32_t>(want)) << i;
    }
    std::vector<float> in;
    for (float v : wide)
      for (uint32_t step : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xfffu, 0x1000u, 0x1001u})
        in.push_back(std::bit_cast<float>(std::bit_cast<uint32_t>(v) + step));
    std::vector<uint16_t> out(in.size());
    convert_strided(t, out.data(), 1, DType::f32, in.data(), 1, static_cast<int64_t>(in.size()));
    for (size_t i = 0; i < in.size(); ++i)
      EXPECT_EQ(out[i], t == DType::bf16 ? bfloat16(in[i]).bits : float16(in[i]).bits) << in[i];
  }
}

TEST(Copy, TransposedLayoutsOfAllElementSizes) {
  for (DType t : {DType::f64, DType::f32, DType::bf16, DType::u8}) {
    Tensor x = to(arange(int64_t{0}, int64_t{3 * 41 * 70}), DType::i64);
    x = to(reshape(remainder(x, Tensor::weak_scalar(113)), Shape{3, 41, 70}), t);
    for (const Shape& order : {Shape{0, 2, 1}, Shape{2, 1, 0}, Shape{1, 2, 0}, Shape{2, 0, 1}}) {
      Tensor y = permute(x, order), c = clone(y), a = to(c, DType::f64), wide = to(x, DType::f64);
      ASSERT_TRUE(a.is_contiguous());
      for (int64_t i = 0; i < y.numel(); ++i) {
        int64_t left = i, at = 0;
        for (size_t d = 3; d-- > 0;) {
          at += left % y.sizes()[d] * wide.strides()[static_cast<size_t>(order[d])];
          left /= y.sizes()[d];
        }
        ASSERT_EQ(a.data<double>()[i], wide.data<double>()[at]);
      }
    }
  }
}

}  // namespace
}  // namespace sorus
