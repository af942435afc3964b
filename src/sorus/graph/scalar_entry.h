// How entries of the table of scalar operations are written (scalar_ops.cpp, scalar_ops_special.cpp): values as
// expressions of the inputs a, b and c.
#pragma once

#include <cmath>

#include "sorus/graph/scalar_ops.h"
#include "sorus/graph/scalar_reference.h"

// The three inputs as a, b and c; unary plus turns the lambda into a plain function pointer.
#define SORUS_BODY(type, ...)                                 \
  +[](const type* v) -> type {                                \
    [[maybe_unused]] const type a = v[0], b = v[1], c = v[2]; \
    return static_cast<type>(__VA_ARGS__);                    \
  }
#define REAL(...) .real = SORUS_BODY(double, __VA_ARGS__)
#define INTEGER(...) .integer = SORUS_BODY(int64_t, __VA_ARGS__)
#define COMPLEX(...) .complex = SORUS_BODY(Complex, __VA_ARGS__)
// The same text in all types.
#define NUMBER(...) REAL(__VA_ARGS__), INTEGER(__VA_ARGS__), COMPLEX(__VA_ARGS__)
#define FIELD(...) REAL(__VA_ARGS__), COMPLEX(__VA_ARGS__)
// Wraps around instead of overflowing, as PyTorch's integers do.
#define WRAP(sign) INTEGER(static_cast<uint64_t>(a) sign static_cast<uint64_t>(b))

namespace sorus {

/// Entries of special functions.
std::vector<ScalarOp> special_scalar_ops();

}  // namespace sorus
