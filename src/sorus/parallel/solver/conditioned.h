// Elimination of variables of a large assignment problem, with conditioning: where the table of a variable would grow
// too large, one of its neighbours keeps the choice that it has. All other variables get the choices that are best
// together given those few, so that one pass moves thousands of variables at once, however tightly they hang
// together. Repeated passes, which keep different variables, are a descent in very large neighbourhoods; a first
// pass, in which there is nothing to keep, chooses for the variable what looks best from where it stands.
//
//   ConditionedElimination e(problem.nodes sizes, problem.edges);
//   e.pass(unary, choice, {.first = true}, random);
//   while (...) e.pass(unary, choice, {}, random);      // the cost never rises
//
// Related: PBQP solvers of register allocation (Scholz and Eckstein 2002), cutset conditioning (Dechter 1990).
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "sorus/parallel/solver/assignment.h"

namespace sorus::parallel {

class ConditionedElimination {
 public:
  /// Edges join different variables, each pair once.
  ConditionedElimination(std::vector<int> sizes, const std::vector<Assignment::Edge>& edges);
  ~ConditionedElimination();

  struct Pass {
    bool first = false;                      ///< choices are not there yet
    size_t table_limit = 4096;               ///< entries of the largest table
    double spread = 4;                       ///< how random it is who keeps the choice: weights up to 2 to the power
    const std::vector<int>* only = nullptr;  ///< variables that may change; null: all
  };
  /// `unary` of the variables that may change, in their order.
  void pass(const std::vector<std::vector<double>>& unary, std::vector<int>& choice, const Pass& how,
            std::mt19937& random);
  const std::vector<int>& neighbours(int v) const;
  /// How many variables kept their choice in the last pass.
  int64_t kept() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sorus::parallel
