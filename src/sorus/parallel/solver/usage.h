// Memory in use over time, under choices that change a few at a time.
//
// Only times count at which use can be highest: after the last begin before an end. They lie in blocks, each with
// what has been added to all of it and its largest value, so that a change over a long interval takes a step for each
// block.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "sorus/parallel/solver/budget.h"

namespace sorus::parallel {

class Usage {
 public:
  explicit Usage(const BudgetedAssignment& problem);
  size_t count() const { return count_; }
  /// Places of a variable's interval among the times, half open; empty if it uses nothing.
  std::pair<size_t, size_t> of(size_t v) const { return ranges_[v]; }

  /// From all choices anew.
  void measure(const std::vector<int>& choice);
  int64_t peak() const;
  std::vector<int64_t> at_each_time() const;
  /// Bytes above the limit, summed over the times.
  double excess() const { return excess_; }

  /// A change is gathered by `change`, then looked at and either applied or forgotten.
  void change(size_t v, int64_t bytes);
  /// The excess after it; of a change that ends above `most`, some number above it.
  double excess_after(double most);
  void apply(double excess_after);
  void forget() { events_.clear(); }

 private:
  static constexpr size_t kBlock = 64;
  struct Block {
    int64_t added = 0, most = 0;
  };
  /// f(first, end, bytes) for the stretches of the gathered change.
  template <class F>
  bool each_stretch(const F& f);
  int64_t most_in(size_t first, size_t end) const;
  void add(size_t first, size_t end, int64_t bytes);

  const BudgetedAssignment& problem_;
  size_t count_ = 0;
  std::vector<std::pair<size_t, size_t>> ranges_;
  std::vector<int64_t> use_;  ///< without what was added to whole blocks
  std::vector<Block> blocks_;
  std::vector<std::pair<size_t, int64_t>> events_;
  double excess_ = 0;
};

}  // namespace sorus::parallel
