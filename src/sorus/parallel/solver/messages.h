// Messages between neighbours of an assignment problem: what a choice costs as seen from one side of an edge, in a
// relaxation of the whole problem. Sweeps over the variables in order and back make them agree (sequential
// tree-reweighted message passing, Kolmogorov 2006), and a choice is read off them in order. A sweep takes as long as
// looking at all edges twice, and sees the whole problem, where descent from a choice sees what is near to it.
//
//   Messages m(sizes, edges);
//   for (...) m.sweep(unary);          // unary may change from one to the next: messages go on from where they were
//   m.round(unary, choice);
#pragma once

#include <vector>

#include "sorus/parallel/solver/assignment.h"

namespace sorus::parallel {

class Messages {
 public:
  /// Edges join different variables, the first less than the second.
  Messages(const std::vector<int>& sizes, const std::vector<Assignment::Edge>& edges);
  void sweep(const std::vector<std::vector<double>>& unary);
  void round(const std::vector<std::vector<double>>& unary, std::vector<int>& choice) const;
  void reset();

 private:
  struct Link {
    int to = 0;
    size_t in = 0, out = 0;       ///< where the messages from and to the neighbour lie
    const float* cost = nullptr;  ///< [own choice][choice of the neighbour]
  };
  void pass_on(size_t v, const std::vector<double>& unary, bool forward);

  std::vector<int> sizes_;
  std::vector<std::vector<float>> costs_;  ///< of an edge from both sides
  std::vector<std::vector<Link>> before_, behind_;
  std::vector<float> messages_, sum_;
};

}  // namespace sorus::parallel
