// ProgramRunner: one rank's program (partition/segments.h), its segments compiled, run once a step.
#pragma once

#include <memory>

#include "sorus/parallel/partition/segments.h"
#include "sorus/run/beside.h"

namespace sorus::parallel {

/// Bytes of one rank when it is fullest, known before it runs.
struct RankMemory {
  int64_t captured = 0;  ///< its blocks of parameters, optimizer state and what else outlives a step
  int64_t arena = 0;     ///< temporaries of the segments, which run one after the other and share it, and of loops
  /// Arguments, what goes from one segment to another (activations, sums of gradients) or to other ranks and may not
  /// have been taken, and what collectives need for themselves.
  int64_t values = 0;
  int64_t total() const { return captured + arena + values; }
};

class ProgramRunner {
 public:
  /// `captures`: this rank's pieces. `group`: the communicator of the pipeline; not looked up if the program sends
  /// nothing.
  ProgramRunner(Program program, TensorList captures, std::string group, bool compiled, BesideOptions beside = {});
  ~ProgramRunner();
  ProgramRunner(const ProgramRunner&) = delete;
  ProgramRunner& operator=(const ProgramRunner&) = delete;

  /// `inputs`: this rank's blocks of the arguments by micro-batch; one for all where they do not vary. Undefined
  /// results are at another rank of the pipeline.
  TensorList run(const std::vector<TensorList>& inputs);
  const Program& program() const;
  /// With so many threads. `taken`: when messages are taken (partition/in_flight.h). `captured` is what `captures`
  /// hold; 0 for the arena if the segments are not compiled.
  RankMemory memory(int threads, const std::vector<int>& taken) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sorus::parallel
