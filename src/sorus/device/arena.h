// Where everything lies in the arena. Tensors and scratch are buffers with a life in steps; a result may lie over an
// input that dies with the step as far as the kernel allows (Overlap in kernel.h). The order of steps is searched
// first, then run/packing.h finds offsets and proves how good they are.
#pragma once

#include "sorus/device/kernel.h"

namespace sorus::device {

struct ArenaBuffer {
  std::string name;
  int tensor = -1;  ///< -1: scratch
  int64_t bytes = 0, offset = 0;
  int first = 0, last = 0;  ///< steps
};

struct ArenaPlan {
  std::vector<ArenaBuffer> buffers;
  std::vector<int> of_tensor;   ///< buffer, or -1
  std::vector<int> of_scratch;  ///< by step
  int64_t bytes = 0;
  int64_t state_bytes = 0;  ///< in front: what is kept from run to run
  int64_t lower_bound = 0;  ///< no plan with these kernels and this order needs less
  int64_t layer_bound = 0;  ///< inputs and results of the worst step side by side
  bool optimal = false;
  int64_t nodes = 0;
};

/// Puts the steps into the order that needs least memory (all orders while they are few, else greedily).
void order_steps(Model& model);

/// `prepared`: one for each step.
ArenaPlan plan_arena(const Model& model, const std::vector<Prepared>& prepared);

}  // namespace sorus::device
