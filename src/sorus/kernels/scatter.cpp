#include "sorus/kernels/scatter.h"

#include <atomic>
#include <vector>

#include "sorus/kernels/element.h"

namespace sorus::kernels {
namespace {

int64_t read_index(const void* data, DType type, int64_t at) {
  return type == DType::i64 ? static_cast<const int64_t*>(data)[at] : static_cast<const int32_t*>(data)[at];
}

/// Workers must not throw, so the first bad index is remembered and reported after the loop.
class BadIndex {
 public:
  BadIndex() = default;
  BadIndex(IndexWindow window, int64_t size) : window_(window), size_(size) {
    if (window_.whole < 0) window_.whole = size;
  }
  /// As below, of an index in the whole: -1 also if it lies outside of the window, which is no error.
  int64_t resolve(int64_t index) {
    int64_t at = resolve(index, window_.whole);
    if (at < 0) return -1;
    at -= window_.start;
    return at >= 0 && at < size_ ? at : -1;
  }
  /// The same of a row of a table, which is never counted from the end.
  int64_t resolve_row(int64_t index) { return index < 0 ? outside(index) : resolve(index); }
  void report(const char* who) const { report(who, window_.whole); }
  /// `index` as an offset from zero, or -1 if it lies outside.
  int64_t resolve(int64_t index, int64_t size) {
    int64_t at = index < 0 ? index + size : index;
    if (at >= 0 && at < size) [[likely]]
      return at;
    return outside(index);
  }
  void report(const char* who, int64_t size) const {
    SORUS_CHECK(!found_, IndexError, "{}: index {} is out of range for a dimension of size {}", who, value_, size);
  }

 private:
  int64_t outside(int64_t index) {
    if (!found_.exchange(true)) value_ = index;
    return -1;
  }

  std::atomic<bool> found_{false};
  int64_t value_ = 0;
  IndexWindow window_;
  int64_t size_ = 0;
};

void check_index_type(const char* who, DType type) {
  SORUS_CHECK(type == DType::i64 || type == DType::i32, TypeError, "{}: indices must be i64 or i32, got {}", who,
              short_name(type));
}

template <class E>
void combine(ScatterMode mode, E& to, E from) {
  using C = std::conditional_t < requires(E e) { e.bits; }
  , float, E > ;
  if (mode == ScatterMode::assign) {
    to = from;
    return;
  }
  C a = element_cast<C>(to), b = element_cast<C>(from);
  if constexpr (std::is_same_v<E, bool>) {
    if (mode == ScatterMode::add || mode == ScatterMode::maximum)
      to = a || b;
    else
      to = a && b;
  } else {
    if (mode == ScatterMode::add)
      a = static_cast<C>(a + b);
    else if (mode == ScatterMode::multiply)
      a = static_cast<C>(a * b);
    else if constexpr (requires { a < b; }) {
      if (mode == ScatterMode::maximum)
        a = a != a || a > b ? a : b;
      else
        a = a != a || a < b ? a : b;
    } else {
      fail<TypeError>("scatter: complex numbers have no order");
    }
    to = element_cast<E>(a);
  }
}

}  // namespace

void gather(DType type, std::span<const int64_t> shape, int dim, const void* in, Strides in_strides, int64_t size,
            const IndexTensor& index, void* out, Strides out_strides, IndexWindow window) {
  check_index_type("gather", index.type);
  BadIndex bad(window, size);
  size_t d = static_cast<size_t>(dim);
  bool scalar = shape.empty();
  int64_t length = scalar ? 1 : shape[d], in_step = scalar ? 0 : in_strides[d];
  int64_t index_step = scalar ? 0 : index.strides[d], out_step = scalar ? 0 : out_strides[d];
  visit_dtype(type, [&]<DType T>() {
    using E = typename ElementOf<T>::type;
    for_each_line<3>(shape, dim, {in_strides, index.strides, out_strides}, [&](const std::array<int64_t, 3>& at) {
      const E* from = static_cast<const E*>(in) + at[0];
      E* to = static_cast<E*>(out) + at[2];
      for (int64_t i = 0; i < length; ++i) {
        int64_t j = bad.resolve(read_index(index.data, index.type, at[1] + i * index_step));
        to[i * out_step] = j >= 0 ? from[j * in_step] : E{};
      }
    });
  });
  bad.report("gather");
}

void scatter(ScatterMode mode, DType type, std::span<const int64_t> shape, int dim, void* out, Strides out_strides,
             int64_t size, const IndexTensor& index, const void* source, Strides source_strides, IndexWindow window) {
  check_index_type("scatter", index.type);
  SORUS_CHECK(!is_complex(type) || mode < ScatterMode::maximum, TypeError, "scatter: complex numbers have no order");
  BadIndex bad(window, size);
  size_t d = static_cast<size_t>(dim);
  bool scalar = shape.empty();
  int64_t length = scalar ? 1 : shape[d], out_step = scalar ? 0 : out_strides[d];
  int64_t index_step = scalar ? 0 : index.strides[d], source_step = scalar ? 0 : source_strides[d];
  visit_dtype(type, [&]<DType T>() {
    using E = typename ElementOf<T>::type;
    // A destination line belongs to one source line, so lines may go to any thread in any order.
    for_each_line<3>(shape, dim, {out_strides, index.strides, source_strides}, [&](const std::array<int64_t, 3>& at) {
      E* to = static_cast<E*>(out) + at[0];
      const E* from = static_cast<const E*>(source) + at[2];
      for (int64_t i = 0; i < length; ++i) {
        int64_t j = bad.resolve(read_index(index.data, index.type, at[1] + i * index_step));
        if (j >= 0) combine(mode, to[j * out_step], from[i * source_step]);
      }
    });
  });
  bad.report("scatter");
}

void index_add(DType type, std::span<const int64_t> shape, int dim, void* out, Strides out_strides, int64_t size,
               const void* index, DType index_type, int64_t index_stride, const void* source, Strides source_strides,
               double alpha, ScatterMode mode) {
  check_index_type("index_add", index_type);
  SORUS_CHECK(!is_complex(type) || mode < ScatterMode::maximum, TypeError,
              "index_add: complex numbers have no order");
  BadIndex bad;
  size_t d = static_cast<size_t>(dim);
  bool scalar = shape.empty();
  int64_t length = scalar ? 1 : shape[d], out_step = scalar ? 0 : out_strides[d],
          source_step = scalar ? 0 : source_strides[d];
  std::vector<int64_t> where(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i)
    where[static_cast<size_t>(i)] = bad.resolve(read_index(index, index_type, i * index_stride), size);
  bad.report("index_add", size);
  visit_dtype(type, [&]<DType T>() {
    using E = typename ElementOf<T>::type;
    using C = typename ElementOf<T>::compute;
    for_each_line<2>(shape, dim, {out_strides, source_strides}, [&](const std::array<int64_t, 2>& at) {
      E* to = static_cast<E*>(out) + at[0];
      const E* from = static_cast<const E*>(source) + at[1];
      for (int64_t i = 0; i < length; ++i) {
        E x = from[i * source_step];
        if (alpha != 1) x = element_cast<E>(element_cast<C>(x) * static_cast<C>(alpha));
        combine(mode, to[where[static_cast<size_t>(i)] * out_step], x);
      }
    });
  });
}

void embedding(DType type, const void* table, int64_t rows, int64_t table_row, int64_t width, const void* index,
               DType index_type, int64_t count, void* out, int64_t out_row, IndexWindow window) {
  check_index_type("embedding", index_type);
  BadIndex bad(window, rows);
  int64_t bytes = static_cast<int64_t>(size_of(type));
  parallel_for(count, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t r = bad.resolve_row(read_index(index, index_type, i));
      char* to = static_cast<char*>(out) + i * out_row * bytes;
      if (r >= 0)
        std::memcpy(to, static_cast<const char*>(table) + r * table_row * bytes, static_cast<size_t>(width * bytes));
      else
        std::memset(to, 0, static_cast<size_t>(width * bytes));
    }
  });
  bad.report("embedding");
}

