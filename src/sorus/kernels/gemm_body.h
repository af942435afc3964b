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

// ---- Packing ----

inline float widen(uint16_t bits) { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }

/// A template argument loses the attributes of vf and its like, so alignment is taken away again here.
template <class V>
struct __attribute__((packed, may_alias)) Unaligned {
  V v;
};
template <class V, class P>
inline __attribute__((always_inline)) V load(const P* p) {
  return reinterpret_cast<const Unaligned<V>*>(p)->v;
}
template <class V, class P>
inline __attribute__((always_inline)) void store(P* p, V v) {
  reinterpret_cast<Unaligned<V>*>(p)->v = v;
}

/// Element i of an untyped array as f32 (f32, bf16 or f16).
inline float element(DType type, const void* p, int64_t i) {
  if (type == DType::f32) return static_cast<const float*>(p)[i];
  uint16_t bits = static_cast<const uint16_t*>(p)[i];
  if (type == DType::bf16) return widen(bits);
  float16 h;
  h.bits = bits;
  return half_to_float(h);
}

/// `count` contiguous numbers to f32.
void convert(DType type, const void* from, int64_t count, float* to) {
  int64_t i = 0;
  if (type == DType::f32) {
    for (; i + kLanes <= count; i += kLanes)
      *reinterpret_cast<vf*>(to + i) = load<vf>(static_cast<const float*>(from) + i);
  } else if (type == DType::bf16) {
    for (; i + kLanes <= count; i += kLanes)
      *reinterpret_cast<vu*>(to + i) = __builtin_convertvector(load<vh>(static_cast<const uint16_t*>(from) + i), vu)
                                       << 16;
  } else {
#if SORUS_GEMM_F16C
    for (; i + kLanes <= count; i += kLanes)
      *reinterpret_cast<vf*>(to + i) = halves_to_floats(static_cast<const uint16_t*>(from) + i);
#endif
  }
#if SORUS_GEMM_ROWS > 6
  if (type == DType::f32) {
    const float* x = static_cast<const float*>(from);
    for (; i + 8 <= count; i += 8) store<vu8>(to + i, load<vu8>(x + i));
    for (; i + 4 <= count; i += 4) store<vu4>(to + i, load<vu4>(x + i));
  } else if (type == DType::bf16) {
    const uint16_t* x = static_cast<const uint16_t*>(from);
    for (; i + 8 <= count; i += 8) store<vu8>(to + i, __builtin_convertvector(load<vh8>(x + i), vu8) << 16);
    for (; i + 4 <= count; i += 4) store<vu4>(to + i, __builtin_convertvector(load<vh4>(x + i), vu4) << 16);
  }
#endif
  for (; i < count; ++i) to[i] = element(type, from, i);
}

/// Pairs (x[i], y[i]) side by side.
void interleave(const uint16_t* x, const uint16_t* y, int64_t count, uint32_t* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    *reinterpret_cast<vu*>(to + i) =
        __builtin_convertvector(load<vh>(x + i), vu) | (__builtin_convertvector(load<vh>(y + i), vu) << 16);
#if SORUS_GEMM_ROWS > 6
  for (; i + 8 <= count; i += 8)
    store<vu8>(to + i, __builtin_convertvector(load<vh8>(x + i), vu8) |
                           (__builtin_convertvector(load<vh8>(y + i), vu8) << 16));
  for (; i + 4 <= count; i += 4)
    store<vu4>(to + i, __builtin_convertvector(load<vh4>(x + i), vu4) |
                           (__builtin_convertvector(load<vh4>(y + i), vu4) << 16));
#endif
  for (; i < count; ++i) to[i] = x[i] | (static_cast<uint32_t>(y[i]) << 16);
}
void zero_extend(const uint16_t* x, int64_t count, uint32_t* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = x[i];
}

template <class P>
void zero(P* to, int64_t count) {
  __builtin_memset(to, 0, static_cast<size_t>(count) * sizeof(P));
}

