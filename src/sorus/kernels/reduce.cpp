#include "sorus/kernels/reduce.h"

#include <algorithm>
#include <limits>

#include "sorus/base/clones.h"
#include "sorus/base/threads.h"
#include "sorus/kernels/element.h"

namespace sorus::kernels {
namespace {

#define SORUS_ALWAYS inline __attribute__((always_inline))

constexpr int64_t kPiece = 32768;  // elements of a long reduction that are reduced on their own
constexpr int64_t kTile = 1024;    // columns whose accumulators stay in the L1 cache
constexpr int kLanes = 32;

// What the loops read: halves as bits, so that converting them is integer arithmetic in vectors.
struct Bf16Bits {
  uint16_t bits;
};
struct F16Bits {
  uint16_t bits;
};

template <class T>
struct Acc {
  using type = int64_t;
};
template <>
struct Acc<float> {
  using type = double;
};
template <>
struct Acc<double> {
  using type = double;
};
template <>
struct Acc<Bf16Bits> {
  using type = double;
};
template <>
struct Acc<F16Bits> {
  using type = double;
};

template <class C, class T>
SORUS_ALWAYS C load(T v) {
  return static_cast<C>(v);
}
template <>
SORUS_ALWAYS double load<double, Bf16Bits>(Bf16Bits v) {
  return static_cast<double>(__builtin_bit_cast(float, static_cast<uint32_t>(v.bits) << 16));
}
template <>
SORUS_ALWAYS double load<double, F16Bits>(F16Bits v) {
  uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000u) << 16, rest = v.bits & 0x7fffu;
  float normal = __builtin_bit_cast(float, ((rest << 13) + 0x38000000u) | sign);
  float tiny = static_cast<float>(static_cast<int32_t>(rest)) * 0x1p-24f;
  float special = __builtin_bit_cast(float, sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  return static_cast<double>(rest >= 0x7c00u ? special : rest < 0x400u ? (sign ? -tiny : tiny) : normal);
}

template <ReduceKind kind, class C>
SORUS_ALWAYS C combine(C a, C b) {
  if constexpr (kind == ReduceKind::sum)
    return a + b;
  else if constexpr (kind == ReduceKind::prod)
    return a * b;
  else if constexpr (kind == ReduceKind::max)
    return ((b > a) | (b != b)) ? b : a;
  else
    return ((b < a) | (b != b)) ? b : a;
}

template <ReduceKind kind, class C>
SORUS_ALWAYS C identity() {
  if constexpr (kind == ReduceKind::sum)
    return C(0);
  else if constexpr (kind == ReduceKind::prod)
    return C(1);
  else if constexpr (std::is_same_v<C, double>)
    return kind == ReduceKind::max ? -__builtin_inf() : __builtin_inf();
  else
    return kind == ReduceKind::max ? INT64_MIN : INT64_MAX;
}

// One line of n elements, into one accumulator.
template <ReduceKind kind, class T>
SORUS_ALWAYS void line(const void* p, int64_t n, int64_t stride, void* acc) {
  using C = typename Acc<T>::type;
  const T* x = static_cast<const T*>(p);
  C& to = *static_cast<C*>(acc);
  int64_t i = 0;
  if (stride == 1 && n >= kLanes) {
    C lanes[kLanes];
    for (int l = 0; l < kLanes; ++l) lanes[l] = identity<kind, C>();
    for (; i + kLanes <= n; i += kLanes)
      for (int l = 0; l < kLanes; ++l) lanes[l] = combine<kind, C>(lanes[l], load<C>(x[i + l]));
    for (int half = kLanes / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) lanes[l] = combine<kind, C>(lanes[l], lanes[l + half]);
    to = combine<kind, C>(to, lanes[0]);
  }
  for (; i < n; ++i) to = combine<kind, C>(to, load<C>(x[i * stride]));
}

// `rows` lines of n elements, into n accumulators.
template <ReduceKind kind, class T>
SORUS_ALWAYS void block(const void* p, int64_t rows, int64_t row_stride, int64_t n, void* acc) {
  using C = typename Acc<T>::type;
  const T* x = static_cast<const T*>(p);
  C* to = static_cast<C*>(acc);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4, x += 4 * row_stride) {
    const T *x1 = x + row_stride, *x2 = x1 + row_stride, *x3 = x2 + row_stride;
    for (int64_t c = 0; c < n; ++c)
      to[c] = combine<kind, C>(to[c], combine<kind, C>(combine<kind, C>(load<C>(x[c]), load<C>(x1[c])),
                                                       combine<kind, C>(load<C>(x2[c]), load<C>(x3[c]))));
  }
  for (; r < rows; ++r, x += row_stride)
    for (int64_t c = 0; c < n; ++c) to[c] = combine<kind, C>(to[c], load<C>(x[c]));
}

using Line = void (*)(const void*, int64_t, int64_t, void*);
using Block = void (*)(const void*, int64_t, int64_t, int64_t, void*);
struct Loops {
  Line line;
  Block block;
};

#define SORUS_LOOPS(kind, name, T)                                                                                 \
  SORUS_CLONES void line_##kind##_##name(const void* p, int64_t n, int64_t stride, void* acc) {                    \
    line<ReduceKind::kind, T>(p, n, stride, acc);                                                                  \
  }                                                                                                                \
  SORUS_CLONES void block_##kind##_##name(const void* p, int64_t rows, int64_t row_stride, int64_t n, void* acc) { \
    block<ReduceKind::kind, T>(p, rows, row_stride, n, acc);                                                       \
  }
