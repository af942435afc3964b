// Included after gemm_body.h, once for each instruction set: what attention is made of. All blocks have `kQueries`
// queries side by side along the vectors, so that maxima, sums and masks of rows need no sums across lanes.
//
// Products of a block, as A[rows, steps] B[steps, columns], vectors along the columns:
//   scores^T = K Q^T        A = K by rows, B = packed Q^T           (and dP^T = V dO^T)
//   O += P V                A = P^T by columns, B = V as it is      (and dQ += dS K)
//   dV += P^T dO            A = P^T by rows, B = dO as it is        (and dK += dS^T Q)
// Only A is read by scalars, so nothing needs packing in panels but Q and dO, transposed. A step is one f32, or a
// pair of bf16 for dot products, in a word of 32 bits.

constexpr int kQueries = kAttentionQueries, kKeys = 64, kQueryVectors = kQueries / kLanes;
constexpr int kMaxVectors = SORUS_GEMM_ROWS > 6 ? 4 : 2;
constexpr int rows_for(int vectors) { return vectors == 4 ? 6 : kMaxVectors == 2 && vectors == 2 ? 6 : 8; }

/// Which steps a row of A has: all, those up to its own index, or those from it (a causal block on the diagonal).
enum class Steps : uint8_t { all, upto, from };

template <class T, int R, int N, bool ByRows>
void attention_tile(const void* pa, int64_t a_stride, const void* pb, int64_t b_stride, int64_t steps, float* c,
                    int64_t c_stride, bool accumulate) {
  using S = typename T::S;
  using V = typename T::V;
  const S *a[R], *b = static_cast<const S*>(pb);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) a[i] = static_cast<const S*>(pa) + i * (ByRows ? a_stride : 1);
  vf sum[R][N];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) sum[i][j] = vf{};
  for (int64_t p = 0; p < steps; ++p) {
    V x[N];
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) x[j] = *reinterpret_cast<const V*>(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      S y = ByRows ? a[i][p] : a[0][i];
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) sum[i][j] = T::step(x[j], y, sum[i][j]);
    }
    if (!ByRows) a[0] += a_stride;
    b += b_stride;
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j) {
      vf* to = reinterpret_cast<vf*>(c + i * c_stride + j * kLanes);
      *to = accumulate ? *to + sum[i][j] : sum[i][j];
    }
}

using AttentionTile = void (*)(const void*, int64_t, const void*, int64_t, int64_t, float*, int64_t, bool);
template <class T, int R, int N, bool ByRows>
AttentionTile attention_tile_of(int64_t rows) {
  if constexpr (R == 1)
    return attention_tile<T, 1, N, ByRows>;
  else
    return rows == R ? attention_tile<T, R, N, ByRows> : attention_tile_of<T, R - 1, N, ByRows>(rows);
}

template <class T, int N, bool ByRows>
void product_columns(const typename T::S* a, int64_t a_stride, const typename T::S* b, int64_t b_stride, int64_t rows,
                     int64_t steps, Steps range, float* c, int64_t c_stride, bool accumulate) {
  constexpr int R = rows_for(N);
  for (int64_t i = 0; i < rows;) {
    int64_t left = rows - i, r = left >= 2 * R ? R : left > R ? (left + 1) / 2 : left;  // no thin last tile
    int64_t first = range == Steps::from ? i / T::kGroup : 0, last = steps;
    if (range == Steps::upto && (i + r + T::kGroup - 1) / T::kGroup < steps)
      last = (i + r + T::kGroup - 1) / T::kGroup;
    AttentionTile f = r == R ? attention_tile<T, R, N, ByRows> : attention_tile_of<T, R, N, ByRows>(r);
    f(a + (ByRows ? i * a_stride + first : first * a_stride + i), a_stride, b + first * b_stride, b_stride,
      last - first, c + i * c_stride, c_stride, accumulate);
    i += r;
  }
}

