// Copies of captured tensors in another type, kept from run to run.
//
// A training step in bf16 reads f32 weights only to convert them. The conversion moves to where the weight is
// written: the optimizer's pass stores both, and the next step finds the copy. A recording that only reads its
// weights (a forward pass) converts them once. Somebody else may write the weight between two runs: its version
// tells, and the copy is made again.
#pragma once

#include <vector>

#include "sorus/graph/trace.h"

namespace sorus {

struct Mirror {
  int original = 0, copy = 0;  ///< captures of the traced graph
  uint32_t version = 0;        ///< of the original's memory when the copy was last right
  bool valid = false;
  bool updated = false;  ///< whether the graph writes the copy with the original

  /// Before a run: makes the copy right.
  void refresh(const TracedGraph& traced);
  /// After a run, which may have written both.
  void keep(const TracedGraph& traced);
};

/// Replaces conversions of captured tensors in `traced` by inputs that hold their results.
std::vector<Mirror> mirror_casts(TracedGraph& traced);

}  // namespace sorus
