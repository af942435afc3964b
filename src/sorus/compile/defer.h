// Gradients that a recorded step leaves in `.grad` but does not need in memory itself.
//
// PyTorch's loop leaves the gradients behind after every step, and hardly any program looks at them. Where a gradient
// follows from a few small values (that of a weight is an outer product when the batch is small), a run keeps those
// instead, and the gradient is made when somebody asks for it. The update then reads and writes the weight alone:
//
//   w -= lr * dy x^T        one pass over w; dy and x are kept, dw is not
#pragma once

#include <vector>

#include "sorus/graph/trace.h"

namespace sorus {

struct DeferredOutput {
  int output = 0;         ///< which one, before any was taken away
  Graph recipe;           ///< from the kept values to the output
  std::vector<int> kept;  ///< explicit outputs (after all changes) that hold the recipe's inputs
};

/// Takes explicit outputs [first, last) out of `traced` where a sixteenth of their bytes and a few operations an
/// element are enough to make them later, and appends what is kept for that to the explicit outputs. The other
/// explicit outputs move up; `moved[i]` says where to (-1: deferred).
std::vector<DeferredOutput> defer_outputs(TracedGraph& traced, int first, int last, std::vector<int>& moved);

}  // namespace sorus