#define SORUS_KINDS(name, T) \
  SORUS_LOOPS(sum, name, T) SORUS_LOOPS(prod, name, T) SORUS_LOOPS(max, name, T) SORUS_LOOPS(min, name, T)
SORUS_KINDS(f64, double)
SORUS_KINDS(f32, float)
SORUS_KINDS(bf16, Bf16Bits)
SORUS_KINDS(f16, F16Bits)
SORUS_KINDS(i64, int64_t)
SORUS_KINDS(i32, int32_t)
SORUS_KINDS(i16, int16_t)
SORUS_KINDS(i8, int8_t)
SORUS_KINDS(u8, uint8_t)

Loops loops_of(ReduceKind kind, DType type) {
#define SORUS_CASE(name)                                                   \
  {                                                                        \
    static constexpr Loops all[] = {{line_sum_##name, block_sum_##name},   \
                                    {line_prod_##name, block_prod_##name}, \
                                    {line_max_##name, block_max_##name},   \
                                    {line_min_##name, block_min_##name}};  \
    return all[static_cast<size_t>(kind)];                                 \
  }
  switch (type) {
    case DType::f64:
      SORUS_CASE(f64)
    case DType::f32:
      SORUS_CASE(f32)
    case DType::bf16:
      SORUS_CASE(bf16)
    case DType::f16:
      SORUS_CASE(f16)
    case DType::i64:
      SORUS_CASE(i64)
    case DType::i32:
      SORUS_CASE(i32)
    case DType::i16:
      SORUS_CASE(i16)
    case DType::i8:
      SORUS_CASE(i8)
    case DType::u8:
    case DType::boolean:
      SORUS_CASE(u8)
    default:
      fail<TypeError>("reduce: no kernel for {}", name(type));
  }
}

template <class C>
C identity_of(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::sum:
      return identity<ReduceKind::sum, C>();
    case ReduceKind::prod:
      return identity<ReduceKind::prod, C>();
    case ReduceKind::max:
      return identity<ReduceKind::max, C>();
    default:
      return identity<ReduceKind::min, C>();
  }
}
template <class C>
C combined(ReduceKind kind, C a, C b) {
  switch (kind) {
    case ReduceKind::sum:
      return a + b;
    case ReduceKind::prod:
      return a * b;
    case ReduceKind::max:
      return combine<ReduceKind::max, C>(a, b);
    default:
      return combine<ReduceKind::min, C>(a, b);
  }
}

int64_t count(const std::vector<ReduceAxis>& axes, size_t n) {
  int64_t c = 1;
  for (size_t i = 0; i < n; ++i) c *= axes[i].extent;
  return c;
}
int64_t offset(const std::vector<ReduceAxis>& axes, size_t n, int64_t index) {
  int64_t at = 0;
  for (size_t i = n; i-- > 0; index /= axes[i].extent) at += index % axes[i].extent * axes[i].stride;
  return at;
}

template <class C>
void store(DType type, void* out, int64_t at, const C* values, int64_t n) {
  visit_dtype(type, [&]<DType T>() {
    using E = typename ElementOf<T>::type;
    auto* to = static_cast<E*>(out) + at;
    for (int64_t i = 0; i < n; ++i) to[i] = element_cast<E>(values[i]);
  });
}

template <class C>
class Reducer {
 public:
  explicit Reducer(const ReduceArgs& a) : a_(a), loops_(loops_of(a.kind, a.type)), element_(size_of(a.type)) {}

  void run() const {
    // The last reduced axis is the innermost; what is left of both lists is walked by index.
    size_t outer_reduced = a_.reduced.empty() ? 0 : a_.reduced.size() - 1;
    ReduceAxis inner = a_.reduced.empty() ? ReduceAxis{1, 0} : a_.reduced.back();
    int64_t outer = count(a_.reduced, outer_reduced);
    if (!a_.kept.empty() && a_.kept.back().stride == 1 && a_.kept.back().extent > 1) return columns(inner, outer);
    rows(inner, outer);
  }

 private:
  const std::byte* at(int64_t element) const {
    return static_cast<const std::byte*>(a_.in) + element * static_cast<int64_t>(element_);
  }
  // The largest of no truth values is false, not the least number.
  C identity() const {
    return a_.type == DType::boolean && a_.kind == ReduceKind::max ? C(0) : identity_of<C>(a_.kind);
  }
  size_t outer_axes() const { return a_.reduced.empty() ? 0 : a_.reduced.size() - 1; }

  // Piece `piece` of all: a part of the innermost axis at one index of the others.
  struct Pieces {
    int64_t outer, extent, length, per_outer;
    Pieces(int64_t o, int64_t e, int64_t l)
        : outer(o), extent(e), length(std::max<int64_t>(l, 1)), per_outer((e + length - 1) / length) {}
    int64_t count() const { return outer * per_outer; }
    int64_t begin(int64_t piece) const { return piece % per_outer * length; }
    int64_t size(int64_t piece) const { return std::min(length, extent - begin(piece)); }
  };

  void rows(ReduceAxis inner, int64_t outer) const {
    int64_t kept = count(a_.kept, a_.kept.size()), work = outer * inner.extent;
    auto whole = [&](int64_t k) {
      C acc = identity();
      int64_t base = offset(a_.kept, a_.kept.size(), k);
      for (int64_t o = 0; o < outer; ++o)
        loops_.line(at(base + offset(a_.reduced, outer_axes(), o)), inner.extent, inner.stride, &acc);
      return acc;
    };
    if (kept >= 16 || work < 2 * kPiece) {
      parallel_for(kept, std::max<int64_t>(1, kPiece / std::max<int64_t>(1, work)), [&](int64_t b, int64_t e) {
        C values[64];
        for (int64_t k = b; k < e;) {
          int64_t n = std::min<int64_t>(64, e - k);
          for (int64_t i = 0; i < n; ++i) values[i] = whole(k + i);
          store(a_.out_type, a_.out, k, values, n);
          k += n;
        }
      });
      return;
    }
    Pieces pieces(outer, inner.extent, kPiece);
    std::vector<C> parts(static_cast<size_t>(kept * pieces.count()));
    parallel_for(kept * pieces.count(), std::max<int64_t>(1, kPiece / std::min(kPiece, inner.extent)),
                 [&](int64_t b, int64_t e) {
                   for (int64_t i = b; i < e; ++i) {
                     int64_t k = i / pieces.count(), p = i % pieces.count();
                     C acc = identity();
                     int64_t base =
                         offset(a_.kept, a_.kept.size(), k) + offset(a_.reduced, outer_axes(), p / pieces.per_outer);
                     loops_.line(at(base + pieces.begin(p) * inner.stride), pieces.size(p), inner.stride, &acc);
                     parts[static_cast<size_t>(i)] = acc;
                   }
                 });
    for (int64_t k = 0; k < kept; ++k) {
      C acc = identity();
      for (int64_t p = 0; p < pieces.count(); ++p)
        acc = combined(a_.kind, acc, parts[static_cast<size_t>(k * pieces.count() + p)]);
      store(a_.out_type, a_.out, k, &acc, 1);
    }
  }

  void columns(ReduceAxis inner, int64_t outer) const {
    int64_t n = a_.kept.back().extent, tiles = (n + kTile - 1) / kTile, width = std::min(n, kTile);
    size_t outer_kept = a_.kept.size() - 1;
    int64_t kept = count(a_.kept, outer_kept) * tiles, work = outer * inner.extent * width;
    Pieces pieces(outer, inner.extent, kept >= 16 || work < 2 * kPiece ? inner.extent : 2 * kPiece / width);
    bool split = pieces.per_outer > 1;
    std::vector<C> parts(split ? static_cast<size_t>(kept * pieces.count() * width) : 0);
    auto reduce_into = [&](int64_t k, int64_t p, C* acc) {
      int64_t column = k % tiles * kTile;
      int64_t base = offset(a_.kept, outer_kept, k / tiles) + offset(a_.reduced, outer_axes(), p / pieces.per_outer);
      loops_.block(at(base + column + pieces.begin(p) * inner.stride), pieces.size(p), inner.stride,
                   std::min(width, n - column), acc);
    };
    auto finish = [&](int64_t k, const C* acc) {
      int64_t column = k % tiles * kTile;
      store(a_.out_type, a_.out, k / tiles * n + column, acc, std::min(width, n - column));
    };
    if (!split) {
      parallel_for(kept, std::max<int64_t>(1, kPiece / std::max<int64_t>(1, work)), [&](int64_t b, int64_t e) {
        C acc[kTile];
        for (int64_t k = b; k < e; ++k) {
          std::fill(acc, acc + width, identity());
          if (inner.extent > 0)
            for (int64_t p = 0; p < pieces.count(); ++p) reduce_into(k, p, acc);
          finish(k, acc);
        }
      });
      return;
    }
    parallel_for(kept * pieces.count(), 1, [&](int64_t b, int64_t e) {
      for (int64_t i = b; i < e; ++i) {
        C* acc = parts.data() + i * width;
        std::fill(acc, acc + width, identity());
        reduce_into(i / pieces.count(), i % pieces.count(), acc);
      }
    });
    for (int64_t k = 0; k < kept; ++k) {
      C* sum = parts.data() + k * pieces.count() * width;
      for (int64_t p = 1; p < pieces.count(); ++p)
        for (int64_t c = 0; c < width; ++c) sum[c] = combined(a_.kind, sum[c], sum[p * width + c]);
      finish(k, sum);
    }
  }

  const ReduceArgs& a_;
  Loops loops_;
  size_t element_;
};

void merge(std::vector<ReduceAxis>& axes) {
  std::vector<ReduceAxis> out;
  for (const ReduceAxis& x : axes) {
    if (x.extent == 1) continue;
    if (!out.empty() && out.back().stride == x.stride * x.extent)
      out.back() = {out.back().extent * x.extent, x.stride};
    else
      out.push_back(x);
  }
  axes = std::move(out);
}

}  // namespace

void prepare(ReduceArgs& args) {
  auto size = [](int64_t s) { return s < 0 ? -s : s; };
  std::stable_sort(args.reduced.begin(), args.reduced.end(),
                   [&](const ReduceAxis& x, const ReduceAxis& y) { return size(x.stride) > size(y.stride); });
  merge(args.kept);
  merge(args.reduced);
}

void reduce(const ReduceArgs& args) {
  if (is_floating(args.type))
    Reducer<double>(args).run();
  else
    Reducer<int64_t>(args).run();
}

}  // namespace sorus::kernels
