// Residency: which blocks of host memory (tensor/host_memory.h) are in reach while a compiled graph runs.
//
// What each step of a graph reads and writes is known before it runs, and the next run does the same again. So when
// room is needed, the block goes whose next use is farthest (Belady's rule, "A study of replacement algorithms for a
// virtual-storage computer", IBM Systems Journal 1966), which moves the least there is to move.
//
// Ahead: while a step computes, what the next one needs comes in, as far as there is room beside what the running one
// works on. That moves a little more, since the blocks of the running step, which are often those that are needed
// last, cannot go yet; but where a core is free the step waits for none of it.
#pragma once

#include <functional>
#include <queue>
#include <string>
#include <vector>

#include "sorus/tensor/host_memory.h"

namespace sorus {

class Residency {
 public:
  using Block = HostMemory::Block;

  /// `steps`: what each touches. `describe` names one for an error. `ahead`: blocks come in one step before they are
  /// needed.
  ///
  /// Raises: Error if a step touches more than the limit.
  Residency(HostMemory& memory, const std::vector<std::vector<HostMemory::Range>>& steps,
            const std::function<std::string(size_t)>& describe, bool ahead = false);

  void begin();              ///< Before the first step of a run.
  void before(size_t step);  ///< Puts out and brings in.
  size_t limit() const { return limit_ * HostMemory::kBlock; }
  bool ahead() const { return ahead_; }
  /// Bytes that come in for a step: while the one before it computes, and then while nothing else is done.
  struct Traffic {
    size_t ahead = 0, at_once = 0;
  };
  /// Of each step, once runs follow one another; found by playing two of them.
  std::vector<Traffic> traffic() const;

 private:
  struct Moves {
    std::vector<Block> out, in;
  };
  void start(const std::vector<Block>& resident);
  Moves plan(size_t step);
  Moves plan_ahead(size_t running);
  static HostMemory::Moves in_ranges(Moves blocks);
  size_t next_use(size_t id, size_t after) const;

  HostMemory* memory_;
  bool ahead_;
  size_t limit_;                              // blocks
  std::vector<Block> blocks_;                 // that the graph touches, sorted; an id is a place in it
  std::vector<std::vector<uint32_t>> steps_;  // ids
  std::vector<std::vector<uint32_t>> uses_;   // of an id: steps, ascending

  static constexpr size_t kNever = static_cast<size_t>(-1);
  struct Candidate {
    size_t next;
    Block block;
    uint32_t id;  // blocks_.size() for memory of others
    bool operator<(const Candidate& o) const { return next < o.next; }
  };
  std::priority_queue<Candidate> candidates_;  // those that were used since are passed over
  std::vector<char> in_reach_;                 // by id
  std::vector<size_t> next_, touched_;         // by id: the next use, and the step that touched it last
  size_t resident_ = 0;
};

}  // namespace sorus
