// Element types inside kernels: C++ types behind a DType, and conversions that the compiler can inline and vectorise.
#pragma once

#include <bit>
#include <complex>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "sorus/base/error.h"
#include "sorus/tensor/dtype.h"

namespace sorus::kernels {

inline float to_float(bfloat16 h) { return std::bit_cast<float>(static_cast<uint32_t>(h.bits) << 16); }
inline uint16_t bf16_bits(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  return static_cast<uint16_t>((u & 0x7fffffff) > 0x7f800000 ? ((u >> 16) | 0x40) : rounded);
}
inline float to_float(float16 h) {
  uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000) << 16;
  uint32_t exponent = (h.bits >> 10) & 0x1f, fraction = h.bits & 0x3ff;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000 | (fraction << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  float small = static_cast<float>(fraction) * 0x1p-24f;
  return sign ? -small : small;
}
inline uint16_t f16_bits(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f), sign = (u >> 16) & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00 | ((u >> 13) & 0x3ff));
  if (u >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (u < 0x38800000) {  // subnormal or zero: let the adder round at the right bit
    float shifted = std::bit_cast<float>(u) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(0.5f)));
  }
  u += 0xc8000fff + ((u >> 13) & 1);
  return static_cast<uint16_t>(sign | (u >> 13));
}

/// The C++ type of an element in memory and the one it is computed in.
template <DType t>
struct ElementOf;
template <>
struct ElementOf<DType::f64> {
  using type = double;
  using compute = double;
};
template <>
struct ElementOf<DType::f32> {
  using type = float;
  using compute = float;
};
template <>
struct ElementOf<DType::bf16> {
  using type = bfloat16;
  using compute = float;
};
template <>
struct ElementOf<DType::f16> {
  using type = float16;
  using compute = float;
};
template <>
struct ElementOf<DType::i64> {
  using type = int64_t;
  using compute = int64_t;
};
template <>
struct ElementOf<DType::i32> {
  using type = int32_t;
  using compute = int64_t;
};
template <>
struct ElementOf<DType::i16> {
  using type = int16_t;
  using compute = int64_t;
};
template <>
struct ElementOf<DType::i8> {
  using type = int8_t;
  using compute = int64_t;
};
template <>
struct ElementOf<DType::u8> {
  using type = uint8_t;
  using compute = int64_t;
};
template <>
struct ElementOf<DType::boolean> {
  using type = bool;
  using compute = int64_t;
};
template <>
struct ElementOf<DType::c64> {
  using type = std::complex<float>;
  using compute = std::complex<double>;
};
template <>
struct ElementOf<DType::c128> {
  using type = std::complex<double>;
  using compute = std::complex<double>;
};

template <class To, class From>
inline To element_cast(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<From, bfloat16> || std::is_same_v<From, float16>) {
    return element_cast<To>(to_float(x));
  } else if constexpr (std::is_same_v<To, bfloat16>) {
    bfloat16 h;
    h.bits = bf16_bits(element_cast<float>(x));
    return h;
  } else if constexpr (std::is_same_v<To, float16>) {
    float16 h;
    h.bits = f16_bits(element_cast<float>(x));
    return h;
  } else if constexpr (
      requires { x.real(); } && !requires(To t) { t.real(); }) {
    return element_cast<To>(x.real());
  } else if constexpr (std::is_same_v<To, bool>) {
    return x != From(0);
  } else {
    return static_cast<To>(x);
  }
}

/// Calls `f.template operator()<t>()` with the run-time type as a template argument.
template <class F>
decltype(auto) visit_dtype(DType t, F&& f) {
  switch (t) {
    case DType::f64:
      return f.template operator()<DType::f64>();
    case DType::f32:
      return f.template operator()<DType::f32>();
    case DType::bf16:
      return f.template operator()<DType::bf16>();
    case DType::f16:
      return f.template operator()<DType::f16>();
    case DType::i64:
      return f.template operator()<DType::i64>();
    case DType::i32:
      return f.template operator()<DType::i32>();
    case DType::i16:
      return f.template operator()<DType::i16>();
    case DType::i8:
      return f.template operator()<DType::i8>();
    case DType::u8:
      return f.template operator()<DType::u8>();
    case DType::boolean:
      return f.template operator()<DType::boolean>();
    case DType::c64:
      return f.template operator()<DType::c64>();
    case DType::c128:
      return f.template operator()<DType::c128>();
  }
  fail<TypeError>("unknown element type {}", static_cast<int>(t));
}

/// The same for f64, f32, bf16 and f16 only, which keeps kernels of real numbers short to compile.
template <class F>
decltype(auto) visit_floating(const char* who, DType t, F&& f) {
  switch (t) {
    case DType::f64:
      return f.template operator()<DType::f64>();
    case DType::f32:
      return f.template operator()<DType::f32>();
    case DType::bf16:
      return f.template operator()<DType::bf16>();
    case DType::f16:
      return f.template operator()<DType::f16>();
    default:
      fail<TypeError>("{}: expected a floating type, got type number {}", who, static_cast<int>(t));
  }
}

/// One element read from, or written to, untyped memory; for bias, masks and tails, not for inner loops.
inline float load_float(DType t, const void* p, int64_t i) {
  return visit_dtype(
      t, [&]<DType T>() { return element_cast<float>(static_cast<const typename ElementOf<T>::type*>(p)[i]); });
}

}  // namespace sorus::kernels
