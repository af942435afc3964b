#include "sorus/io/contiguous.h"

namespace sorus::io {

void copy_elements(const Tensor& from, std::byte* to) {
  if (from.numel() == 0) return;
  size_t element = size_of(from.dtype());
  auto* source = static_cast<const std::byte*>(from.data());
  if (from.is_contiguous()) {
    std::memcpy(to, source, from.nbytes());
    return;
  }
  // Counts through all dimensions but the last like an odometer.
  const Shape &sizes = from.sizes(), &strides = from.strides();
  size_t last = sizes.size() - 1;  // a tensor without dimensions is contiguous
  Shape index(sizes.size(), 0);
  int64_t at = 0;
  for (bool more = true; more;) {
    for (int64_t i = 0; i < sizes[last]; ++i, to += element) {
      std::memcpy(to, source + (at + i * strides[last]) * static_cast<int64_t>(element), element);
    }
    more = false;
    for (size_t d = last; d-- > 0;) {
      at += strides[d];
      if (++index[d] < sizes[d]) {
        more = true;
        break;
      }
      at -= strides[d] * sizes[d];
      index[d] = 0;
    }
  }
}

}  // namespace sorus::io
