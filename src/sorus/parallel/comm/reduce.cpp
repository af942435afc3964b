#include "sorus/parallel/comm/reduce.h"

#include <algorithm>
#include <complex>
#include <cstring>

#include "sorus/base/clones.h"
#include "sorus/base/move_bytes.h"

namespace sorus::comm {
namespace {

#define INLINE __attribute__((always_inline)) inline

// Blocks stay in the first cache while all inputs are added to them.
constexpr int64_t kBlock = 2048;

template <ReduceOp op, class T>
INLINE T combine(T a, T b) {
  if constexpr (op == ReduceOp::product)
    return static_cast<T>(a * b);
  else if constexpr (op == ReduceOp::min)
    return (a < b || a != a) ? a : b;
  else if constexpr (op == ReduceOp::max)
    return (a > b || a != a) ? a : b;
  else if constexpr (op == ReduceOp::band)
    return static_cast<T>(a & b);
  else if constexpr (op == ReduceOp::bor)
    return static_cast<T>(a | b);
  else if constexpr (op == ReduceOp::bxor)
    return static_cast<T>(a ^ b);
  else
    return static_cast<T>(a + b);
}

template <ReduceOp op, class T>
INLINE void pair(const T* a, const T* b, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = combine<op>(a[i], b[i]);
}

// The types and operations of training, for each instruction set.
SORUS_CLONES void sum_f32(const float* a, const float* b, float* out, int64_t n) {
  pair<ReduceOp::sum>(a, b, out, n);
}
SORUS_CLONES void sum_f64(const double* a, const double* b, double* out, int64_t n) {
  pair<ReduceOp::sum>(a, b, out, n);
}
SORUS_CLONES void max_f32(const float* a, const float* b, float* out, int64_t n) {
  pair<ReduceOp::max>(a, b, out, n);
}
SORUS_CLONES void scale_f32(float* x, int64_t n, float by) {
  for (int64_t i = 0; i < n; ++i) x[i] *= by;
}
SORUS_CLONES void widen_bf16(const uint16_t* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits = static_cast<uint32_t>(in[i]) << 16;
    std::memcpy(&out[i], &bits, 4);
  }
}
SORUS_CLONES void add_bf16(const uint16_t* in, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits = static_cast<uint32_t>(in[i]) << 16;
    float v;
    std::memcpy(&v, &bits, 4);
    out[i] += v;
  }
}
SORUS_CLONES void narrow_bf16(const float* in, uint16_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &in[i], 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uint32_t nan = (bits >> 16) | 0x40;
    out[i] = static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
  }
}

template <ReduceOp op, class T>
void pair_any(const T* a, const T* b, T* out, int64_t n) {
  if constexpr (op == ReduceOp::sum && std::is_same_v<T, float>)
    sum_f32(a, b, out, n);
  else if constexpr (op == ReduceOp::sum && std::is_same_v<T, double>)
    sum_f64(a, b, out, n);
  else if constexpr (op == ReduceOp::max && std::is_same_v<T, float>)
    max_f32(a, b, out, n);
  else
    pair<op>(a, b, out, n);
}

template <ReduceOp op, class T>
void arrays(std::span<const void* const> in, void* out, int64_t count) {
  // The result may be one of the inputs, which the first step would overwrite before it is read.
  alignas(64) T block[kBlock];
  for (int64_t at = 0; at < count; at += kBlock) {
    int64_t n = std::min(kBlock, count - at);
    auto part = [&](size_t i) { return static_cast<const T*>(in[i]) + at; };
    T* to = static_cast<T*>(out) + at;
    if (in.size() == 2) {
      pair_any<op>(part(0), part(1), to, n);
      continue;
    }
    pair_any<op>(part(0), part(1), block, n);
    for (size_t i = 2; i < in.size(); ++i) pair_any<op>(block, part(i), i + 1 < in.size() ? block : to, n);
  }
}

template <ReduceOp op, class T>
void halves(std::span<const void* const> in, void* out, int64_t count, float scale) {
  alignas(64) float block[kBlock];
  alignas(64) float other[kBlock];
  auto widen = [](const T* from, float* to, int64_t n) {
    if constexpr (std::is_same_v<T, bfloat16>)
      widen_bf16(reinterpret_cast<const uint16_t*>(from), to, n);
    else
      for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
  };
  for (int64_t at = 0; at < count; at += kBlock) {
    int64_t n = std::min(kBlock, count - at);
    widen(static_cast<const T*>(in[0]) + at, block, n);
    for (size_t i = 1; i < in.size(); ++i) {
      const T* from = static_cast<const T*>(in[i]) + at;
      if constexpr (op == ReduceOp::sum && std::is_same_v<T, bfloat16>) {
        add_bf16(reinterpret_cast<const uint16_t*>(from), block, n);
      } else {
        widen(from, other, n);
        pair_any<op>(block, other, block, n);
      }
    }
    if (scale != 1) scale_f32(block, n, scale);
    T* to = static_cast<T*>(out) + at;
    if constexpr (std::is_same_v<T, bfloat16>)
      narrow_bf16(block, reinterpret_cast<uint16_t*>(to), n);
    else
      for (int64_t i = 0; i < n; ++i) to[i] = static_cast<T>(block[i]);
  }
}

