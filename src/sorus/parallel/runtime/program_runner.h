// ProgramRunner: one rank's program (partition/segments.h), its segments compiled, run once a step.
#pragma once

#include <memory>

#include "sorus/parallel/partition/segments.h"

namespace sorus::parallel {

class ProgramRunner {
 public:
  /// `captures`: this rank's pieces. `group`: the communicator of the pipeline; not looked up if the program sends
  /// nothing.
  ProgramRunner(Program program, TensorList captures, std::string group, bool compiled);
  ~ProgramRunner();
  ProgramRunner(const ProgramRunner&) = delete;
  ProgramRunner& operator=(const ProgramRunner&) = delete;

  /// `inputs`: this rank's blocks of the arguments by micro-batch; one for all where they do not vary. Undefined
  /// results are at another rank of the pipeline.
  TensorList run(const std::vector<TensorList>& inputs);
  const Program& program() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sorus::parallel
