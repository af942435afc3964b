// What collectives need beside their operands.
#pragma once

#include "sorus/graph/op.h"

namespace sorus::parallel {

/// Bytes that a call of a collective takes for itself while it runs; 0 for other operators.
int64_t collective_workspace(const TypeCall& call);

}  // namespace sorus::parallel
