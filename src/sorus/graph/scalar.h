// The scalar language: what an elementwise operator does to one element.
//
//   ScalarFunction f = parse_scalar("x > 0 ? x : negative_slope * x", {"x"}, {"negative_slope"});
//   evaluate(f, std::array{-2.0}, std::array{0.01})     // {-0.02}
//   gradient(f, 0)                                      // "x > 0 ? g : g * conj(negative_slope)" of (g, x)
//
// An operator's body is written once, as text, and everything else reads it: the symbolic gradient
// (derive/scalar_derivative.h), the C of eager kernels, compiled graphs and devices (emit/c_scalar.h), the
// interpreter, the reference evaluation here, and fusion, which is nothing but `substitute`.
//
// **Grammar**, from loose to tight, as in C except that `&`, `^` and `|` bind tighter than comparisons (as in
// Python):
//
//   function    = (name "=" expression ";")* expression ("," expression)*        bindings, then the results
//   expression  = c ? a : b   ||  &&  < <= > >= == !=   |  ^  &  << >>   + -   * /   unary - ! ~   name(...)   (...)
//   primary     = number, true, false, inf, nan, pi, an argument, a parameter, a bound name
//
// `/` is true division. A condition may be any number (not equal to zero), and a truth value used as a number is 0
// or 1.
//
// **Values.** A body does not say in which type it is computed: the same one serves f32, f64, i64 and complex
// double (`compute_type`), as far as its operations exist there (`supports`). Truth values are a type of their own.
//
// **Expressions** are immutable and hash-consed: equal expressions are the same object, so `==` on `Expr` is
// structural equality, and what a body computes twice is shared without anybody looking for it.
//
// The operations themselves (derivative, evaluation, spelling in C, cost, identities) are the table in
// scalar_ops.cpp.
#pragma once

#include <complex>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sorus/tensor/dtype.h"

namespace sorus {

struct ScalarOp;  // graph/scalar_ops.h
struct ScalarNode;
using Expr = std::shared_ptr<const ScalarNode>;

struct ScalarNode {
  enum class Kind : uint8_t {
    real,       ///< A constant that is not an integer (or too large for one).
    integer,    ///< A constant; `2.0` is the integer 2, so that there is one way to say it.
    boolean,    ///< true or false.
    argument,   ///< The element of the `index`-th tensor.
    parameter,  ///< The `index`-th run-time scalar, the same for all elements.
    position,   ///< The linear index of the element in the whole result: for counting and random numbers.
    call        ///< An operation on `inputs`.
  };
  Kind kind = Kind::integer;
  bool is_boolean = false;     ///< The value is a truth value.
  bool is_real = false;        ///< The value has no imaginary part, whatever the arguments are.
  bool uses_position = false;  ///< position() occurs in it.
  bool uses_argument = false;  ///< Some argument occurs in it.
  int index = 0;
  int64_t integer = 0;  ///< Value of integer and boolean constants.
  double real = 0;      ///< Value of real constants.
  const ScalarOp* op = nullptr;
  std::vector<Expr> inputs;
  uint64_t hash = 0;

  bool is_constant() const { return kind <= Kind::boolean; }
  double as_double() const { return kind == Kind::real ? real : static_cast<double>(integer); }
  bool is_call(std::string_view name) const;
};

/// A body: results as expressions of arguments (elements of tensors) and parameters (scalars).
struct ScalarFunction {
  std::vector<std::string> args;
  std::vector<std::string> params;
  std::vector<Expr> results;

  /// Text that `parse_scalar` reads back to an equal function. What occurs twice gets a name: "t0 = tanh(x); t0 *
  /// t0".
  std::string to_string() const;
  /// The same with arguments x0.. and parameters p0..: equal for functions that differ in names only.
  std::string canonical() const;
  /// A hash of `canonical()`, the same in every process.
  uint64_t hash() const;
  bool operator==(const ScalarFunction& other) const = default;
};

// ---- Making expressions
// ----------------------------------------------------------------------------------------------

Expr constant(double value);
Expr constant(int64_t value);
inline Expr constant(int value) { return constant(static_cast<int64_t>(value)); }
Expr constant(bool value);
Expr argument(int index);
Expr parameter(int index);
Expr position();
/// Applies an operation of the table by name ("add", "tanh", "select", ...); throws ValueError for unknown names.
Expr call(std::string_view op, std::vector<Expr> inputs);
Expr call(const ScalarOp& op, std::vector<Expr> inputs);

/// Reads a body. Errors are ValueErrors that show the text with a caret under the place.
ScalarFunction parse_scalar(std::string_view text, std::vector<std::string> args,
                            std::vector<std::string> params = {});

/// One expression as text with the given names.
std::string to_string(const Expr& e, std::span<const std::string> args, std::span<const std::string> params = {});

// ---- Reading and rewriting them
// --------------------------------------------------------------------------------------

bool depends_on_argument(const Expr& e, int index);
bool depends_on_parameter(const Expr& e, int index);
/// All distinct nodes below the roots, inputs before users.
std::vector<const ScalarNode*> topological_order(std::span<const Expr> roots);
/// Floating-point operations for one element; shared parts count once. Parts without arguments are free.
double flops(const ScalarFunction& f);
double flops(const Expr& e);
/// True when every operation of the body exists in this compute type.
bool supports(const ScalarFunction& f, DType compute);

/// Replaces leaves: argument i by args[i] and parameter j by params[j]; empty means "keep".
Expr substitute(const Expr& e, std::span<const Expr> args, std::span<const Expr> params = {});

/// An equal and cheaper expression: constants are folded and the table's identities applied. Only rewrites that keep
/// every IEEE result (NaN, infinity and signed zero included) are made, in all compute types.
Expr simplify(const Expr& e);
ScalarFunction simplify(const ScalarFunction& f);

/// The function as it is when computed in `compute`: for real types conj, real and imag vanish. Simplified.
ScalarFunction specialize(const ScalarFunction& f, DType compute);

// ---- Reference evaluation
// ------------------------------------------------------------------------------------------ Truth values are
// returned as 0 and 1. For T in double, int64_t and std::complex<double>.

template <class T>
T evaluate(const Expr& e, std::span<const T> args, std::span<const T> params = {}, int64_t position = 0);
template <class T>
std::vector<T> evaluate(const ScalarFunction& f, std::span<const T> args, std::span<const T> params = {},
                        int64_t position = 0);

}  // namespace sorus