/// C (+)= A B with `vectors` vectors of columns; strides in words.
template <class T, bool ByRows>
void product(const typename T::S* a, int64_t a_stride, const typename T::S* b, int64_t b_stride, int64_t rows,
             int64_t steps, Steps range, int64_t vectors, float* c, int64_t c_stride, bool accumulate) {
  if constexpr (T::kGroup == 2)
    if (rows % kTileSide == 0 && steps % kTileSide == 0 && (ByRows || (rows <= kQueries && steps <= kKeys / 2)) &&
        gemm_amx_available()) {
      alignas(64) uint32_t turned[kQueries * kKeys / 2];
      const uint32_t* words = reinterpret_cast<const uint32_t*>(a);
      if (!ByRows) tiles_turn(words, a_stride, steps, rows, turned, kKeys / 2);
      return tiles_product({ByRows ? words : turned, ByRows ? a_stride : kKeys / 2,
                            reinterpret_cast<const uint32_t*>(b), b_stride, rows, vectors * kLanes, steps, c,
                            c_stride, accumulate, range == Steps::from, range == Steps::upto});
    }
  for (int64_t parts = (vectors + kMaxVectors - 1) / kMaxVectors; parts > 0; --parts) {
    int64_t n = (vectors + parts - 1) / parts;
    if (n == 1)
      product_columns<T, 1, ByRows>(a, a_stride, b, b_stride, rows, steps, range, c, c_stride, accumulate);
    else if (n == 2)
      product_columns<T, 2, ByRows>(a, a_stride, b, b_stride, rows, steps, range, c, c_stride, accumulate);
#if SORUS_GEMM_ROWS > 6
    else if (n == 3)
      product_columns<T, 3, ByRows>(a, a_stride, b, b_stride, rows, steps, range, c, c_stride, accumulate);
    else
      product_columns<T, 4, ByRows>(a, a_stride, b, b_stride, rows, steps, range, c, c_stride, accumulate);
#endif
    vectors -= n, b += n * kLanes, c += n * kLanes;
  }
}

// ---- Packing ----

template <class T>
constexpr int64_t words_of(int64_t numbers) {  ///< of a padded row
  return ((numbers + T::kGroup - 1) / T::kGroup + kLanes - 1) / kLanes * kLanes;
}

inline void fetch_rows(const char* from, int64_t row_bytes, int64_t rows, int64_t bytes) {
  for (int64_t i = 0; i < rows; ++i, from += row_bytes)
    for (int64_t p = 0; p < bytes; p += 64) __builtin_prefetch(from + p);
}

/// Rows as they are, in the type of the arithmetic, padded with zeros to words_of(cols).
template <class T>
void copy_rows(DType type, const char* from, int64_t row_bytes, int64_t rows, int64_t cols, typename T::S* to) {
  const int64_t words = words_of<T>(cols);
  constexpr int64_t kAhead = 24;
  const int64_t bytes = cols * (type == DType::f32 ? 4 : 2);
  for (int64_t i = 0; i < rows; ++i, from += row_bytes, to += words) {
    if (i + kAhead < rows)
      for (int64_t p = 0; p < bytes; p += 64) __builtin_prefetch(from + kAhead * row_bytes + p);
    if constexpr (T::kGroup == 2) {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(from);
      int64_t j = 0;  // whole vectors here: a call for 64 bytes takes longer than they do
      for (; j + 2 * kLanes <= cols; j += 2 * kLanes) store<vu>(to + j / 2, load<vu>(x + j));
      __builtin_memcpy(to + j / 2, x + j, static_cast<size_t>(cols - j) * 2);
      zero(reinterpret_cast<uint16_t*>(to) + cols, words * 2 - cols);
    } else {
      convert(type, from, cols, to);
      zero(to + cols, words - cols);
    }
  }
}

/// What `copy_rows` wrote, with pairs of rows side by side for dot products: [rows / 2][padded cols]. Else the rows
/// themselves.
template <class T>
const typename T::S* pair_rows(const typename T::S* from, int64_t rows, int64_t cols, typename T::S* to) {
  if constexpr (T::kGroup == 1)
    return from;
  else {
    const int64_t words = words_of<T>(cols), width = words_of<F32>(cols);
    for (int64_t i = 0; i < rows; i += 2) {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(from + i * words);
      uint32_t* out = reinterpret_cast<uint32_t*>(to + i / 2 * width);
      if (i + 1 < rows)
        interleave(x, x + words * 2, width, out);
      else
        zero_extend(x, width, out);
    }
    return to;
  }
}

/// [kQueries][words] to [words][kQueries]; the last rows, that do not exist, as zeros.
void transpose_rows(const void* from, int64_t rows, int64_t words, void* to) {
  const uint32_t* x = static_cast<const uint32_t*>(from);
  uint32_t* y = static_cast<uint32_t*>(to);
  const int64_t width = (rows + kLanes - 1) / kLanes * kLanes;
#if SORUS_GEMM_TRANSPOSE
  for (int64_t i = 0; i < width; i += kLanes)
    for (int64_t p = 0; p < words; p += kLanes)
      transpose_square<Words::f32>(x + i * words + p, words * 4, rows - i, y + p * kQueries + i, kQueries);
#else
  for (int64_t p = 0; p < words; ++p)
    for (int64_t i = 0; i < width; ++i) y[p * kQueries + i] = i < rows ? x[i * words + p] : 0;
#endif
}

// ---- Scores, [key][query] ----

