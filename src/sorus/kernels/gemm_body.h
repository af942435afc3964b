// Included by gemm_table.h, once for each instruction set (gemm_avx512.cpp, gemm_avx2.cpp, gemm_portable.cpp), inside
// an anonymous namespace and between `#pragma GCC push_options` and `pop_options`. They define before:
//   kVectorBytes, SORUS_GEMM_ROWS, kVectors, fma_vector(x, y, sum) for vf and vd, for vf also fms_vector(x, y,
//   minus), max_vector and min_vector (y where either is NaN), round_vector and scale_vector(x, n) = x 2^n for whole
//   n <= 127, and, with SORUS_GEMM_BF16, dot_vector(vi b, vi a, vf sum), floats_to_bf16 and pair_vector(low, high).
// No standard templates here: an instantiation could be shared with code for older processors.

typedef float vf __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
typedef int32_t vi __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
#if SORUS_GEMM_ROWS > 6  // tails of 12 rows are a half and a quarter of a vector
typedef uint32_t vu8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t vu4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint16_t vh8 __attribute__((vector_size(16), aligned(2), may_alias));
typedef uint16_t vh4 __attribute__((vector_size(8), aligned(2), may_alias));
#endif
constexpr int kLanes = kVectorBytes / 4, kLanes64 = kVectorBytes / 8;

SORUS_GEMM_ARITHMETIC

/// All lanes x. Subtracting 0 changes no number, so nothing but a broadcast is left of it; adding to 0 would make 0
/// of -0, and the addition stays in the loop.
template <class V, class S>
inline __attribute__((always_inline)) V splat(S x) {
  return x - V{};
}

struct F32 {
  static constexpr int kGroup = 1;
  using S = float;
  using V = vf;
  using Sum = vf;
  static inline __attribute__((always_inline)) Sum step(V b, S a, Sum c) { return fma_vector(splat<vf>(a), b, c); }
};
struct F64 {
  static constexpr int kGroup = 1;
  using S = double;
  using V = vd;
  using Sum = vd;
  static inline __attribute__((always_inline)) Sum step(V b, S a, Sum c) { return fma_vector(splat<vd>(a), b, c); }
};
#if SORUS_GEMM_BF16
struct Dot {
  static constexpr int kGroup = 2;
  using S = int32_t;
  using V = vi;
  using Sum = vf;
  static inline __attribute__((always_inline)) Sum step(V b, S a, Sum c) { return dot_vector(splat<vi>(a), b, c); }
  static inline __attribute__((always_inline)) vi pair(vf low, vf high) { return pair_vector(low, high); }
};
#endif

/// The loop that matters: kRows x kVectors sums stay in registers for all of k.
template <class T, int R, bool KMajor>
void run_tile(const void* pa, const void* pb, int64_t steps, void* pc, int64_t c_row, bool accumulate) {
  using S = typename T::S;
  using V = typename T::V;
  using Sum = typename T::Sum;
  constexpr int L = kVectorBytes / static_cast<int>(sizeof(S));
  const S* a = static_cast<const S*>(pa);
  const S* b = static_cast<const S*>(pb);
  Sum sum[R][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = Sum{};
  while (steps > 0) {
    int64_t count = KMajor ? steps : (steps < kChunk ? steps : kChunk);
    for (int64_t p = 0; p < count; ++p) {
      V x[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) x[j] = *reinterpret_cast<const V*>(b + j * L);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        S y = KMajor ? a[i] : a[i * kChunk];
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sum[i][j] = T::step(x[j], y, sum[i][j]);
      }
      a += KMajor ? R : 1;
      b += kVectors * L;
    }
    a += (R - 1) * kChunk;
    steps -= count;
  }
  using C = std::conditional_t<std::is_same_v<S, double>, double, float>;
  C* c = static_cast<C*>(pc);
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      Sum* to = reinterpret_cast<Sum*>(c + i * c_row + j * L);
      *to = accumulate ? *to + sum[i][j] : sum[i][j];
    }
}

using TileFn = void (*)(const void*, const void*, int64_t, void*, int64_t, bool);
template <class T, bool KMajor>
TileFn tile_of(int64_t rows) {
  switch (rows) {
    case 1:
      return run_tile<T, 1, KMajor>;
    case 2:
      return run_tile<T, 2, KMajor>;
    case 3:
      return run_tile<T, 3, KMajor>;
    case 4:
      return run_tile<T, 4, KMajor>;
    case 5:
      return run_tile<T, 5, KMajor>;
    case 6:
      return run_tile<T, 6, KMajor>;
#if SORUS_GEMM_ROWS > 6
    case 7:
      return run_tile<T, 7, KMajor>;
    case 8:
      return run_tile<T, 8, KMajor>;
    case 9:
      return run_tile<T, 9, KMajor>;
    case 10:
      return run_tile<T, 10, KMajor>;
    case 11:
      return run_tile<T, 11, KMajor>;
    case 12:
      return run_tile<T, 12, KMajor>;
#endif
  }
  return nullptr;
}

void tile(Arithmetic t, bool k_major, int64_t rows, const void* a, const void* b, int64_t steps, void* c,
          int64_t c_row, bool accumulate) {
  TileFn f;
  if (t == Arithmetic::f64) f = tile_of<F64, true>(rows);
#if SORUS_GEMM_BF16
  else if (t == Arithmetic::bf16_dot)
    f = k_major ? tile_of<Dot, true>(rows) : tile_of<Dot, false>(rows);
#endif
  else
    f = k_major ? tile_of<F32, true>(rows) : tile_of<F32, false>(rows);
  f(a, b, steps, c, c_row, accumulate);
}
