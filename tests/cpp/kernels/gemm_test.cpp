// Every fast path of gemm against the plain one, over random shapes, strides, types and epilogues.
#include "sorus/kernels/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "sorus/kernels/element.h"

namespace sorus::kernels {
namespace {

std::mt19937 rng(7);
int64_t pick(std::initializer_list<int64_t> from) { return from.begin()[rng() % from.size()]; }

struct Data {
  DType type;
  std::vector<char> bytes;
  Data(DType t, int64_t count) : type(t), bytes(static_cast<size_t>(count + 1) * size_of(t)) {
    std::uniform_real_distribution<double> u(-1, 1);
    visit_dtype(t, [&]<DType T>() {
      auto* p = reinterpret_cast<typename ElementOf<T>::type*>(bytes.data());
      for (int64_t i = 0; i <= count; ++i)
        p[i] = element_cast<typename ElementOf<T>::type>(is_floating(T) || is_complex(T) ? u(rng)
                                                                                         : std::floor(4 * u(rng)));
    });
  }
  double operator[](int64_t i) const {
    return visit_dtype(type, [&]<DType T>() {
      return element_cast<double>(reinterpret_cast<const typename ElementOf<T>::type*>(bytes.data())[i]);
    });
  }
  void* data() { return bytes.data(); }
};

void compare(GemmArgs g, Data& c, Data& aux, const char* path, double tolerance) {
  Data expected = c, expected_aux = aux;
  g.c = expected.data(), g.aux = g.aux ? expected_aux.data() : nullptr;
  GemmArgs plain = g;
  force_gemm_path("plain");
  gemm(plain);
  force_gemm_path(path);
  g.c = c.data(), g.aux = g.aux ? aux.data() : nullptr;
  gemm(g);
  force_gemm_path("");
  size_t count = c.bytes.size() / size_of(c.type);
  for (size_t i = 0; i < count; ++i) {
    auto at = static_cast<int64_t>(i);
    ASSERT_NEAR(c[at], expected[at], tolerance)
        << "m " << g.m << " n " << g.n << " k " << g.k << " type " << short_name(g.type) << " at " << i;
    if (g.aux) {
      ASSERT_NEAR(aux[at], expected_aux[at], tolerance);
    }
  }
}

void random_case(DType type, const char* path, std::initializer_list<int64_t> sizes, int64_t k = -1, int64_t n = -1,
                 double f32_error = 2e-5) {
  GemmArgs g;
  g.type = type, g.out_type = is_half(type) && rng() % 2 ? DType::f32 : type;
  g.m = pick(sizes), g.n = n < 0 ? pick(sizes) : n, g.k = k < 0 ? pick(sizes) : k;
  int64_t pad = pick({0, 0, 3}), lda, ldb;
  if (rng() % 2)
    g.a_row = lda = g.k + pad, g.a_col = 1;
  else
    g.a_col = lda = g.m + pad, g.a_row = 1;
  if (rng() % 2)
    g.b_row = ldb = g.n + pad, g.b_col = 1;
  else
    g.b_col = ldb = g.k + pad, g.b_row = 1;
  g.c_row = g.n + pad;
  int64_t batch = pick({1, 1, 3}), shared = rng() % 2;
  int64_t a_size = lda * std::max(g.m, g.k) + 8, b_size = ldb * std::max(g.n, g.k) + 8, c_size = g.c_row * g.m + 8;
  if (batch > 1)
    g.batch_dims = 1, g.batch[0] = batch, g.a_batch[0] = a_size, g.b_batch[0] = shared ? 0 : b_size,
    g.c_batch[0] = c_size;
  Data a(type, a_size * batch), b(type, b_size * batch), c(g.out_type, c_size * batch),
      aux(g.out_type, c_size * batch), bias(type, g.n);
  g.a = a.data(), g.b = b.data();
  g.beta = static_cast<double>(pick({0, 0, 1}));
  if (is_floating(type) && rng() % 2) g.bias = bias.data(), g.bias_type = type;
  if (is_floating(type) && type != DType::f64 && rng() % 3 == 0) {
    g.epilogue = static_cast<Epilogue>(rng() % 6);
    if (g.epilogue != Epilogue::none && g.epilogue != Epilogue::relu) g.aux = aux.data();
    if (rng() % 2) g.alpha = 0.5;
  }
  double tolerance = g.out_type == DType::bf16  ? 0.02 * std::sqrt(static_cast<double>(g.k) + 4)
                     : g.out_type == DType::f16 ? 3e-3 * std::sqrt(static_cast<double>(g.k) + 4)
                                                : f32_error * (1 + std::sqrt(static_cast<double>(g.k)));
  compare(g, c, aux, path, tolerance);
}

TEST(Gemm, OwnAgreesWithPlain) {
  for (DType t : {DType::f32, DType::bf16, DType::f16, DType::f64})
    for (int i = 0; i < 120; ++i) random_case(t, "own", {0, 1, 2, 5, 12, 13, 31, 32, 33, 64, 65, 100, 129, 257});
}
TEST(Gemm, OneDnnAgreesWithPlain) {
  for (DType t : {DType::f32, DType::bf16}) {
    for (int i = 0; i < 60; ++i) random_case(t, "onednn", {1, 2, 13, 32, 65, 100});
    for (int i = 0; i < 30; ++i) random_case(t, "onednn", {40, 129, 1100}, 17 + 300 * (i % 2));  // a part a thread
    for (int i = 0; i < 6; ++i) random_case(t, "onednn", {13, 40, 129}, 2047 + 701 * i);         // sums in pieces
  }
}
TEST(Gemm, TilesAgreeWithPlain) {  // where there are none, the ordinary choice is tested once more
  for (int i = 0; i < 200; ++i) random_case(DType::bf16, "amx", {1, 2, 13, 16, 17, 31, 32, 33, 48, 65, 100, 200});
  for (int i = 0; i < 20; ++i) random_case(DType::bf16, "amx", {1, 16, 40, 70, 300}, 1537 + 31 * i);
  for (int i = 0; i < 3; ++i) random_case(DType::bf16, "amx", {1200, 1500}, 530);  // more than stays in the cache
}
TEST(Gemm, LowerPrecisionsOfFloat32) {  // elsewhere than on tiles they are f32 too
  for (auto [precision, error] : {std::pair{Float32Precision::high, 6e-5}, {Float32Precision::medium, 1e-2}}) {
    set_float32_precision(precision);
    for (int i = 0; i < 60; ++i) random_case(DType::f32, "amx", {1, 13, 16, 17, 32, 33, 48, 100, 200}, -1, -1, error);
    for (int i = 0; i < 8; ++i) random_case(DType::f32, "amx", {40, 70, 300}, 1537 + 31 * i, -1, error);
    set_float32_precision(Float32Precision::highest);
  }
}
TEST(Gemm, TinyAgreesWithPlain) {
  for (DType t : {DType::f32, DType::f64})
    for (int i = 0; i < 200; ++i) random_case(t, "tiny", {0, 1, 2, 3, 4, 7, 10, 16, 17, 33, 70});
}
TEST(Gemm, OtherTypes) {
  for (DType t : {DType::i64, DType::i32, DType::u8, DType::boolean, DType::c64, DType::c128})
    for (int i = 0; i < 20; ++i) random_case(t, "", {0, 1, 3, 17});
}
TEST(Gemm, ChosenPathAgreesWithPlain) {
  for (DType t : {DType::f32, DType::bf16})
    for (int i = 0; i < 12; ++i) random_case(t, "", {160, 200, 384}, i % 2 ? 256 : 2050);
}
TEST(Gemm, LongSums) {
  for (int i = 0; i < 10; ++i) {
    random_case(DType::f32, "own", {1, 13, 70}, 2100);
    random_case(DType::bf16, "own", {1, 13, 70}, 4101);
  }
}
TEST(Gemm, FewRowsAndManyColumns) {  // B is packed as it is used; longer sums than A has room for go through memory
  for (DType t : {DType::f32, DType::bf16, DType::f64})
    for (int i = 0; i < 6; ++i) random_case(t, "own", {40, 61}, 300, 520 + 8 * i + i % 2);
  random_case(DType::f32, "own", {512}, 2100, 520);
}
TEST(Gemm, PackedAndSink) {
  for (DType t : {DType::f32, DType::bf16, DType::f16}) {
    GemmArgs g;
    g.type = t, g.out_type = DType::f32, g.m = 70, g.n = 45, g.k = 33;
    Data a(t, g.m * g.k), b(t, g.n * g.k), c(DType::f32, g.m * g.n), d(DType::f32, g.m * g.n);
    g.a = a.data(), g.a_row = g.k, g.b = b.data(), g.b_row = 1, g.b_col = g.k, g.c = c.data(), g.c_row = g.n;
    gemm(g);
    PackLayout layout = pack_layout(t, g.k, g.n);
    std::vector<char> packed(static_cast<size_t>(layout.bytes));
    pack_b(layout, b.data(), 1, g.k, packed.data());
    Data spot(layout.type, 0);
    std::memcpy(spot.data(), packed.data() + layout.offset(7, 40) * static_cast<int64_t>(size_of(layout.type)),
                size_of(layout.type));
    EXPECT_EQ(spot[0], b[40 * g.k + 7]);
    g.b = packed.data(), g.b_packed = true, g.c = nullptr;
    g.sink.context = d.data();
    g.sink.store = [](void* to, float* x, int64_t x_row, int64_t, int64_t row, int64_t col, int64_t rows,
                      int64_t cols) {
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; ++j) static_cast<float*>(to)[(row + i) * 45 + col + j] = x[i * x_row + j];
    };
    gemm(g);
    for (int64_t i = 0; i < g.m * g.n; ++i) ASSERT_EQ(c[i], d[i]);
  }
}

}  // namespace
}  // namespace sorus::kernels
