#include "sorus/tensor/copy.h"

#include <array>
#include <cstring>

#include "sorus/base/clones.h"
#include "sorus/base/threads.h"

namespace sorus {
namespace {

constexpr int64_t kGrain = 32768;

template <class T>
struct Load {
  static auto get(T v) { return v; }
};
template <>
struct Load<bfloat16> {
  static float get(bfloat16 v) { return static_cast<float>(v); }
};
template <>
struct Load<float16> {
  static float get(float16 v) { return static_cast<float>(v); }
};
struct Bool {
  uint8_t v;
};
template <>
struct Load<Bool> {
  static uint8_t get(Bool b) { return b.v != 0; }
};

template <class T>
struct IsComplex : std::false_type {};
template <class T>
struct IsComplex<std::complex<T>> : std::true_type {};

template <class To, class From>
To convert(From v) {
  if constexpr (std::is_same_v<To, Bool>) {
    return {static_cast<uint8_t>(v != From(0))};
  } else if constexpr (IsComplex<To>::value) {
    using R = typename To::value_type;
    if constexpr (IsComplex<From>::value)
      return To(static_cast<R>(v.real()), static_cast<R>(v.imag()));
    else
      return To(static_cast<R>(v));
  } else if constexpr (IsComplex<From>::value) {
    return convert<To>(v.real());
  } else if constexpr (std::is_same_v<To, bfloat16> || std::is_same_v<To, float16>) {
    return To(static_cast<float>(v));
  } else if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    return static_cast<To>(static_cast<int64_t>(v));  // through int64: what is out of range wraps the same everywhere
  } else {
    return static_cast<To>(v);
  }
}

template <class To, class From, bool add>
void loop(void* target, int64_t ts, const void* source, int64_t ss, int64_t n) {
  auto* t = static_cast<To*>(target);
  auto* s = static_cast<const From*>(source);
  if constexpr (add) {
    for (int64_t i = 0; i < n; ++i)
      t[i * ts] = convert<To>(Load<To>::get(t[i * ts]) + Load<To>::get(convert<To>(Load<From>::get(s[i * ss]))));
  } else if (ts == 1 && ss == 1) {
    for (int64_t i = 0; i < n; ++i) t[i] = convert<To>(Load<From>::get(s[i]));
  } else if (ts == 1 && ss == 0) {
    To v = convert<To>(Load<From>::get(s[0]));
    for (int64_t i = 0; i < n; ++i) t[i] = v;
  } else {
    for (int64_t i = 0; i < n; ++i) t[i * ts] = convert<To>(Load<From>::get(s[i * ss]));
  }
}

template <class F>
void with_type(DType t, F&& f) {
  switch (t) {
    case DType::f64:
      return f(double{});
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bfloat16{});
    case DType::f16:
      return f(float16{});
    case DType::i64:
      return f(int64_t{});
    case DType::i32:
      return f(int32_t{});
    case DType::i16:
      return f(int16_t{});
    case DType::i8:
      return f(int8_t{});
    case DType::u8:
      return f(uint8_t{});
    case DType::boolean:
      return f(Bool{});
    case DType::c64:
      return f(std::complex<float>{});
    case DType::c128:
      return f(std::complex<double>{});
  }
}

using Loop = void (*)(void*, int64_t, const void*, int64_t, int64_t);

// Halves from and to f32, side by side: without branches, so that they are vectors of integer instructions.
SORUS_CLONES void bf16_to_f32(float* t, const uint16_t* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) t[i] = __builtin_bit_cast(float, static_cast<uint32_t>(s[i]) << 16);
}
SORUS_CLONES void f32_to_bf16(uint16_t* t, const float* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    auto u = __builtin_bit_cast(uint32_t, s[i]);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    t[i] = static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
  }
}
SORUS_CLONES void f16_to_f32(float* t, const uint16_t* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t sign = (s[i] & 0x8000u) << 16, rest = s[i] & 0x7fffu;
    uint32_t normal = (rest << 13) + 0x38000000u, special = 0x7f800000u | ((rest & 0x3ffu) << 13);
    auto tiny = __builtin_bit_cast(uint32_t, static_cast<float>(static_cast<int32_t>(rest)) * 0x1p-24f);
    t[i] = __builtin_bit_cast(float, (rest >= 0x7c00u ? special : rest < 0x400u ? tiny : normal) | sign);
  }
}
SORUS_CLONES void f32_to_f16(uint16_t* t, const float* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    auto u = __builtin_bit_cast(uint32_t, s[i]);
    uint32_t sign = (u >> 16) & 0x8000u, m = u & 0x7fffffffu;
    uint32_t tiny =
        __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, m) + 0.5f) - 0x3f000000u;  // the adder rounds
    uint32_t normal = (m - 0x38000000u + 0xfffu + ((m >> 13) & 1u)) >> 13;
    uint32_t h = m > 0x7f800000u ? 0x7e00u : m >= 0x477ff000u ? 0x7c00u : m < 0x38800000u ? tiny : normal;
    t[i] = static_cast<uint16_t>(sign | h);
  }
}
SORUS_CLONES void f32_to_f64(double* t, const float* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) t[i] = static_cast<double>(s[i]);
}
SORUS_CLONES void f64_to_f32(float* t, const double* s, int64_t n) {
  for (int64_t i = 0; i < n; ++i) t[i] = static_cast<float>(s[i]);
}

