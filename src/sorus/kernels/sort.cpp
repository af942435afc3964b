#include "sorus/kernels/sort.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "sorus/kernels/element.h"

namespace sorus::kernels {
namespace {

/// Keys whose plain < orders values as PyTorch does: NaN is the largest, and all NaN are equal.
template <class E>
auto sort_key(E x) {
  if constexpr (std::is_same_v<E, bfloat16> || std::is_same_v<E, float16>)
    return to_float(x);
  else
    return x;
}
template <class K>
bool less(K a, K b) {
  if constexpr (std::is_floating_point_v<K>) return a < b || (b != b && a == a);
  return a < b;
}

template <class K>
struct Item {
  K key;
  int64_t index;
};

/// A line gathered into dense scratch; sorting pairs beats sorting indices that point into strided memory.
template <class E, class K = decltype(sort_key(E{}))>
void load_line(std::vector<Item<K>>& line, const E* in, int64_t stride) {
  for (size_t i = 0; i < line.size(); ++i)
    line[i] = {sort_key(in[static_cast<int64_t>(i) * stride]), static_cast<int64_t>(i)};
}

template <class E, class K>
void store_line(const Item<K>* line, int64_t count, const E* in, int64_t in_stride, E* values, int64_t value_stride,
                int64_t* indices, int64_t index_stride) {
  // Values come from the input, not from keys, so that payloads of NaN and the sign of zero survive. In place is
  // allowed: then the caller has given no room for the input to be read again, and keys are all there is.
  for (int64_t i = 0; i < count; ++i) {
    if (values)
      values[i * value_stride] = values == in ? element_cast<E>(line[i].key) : in[line[i].index * in_stride];
    if (indices) indices[i * index_stride] = line[i].index;
  }
}

template <class F>
void visit_ordered(const char* who, DType type, F&& f) {
  SORUS_CHECK(!is_complex(type), TypeError, "{}: complex numbers have no order", who);
  visit_dtype(type, [&]<DType T>() {
    if constexpr (T != DType::c64 && T != DType::c128) f.template operator()<typename ElementOf<T>::type>();
  });
}

Strides or_zero(Strides s, std::span<const int64_t> zeros) { return s.empty() ? zeros : s; }

/// Orders every line of `in` along `dim` by order(items), and stores the first `count` of each.
template <class Order>
void order_lines(const char* who, DType type, std::span<const int64_t> shape, int dim, int64_t count, const void* in,
                 Strides in_strides, void* values, Strides value_strides, int64_t* indices, Strides index_strides,
                 Order&& order) {
  static constexpr int64_t kZeros[kMaxRank] = {};
  std::span<const int64_t> zeros(kZeros, shape.size());
  const size_t d = static_cast<size_t>(dim);
  if (count == 0) return;
  value_strides = or_zero(value_strides, zeros), index_strides = or_zero(index_strides, zeros);
  auto step = [&](Strides s) { return shape.empty() ? 0 : s[d]; };
  visit_ordered(who, type, [&]<class E>() {
    using K = decltype(sort_key(E{}));
    for_each_line<3>(shape, dim, {in_strides, value_strides, index_strides}, [&](const std::array<int64_t, 3>& at) {
      thread_local std::vector<Item<K>> line;
      line.resize(static_cast<size_t>(shape.empty() ? 1 : shape[d]));
      const E* from = static_cast<const E*>(in) + at[0];
      load_line(line, from, step(in_strides));
      order(line);
      store_line(line.data(), count, from, step(in_strides), values ? static_cast<E*>(values) + at[1] : nullptr,
                 step(value_strides), indices ? indices + at[2] : nullptr, step(index_strides));
    });
  });
}

}  // namespace

void sort(DType type, std::span<const int64_t> shape, int dim, const void* in, Strides in_strides, void* values,
          Strides value_strides, int64_t* indices, Strides index_strides, bool descending) {
  const int64_t length = shape.empty() ? 1 : shape[static_cast<size_t>(dim)];
  order_lines("sort", type, shape, dim, length, in, in_strides, values, value_strides, indices, index_strides,
              [&](auto& line) {
                std::stable_sort(line.begin(), line.end(), [&](const auto& a, const auto& b) {
                  return descending ? less(b.key, a.key) : less(a.key, b.key);
                });
              });
}

void topk(DType type, std::span<const int64_t> shape, int dim, int64_t k, bool largest, const void* in,
          Strides in_strides, void* values, Strides value_strides, int64_t* indices, Strides index_strides) {
  const int64_t length = shape.empty() ? 1 : shape[static_cast<size_t>(dim)];
  SORUS_CHECK(k >= 0 && k <= length, ValueError,
              "topk: k must be between 0 and the size of the dimension, {}, got {}", length, k);
  order_lines("topk", type, shape, dim, k, in, in_strides, values, value_strides, indices, index_strides,
              [&](auto& line) {
                // Position breaks ties, so the order is total and partial_sort needs not be stable.
                auto before = [&](const auto& a, const auto& b) {
                  if (largest ? less(b.key, a.key) : less(a.key, b.key)) return true;
                  if (largest ? less(a.key, b.key) : less(b.key, a.key)) return false;
                  return a.index < b.index;
                };
                if (k < length / 8) {
                  std::partial_sort(line.begin(), line.begin() + k, line.end(), before);
                } else {
                  if (k < length) std::nth_element(line.begin(), line.begin() + k, line.end(), before);
                  std::sort(line.begin(), line.begin() + k, before);
                }
              });
}

}  // namespace sorus::kernels