/// `lines` groups of `width` (`cols` of them exist): [step][width], from memory where the columns are contiguous.
void pack_contiguous(Arithmetic t, DType type, const void* from, int64_t k_stride, int64_t cols, int64_t width,
                     int64_t k, void* to) {
  if (t == Arithmetic::bf16_dot) {
    const uint16_t* x = static_cast<const uint16_t*>(from);
    uint32_t* out = static_cast<uint32_t*>(to);
    int64_t p = 0;
    for (; p + 2 <= k; p += 2, out += width) {
      interleave(x + p * k_stride, x + (p + 1) * k_stride, cols, out);
      zero(out + cols, width - cols);
    }
    if (p < k) {
      zero_extend(x + p * k_stride, cols, out);
      zero(out + cols, width - cols);
    }
  } else if (t == Arithmetic::f64) {
    const double* x = static_cast<const double*>(from);
    double* out = static_cast<double*>(to);
    for (int64_t p = 0; p < k; ++p, out += width) {
      for (int64_t j = 0; j < cols; ++j) out[j] = x[p * k_stride + j];
      zero(out + cols, width - cols);
    }
  } else {
    float* out = static_cast<float*>(to);
    int64_t size = type == DType::f32 ? 4 : 2;
    // Rows of a transposed A: whole vectors, of which the next one overwrites what is too much.
    if (kLanes == 8 && width == 6 && cols == 6 && type != DType::f16 && k_stride >= 8)
      for (; k > 1; --k, out += 6, from = static_cast<const char*>(from) + k_stride * size) {
        if (type == DType::f32)
          store<vu>(out, load<vu>(from));
        else
          store<vu>(out, __builtin_convertvector(load<vh>(from), vu) << 16);
      }
    if (width == kVectors * kLanes && cols == width && type != DType::f16)
      for (; k > 0; --k, out += width, from = static_cast<const char*>(from) + k_stride * size)
#pragma GCC unroll 4
        for (int j = 0; j < kVectors * kLanes; j += kLanes) {
          if (type == DType::f32)
            store<vu>(out + j, load<vu>(static_cast<const float*>(from) + j));
          else
            store<vu>(out + j, __builtin_convertvector(load<vh>(static_cast<const uint16_t*>(from) + j), vu) << 16);
        }
    for (int64_t p = 0; p < k; ++p, out += width) {
      convert(type, static_cast<const char*>(from) + p * k_stride * size, cols, out);
      zero(out + cols, width - cols);
    }
  }
}

/// The same for any strides; slow, for what is neither.
void pack_strided(Arithmetic t, DType type, const void* from, int64_t k_stride, int64_t stride, int64_t cols,
                  int64_t width, int64_t k, void* to) {
  int64_t steps = t == Arithmetic::bf16_dot ? (k + 1) / 2 : k;
  for (int64_t p = 0; p < steps; ++p)
    for (int64_t j = 0; j < width; ++j) {
      int64_t at = p * width + j;
      bool in = j < cols;
      if (t == Arithmetic::f64) {
        static_cast<double*>(to)[at] = in ? static_cast<const double*>(from)[p * k_stride + j * stride] : 0.0;
      } else if (t == Arithmetic::bf16_dot) {
        const uint16_t* x = static_cast<const uint16_t*>(from) + j * stride;
        uint32_t low = in ? x[2 * p * k_stride] : 0, high = in && 2 * p + 1 < k ? x[(2 * p + 1) * k_stride] : 0;
        static_cast<uint32_t*>(to)[at] = low | (high << 16);
      } else {
        static_cast<float*>(to)[at] = in ? element(type, from, p * k_stride + j * stride) : 0.0f;
      }
    }
}

