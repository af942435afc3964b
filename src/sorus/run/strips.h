// Strips: a large result of a kernel that only one loop reads is made piece by piece inside that loop.
//
//   embedding_backward(grad, ids)  ->  100 MB of zeros and a few rows  ->  adam(weight, ..)
//
// becomes, for a few hundred rows at a time,
//
//   strip = embedding_backward(grad, ids, rows 512..1023 of 50257)     what a shard of the table would compute
//   adam(weight[512..1023], strip, ..)                                 while the strip lies in the cache
//
// so that the whole never lies in memory. How a kernel makes a part of its result is what its sharding rule says
// (derive/sharding.h): a factor of the first dimension that none of the inputs has, with attributes that say which
// block is wanted. Any operator with such a rule can be a strip.
#pragma once

#include "sorus/run/fuse.h"

namespace sorus {

/// Units that `loops` have taken in are gone from the result.
std::vector<Unit> take_in_strips(std::vector<Unit> units, const Graph& graph, const Placement& placement);

}  // namespace sorus