// The pairs above; false for others.
bool convert_side_by_side(DType to, void* t, DType from, const void* s, int64_t n) {
  if (to == DType::f32) {
    auto* f = static_cast<float*>(t);
    if (from == DType::bf16) return bf16_to_f32(f, static_cast<const uint16_t*>(s), n), true;
    if (from == DType::f16) return f16_to_f32(f, static_cast<const uint16_t*>(s), n), true;
    if (from == DType::f64) return f64_to_f32(f, static_cast<const double*>(s), n), true;
  } else if (from == DType::f32) {
    auto* f = static_cast<const float*>(s);
    if (to == DType::bf16) return f32_to_bf16(static_cast<uint16_t*>(t), f, n), true;
    if (to == DType::f16) return f32_to_f16(static_cast<uint16_t*>(t), f, n), true;
    if (to == DType::f64) return f32_to_f64(static_cast<double*>(t), f, n), true;
  }
  return false;
}

template <bool add>
Loop find_loop(DType to, DType from) {
  Loop found = nullptr;
  with_type(to, [&](auto t) { with_type(from, [&](auto f) { found = loop<decltype(t), decltype(f), add>; }); });
  return found;
}
const auto kLoops = [] {
  std::array<std::array<Loop, kNumDTypes>, kNumDTypes> table{};
  for (int a = 0; a < kNumDTypes; ++a)
    for (int b = 0; b < kNumDTypes; ++b) table[a][b] = find_loop<false>(static_cast<DType>(a), static_cast<DType>(b));
  return table;
}();

}  // namespace

void convert_strided(DType to, void* target, int64_t ts, DType from, const void* source, int64_t ss, int64_t n) {
  if (to == from && ts == 1 && ss == 1) {
    std::memcpy(target, source, static_cast<size_t>(n) * size_of(to));
    return;
  }
  if (ts == 1 && ss == 1 && convert_side_by_side(to, target, from, source, n)) return;
  kLoops[static_cast<size_t>(to)][static_cast<size_t>(from)](target, ts, source, ss, n);
}

LoopPlan plan_loop(IntSpan shape, std::span<const Shape> strides) {
  LoopPlan plan;
  plan.strides.resize(strides.size());
  // Outermost first, so that the result is written in order; runs that all operands continue become one.
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    bool merge = !plan.sizes.empty();
    for (size_t o = 0; merge && o < strides.size(); ++o) merge = plan.strides[o].back() == strides[o][d] * shape[d];
    if (merge) {
      plan.sizes.back() *= shape[d];
      for (size_t o = 0; o < strides.size(); ++o) plan.strides[o].back() = strides[o][d];
    } else {
      plan.sizes.push_back(shape[d]);
      for (size_t o = 0; o < strides.size(); ++o) plan.strides[o].push_back(strides[o][d]);
    }
  }
  if (plan.sizes.empty()) {
    plan.sizes.push_back(1);
    for (auto& s : plan.strides) s.push_back(1);
  }
  return plan;
}

void row_offsets(const LoopPlan& plan, int64_t row, std::span<int64_t> offsets) {
  for (int64_t& o : offsets) o = 0;
  for (size_t d = plan.sizes.size() - 1; d-- > 0;) {
    int64_t i = row % plan.sizes[d];
    row /= plan.sizes[d];
    for (size_t o = 0; o < offsets.size(); ++o) offsets[o] += i * plan.strides[o][d];
  }
}

namespace {

// Where the target is contiguous along one dimension and the source along another, rows of either touch a page or a
// cache line per element of the other; tiles touch each line once.
template <class T>
void copy_tile(T* to, int64_t to_row, const T* from, int64_t from_column, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) to[r * to_row + c] = from[r + c * from_column];
}