void pack_a(Arithmetic t, DType type, const void* a, int64_t a_row, int64_t a_col, int64_t rows, int64_t k, void* to,
            bool k_major) {
  if (k_major) {
    if (a_row == 1) return pack_contiguous(t, type, a, a_col, rows, rows, k, to);
    return pack_strided(t, type, a, a_col, a_row, rows, rows, k, to);
  }
  // Row-major, a_col == 1.
  int64_t per_step = t == Arithmetic::bf16_dot ? 2 : 1, chunk = kChunk * per_step;
  for (int64_t p = 0; p < k; p += chunk) {
    int64_t count = k - p < chunk ? k - p : chunk;
    for (int64_t i = 0; i < rows; ++i) {
      if (t == Arithmetic::bf16_dot) {
        uint16_t* out = static_cast<uint16_t*>(to) + i * chunk;
        const uint16_t* from = static_cast<const uint16_t*>(a) + i * a_row + p;
        if (count == chunk)
          __builtin_memcpy(out, from, 2 * kChunk * 2);
        else
          __builtin_memcpy(out, from, static_cast<size_t>(count) * 2);
        if (count & 1) out[count] = 0;
      } else {
        int64_t size = type == DType::f32 ? 4 : 2;
        convert(type, static_cast<const char*>(a) + (i * a_row + p) * size, count,
                static_cast<float*>(to) + i * kChunk);
      }
    }
    to = static_cast<float*>(to) + rows * kChunk;
  }
}

#if SORUS_GEMM_TRANSPOSE
/// What becomes one word of a packed panel: a number, or a pair of bf16 for dot products.
enum class Words { f32, bf16, f16, pair };

/// A square of kLanes x kLanes words; `have` of its rows exist, the others are zero.
template <Words W>
void transpose_square(const void* from, int64_t row_bytes, int64_t have, void* to, int64_t to_row) {
  const char* x = static_cast<const char*>(from);
  vu r[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i, x += row_bytes) {
    r[i] = vu{};
    if (i >= have) continue;
    if constexpr (W == Words::bf16)
      r[i] = __builtin_convertvector(load<vh>(x), vu) << 16;
    else if constexpr (W == Words::f16)
      r[i] = (vu)halves_to_floats(reinterpret_cast<const uint16_t*>(x));
    else
      r[i] = load<vu>(x);
  }
  transpose_lanes(r);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store<vu>(static_cast<float*>(to) + i * to_row, r[i]);
}

/// A panel from memory where its columns are contiguous.
template <Words W>
void pack_transposed(Arithmetic t, DType type, const void* from, int64_t stride, int64_t cols, int64_t width,
                     int64_t k, void* to) {
  constexpr int64_t group = W == Words::pair ? 2 : 1, size = W == Words::f32 ? 4 : 2;
  const int64_t done = k / group / kLanes * kLanes;
  float* out = static_cast<float*>(to);
  const char* x = static_cast<const char*>(from);
  for (int64_t j = 0; j < width; j += kLanes)
    for (int64_t p = 0; p < done; p += kLanes)
      transpose_square<W>(x + (j * stride + p * group) * size, stride * size, cols - j, out + p * width + j, width);
  if (done * group < k)
    pack_strided(t, type, x + done * group * size, 1, stride, cols, width, k - done * group, out + done * width);
}
#endif

void pack_b(Arithmetic t, DType type, const void* b, int64_t b_row, int64_t b_col, int64_t cols, int64_t k,
            void* to) {
  const int64_t width = kVectors * (t == Arithmetic::f64 ? kLanes64 : kLanes);
  if (b_col == 1) return pack_contiguous(t, type, b, b_row, cols, width, k, to);
#if SORUS_GEMM_TRANSPOSE
  // Columns contiguous, as in a weight [n, k].
  if (b_row == 1 && t != Arithmetic::f64) {
    if (t == Arithmetic::bf16_dot) return pack_transposed<Words::pair>(t, type, b, b_col, cols, width, k, to);
    if (type == DType::f32) return pack_transposed<Words::f32>(t, type, b, b_col, cols, width, k, to);
    if (type == DType::bf16) return pack_transposed<Words::bf16>(t, type, b, b_col, cols, width, k, to);
    return pack_transposed<Words::f16>(t, type, b, b_col, cols, width, k, to);
  }
#endif
  pack_strided(t, type, b, b_row, b_col, cols, width, k, to);
}

// ---- Epilogues ----

