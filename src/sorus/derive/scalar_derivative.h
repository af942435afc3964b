// Gradients of scalar bodies, from the derivative that each operation's table entry states.
//
//   ScalarFunction f = parse_scalar("x * sigmoid(x)", {"x"});
//   gradient(f, 0)      // of (g, x): what reaches x when g reaches the result
//   gradient(gradient(f, 0), 1)   // of (g, g, x): second order, and so on
//
// Complex numbers follow PyTorch: the gradient of a holomorphic f is g * conj(f'), so that a step against it
// descends. `c ? u : v` is differentiated branch by branch, so a NaN in the branch that is not taken never gets out.
#pragma once

#include "sorus/graph/scalar.h"

namespace sorus {

/// Whether the table has all derivatives that this takes (`ScalarOp::fixed`); the others are NaN.
bool has_derivative(const ScalarFunction& f, int argument);

/// de/dx for argument x; for complex numbers its conjugate.
Expr derivative(const Expr& e, int argument);

/// What reaches an argument of f. Its own arguments are the incoming gradients of f's results ("g", or "g0", "g1",
/// ..) and then those of f. Simplified; the constant 0 when nothing arrives.
ScalarFunction gradient(const ScalarFunction& f, int argument);

/// The same for several arguments at once, as several results that share their common parts.
ScalarFunction gradients(const ScalarFunction& f, std::span<const int> arguments);

}  // namespace sorus
