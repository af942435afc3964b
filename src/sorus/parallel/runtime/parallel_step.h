// ParallelStep: a recorded function, run by all ranks of a mesh together.
//
//   ParallelStep step(trace(f, {x}), request);
//   Tensor loss = step.run({x})[0];
//
// To its caller it is the function of one device: arguments and results are whole tensors, and what was captured
// (parameters, optimizer state) is updated. In between every rank has its blocks of the captured tensors and runs its
// own graph (partition/partition.h). Blocks that are one piece of a tensor's memory lie in that tensor; the others
// are copied back after each run. Where ranks are processes a tensor is up to date only in the blocks of its own
// process until `gather`. A captured tensor that was written by somebody else since the last run is distributed
// again.
#pragma once

#include <memory>

#include "sorus/parallel/partition/segments.h"
#include "sorus/parallel/runtime/program_runner.h"

namespace sorus::parallel {

struct ExecutionOptions {
  bool compiled = true;   ///< loops as C; else node by node
  int micro_batches = 1;  ///< parts of dimension 0 of every argument, computed one after the other
  PipelineOptions pipeline = {};
  BesideOptions beside = {};  ///< which collectives run beside arithmetic
};

class ParallelStep {
 public:
  /// `request.mesh` is the mesh without pipeline; with one, its ranks are the axis "pp" in front of it.
  /// `request.inputs` counts arguments first, then captures, as the graph does; written captures keep their layout.
  /// ValueError for arguments that cannot be cut into the micro-batches.
  ParallelStep(TracedGraph traced, const Request& request, ExecutionOptions options = {});
  ~ParallelStep();

  TensorList run(TensorSpan inputs);
  /// Brings all of every captured tensor up to date in this process. Called by all ranks.
  void gather();

  /// All ranks.
  const DeviceMesh& mesh() const;
  /// The graph of one device that was partitioned.
  const Graph& graph() const;
  const Propagated& layouts() const;
  /// Of the first micro-batch.
  Graph rank_graph(int rank) const;
  Program rank_program(int rank) const;
  /// What a rank of this process holds when it is fullest, as planned. ValueError for a rank of another process.
  RankMemory rank_memory(int rank) const;
  /// What it held when it was fullest in the last run, counted as memory was given out (tensor/memory_account.h): its
  /// pieces of captured tensors, and all tensors and messages that it made. 0 before the first run. Not counted by
  /// either: the working memory of kernels, which each thread keeps, and the buffers that ranks share.
  int64_t measured_memory(int rank) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sorus::parallel
