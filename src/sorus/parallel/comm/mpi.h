// Ranks that mpirun (or Slurm) started, on one machine or several.
//
//   mpirun -n 8 sorus train gpt ...                  // or any program that calls
//   auto world = comm::join_mpi({});
//
// Ranks of one machine meet through shared memory; MPI carries what goes between machines. A reduction is taken
// inside each machine first, then every rank of a machine exchanges its part with the ranks of the same place in the
// others, so that all of them use the network at once.
//
// MPI is a library of its own, libsorus_mpi.so, loaded here: Sorus runs where there is no MPI.
#pragma once

#include "sorus/parallel/comm/communicator.h"

namespace sorus::comm {

/// CommError says what is missing.
std::shared_ptr<Communicator> join_mpi(Options options);
/// Empty, or why `join_mpi` cannot work here.
std::string mpi_problem();

/// One world of two levels, given both; made by libsorus_mpi.so, and by tests of groups that are threads.
struct Levels {
  std::shared_ptr<Communicator> world;  ///< carries everything between machines; splits into more such
  std::shared_ptr<Communicator> local;  ///< the ranks of this machine
  std::shared_ptr<Communicator>
      across;                   ///< those of the same place in every machine; null if machines differ in size
  std::vector<int> machine_of;  ///< of each rank of the world
};
std::shared_ptr<Communicator> join_levels(Levels levels, const std::string& name, Options options);

}  // namespace sorus::comm
