// What losses do last: their attribute `reduction`.
#pragma once

#include "sorus/ops.h"

namespace sorus {

/// The loss of each element, their mean or their sum. ValueError for another word.
inline Tensor reduced(const Call& c, const Tensor& loss) {
  const std::string& reduction = c.attr("reduction").string();
  if (reduction == "none") return loss;
  SORUS_CHECK(reduction == "mean" || reduction == "sum", ValueError,
              "{}: reduction must be 'mean', 'sum' or 'none', not '{}'", c.op.name(), reduction);
  return reduction == "mean" ? mean(loss) : sum(loss);
}

}  // namespace sorus