void embedding_backward(DType grad_type, DType table_type, void* grad_table, int64_t rows, int64_t table_row,
                        int64_t width, const void* index, DType index_type, int64_t count, const void* grad,
                        int64_t grad_row, int64_t padding, IndexWindow window) {
  check_index_type("embedding", index_type);
  SORUS_CHECK(grad_type == table_type || (is_half(grad_type) && table_type == DType::f32), TypeError,
              "embedding: no gradient kernel from {} to {}", short_name(grad_type), short_name(table_type));
  BadIndex bad(window, rows);
  std::vector<int64_t> where(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    where[static_cast<size_t>(i)] = bad.resolve_row(read_index(index, index_type, i));
  bad.report("embedding");
  padding -= window.start;
  auto run = [&]<class G, class E>(G, E) {
    using C = std::conditional_t < std::is_same_v<E, float> || requires(E e) { e.bits; }
    , float, E > ;
    // Columns are split between threads: every destination has one owner and additions keep the order of indices.
    constexpr int64_t kColumns = 32;
    parallel_for((width + kColumns - 1) / kColumns,
                 std::max<int64_t>(1, 16384 / std::max<int64_t>(1, count * kColumns)),
                 [&](int64_t begin, int64_t end) {
                   int64_t first = begin * kColumns, last = std::min(width, end * kColumns);
                   for (int64_t i = 0; i < count; ++i) {
                     int64_t r = where[static_cast<size_t>(i)];
                     if (r < 0 || r == padding) continue;
                     E* to = static_cast<E*>(grad_table) + r * table_row;
                     const G* from = static_cast<const G*>(grad) + i * grad_row;
                     for (int64_t j = first; j < last; ++j)
                       to[j] = element_cast<E>(element_cast<C>(to[j]) + element_cast<C>(from[j]));
                   }
                 });
  };
  visit_dtype(grad_type, [&]<DType T>() {
    using G = typename ElementOf<T>::type;
    if constexpr (T == DType::bf16 || T == DType::f16) {
      if (table_type == DType::f32) return run(G{}, float{});
    }
    if constexpr (T == DType::boolean)
      fail<TypeError>("embedding: booleans have no gradient");
    else
      run(G{}, G{});
  });
}

void check_indices(std::string_view who, const void* index, DType type, int64_t count, int64_t size) {
  auto check = [&](const auto* p) {
    for (int64_t i = 0; i < count; ++i)
      SORUS_CHECK(p[i] >= -size && p[i] < size, IndexError, "{}: index {} is out of range for a dimension of size {}",
                  who, p[i], size);
  };
  if (type == DType::i32)
    check(static_cast<const int32_t*>(index));
  else
    check(static_cast<const int64_t*>(index));
}

}  // namespace sorus::kernels
