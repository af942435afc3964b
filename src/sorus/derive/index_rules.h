// What follows from an operator's index notation besides its execution: result types, gradients, cost.
#pragma once

#include "sorus/derive/loop_nest.h"

namespace sorus {

/// "grad0" .. : the gradient with respect to a tensor parameter; "ties": how often an extremum is reached. The
/// operator's inputs are the incoming gradient and what the rule reads; its last attribute is the shape of the
/// result.
std::unique_ptr<OpDef> derive_index(const OpDef& base, std::string_view suffix);

/// Gradients of a call of an operator with index notation, in public and derived operators.
TensorList index_gradient(const GradCall& call);
/// Parameters and outputs whose values `index_gradient` reads.
std::vector<std::string> index_gradient_saves(const OpDef& op);

/// Points of the loops times the operations of the body.
double index_flops(const TypeCall& call);

}  // namespace sorus
