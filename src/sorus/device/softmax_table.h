// exp(-d * scale) for d = 0, 1, 2, .. in gemmlowp's fixed point (Q0.31), as TFLite's int8 softmax computes it:
// differences rescaled to Q5.26, a polynomial on (-1/4, 0], and one multiplication for each bit above. The values
// depend on the difference of two 8-bit numbers only, so a program needs the table and not the algorithm.
#pragma once

#include <cstdint>
#include <vector>

namespace sorus::device {

/// `multiplier`, `shift`: beta times the input's scale, times 2^26, as a Q31 multiplier and a shift to the left. Ends
/// where the differences are too large to count.
std::vector<int32_t> softmax_exponentials(int32_t multiplier, int32_t shift);

}  // namespace sorus::device
