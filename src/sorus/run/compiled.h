// CompiledGraph: a graph made ready to run many times.
//
//   CompiledGraph step(trace(f, inputs));
//   TensorList out = step.run(inputs);
//
// The graph is simplified and cut into fused loops and kernel calls (fuse.h); the loops are printed as C and built
// (native_code.h); all temporaries get a place in one arena (memory_plan.h); new values of captured tensors are
// computed straight into their memory where nothing reads the old ones later. What is left to do in a step is to go
// down a list.
#pragma once

#include <memory>

#include "sorus/graph/trace.h"
#include "sorus/run/beside.h"
#include "sorus/run/native_code.h"

namespace sorus {

struct CompileReport {
  int loops = 0, kernels = 0, copies = 0;  ///< units; `copies` are written back at the end
  int distinct_loops = 0;
  int strips =
      0;  ///< results of kernels that loops read piece by piece, and that never lie in memory whole (strips.h)
  int64_t arena_bytes = 0, arena_lower_bound = 0;
  int64_t scratch_bytes = 0;   ///< of loops, for each thread; kept from run to run
  int64_t filled_bytes = 0;    ///< of tensors of one number that kernels want to see; kept as well
  int64_t mirrored_bytes = 0;  ///< of captured tensors, kept beside them in the type that the graph reads (mirror.h)
  int64_t moved_bytes = 0;  ///< brought in from host memory by each run, under a memory limit; known after the first
  int exchanges = 0, beside = 0;  ///< collectives, and those of them that run beside other work (beside.h)
  int64_t moved_ahead_bytes = 0;  ///< of these, while another step computes (residency.h)
  bool from_cache = false;
  std::string without_compiler;  ///< why loops are not compiled, if they are not
  double seconds = 0;
};

/// A temporary that is alive at the moment when most memory is in use.
struct PeakValue {
  std::string name;  ///< the operator that makes it
  TensorType type;
  int64_t bytes = 0;
  SourceLocation source;
};

/// Called between the steps of compiled graphs, by the thread that runs them: for what needs a hand now and then,
/// such as messages on their way.
void set_between_steps(void (*f)());

class CompiledGraph {
 public:
  explicit CompiledGraph(TracedGraph traced, BesideOptions beside = {}, Rounding rounding = Rounding::joint);
  ~CompiledGraph();
  CompiledGraph(CompiledGraph&&) noexcept;

  /// Explicit outputs; fresh tensors. Captured tensors are updated.
  TensorList run(TensorSpan inputs);
  const Graph& graph() const;  ///< after all passes
  const CompileReport& report() const;
  /// Under a memory limit, after the first run: seconds in which a run only waits for host memory, if it computes for
  /// `seconds`, which units share as their arithmetic and memory traffic say.
  double predicted_wait(double seconds, double bytes_per_second) const;
  /// Puts the temporaries into `memory`, of at least `arena_bytes`, instead of an arena of this graph alone: graphs
  /// that never run at the same time may share one. Before the first run; ValueError if it is too small.
  void share_arena(const Tensor& memory);
  /// What holds the arena's peak, largest first.
  const std::vector<PeakValue>& peak() const;
  /// Bytes of the operands that a kernel of this graph gets as copies in order, since it takes no strides.
  int64_t packed_bytes(const Node& kernel) const;
  /// The C text of the loops.
  const std::string& source() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sorus
