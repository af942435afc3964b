// Included by gemm_table.h after gemm_pack.h, once for each instruction set: what follows the sums of a tile: scale,
// bias, activation and the store in the type of the result.

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
