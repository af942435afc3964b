// How fast ranks of this process exchange what they have: the two constants of a level of the network.
#pragma once

#include <cstdint>

namespace sorus::comm {

struct CollectiveSpeed {
  double seconds = 0;      ///< of one call, the quickest of several
  double cpu_seconds = 0;  ///< of one call at one rank, on average: what it takes whatever else the machine does
};
/// An all-reduce of f32 numbers among threads, over shared memory. ValueError for less than one rank or byte.
CollectiveSpeed measure_all_reduce(int ranks, int64_t bytes, int calls = 20);

}  // namespace sorus::comm
