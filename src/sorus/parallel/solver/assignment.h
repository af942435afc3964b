// Assignment: one choice for each variable, so that the sum of the choices' costs and of the costs between neighbours
// is least. The form in which operators choose how to be split: a choice is a strategy, an edge costs what it takes
// to bring a tensor from one's layout to the other's.
//
//   Assignment a;
//   int x = a.add({1, 2}), y = a.add({0, 3});
//   a.connect(x, y, {{0, 9}, {9, 0}});
//   Solution s = solve(a);          // s.choice {0, 0}, s.cost 1, s.bound 1
//
// `solve` removes dominated choices, then eliminates variables of least degree exactly (Dechter 1999); where a table
// would grow too large, it splits the bucket (which bounds the cost from below) and improves the choice by local
// search, so that `bound` always holds and equals `cost` where the answer is exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sorus::parallel {

struct Assignment {
  struct Edge {
    int a = 0, b = 0;
    std::vector<double> cost;  ///< [choice of a][choice of b]
  };
  std::vector<std::vector<double>> nodes;
  std::vector<Edge> edges;

  int add(std::vector<double> costs) {
    nodes.push_back(std::move(costs));
    return static_cast<int>(nodes.size()) - 1;
  }
  void connect(int a, int b, std::vector<double> cost) { edges.push_back({a, b, std::move(cost)}); }
  double cost_of(const std::vector<int>& choice) const;
};

struct Solution {
  std::vector<int> choice;
  double cost = 0, bound = 0;
};

/// `table_limit`: entries of the largest table of exact elimination.
Solution solve(const Assignment& problem, size_t table_limit = size_t{1} << 20);

}  // namespace sorus::parallel
