// Messages on their way: how long a rank of a pipeline may have to keep what it has sent.
//
// A message that is too large to wait somewhere else stays where it was sent from until its receiver takes it. When
// that is nobody plans, but it has been taken for certain once this rank has received something that was sent after
// it, straight or by way of others (Lamport, "Time, clocks, and the ordering of events", 1978).
#pragma once

#include <vector>

#include "sorus/parallel/partition/segments.h"

namespace sorus::parallel {

/// For each action of `rank` that sends: the first action at whose beginning the message has been taken for certain,
/// the number of actions if there is none. -1 for other actions. `programs`: of all ranks of the pipeline.
std::vector<int> taken_by(const std::vector<Program>& programs, int rank);

}  // namespace sorus::parallel
