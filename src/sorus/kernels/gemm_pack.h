// Included by gemm_table.h after gemm_body.h, once for each instruction set: operands in the order in which the tiles
// of gemm_body.h read them (gemm_isa.h has the layouts).

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
