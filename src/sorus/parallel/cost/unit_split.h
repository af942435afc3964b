// How the operators of a unit are split over the ranks of the tensor axis: the assignment problem, and its solution.
//
// Variables are the strategies of the operators and the layouts of values that several operators read, of parameters
// and of what comes in; edges are what it takes to bring a value from one layout to the other, and its gradient back.
// What the solution costs and keeps is read off in unit_cost.cpp.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sorus/parallel/cost/unit_nodes.h"
#include "sorus/parallel/solver/assignment.h"

namespace sorus::parallel {

struct UnitSplit {
  /// The strategies of an operator, with their seconds.
  struct Choices {
    std::vector<Strategy> list;
    std::vector<double> forward, backward;
    std::vector<double> forward_wait, backward_wait;  ///< for tokens of other ranks
    int variable = -1;
  };
  struct TwoLayouts {
    Layout value, grad;
  };
  /// A value that comes in, a parameter, or what several operators read: its layouts to choose from.
  struct Shared {
    std::vector<TwoLayouts> states;
    int variable = -1;
    Value value;
    bool parameter = false, boundary = false;
    double bytes = 0;
  };

  /// `dtype`: of the parameters.
  UnitSplit(UnitNodes& all, const Cluster& cluster, const std::string& dtype, const CostOptions& options,
            const UnitRequest& request);

  // What was chosen.
  size_t picked(size_t i) const {
    return static_cast<size_t>(solution.choice[static_cast<size_t>(choices[i].variable)]);
  }
  const Strategy& chosen(size_t i) const { return choices[i].list[picked(i)]; }
  const TwoLayouts& chosen(const Shared& s) const {
    return s.states[static_cast<size_t>(solution.choice[static_cast<size_t>(s.variable)])];
  }

  Layout out_layout(size_t i, size_t k, int o) const { return choices[i].list[k].outputs[static_cast<size_t>(o)]; }
  Layout out_grad(size_t i, size_t k, int o) const { return choices[i].list[k].output_grads[static_cast<size_t>(o)]; }
  /// Of the whole value on a rank.
  double bytes_of(Value v) const;
  /// The layout between units: tokens are split where that is asked for and possible.
  Layout outside_layout(Value v) const;
  /// Seconds to bring a value from one layout to another.
  double convert(Layout from, Layout to, double bytes) const;
  static bool floating(Value v) { return is_floating(v.type().dtype); }

  const UnitRequest& request;
  const UnitType& unit_type;
  const Cluster& cluster;
  const std::vector<UnitNode>& nodes;
  NodePlaces at;
  std::vector<Choices> choices;  ///< by node
  std::vector<Shared> shared;
  std::unordered_map<Value, size_t> shared_at;
  std::unordered_map<Value, std::vector<std::pair<size_t, size_t>>> readers;  ///< node, slot
  std::vector<Value> order;                                                   ///< of what is read
  Value last;                                                                 ///< leaves the unit
  double flops = 0;                                                           ///< of the model
  Solution solution;

 private:
  std::pair<double, double> exchange(const UnitNode& u, const std::vector<TensorType>& types,
                                     const OperatorCost& c) const;
  void add_operators(const std::string& dtype, const std::string& products);
  void add_values(double memory_price);
  void connect_readers();
  void connect_outside();

  UnitNodes& all_;
  bool balanced_;
  Assignment problem_;
};

}  // namespace sorus::parallel
