// Tensors as plain bytes, for writers. Below the operators in the layers, so it copies for itself.
#pragma once

#include <cstring>
#include <span>

#include "sorus/tensor/tensor.h"

namespace sorus::io {

/// Copies the elements of `from`, in order of its shape, to `to`, which has room for them.
void copy_elements(const Tensor& from, std::byte* to);

/// The tensor itself if its elements lie in order without gaps, else a copy that does.
inline Tensor contiguous(const Tensor& t) {
  if (t.is_contiguous()) return t;
  Tensor copy = Tensor::empty(t.sizes(), t.dtype());
  copy_elements(t, static_cast<std::byte*>(copy.data()));
  return copy;
}

/// The memory of a contiguous tensor.
inline std::span<const std::byte> bytes_of(const Tensor& t) {
  if (t.numel() == 0) return {};
  return {static_cast<const std::byte*>(t.data()), t.nbytes()};
}

}  // namespace sorus::io
