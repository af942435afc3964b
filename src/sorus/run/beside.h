// Which collectives of a compiled graph run beside other work, and until when.
//
// One that is ready is started in its place, and what reads its result is put off until it is expected to be there;
// meanwhile units run that do not need it. Gradients are summed over the ranks while the backward pass goes on. When
// it is expected depends on the graph alone, by simple speeds of a machine, so that every run takes the same order;
// all collectives keep theirs, which all ranks have to share. What is on its way keeps memory, so little may be:
//
//   backward of layer 2 | start sum 2 | backward of layer 1 | wait for sum 2 | update of layer 2 | ...
#pragma once

#include <string>
#include <vector>

#include "sorus/run/schedule.h"

namespace sorus {

struct BesideUnit {
  double seconds = 0;  ///< that it is expected to take
  bool exchanges = false;
  int64_t bytes = 0;  ///< that it exchanges
  std::string group;  ///< with whom: one after the other in one group
  bool may_run_beside = false;
};

struct BesideOptions {
  int64_t least_bytes = 64 << 10;      ///< less is over before a thread has woken up; negative: never
  int64_t most_on_its_way = 32 << 20;  ///< bytes; one alone may be more
};

struct BesidePlan {
  std::vector<int> order;
  /// For each unit 0, or if it runs beside: the place in `order` before which it is waited for.
  std::vector<int> wait_at;
};

/// `order`: of `schedule`. `what[u]` belongs to `units[u]`.
BesidePlan run_beside(const std::vector<ScheduleUnit>& units, const std::vector<BesideUnit>& what,
                      const std::vector<int>& order, const BesideOptions& options);

}  // namespace sorus
