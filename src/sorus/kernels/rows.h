// Rows in the type that a kernel computes them in: where they lie if that is their own, else by way of a buffer.
//
//   Rows<t> rows(input, n);
//   Results<t> results(output, n);
//   for (int64_t r = begin; r < end; ++r) {
//     square(rows[r], results.begin(r));
//     results.end(r);
//   }
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "sorus/kernels/element.h"

namespace sorus::kernels {

void widen(const bfloat16* x, int64_t n, float* out);
void widen(const float16* x, int64_t n, float* out);

/// Rows of `n` elements of type `t`, for one thread: each is good until the next is asked for.
template <DType t>
class Rows {
 public:
  using T = typename ElementOf<t>::type;
  using C = typename ElementOf<t>::compute;
  static constexpr bool kDirect = std::is_same_v<T, C>;

  Rows(const void* data, int64_t n) : data_(static_cast<const T*>(data)), n_(n) {
    if (!kDirect) buffer_.resize(static_cast<size_t>(n));
  }
  const C* operator[](int64_t r) {
    if constexpr (kDirect) {
      return data_ + r * n_;
    } else {
      widen(data_ + r * n_, n_, buffer_.data());
      return buffer_.data();
    }
  }

 private:
  const T* data_;
  int64_t n_;
  std::vector<C> buffer_;
};

/// Where a row's result goes: into its place, or through a buffer that is then rounded.
template <DType t>
class Results {
 public:
  using T = typename ElementOf<t>::type;
  using C = typename ElementOf<t>::compute;

  Results(void* data, int64_t n) : data_(static_cast<T*>(data)), n_(n) {
    if (!Rows<t>::kDirect) buffer_.resize(static_cast<size_t>(n));
  }
  C* begin(int64_t r) {
    if constexpr (Rows<t>::kDirect)
      return data_ + r * n_;
    else
      return buffer_.data();
  }
  void end(int64_t r) {
    if constexpr (!Rows<t>::kDirect)
      for (int64_t i = 0; i < n_; ++i) data_[r * n_ + i] = element_cast<T>(buffer_[static_cast<size_t>(i)]);
  }

 private:
  T* data_;
  int64_t n_;
  std::vector<C> buffer_;
};

}  // namespace sorus::kernels