template <class T, class Real>
void divide(void* out, int64_t count, Real by) {
  T* x = static_cast<T*>(out);
  for (int64_t i = 0; i < count; ++i) x[i] /= by;
}

template <ReduceOp op>
void by_type(std::span<const void* const> in, void* out, int64_t count, DType dtype, int64_t divisor) {
  constexpr bool bits = op >= ReduceOp::band;
  constexpr bool ordered = op == ReduceOp::min || op == ReduceOp::max;
  float scale = divisor > 1 ? 1.0f / static_cast<float>(divisor) : 1.0f;
  switch (dtype) {
    case DType::i64:
      return arrays<op, int64_t>(in, out, count);
    case DType::i32:
      return arrays<op, int32_t>(in, out, count);
    case DType::i16:
      return arrays<op, int16_t>(in, out, count);
    case DType::i8:
      return arrays<op, int8_t>(in, out, count);
    case DType::u8:
      return arrays<op, uint8_t>(in, out, count);
    case DType::boolean:
      if constexpr (op == ReduceOp::sum) return arrays<ReduceOp::bor, uint8_t>(in, out, count);
      if constexpr (op == ReduceOp::product) return arrays<ReduceOp::band, uint8_t>(in, out, count);
      return arrays<op, uint8_t>(in, out, count);
    default:
      break;
  }
  if constexpr (!bits) {
    switch (dtype) {
      case DType::f32:
        arrays<op, float>(in, out, count);
        if (divisor > 1) divide<float>(out, count, static_cast<float>(divisor));
        return;
      case DType::f64:
        arrays<op, double>(in, out, count);
        if (divisor > 1) divide<double>(out, count, static_cast<double>(divisor));
        return;
      case DType::bf16:
        return halves<op, bfloat16>(in, out, count, scale);
      case DType::f16:
        return halves<op, float16>(in, out, count, scale);
      default:
        break;
    }
    if constexpr (!ordered) {
      if (dtype == DType::c64) {
        arrays<op, std::complex<float>>(in, out, count);
        if (divisor > 1) divide<std::complex<float>>(out, count, static_cast<float>(divisor));
        return;
      }
      if (dtype == DType::c128) {
        arrays<op, std::complex<double>>(in, out, count);
        if (divisor > 1) divide<std::complex<double>>(out, count, static_cast<double>(divisor));
        return;
      }
    }
  }
  fail<TypeError>("reduction '{}' has no meaning for {}", name(op), name(dtype));
}

}  // namespace

void divide_array(void* data, int64_t count, DType dtype, int64_t by) {
  switch (dtype) {
    case DType::f32:
      return divide<float>(data, count, static_cast<float>(by));
    case DType::f64:
      return divide<double>(data, count, static_cast<double>(by));
    case DType::c64:
      return divide<std::complex<float>>(data, count, static_cast<float>(by));
    case DType::c128:
      return divide<std::complex<double>>(data, count, static_cast<double>(by));
    case DType::bf16:
    case DType::f16: {
      auto* bits = static_cast<uint16_t*>(data);
      for (int64_t i = 0; i < count; ++i) {
        if (dtype == DType::bf16) {
          bfloat16 v;
          v.bits = bits[i];
          bits[i] = bfloat16(static_cast<float>(v) / static_cast<float>(by)).bits;
        } else {
          float16 v;
          v.bits = bits[i];
          bits[i] = float16(static_cast<float>(v) / static_cast<float>(by)).bits;
        }
      }
      return;
    }
    default:
      fail<TypeError>("a {} cannot be divided by a number of ranks", name(dtype));
  }
}

void reduce_arrays(std::span<const void* const> in, void* out, int64_t count, DType dtype, ReduceOp op,
                   int64_t divisor) {
  if (count == 0) return;
  if (in.size() == 1) {
    move_bytes(out, in[0], static_cast<size_t>(count) * size_of(dtype));
    return;
  }
  switch (op) {
    case ReduceOp::sum:
      return by_type<ReduceOp::sum>(in, out, count, dtype, 0);
    case ReduceOp::avg:
      return by_type<ReduceOp::sum>(in, out, count, dtype, divisor ? divisor : static_cast<int64_t>(in.size()));
    case ReduceOp::product:
      return by_type<ReduceOp::product>(in, out, count, dtype, 0);
    case ReduceOp::min:
      return by_type<ReduceOp::min>(in, out, count, dtype, 0);
    case ReduceOp::max:
      return by_type<ReduceOp::max>(in, out, count, dtype, 0);
    case ReduceOp::band:
      return by_type<ReduceOp::band>(in, out, count, dtype, 0);
    case ReduceOp::bor:
      return by_type<ReduceOp::bor>(in, out, count, dtype, 0);
    case ReduceOp::bxor:
      return by_type<ReduceOp::bxor>(in, out, count, dtype, 0);
  }
}

}  // namespace sorus::comm
