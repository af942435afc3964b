// Element types, their names and their promotion (the rules are PyTorch's).
#pragma once

#include <cstdint>
#include <string_view>

namespace sorus {

/// The order is that of the text form's table only; use the predicates below, never comparisons.
enum class DType : uint8_t { f64, f32, bf16, f16, i64, i32, i16, i8, u8, boolean, c64, c128 };
inline constexpr int kNumDTypes = 12;

size_t size_of(DType t);                       ///< Bytes of one element.
std::string_view short_name(DType t);          ///< "f32", as in graphs and safetensors.
std::string_view name(DType t);                ///< "float32", as in Python.
DType dtype_from_name(std::string_view name);  ///< Either form; throws TypeError.

inline bool is_complex(DType t) { return t >= DType::c64; }
inline bool is_floating(DType t) { return t <= DType::f16; }
inline bool is_integral(DType t) { return t >= DType::i64 && t <= DType::u8; }  ///< Without bool.
inline bool is_differentiable(DType t) { return is_floating(t) || is_complex(t); }
inline bool is_half(DType t) { return t == DType::bf16 || t == DType::f16; }

/// The type that holds both, e.g. (i64, f32) -> f32, (bf16, f16) -> f32, (f64, c64) -> c128.
DType promote(DType a, DType b);
/// Real type of a complex one (c64 -> f32), others unchanged; and its inverse (f64 -> c128, other reals -> c64).
DType real_of(DType t);
DType complex_of(DType t);
/// The type in which elements of `t` are computed: halves in f32, small integers and bool in i64.
DType compute_type(DType t);

/// The default floating type, f32 at first.
DType default_dtype();
void set_default_dtype(DType t);

/// bfloat16 and IEEE half as bits; conversions round to nearest even and keep NaN.
struct bfloat16 {
  uint16_t bits;
  bfloat16() = default;
  explicit bfloat16(float f);
  explicit operator float() const;
};
struct float16 {
  uint16_t bits;
  float16() = default;
  explicit float16(float f);
  explicit operator float() const;
};

}  // namespace sorus
