// Propagation: from the layouts of some tensors of a graph to those of all.
//
//   Request request{mesh};
//   request.inputs[0] = {Shard(0)};          // the batch is split
//   Propagated p = propagate(graph, request);
//
// Nodes are visited in order. For each axis of the mesh a node may split one factor of its sharding rule
// (derive/sharding.h), which says how its inputs have to lie and how its results then do; let partial sums through if
// it is linear; or do the same at every rank. The choice is the one whose redistributions (of inputs, and of results
// whose layout is asked for) and arithmetic take least time by a simple model. Along an axis on which no input is
// split and nothing asks for it, nothing is.
//
// Where several layouts of a value were needed, all of them are kept, and the next one is made from the cheapest.
//
// Nodes are visited forwards, so one whose inputs all lie whole at every rank is computed whole, though all its
// readers may take the same block of it (the gradient of a look-up in a split table, made of zeros and indices). Such
// a value is wished for in that layout, and the graph is gone through again, until nothing new is wished for (at most
// eight times).
#pragma once

#include <unordered_map>

#include "sorus/graph/graph.h"
#include "sorus/parallel/sharding/layout.h"

namespace sorus::parallel {

struct Request {
  DeviceMesh mesh;
  /// An axis of time: its "ranks" are the micro-batches, which every rank computes one after the other. It is the
  /// last.
  bool micro = false;
  /// How graph inputs lie between runs; those not named are replicated.
  std::unordered_map<int, Layout> inputs;
  /// How the graph reads them, if not as they lie: parameters that are split to save memory only.
  std::unordered_map<int, Layout> used_as;
  /// How outputs have to lie at the end; those not named are replicated.
  std::unordered_map<int, Layout> outputs;
  /// Values that have to lie so when they are made.
  std::unordered_map<Value, Layout> marks;
  CommunicationModel communication = {};
  double flops_per_second = 4e10, memory_bytes_per_second = 1e10;
};

struct NodeChoice {
  std::vector<Layout> inputs, outputs;
  std::vector<int> factors;  ///< for each axis the factor that is split, -1: none, -2: partial values pass
};
/// What a rank has of each factor if `factors` of the rule are split.
std::vector<ShardPart> parts_of(const DeviceMesh& mesh, const ShardingRule& rule, const std::vector<int>& factors,
                                int64_t rank);

struct Propagated {
  DeviceMesh mesh;
  int micro_axis = -1;
  /// Where the ranks run: the mesh without the axis of time, which may have an axis of stages in front.
  DeviceMesh ranks;
  int first_axis = 0;  ///< of `ranks`, the first of `mesh`
  /// The group of the ranks along these ascending axes of the mesh.
  std::string group(const std::vector<int>& axes) const;
  std::unordered_map<const Node*, NodeChoice> choices;
  std::unordered_map<Value, Layout> layouts;  ///< in which values are made
  std::vector<Layout> inputs, used_as, outputs;
  std::unordered_map<Value, Layout> marks;
  CommunicationModel communication = {};
  double communication_seconds = 0;  ///< by the model
};

/// ValueError for layouts that do not fit the shapes. Composites of the graph should be expanded before, as far as
/// they have no rule of their own.
Propagated propagate(const Graph& graph, const Request& request);

/// Which layouts of a value there are, and how the next one is made.
class Versions {
 public:
  /// `time`: the axis of micro-batches, or -1.
  Versions(const DeviceMesh& mesh, CommunicationModel model, int time) : mesh_(mesh), model_(model), time_(time) {}
  struct Source {
    size_t version = 0;
    std::vector<Move> moves;
    double seconds = 0;
  };
  /// The cheapest way to `wanted` from what there is.
  Source find(const Value& v, const Layout& wanted) const;
  /// Adds the layout and returns its number.
  size_t add(const Value& v, const Layout& layout);
  const std::vector<Layout>& of(const Value& v) const { return have_.at(v); }

 private:
  const DeviceMesh& mesh_;
  CommunicationModel model_;
  int time_;
  std::unordered_map<Value, std::vector<Layout>> have_;
};

}  // namespace sorus::parallel
