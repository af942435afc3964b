// Reductions of several arrays of one type into one, element by element, in the order given.
#pragma once

#include <span>

#include "sorus/parallel/comm/communicator.h"

namespace sorus::comm {

/// Floating and complex numbers, in place.
void divide_array(void* data, int64_t count, DType dtype, int64_t by);

/// out[i] = in[0][i] op in[1][i] op ...; `out` may be one of the inputs. Halves are summed in f32 and rounded once.
/// `avg` divides by the number of inputs, `divisor` instead if it is given (the inputs are sums of several ranks
/// already).
void reduce_arrays(std::span<const void* const> in, void* out, int64_t count, DType dtype, ReduceOp op,
                   int64_t divisor = 0);

}  // namespace sorus::comm