inline __attribute__((always_inline)) vf exp_vector(vf x) {
  x = max_vector(vf{} - 87.3365478515625f, x);  // NaN is what these two leave
  x = min_vector(vf{} + 88.3762626647949f, x);
  vf n = round_vector(x * 1.44269504088896341f);
  vf r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vf p = vf{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return scale_vector(p, n);
}

/// erf to 1.5e-7 (Abramowitz and Stegun 7.1.26).
inline __attribute__((always_inline)) vf erf_vector(vf x) {
  vf a = x < 0.0f ? -x : x;
  vf t = 1.0f / (1.0f + 0.3275911f * a);
  vf p = vf{} + 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  vf y = 1.0f - p * t * exp_vector(-a * a);
  return x < 0.0f ? -y : y;
}

inline __attribute__((always_inline)) vf activate(Epilogue e, vf x, vf h) {
  constexpr float kTwoSqrt2OverPi = 1.5957691216057308f, kCubic = 0.044715f;
  switch (e) {
    case Epilogue::none:
      return x;
    case Epilogue::relu:
      return x < 0.0f ? vf{} : x;
    case Epilogue::gelu_tanh:
      return x / (1.0f + exp_vector(-kTwoSqrt2OverPi * (x + kCubic * x * x * x)));
    case Epilogue::gelu_erf:
      return 0.5f * x * (1.0f + erf_vector(x * 0.70710678f));
    case Epilogue::gelu_tanh_backward: {
      vf s = 1.0f / (1.0f + exp_vector(-kTwoSqrt2OverPi * (h + kCubic * h * h * h)));
      return x * (s + h * s * (1.0f - s) * kTwoSqrt2OverPi * (1.0f + 3 * kCubic * h * h));
    }
    case Epilogue::gelu_erf_backward:
      return x * (0.5f * (1.0f + erf_vector(h * 0.70710678f)) + h * exp_vector(-0.5f * h * h) * 0.3989422804f);
  }
  return x;
}

void load_row(DType type, const void* from, int64_t cols, float* to, int64_t width) {
  convert(type, from, cols, to);
  zero(to + cols, width - cols);
}

inline __attribute__((always_inline)) vh narrow(vf x) {
#if SORUS_GEMM_BF16
  return floats_to_bf16(x);
#else
  vu u = (vu)x;
  vu rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  vu nan = (u >> 16) | 0x40;
  return __builtin_convertvector((vu)(x == x ? rounded : nan), vh);
#endif
}

/// `row` has `width` readable elements, a multiple of kLanes.
void store_row(DType type, const float* row, int64_t cols, int64_t width, void* to) {
  if (type == DType::f32) {
    __builtin_memcpy(to, row, static_cast<size_t>(cols) * 4);
    return;
  }
  uint16_t half[kMaxPanel];
  if (type == DType::bf16) {
    for (int64_t j = 0; j < width; j += kLanes) *reinterpret_cast<vh*>(half + j) = narrow(load<vf>(row + j));
  } else {
    for (int64_t j = 0; j < cols; ++j) half[j] = float_to_half(row[j]);
  }
  __builtin_memcpy(to, half, static_cast<size_t>(cols) * 2);
}

// Functions, not lambdas: gcc gives a lambda in a template the file's target, not the pragma's.
inline __attribute__((always_inline)) vf read(const float* p) { return load<vf>(p); }
inline __attribute__((always_inline)) vf read(const uint16_t* p) {
  return (vf)(__builtin_convertvector(load<vh>(p), vu) << 16);
}
inline __attribute__((always_inline)) void write(float* p, vf x) { store<vf>(p, x); }
inline __attribute__((always_inline)) void write(uint16_t* p, vf x) { store<vh>(p, narrow(x)); }

/// Whole vectors of f32 or bf16: nothing passes through memory on the way.
template <bool Bf16>
void finish_vectors(const Finish& f, const float* tile, int64_t tile_row, int64_t rows, int64_t cols) {
  using O = std::conditional_t<Bf16, uint16_t, float>;
  float bias[kMaxPanel] = {};
  if (f.bias) load_row(f.bias_type, f.bias, cols, bias, cols);
  if (f.alpha == 1 && f.beta == 0 && f.epilogue == Epilogue::none) {  // most products, and short ones wait for this
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; j += kLanes)
        write(reinterpret_cast<O*>(f.c) + i * f.c_row + j, load<vf>(tile + i * tile_row + j) + load<vf>(bias + j));
    return;
  }
  const bool reads_aux = f.epilogue >= Epilogue::gelu_tanh_backward;
  const float alpha = static_cast<float>(f.alpha), beta = static_cast<float>(f.beta);
  for (int64_t i = 0; i < rows; ++i) {
    O *c = reinterpret_cast<O*>(f.c) + i * f.c_row,
      *aux = f.aux ? reinterpret_cast<O*>(f.aux) + i * f.c_row : nullptr;
    for (int64_t j = 0; j < cols; j += kLanes) {
      vf x = load<vf>(tile + i * tile_row + j) * alpha;
      if (f.beta != 0) x += read(c + j) * beta;
      if (f.bias) x += load<vf>(bias + j);
      if (f.epilogue != Epilogue::none) {
        vf h{};
        if (reads_aux)
          h = read(aux + j);
        else if (aux)
          write(aux + j, x);
        x = activate(f.epilogue, x, h);
      }
      write(c + j, x);
    }
  }
}

