// What a call costs: floating-point operations and bytes that have to move at least.
#pragma once

#include "sorus/graph/op.h"

namespace sorus {

struct Cost {
  double flops = 0;
  double bytes = 0;
};

Cost cost_of(const TypeCall& call);

}  // namespace sorus
