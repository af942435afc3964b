// Ranks that are threads of this process: they read and write each other's memory, so nothing is copied on the way.
//
//   comm::run_ranks(4, [&] {
//     comm::Communicator& world = comm::group();
//     step(world.rank());
//   });
//
// Each rank computes with its share of the machine's threads. The first exception ends all ranks and is thrown here.
#pragma once

#include <functional>

#include "sorus/parallel/comm/groups.h"

namespace sorus::comm {

/// One communicator for each rank, to be used by one thread each.
std::vector<std::shared_ptr<Communicator>> make_threads(int ranks, Options options = {});

/// A world whose ranks are threads that somebody else made: each calls `join` with its number.
class ThreadWorld {
 public:
  explicit ThreadWorld(int ranks, Options options = {});
  /// For the calling thread; each rank once.
  std::shared_ptr<Communicator> join(int rank) const;
  int size() const { return size_; }

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  int size_;
};

/// Runs `f` once for each rank, with `group()` set. `threads_each`: that compute, 0 for an equal share.
void run_ranks(int ranks, const std::function<void()>& f, Options options = {}, int threads_each = 0);

}  // namespace sorus::comm