void finish_f32(const Finish& f, const float* tile, int64_t tile_row, int64_t rows, int64_t cols) {
  if (cols % kLanes == 0 && f.out_type != DType::f16)
    return f.out_type == DType::bf16 ? finish_vectors<true>(f, tile, tile_row, rows, cols)
                                     : finish_vectors<false>(f, tile, tile_row, rows, cols);
  const int64_t width = (cols + kLanes - 1) / kLanes * kLanes, size = f.out_type == DType::f32 ? 4 : 2;
  float bias[kMaxPanel], other[kMaxPanel], row[kMaxPanel];
  if (f.bias) load_row(f.bias_type, f.bias, cols, bias, width);
  bool reads_aux = f.epilogue >= Epilogue::gelu_tanh_backward, writes_aux = !reads_aux && f.aux;
  for (int64_t i = 0; i < rows; ++i) {
    char* c = f.c + i * f.c_row * size;
    const float* from = tile + i * tile_row;
    const float alpha = static_cast<float>(f.alpha), beta = static_cast<float>(f.beta);
    if (f.beta != 0) {
      load_row(f.out_type, c, cols, other, width);
      for (int64_t j = 0; j < width; j += kLanes)
        *reinterpret_cast<vf*>(row + j) = load<vf>(from + j) * alpha + load<vf>(other + j) * beta;
    } else {
      for (int64_t j = 0; j < width; j += kLanes) *reinterpret_cast<vf*>(row + j) = load<vf>(from + j) * alpha;
    }
    if (f.bias)
      for (int64_t j = 0; j < width; j += kLanes)
        *reinterpret_cast<vf*>(row + j) = load<vf>(row + j) + load<vf>(bias + j);
    if (f.epilogue != Epilogue::none) {
      if (writes_aux) store_row(f.out_type, row, cols, width, f.aux + i * f.c_row * size);
      if (reads_aux) load_row(f.out_type, f.aux + i * f.c_row * size, cols, other, width);
      for (int64_t j = 0; j < width; j += kLanes) {
        vf h = reads_aux ? load<vf>(other + j) : vf{};
        *reinterpret_cast<vf*>(row + j) = activate(f.epilogue, load<vf>(row + j), h);
      }
    }
    store_row(f.out_type, row, cols, width, c);
  }
}

void finish_f64(const Finish& f, const double* tile, int64_t tile_row, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i) {
    double* c = reinterpret_cast<double*>(f.c) + i * f.c_row;
    for (int64_t j = 0; j < cols; ++j) {
      double x = tile[i * tile_row + j] * f.alpha;
      if (f.beta != 0) x += f.beta * c[j];
      if (f.bias)
        x += f.bias_type == DType::f64 ? static_cast<const double*>(f.bias)[j]
                                       : static_cast<double>(element(f.bias_type, f.bias, j));
      c[j] = x;
    }
  }
}

