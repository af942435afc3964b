// Assignment with a budget: each variable also uses memory during an interval of time, as much as its choice says,
// and at no time may the sum exceed a limit. The form of the IOPDDL contest (ASPLOS 2025): operators, their
// strategies, resharding between them, and the memory of one device.
//
//   BudgetedAssignment p = read_contest("problem.json");
//   BudgetedSolution s = solve(p, {.seconds = 60});
//   s.feasible, s.cost, s.choice
//
// Memory gets a price for each time (Lagrange multipliers), which rises where the limit is exceeded and falls where
// there is room. Under given prices what is left is a plain assignment. Messages between neighbours, which go on from
// prices to prices, say what to choose (messages.h), and passes that choose for thousands of variables together
// improve it (conditioned.h). The cheapest choice that fits is kept, and then improved by passes over
// parts of the graph, at prices around those it came from, by simulated annealing that never exceeds the limit.
// Before all that, variables whose choice another's choice leaves no freedom are joined with it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sorus/parallel/solver/assignment.h"

namespace sorus::parallel {

struct BudgetedAssignment {
  Assignment assignment;
  /// Of each variable: bytes by choice, during begin <= t < end.
  std::vector<std::vector<int64_t>> usage;
  std::vector<std::pair<int64_t, int64_t>> interval;
  int64_t limit = -1;  ///< below zero: none
  std::string name;

  void check() const;
  /// The most bytes in use at one time.
  int64_t peak(const std::vector<int>& choice) const;
};

struct BudgetedOptions {
  double seconds = 10;  ///< of the processor
  double passes = 0;    ///< in place of seconds, so that the answer is always the same: over all variables
  unsigned seed = 1;
  std::function<void(double seconds, double cost)> progress = {};  ///< called at each better solution
};

struct BudgetedSolution {
  std::vector<int> choice;
  bool feasible = false;
  double cost = 0;
  int64_t peak = 0;
  int64_t passes = 0;
  double seconds = 0;
};

BudgetedSolution solve(const BudgetedAssignment& problem, const BudgetedOptions& options);

/// A problem of the contest: JSON with nodes (intervals, costs, usages), edges (nodes, costs) and usage_limit.
BudgetedAssignment read_contest(const std::string& file);

}  // namespace sorus::parallel
