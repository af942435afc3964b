// A smaller problem for the same answer: variables without freedom are joined with those that decide for them.
#pragma once

#include "sorus/parallel/solver/budget.h"

namespace sorus::parallel {

/// Costs from here on stand for "not allowed".
constexpr double kForbidden = 1e17;

struct Folded {
  std::vector<int> sizes;                   ///< choices of the variables that are left
  std::vector<std::vector<double>> unary;   ///< their costs
  std::vector<Assignment::Edge> edges;      ///< each pair once, the first variable less than the second
  std::vector<int> of;                      ///< the variable that decides for each of the problem's
  std::vector<std::vector<int>> choice_of;  ///< the problem's choice by the deciding variable's
  double penalty = 0;                       ///< what stands for "not allowed" in the costs

  std::vector<int> unfold(const std::vector<int>& choice) const;
};

Folded fold(const BudgetedAssignment& problem);

}  // namespace sorus::parallel