template <class T>
void copy_transposed(std::byte* to, const std::byte* from, const LoopPlan& plan, size_t by) {
  constexpr int64_t kTile = 64 / static_cast<int64_t>(sizeof(T)) * 2;
  int64_t rows = plan.sizes[by], columns = plan.inner(), to_row = plan.strides[0][by],
          from_column = plan.strides[1].back();
  int64_t bands = (rows + kTile - 1) / kTile, others = plan.rows() / rows;
  parallel_for(others * bands, std::max<int64_t>(1, kGrain / (kTile * columns)), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      int64_t band = i % bands * kTile, left = i / bands, at_to = band * to_row, at_from = band;
      for (size_t d = plan.sizes.size() - 1; d-- > 0;) {
        if (d == by) continue;
        at_to += left % plan.sizes[d] * plan.strides[0][d];
        at_from += left % plan.sizes[d] * plan.strides[1][d];
        left /= plan.sizes[d];
      }
      for (int64_t c = 0; c < columns; c += kTile)
        copy_tile(reinterpret_cast<T*>(to) + at_to + c, to_row,
                  reinterpret_cast<const T*>(from) + at_from + c * from_column, from_column,
                  std::min(kTile, rows - band), std::min(kTile, columns - c));
    }
  });
}

// The dimension along which the source is contiguous while the target is so along the last; -1 if that is not how it
// is.
int transposed_dimension(const LoopPlan& plan) {
  if (plan.strides[0].back() != 1 || plan.strides[1].back() == 1 || plan.strides[1].back() == 0 || plan.inner() < 8)
    return -1;
  for (size_t d = 0; d + 1 < plan.sizes.size(); ++d)
    if (plan.strides[1][d] == 1 && plan.sizes[d] >= 8) return static_cast<int>(d);
  return -1;
}

}  // namespace

void copy_elements(const Tensor& target, const Tensor& source) {
  if (target.numel() == 0) return;
  auto* to = static_cast<std::byte*>(target.data());
  auto* from = static_cast<const std::byte*>(source.data());
  size_t ts = size_of(target.dtype()), ss = size_of(source.dtype());
  std::array<Shape, 2> strides{target.strides(), broadcast_strides(source.sizes(), source.strides(), target.sizes())};
  LoopPlan plan = plan_loop(target.sizes(), strides);
  int64_t inner = plan.inner(), si = plan.strides[1].back(), ti = plan.strides[0].back();
  if (int by = transposed_dimension(plan); by >= 0 && target.dtype() == source.dtype()) {
    auto d = static_cast<size_t>(by);
    if (ts == 1) return copy_transposed<uint8_t>(to, from, plan, d);
    if (ts == 2) return copy_transposed<uint16_t>(to, from, plan, d);
    if (ts == 4) return copy_transposed<uint32_t>(to, from, plan, d);
    if (ts == 8) return copy_transposed<uint64_t>(to, from, plan, d);
  }
  if (plan.rows() == 1) {
    parallel_for(inner, kGrain, [&](int64_t b, int64_t e) {
      convert_strided(target.dtype(), to + b * ti * static_cast<int64_t>(ts), ti, source.dtype(),
                      from + b * si * static_cast<int64_t>(ss), si, e - b);
    });
    return;
  }
  parallel_for(plan.rows(), std::max<int64_t>(1, kGrain / inner), [&](int64_t b, int64_t e) {
    std::array<int64_t, 2> offset;
    for (int64_t row = b; row < e; ++row) {
      row_offsets(plan, row, offset);
      convert_strided(target.dtype(), to + offset[0] * static_cast<int64_t>(ts), ti, source.dtype(),
                      from + offset[1] * static_cast<int64_t>(ss), si, inner);
    }
  });
}

void add_elements(const Tensor& target, const Tensor& source) {
  if (target.numel() == 0) return;
  SORUS_ASSERT(target.dtype() == source.dtype());
  Loop add = nullptr;
  with_type(target.dtype(), [&](auto t) { add = loop<decltype(t), decltype(t), true>; });
  size_t size = size_of(target.dtype());
  std::array<Shape, 2> strides{target.strides(), broadcast_strides(source.sizes(), source.strides(), target.sizes())};
  LoopPlan plan = plan_loop(target.sizes(), strides);
  std::array<int64_t, 2> offset;
  for (int64_t row = 0; row < plan.rows(); ++row) {
    row_offsets(plan, row, offset);
    add(static_cast<std::byte*>(target.data()) + offset[0] * static_cast<int64_t>(size), plan.strides[0].back(),
        static_cast<const std::byte*>(source.data()) + offset[1] * static_cast<int64_t>(size), plan.strides[1].back(),
        plan.inner());
  }
}

}  // namespace sorus
