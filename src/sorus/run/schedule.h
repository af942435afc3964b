// The order in which a compiled graph's units run.
//
// Any order that respects reads is right; this one keeps little memory alive. Units run in the order of the program,
// except that one which frees at least as much as it needs runs as soon as it can, or two that do so together: an
// optimizer's update follows the product that makes its gradient, and both follow the gradient of the layer's result,
// so that gradients of different layers share one piece of memory and activations go when backward has passed them.
// At last, what takes more memory than it frees is put off until somebody reads it: the gradient of a tied embedding,
// which the head makes first and the update wants at the end.
#pragma once

#include <cstdint>
#include <vector>

namespace sorus {

struct ScheduleUnit {
  std::vector<int> reads, makes;  ///< values, by number
  /// Values of the caller whose memory this unit replaces: it should wait until all others have read them.
  std::vector<int> overwrites;
  bool stays = false;  ///< is not put off: others wait for it whom this process does not see
};

/// Units in order. `bytes[v]`: what value v takes while it is alive, 0 if it has memory of its own.
std::vector<int> schedule(const std::vector<ScheduleUnit>& units, const std::vector<int64_t>& bytes);

}  // namespace sorus
