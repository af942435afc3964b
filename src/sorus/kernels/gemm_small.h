// Included by gemm_table.h after gemm_body.h, once for each instruction set: small products, for which nothing is
// packed and no thread is woken.

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
