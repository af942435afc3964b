// Offsets in one block of memory for buffers whose lifetimes are known: rectangles with a fixed place in time, packed
// below a given height. Finding out whether a height is enough is NP-hard; the usual greedy orders leave a few per
// cent, and a memory of fixed size either holds the program or does not.
//
//   std::vector<PackInterval> buffers{{4, 0, 3}, {4, 3, 9}, {4, 0, 9}, {4, 9, 21}, {4, 0, 21}};
//   pack_intervals(buffers, 12).offsets        // all below 12
//   pack_intervals(buffers, 11).state          // PackState::impossible: tried everything that matters
//   least_packing(buffers).bytes               // 12
//
// The search fills time from below, as water would. Time falls into sections between the points where a buffer begins
// or ends; each has a floor, below which nothing more can go. At the lowest floor one section is picked, the one with
// the fewest possibilities, and each of its buffers that can lie there is tried, and then that none does. What keeps
// this small:
//
// - a section with its buffers sorted by the lowest offset that they can still have is a machine with release times:
//   where the work would end above the capacity, the branch is dead;
// - where none of a section's buffers lies on the floor, the lowest lies on a buffer outside of the section (in some
//   solution, if in any: let everything fall). That tells how far the floor rises, and mostly that it rises too far;
// - parts of time that no buffer left over spans are separate problems, found after every step;
// - states that failed are remembered, whatever order of steps leads to them;
// - a run that takes long is dropped for one that tries buffers in another order, with twice the patience.
//
// Time sections, floors and their inference, canonical solutions and decomposition follow Moffitt, "MiniMalloc"
// (ASPLOS 2023); the bound by release times, the branching on one section and the memory of failures are Sorus's.
#pragma once

#include <cstdint>
#include <vector>

namespace sorus {

struct PackInterval {
  int64_t bytes = 0;
  int64_t first = 0, end = 0;  ///< alive at times first <= t < end
  int64_t alignment = 1;       ///< of the offset
};

enum class PackState { solved, impossible, gave_up };

struct PackLimits {
  int64_t nodes = 0;   ///< steps of the search; 0: any number
  double seconds = 0;  ///< of the clock; 0: any. Only the number of steps gives the same answer on every machine.
};

struct IntervalPacking {
  PackState state = PackState::gave_up;
  std::vector<int64_t> offsets;  ///< if solved
  int64_t bytes = 0;             ///< the height that is used
  int64_t lower_bound = 0;       ///< no packing is lower
  int64_t nodes = 0;
};

/// Offsets below `capacity`, or a proof that there are none, or neither within the limits.
IntervalPacking pack_intervals(const std::vector<PackInterval>& buffers, int64_t capacity, PackLimits limits = {});

/// The most bytes alive at one time.
int64_t most_alive(const std::vector<PackInterval>& buffers);

/// The lowest packing that is found within the limits, beginning from `known` (valid offsets), if there are any.
/// `lower_bound` says how good it is; equal to `bytes` where it is the best.
IntervalPacking least_packing(const std::vector<PackInterval>& buffers, const std::vector<int64_t>& known = {},
                              PackLimits limits = {});

}  // namespace sorus
