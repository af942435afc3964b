// std::memcpy for what may be nothing: no bytes have no address, which memcpy does not allow, and what lies in its
// place already stays there.
#pragma once

#include <cstddef>
#include <cstring>

namespace sorus {

inline void move_bytes(void* to, const void* from, size_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
}

}  // namespace sorus