void finish(const Finish& f, Arithmetic t, const void* tile, int64_t tile_row, int64_t rows, int64_t cols) {
  if (t == Arithmetic::f64)
    finish_f64(f, static_cast<const double*>(tile), tile_row, rows, cols);
  else
    finish_f32(f, static_cast<const float*>(tile), tile_row, rows, cols);
}

// ---- Small products, nothing packed ----

/// Half is added to half, so that the lanes need not leave the register one by one.
template <class S, class V>
inline __attribute__((always_inline)) S sum_lanes(V v) {
  constexpr unsigned n = sizeof(V) / sizeof(S);
#if defined(__clang__)  // it has another name for the shuffle
  for (unsigned half = n / 2; half > 0; half /= 2)
    for (unsigned i = 0; i < half; ++i) v[i] += v[i + half];
#else
  using Index = std::conditional_t<sizeof(S) == 8, int64_t, int32_t>;
  typedef Index Order __attribute__((vector_size(sizeof(V))));
#pragma GCC unroll 4
  for (unsigned half = n / 2; half > 0; half /= 2) {
    Order order;
#pragma GCC unroll 16
    for (unsigned i = 0; i < n; ++i) order[i] = static_cast<Index>((i + half) % n);
    v += __builtin_shuffle(v, order);
  }
#endif
  return v[0];
}

/// R rows of A against columns of B whose rows are contiguous.
template <class S, class V, int R>
void small_rows(const S* a, int64_t a_row, int64_t a_col, const S* b, int64_t b_row, int64_t n, int64_t k, S* c,
                int64_t c_row, bool accumulate) {
  constexpr int64_t L = sizeof(V) / sizeof(S), U = R == 1 ? 4 : 2;
  int64_t j = 0;
  for (; j + U * L <= n; j += U * L) {
    V sum[R][U];
    for (int i = 0; i < R; ++i)
      for (int64_t u = 0; u < U; ++u) sum[i][u] = V{};
    for (int64_t p = 0; p < k; ++p) {
#pragma GCC unroll 4
      for (int64_t u = 0; u < U; ++u) {
        V x = load<V>(b + p * b_row + j + u * L);
#pragma GCC unroll 4
        for (int i = 0; i < R; ++i) sum[i][u] = fma_vector(splat<V>(a[i * a_row + p * a_col]), x, sum[i][u]);
      }
    }
    for (int i = 0; i < R; ++i)
      for (int64_t u = 0; u < U; ++u) {
        S* to = c + i * c_row + j + u * L;
        store<V>(to, accumulate ? load<V>(to) + sum[i][u] : sum[i][u]);
      }
  }
  for (; j + L <= n; j += L) {
    V sum[R];
    for (int i = 0; i < R; ++i) sum[i] = V{};
    for (int64_t p = 0; p < k; ++p) {
      V x = load<V>(b + p * b_row + j);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) sum[i] = fma_vector(splat<V>(a[i * a_row + p * a_col]), x, sum[i]);
    }
    for (int i = 0; i < R; ++i) {
      S* to = c + i * c_row + j;
      store<V>(to, accumulate ? load<V>(to) + sum[i] : sum[i]);
    }
  }
  for (; j < n; ++j)
    for (int i = 0; i < R; ++i) {
      S s = 0;
      for (int64_t p = 0; p < k; ++p) s += a[i * a_row + p * a_col] * b[p * b_row + j];
      c[i * c_row + j] = accumulate ? c[i * c_row + j] + s : s;
    }
}