/// 2^x to 1e-7 for x <= 126 or so; 0 for small x and -inf; NaN stays.
inline __attribute__((always_inline)) vf exp2_vector(vf x) {
  x = max_vector(vf{} - 200.0f, x);
  vf n = round_vector(x), r = x - n;
  vf p = vf{} + 1.326472718695892e-3f;
  p = fma_vector(p, r, vf{} + 9.671512640397171e-3f);
  p = fma_vector(p, r, vf{} + 5.550733743286087e-2f);
  p = fma_vector(p, r, vf{} + 2.4022242085358772e-1f);
  p = fma_vector(p, r, vf{} + 6.9314697759914e-1f);
  p = fma_vector(p, r, vf{} + 1.0f);
  return scale_vector(p, n);
}

/// Vectors [v, v + N) of `rows` keys.
template <int N>
void scores_max(const float* s, int64_t rows, float* top) {
  vf m[N];
  for (int j = 0; j < N; ++j) m[j] = load<vf>(top + j * kLanes);
  for (int64_t i = 0; i < rows; ++i, s += kQueries)
#pragma GCC unroll 4
    for (int j = 0; j < N; ++j)
      m[j] = max_vector(m[j], load<vf>(s + j * kLanes));  // a NaN may be lost here: it stays in s
  for (int j = 0; j < N; ++j) store<vf>(top + j * kLanes, m[j]);
}

/// P = 2^(s * factor - shift), in place for f32 and into pairs of keys, [key / 2][query], for dot products.
template <class T, int N>
void scores_exp(float* s, int64_t rows, float factor, const float* shift, float* total, typename T::S* pairs) {
  vf b[N], sum[N];
  for (int j = 0; j < N; ++j) b[j] = load<vf>(shift + j * kLanes), sum[j] = vf{};
  if constexpr (T::kGroup == 1) {
    for (int64_t i = 0; i < rows; ++i, s += kQueries)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) {
        vf e = exp2_vector(fms_vector(load<vf>(s + j * kLanes), splat<vf>(factor), b[j]));
        sum[j] += e;
        store<vf>(s + j * kLanes, e);
      }
  } else {
    for (int64_t i = 0; i < rows; i += 2, s += 2 * kQueries, pairs += kQueries)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) {
        vf e = exp2_vector(fms_vector(load<vf>(s + j * kLanes), splat<vf>(factor), b[j])), f{};
        if (i + 1 < rows) f = exp2_vector(fms_vector(load<vf>(s + kQueries + j * kLanes), splat<vf>(factor), b[j]));
        sum[j] += e + f;
        store<vi>(pairs + j * kLanes, T::pair(e, f));
      }
  }
  for (int j = 0; j < N; ++j) store<vf>(total + j * kLanes, load<vf>(total + j * kLanes) + sum[j]);
}

/// P as above, at most 1 (of huge scores the shift, which is rounded, may be too small), and dS = P * (dP - delta)
/// where dP was; for dot products as bf16 rows, and dS also in pairs.
template <class T, int N>
void scores_gradient(float* s, float* ds, int64_t rows, float factor, const float* shift, const float* delta,
                     typename T::S* p_rows, typename T::S* ds_rows, typename T::S* ds_pairs) {
  vf b[N], d[N];
  for (int j = 0; j < N; ++j) b[j] = load<vf>(shift + j * kLanes), d[j] = load<vf>(delta + j * kLanes);
  if constexpr (T::kGroup == 1) {
    for (int64_t i = 0; i < rows; ++i, s += kQueries, ds += kQueries)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) {
        vf p = exp2_vector(min_vector(vf{}, fms_vector(load<vf>(s + j * kLanes), splat<vf>(factor), b[j])));
        store<vf>(s + j * kLanes, p);
        store<vf>(ds + j * kLanes, p * (load<vf>(ds + j * kLanes) - d[j]));
      }
  } else {
    for (int64_t i = 0; i < rows;
         i += 2, s += 2 * kQueries, ds += 2 * kQueries, p_rows += kQueries, ds_rows += kQueries, ds_pairs += kQueries)
#pragma GCC unroll 4
      for (int j = 0; j < N; ++j) {
        uint16_t *p16 = reinterpret_cast<uint16_t*>(p_rows) + j * kLanes,
                 *ds16 = reinterpret_cast<uint16_t*>(ds_rows) + j * kLanes;
        vf p = exp2_vector(min_vector(vf{}, fms_vector(load<vf>(s + j * kLanes), splat<vf>(factor), b[j])));
        vf g = p * (load<vf>(ds + j * kLanes) - d[j]), h{};
        store<vh>(p16, narrow(p));
        store<vh>(ds16, narrow(g));
        if (i + 1 < rows) {
          p = exp2_vector(min_vector(vf{}, fms_vector(load<vf>(s + kQueries + j * kLanes), splat<vf>(factor), b[j])));
          h = p * (load<vf>(ds + kQueries + j * kLanes) - d[j]);
          store<vh>(p16 + kQueries, narrow(p));
          store<vh>(ds16 + kQueries, narrow(h));
        }
        store<vi>(ds_pairs + j * kLanes, T::pair(g, h));
      }
  }
}
