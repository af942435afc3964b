// Ranks that are processes of one machine, over memory that they share.
//
//   auto world = comm::join_shared_memory({.rank = 0, .size = 4, .key = "localhost-29500"});
//
// Rank 0 listens on an abstract socket named by the key and hands every other rank the descriptor of one anonymous
// memory file. Neither has a name in any folder: whatever way the processes end, nothing is left.
#pragma once

#include "sorus/parallel/comm/communicator.h"

namespace sorus::comm {

struct SharedMemoryOptions {
  int rank = 0, size = 1;
  std::string key;                ///< the same for all ranks of one job, different for others on this machine
  std::vector<int> members = {};  ///< ranks in the world if it is larger than this machine; else 0 .. size - 1
  std::chrono::milliseconds join_timeout = std::chrono::seconds(60);
  Options options = {};
  bool watch = true;  ///< end this process when another rank failed and this one does not notice (watch.h)
};

/// Blocks until all ranks have joined; CommError names those that did not come.
std::shared_ptr<Communicator> join_shared_memory(const SharedMemoryOptions& options);

}  // namespace sorus::comm