/// Dot products: rows of A and columns of B contiguous along k.
template <class S, class V>
void small_dots(const S* a, int64_t a_row, const S* b, int64_t b_col, int64_t m, int64_t n, int64_t k, S* c,
                int64_t c_row, bool accumulate) {
  constexpr int64_t L = sizeof(V) / sizeof(S);
  for (int64_t i = 0; i < m; ++i) {
    const S* x = a + i * a_row;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
      V s0{}, s1{}, s2{}, s3{};
      const S* y = b + j * b_col;
      int64_t p = 0;
      for (; p + L <= k; p += L) {
        V v = load<V>(x + p);
        s0 = fma_vector(v, load<V>(y + p), s0);
        s1 = fma_vector(v, load<V>(y + b_col + p), s1);
        s2 = fma_vector(v, load<V>(y + 2 * b_col + p), s2);
        s3 = fma_vector(v, load<V>(y + 3 * b_col + p), s3);
      }
      S r[4] = {sum_lanes<S>(s0), sum_lanes<S>(s1), sum_lanes<S>(s2), sum_lanes<S>(s3)};
      for (; p < k; ++p)
        for (int u = 0; u < 4; ++u) r[u] += x[p] * y[u * b_col + p];
      for (int u = 0; u < 4; ++u) c[i * c_row + j + u] = accumulate ? c[i * c_row + j + u] + r[u] : r[u];
    }
    for (; j < n; ++j) {
      V s{};
      int64_t p = 0;
      for (; p + L <= k; p += L) s = fma_vector(load<V>(x + p), load<V>(b + j * b_col + p), s);
      S r = sum_lanes<S>(s);
      for (; p < k; ++p) r += x[p] * b[j * b_col + p];
      c[i * c_row + j] = accumulate ? c[i * c_row + j] + r : r;
    }
  }
}

/// k == 1: every row is a multiple of one row of B.
template <class S, class V>
void small_outer(const S* a, int64_t a_row, const S* b, int64_t m, int64_t n, S* c, int64_t c_row, bool accumulate) {
  constexpr int64_t L = sizeof(V) / sizeof(S);
  for (int64_t i = 0; i < m; ++i, c += c_row) {
    const V x = splat<V>(a[i * a_row]);
    int64_t j = 0;
    if (accumulate) {
      for (; j + L <= n; j += L) store<V>(c + j, fma_vector(x, load<V>(b + j), load<V>(c + j)));
      for (; j < n; ++j) c[j] += x[0] * b[j];
    } else {
      for (; j + L <= n; j += L) store<V>(c + j, x * load<V>(b + j));
      for (; j < n; ++j) c[j] = x[0] * b[j];
    }
  }
}

template <class S, class V>
void small(const S* a, int64_t a_row, int64_t a_col, const S* b, int64_t b_row, int64_t b_col, int64_t m, int64_t n,
           int64_t k, S* c, int64_t c_row, bool accumulate) {
  if (b_col == 1 && k == 1) {
    small_outer<S, V>(a, a_row, b, m, n, c, c_row, accumulate);
  } else if (b_col == 1) {
    int64_t i = 0;
    for (; i + 4 <= m; i += 4)
      small_rows<S, V, 4>(a + i * a_row, a_row, a_col, b, b_row, n, k, c + i * c_row, c_row, accumulate);
    for (; i < m; ++i)
      small_rows<S, V, 1>(a + i * a_row, a_row, a_col, b, b_row, n, k, c + i * c_row, c_row, accumulate);
  } else if (b_row == 1 && a_col == 1) {
    small_dots<S, V>(a, a_row, b, b_col, m, n, k, c, c_row, accumulate);
  } else {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        S s = 0;
        for (int64_t p = 0; p < k; ++p) s += a[i * a_row + p * a_col] * b[p * b_row + j * b_col];
        c[i * c_row + j] = accumulate ? c[i * c_row + j] + s : s;
      }
  }
}

template <class P>
inline __attribute__((always_inline)) float row_dot(const P* x, const P* y, int64_t n) {
  vf sum{};
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) sum = fma_vector(read(x + j), read(y + j), sum);
  float s = sum_lanes<float>(sum);
  constexpr DType type = std::is_same_v<P, float> ? DType::f32 : DType::bf16;
  for (; j < n; ++j) s += element(type, x, j) * element(type, y, j);
  return s;
}

/// Dot product of two rows of halves or f32.
float row_dot(DType type, const void* x, const void* y, int64_t n) {
  if (type == DType::f32) return row_dot(static_cast<const float*>(x), static_cast<const float*>(y), n);
  if (type == DType::bf16) return row_dot(static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(y), n);
  float s = 0;
  for (int64_t j = 0; j < n; ++j) s += element(type, x, j) * element(type, y, j);
  return s;
}
