// Segments: the graph of a rank taken apart into pieces that run at once, and the order in which one rank runs them.
//
// The graphs of all micro-batches (partition.h) have the same nodes. Those whose values are the same for all of them
// run once; those that vary run for each; where something is taken over all micro-batches, a sum of gradients,
// everything that varies comes before it. So a step is
//
//   position 0    once        what depends on no micro-batch
//   position 1    each        for example the number of tokens that count
//   position 2    once        its sum's reciprocal
//   position 3    each        forward and backward
//   position 4    once        optimizer
//
// with as few positions as the graph allows and every node as late as possible. With a pipeline, what varies is cut
// into stages: the nodes that the first result depends on, the forward pass, in their order, so that stages take
// equal time and little goes across, or where the stages' parameters say; every other node runs at the first stage
// that one of its inputs comes from, which for a backward pass is the stage of the activations it reads. Values that
// another rank needs are sent after the segment that makes them, and received before the first that reads them.
#pragma once

#include "sorus/parallel/partition/partition.h"
#include "sorus/parallel/pipeline/order.h"

namespace sorus::parallel {

struct PipelineOptions {
  int ranks = 1, chunks = 1;
  std::string order = "1f1b";
  /// Stages make their activations again in the backward pass instead of keeping them.
  bool recompute = false;
  /// By number of the graph's inputs, -1 or missing elsewhere: the stage that is the first to read this one. If any
  /// is given, a stage begins behind the last operator that reads those of the stages before it and not behind the
  /// first that reads one of its own, there where least goes across.
  std::vector<int> stage_of_input;
  double flops_per_second = 4e10, memory_bytes_per_second = 1e10;
  int stages() const { return ranks * chunks; }
};

struct Segment {
  std::string name;           ///< "forward 2"
  std::vector<Graph> graphs;  ///< inputs: `reads`, then the captured tensors; outputs: `makes`, then what is written
  std::vector<int> graph_of;  ///< for each micro-batch; one element if it runs once
  std::vector<int> reads, makes;  ///< slots
  std::vector<int> captures;      ///< by number
  std::vector<int> writes;        ///< captures whose new value is written in place
};

struct Action {
  enum class Kind : uint8_t {
    run,      ///< segment `what`
    add,      ///< slot `what` (varies) into the sum `to`
    join,     ///< slot `what` into its block of `to`, along `dim`
    send,     ///< slot `what` to rank `peer` of the pipeline
    receive,  ///< slot `what`
    send_capture,
    receive_capture,  ///< captured tensor `what`, after it was written
    write             ///< slot `what` into captured tensor `to`
  } kind;
  int what = 0, micro_batch = -1, to = -1, peer = -1;
  int dim = 0;
  ShardFactor::Kind op = ShardFactor::Kind::sum;
  std::vector<std::pair<int, int>> last;  ///< (slot, micro-batch) that nobody reads after this
};

struct SlotInfo {
  TensorType type;
  bool varies = false;
  int id = 0;  ///< the same at all ranks
};

/// What one rank of a pipeline does in a step. Slots 0 .. explicit inputs - 1 are the arguments.
struct Program {
  std::vector<SlotInfo> slots;
  std::vector<Segment> segments;
  std::vector<Action> actions;
  std::vector<int> results;      ///< slot of each explicit output, or -1: another rank has it
  std::vector<int> result_rank;  ///< rank of the pipeline that has it, or -1: all
  std::vector<int> written_by;   ///< for each capture: rank that has the new value, -1: all, -2: not written
  std::vector<char> used;        ///< for each capture: whether this rank reads or writes it
  int micro_batches = 1;
  int arguments = 0;              ///< slots below are arguments of the step
  std::string to_string() const;  ///< one line an action
};

/// `graphs`: of this rank, by micro-batch. `rank`: this rank's place in the pipeline.
Program make_program(const std::vector<LocalGraph>& graphs, const Propagated& propagated, int explicit_inputs,
                     int explicit_outputs, const std::vector<int>& write_targets, const PipelineOptions& options,
                     int rank);

}  // namespace sorus::parallel
