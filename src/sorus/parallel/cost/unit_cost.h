// What one unit of the chain costs when its operators are split over the ranks of an axis: the best choice of a
// strategy for every operator, with what that communicates, keeps for the backward pass and holds in parameters.
//
// Choices are made for forward and backward at once: where a tensor is gathered in one direction, its gradient is
// scattered in the other, so that a strategy says both. Tensors that several operators read are variables of their
// own, and are converted once for all of them.
//
// Along the context axis each rank has a part of the tokens of every sample. What an operator computes for its tokens
// alone is divided; where it looks at all tokens (keys and values of attention), these are gathered beside its
// arithmetic, and their gradients scattered: a ring in which blocks go round (Liu et al. 2023). Which tokens those
// are is read from sharding rules.
//
// Experts are found by their rule, too: a product of activations with a parameter that has a dimension which both and
// the result keep. Along the expert axis each rank has tokens of its own. Before the first such product every rank
// sends each other what is for its experts (all-to-all), and behind the last one gets it back; between them a rank
// works on a share of the experts with the tokens of all, so on as much as without.
#pragma once

#include <map>
#include <memory>
#include <tuple>

#include "sorus/parallel/cost/collective.h"
#include "sorus/parallel/cost/operator_cost.h"
#include "sorus/parallel/space/chain.h"
#include "sorus/parallel/space/layout.h"

namespace sorus::parallel {

/// How a unit is asked to run.
struct UnitRequest {
  int type = 0;
  int64_t batch_parts = 1;  ///< the traced batch is divided by this
  int64_t tensor = 1;       ///< ranks that split its operators
  bool sequence = false;    ///< between units, tokens are split along the same ranks
  Span span;                ///< where these ranks lie
  int64_t expert = 1;       ///< groups of these ranks among which the experts are dealt out; each has its own tokens
  int64_t context = 1;      ///< groups of these ranks among which the tokens of a sample are dealt out
  auto operator<=>(const UnitRequest& o) const {
    return std::tie(type, batch_parts, tensor, sequence, span.stride, expert, context) <=>
           std::tie(o.type, o.batch_parts, o.tensor, o.sequence, o.span.stride, o.expert, o.context);
  }
};

/// A parameter of which each expert has a part: input `slot` of the unit's node `node`, along `dim`.
struct ExpertParameter {
  int node = 0;
  size_t slot = 0, dim = 0;
};

/// One micro-batch on one rank: seconds and bytes.
struct UnitCost {
  double forward = 0, backward = 0;            ///< compute
  double forward_comm = 0, backward_comm = 0;  ///< waits for other ranks of the axis
  double regather = 0;             ///< waits in the backward pass for values that are kept in parts and needed whole
  double recompute_selective = 0;  ///< extra compute when what is large and cheap is made again
  double saved = 0, saved_selective = 0;  ///< kept for the backward pass
  double output = 0;                      ///< what goes to the next unit
  double output_whole = 0;                ///< the same, not split
  double workspace = 0;                   ///< the largest results of one operator, forward
  double parameters = 0;                  ///< elements on a rank
  double experts = 0;                     ///< of these, elements of experts that are dealt out
  double shared_gradients = 0;            ///< bytes of gradients that the axis has to add up once a step
  double flops = 0;                       ///< of the model: forward and backward on all ranks
  std::vector<Strategy> strategy;         ///< of the nodes [first, end)
  std::vector<ExpertParameter> expert_parameters;
};

struct CostOptions {
  double memory_price = 1e-11;       ///< seconds that a byte of parameters on a rank is worth
  bool keeps_dropout_masks = false;  ///< a byte for each element that dropout looks at
  /// Selective recomputation keeps the results of products and makes all others again; otherwise it makes again what
  /// lies between products of activations, where attention stores its scores.
  bool remakes_simple = false;
  /// Ranks of the context axis take tokens from both ends of a sequence, so that a causal attention has as much to do
  /// on each; otherwise blocks in order, of which the last looks at the most.
  bool balanced_context = false;
  /// The type that products with parameters are done in, in units that repeat: "f8"; "": the parameters'
  std::string products = "";
};

/// Works out costs and keeps them. The model and the cluster must outlive it.
class UnitCosts {
 public:
  UnitCosts(const Model& model, const Chain& chain, const Cluster& cluster, CostOptions options = {});
  ~UnitCosts();
  const UnitCost& get(const UnitRequest& request);
  /// Into how many groups the experts of all layers can be dealt out: numbers that divide this. 1: there are none.
  int64_t experts() const;
  /// Among how many ranks the tokens of a sample can be dealt out: numbers that divide this. 1: they cannot.
  int64_t tokens() const;
  const Model& model() const;
  const Chain& chain() const;
  const Cluster& cluster() const;
  /// The element type that most arithmetic is done in.
  const std::string& dtype() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sorus::parallel
