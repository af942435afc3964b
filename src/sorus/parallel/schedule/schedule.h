// How long a pipeline takes and what it holds: the order in which ranks take their turns, played.
//
//   gpipe         all forward passes, then all backward passes (Huang et al. 2019)
//   1f1b          as soon as the pipeline is full, one backward after each forward (Narayanan et al. 2019): the same
//                 time, but never more than p micro-batches alive
//   interleaved   each device has `chunks` stages in turns (Narayanan et al. 2021): a bubble of (p-1)/(vm)
//   zero-bubble   the backward pass in two parts, for inputs and for weights; the second fills the bubble (Qi et al.
//                 2024, H1)
//
// The orders are those that are executed (pipeline/order.h), a file each. Time and memory are not written down a
// second time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sorus/parallel/plan/plan.h"

namespace sorus::parallel {

/// Seconds of one micro-batch in one stage. `weights` is the part of `backward` that zero-bubble schedules put off.
struct StageTime {
  double forward = 0, backward = 0, weights = 0;
  double send = 0;  ///< to the next stage, and of the gradient back
};

struct Timeline {
  enum class Kind : uint8_t { forward, backward, weights };
  struct Event {
    int device, stage, micro_batch;
    Kind kind;
    double begin, end;
  };
  double time = 0;
  std::vector<double> busy;         ///< by device
  std::vector<int64_t> most_alive;  ///< by stage: micro-batches whose forward has run and backward has not
  std::vector<double> last_end;     ///< by device
  std::vector<Event> events;        ///< if asked for
};

/// Plays the schedule (ValueError if it cannot be made of so many micro-batches); stage i of `stages` is on device i
/// mod devices. Once a pipeline is full each group of `devices` micro-batches takes as long as the one before it:
/// where that is seen, or of more micro-batches than make kMostPlayed passes, only the first are played, and the rest
/// is counted with that. Events are those of all that were played, which are all up to kMostPlayed.
Timeline run(Schedule schedule, const std::vector<StageTime>& stages, int devices, int64_t micro_batches,
             bool events = false);
constexpr int64_t kMostPlayed = 1 << 18;

}  // namespace sorus::parallel
