// Layout of a tensor along one axis of the mesh, and the ways in which an operator can be split, from its sharding
// rule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sorus/derive/sharding.h"

namespace sorus::parallel {

/// A dimension that is split, or one of these.
using Layout = int;
constexpr Layout kReplicated = -1, kPartial = -2;
std::string layout_text(Layout layout);

/// One way to execute an operator on the ranks of an axis.
struct Strategy {
  std::vector<Layout> inputs, outputs;
  std::vector<Layout> input_grads;   ///< how the gradients of the inputs come out
  std::vector<Layout> output_grads;  ///< how the gradients of the outputs have to come in
  int factor = -1;                   ///< of the rule; -1: every rank does all of it
};

/// The rule of the call; of a composite without one, the dimensions that its whole body keeps.
ShardingRule planning_rule(const TypeCall& call);
/// Whether the operator draws random numbers: it takes a key. Frameworks that have no keys keep what was drawn.
bool draws(const OpDef& op);
/// Replication, and a strategy for each factor of the rule that `parts` divide.
std::vector<Strategy> strategies(const ShardingRule& rule, int64_t parts);

}  // namespace sorus::parallel
