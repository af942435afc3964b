#include "sorus/kernels/scan.h"

#include <cmath>
#include <limits>

#include "sorus/kernels/element.h"

namespace sorus::kernels {
namespace {

template <DType T>
using Accumulator = std::conditional_t<T == DType::f32, double, typename ElementOf<T>::compute>;

template <DType In, DType Out>
void scan_typed(ScanOp op, std::span<const int64_t> shape, int dim, const void* in, Strides in_strides, void* out,
                Strides out_strides, bool reverse) {
  using I = typename ElementOf<In>::type;
  using O = typename ElementOf<Out>::type;
  using A = Accumulator<Out>;
  size_t d = static_cast<size_t>(dim);
  int64_t length = shape.empty() ? 1 : shape[d];
  int64_t in_step = shape.empty() ? 0 : in_strides[d], out_step = shape.empty() ? 0 : out_strides[d];
  for_each_line<2>(shape, dim, {in_strides, out_strides}, [&](const std::array<int64_t, 2>& at) {
    const I* x = static_cast<const I*>(in) + at[0];
    O* y = static_cast<O*>(out) + at[1];
    auto run = [&](A sum, auto&& combine) {
      for (int64_t i = 0; i < length; ++i) {
        int64_t j = reverse ? length - 1 - i : i;
        sum = combine(sum, element_cast<A>(x[j * in_step]));
        y[j * out_step] = element_cast<O>(sum);
      }
    };
    if (op == ScanOp::sum) return run(A(0), [](A s, A v) { return s + v; });
    if (op == ScanOp::product) return run(A(1), [](A s, A v) { return s * v; });
    if constexpr (std::is_floating_point_v<A>) {
      run(-std::numeric_limits<A>::infinity(), [](A s, A v) {
        if (s == v && std::isinf(s)) return s;  // inf - inf below would be NaN
        A high = s > v ? s : v, low = s > v ? v : s;
        return s != s || v != v ? s + v : high + std::log1p(std::exp(low - high));
      });
    } else if constexpr (requires(A v) { v.real(); }) {
      // By the larger real part; the imaginary part goes on from that of the larger one, as in PyTorch.
      run(A(-std::numeric_limits<double>::infinity()), [](A s, A v) {
        A high = s.real() > v.real() ? s : v, low = s.real() > v.real() ? v : s;
        return std::isinf(high.real()) ? high : high + std::log(1.0 + std::exp(low - high));
      });
    } else {
      fail<TypeError>("logcumsumexp: expected a floating type");
    }
  });
}

}  // namespace

void scan(ScanOp op, DType type, DType out_type, std::span<const int64_t> shape, int dim, const void* in,
          Strides in_strides, void* out, Strides out_strides, bool reverse) {
  visit_dtype(type, [&]<DType In>() {
    if (out_type == type) return scan_typed<In, In>(op, shape, dim, in, in_strides, out, out_strides, reverse);
    if constexpr (In == DType::boolean || (In >= DType::i64 && In <= DType::u8)) {
      if (out_type == DType::i64)
        return scan_typed<In, DType::i64>(op, shape, dim, in, in_strides, out, out_strides, reverse);
    }
    if constexpr (In == DType::bf16 || In == DType::f16) {
      if (out_type == DType::f32)
        return scan_typed<In, DType::f32>(op, shape, dim, in, in_strides, out, out_strides, reverse);
    }
    fail<TypeError>("scan: no kernel from {} to {}; convert the input first", short_name(type), short_name(out_type));
  });
}

void scan_extremum(bool maximum, DType type, std::span<const int64_t> shape, int dim, const void* in,
                   Strides in_strides, void* values, Strides value_strides, int64_t* indices, Strides index_strides) {
  SORUS_CHECK(!is_complex(type), TypeError, "cummax and cummin: complex numbers have no order");
  size_t d = static_cast<size_t>(dim);
  int64_t length = shape.empty() ? 1 : shape[d];
  if (length == 0) return;
  auto step = [&](Strides s) { return shape.empty() ? 0 : s[d]; };
  visit_dtype(type, [&]<DType T>() {
    if constexpr (T != DType::c64 && T != DType::c128) {
      using E = typename ElementOf<T>::type;
      using C = typename ElementOf<T>::compute;
      for_each_line<3>(shape, dim, {in_strides, value_strides, index_strides}, [&](const std::array<int64_t, 3>& at) {
        const E* x = static_cast<const E*>(in) + at[0];
        E* y = static_cast<E*>(values) + at[1];
        int64_t* where = indices + at[2];
        C best = element_cast<C>(x[0]);
        int64_t index = 0;
        for (int64_t i = 0; i < length; ++i) {
          C v = element_cast<C>(x[i * step(in_strides)]);
          if (v != v || (best == best && (maximum ? v >= best : v <= best))) best = v, index = i;
          y[i * step(value_strides)] = element_cast<E>(best);
          where[i * step(index_strides)] = index;
        }
      });
    }
  });
}

void recurrence(DType type, std::span<const int64_t> shape, int dim, bool reverse, const void* a, Strides a_strides,
                const void* b, Strides b_strides, void* out, Strides out_strides) {
  auto d = static_cast<size_t>(dim);
  int64_t length = shape.empty() ? 1 : shape[d];
  auto step = [&](Strides s) { return shape.empty() ? 0 : s[d]; };
  visit_dtype(type, [&]<DType T>() {
    using E = typename ElementOf<T>::type;
    using A = Accumulator<T>;
    for_each_line<3>(shape, dim, {a_strides, b_strides, out_strides}, [&](const std::array<int64_t, 3>& at) {
      const E *factor = static_cast<const E*>(a) + at[0], *term = static_cast<const E*>(b) + at[1];
      E* y = static_cast<E*>(out) + at[2];
      A state{};
      for (int64_t i = 0; i < length; ++i) {
        int64_t j = reverse ? length - 1 - i : i;
        A next = element_cast<A>(term[j * step(b_strides)]);
        if (i > 0) next = static_cast<A>(next + element_cast<A>(factor[j * step(a_strides)]) * state);
        state = next;
        y[j * step(out_strides)] = element_cast<E>(state);
      }
    });
  });
}

}  // namespace sorus::kernels
