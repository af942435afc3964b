#include "sorus/tensor/dtype.h"

#include <array>
#include <bit>
#include <cstring>

#include "sorus/base/error.h"

namespace sorus {
namespace {

struct Info {
  std::string_view short_name, name;
  uint8_t size;
};
constexpr std::array<Info, kNumDTypes> kInfo{{{"f64", "float64", 8},
                                              {"f32", "float32", 4},
                                              {"bf16", "bfloat16", 2},
                                              {"f16", "float16", 2},
                                              {"i64", "int64", 8},
                                              {"i32", "int32", 4},
                                              {"i16", "int16", 2},
                                              {"i8", "int8", 1},
                                              {"u8", "uint8", 1},
                                              {"bool", "bool", 1},
                                              {"c64", "complex64", 8},
                                              {"c128", "complex128", 16}}};
const Info& info(DType t) { return kInfo[static_cast<size_t>(t)]; }

DType default_type = DType::f32;

}  // namespace

size_t size_of(DType t) { return info(t).size; }
std::string_view short_name(DType t) { return info(t).short_name; }
std::string_view name(DType t) { return info(t).name; }

DType dtype_from_name(std::string_view wanted) {
  for (int i = 0; i < kNumDTypes; ++i)
    if (kInfo[i].name == wanted || kInfo[i].short_name == wanted) return static_cast<DType>(i);
  fail<TypeError>("unknown element type '{}'", wanted);
}

DType real_of(DType t) { return t == DType::c64 ? DType::f32 : t == DType::c128 ? DType::f64 : t; }
DType complex_of(DType t) { return t == DType::f64 || t == DType::c128 ? DType::c128 : DType::c64; }

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (is_complex(a) || is_complex(b)) {
    DType real = promote(real_of(a), real_of(b));
    return complex_of(real);
  }
  if (is_floating(a) != is_floating(b)) return is_floating(a) ? a : b;
  if (is_floating(a)) return is_half(a) && is_half(b) ? DType::f32 : std::min(a, b);
  if (a == DType::boolean) return b;
  if (b == DType::boolean) return a;
  // Signed with unsigned: the smallest signed type that holds both.
  if (a == DType::u8) return b == DType::i8 ? DType::i16 : b;
  if (b == DType::u8) return a == DType::i8 ? DType::i16 : a;
  return std::min(a, b);
}

DType compute_type(DType t) {
  if (is_half(t)) return DType::f32;
  if (is_integral(t) || t == DType::boolean) return DType::i64;
  if (t == DType::c64) return DType::c128;
  return t;
}

DType default_dtype() { return default_type; }
void set_default_dtype(DType t) {
  SORUS_CHECK(is_floating(t), TypeError, "set_default_dtype: expected a floating type, got {}", name(t));
  default_type = t;
}

bfloat16::bfloat16(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  bits = f != f ? 0x7fc0 : static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
bfloat16::operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

float16::float16(float f) {
  uint32_t u = std::bit_cast<uint32_t>(f);
  uint32_t sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) {
    bits = static_cast<uint16_t>(sign | 0x7e00);
  } else if (magnitude >= 0x477ff000) {  // rounds to infinity
    bits = static_cast<uint16_t>(sign | 0x7c00);
  } else if (magnitude < 0x38800000) {  // a denormal half: let the float unit round it
    float scaled = std::bit_cast<float>(magnitude) + 0.5f;
    bits = static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) - std::bit_cast<uint32_t>(0.5f)));
  } else {
    uint32_t odd = (magnitude >> 13) & 1;
    bits = static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
  }
}
float16::operator float() const {
  uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000 | ((rest & 0x3ff) << 13));
  if (rest < 0x400) {  // zero or denormal
    float f = static_cast<float>(rest) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(f) | sign);
  }
  return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000));
}

}  // namespace sorus
