// One operation of the scalar language. All of them are entries of one table (scalar_ops.cpp,
// scalar_ops_special.cpp); adding an entry there is all it takes to add an operation. It is printed as C if
// emit/preamble.cpp has the C functions its spelling names, and evaluated by its values here if not.
#pragma once

#include <array>
#include <complex>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sorus/tensor/dtype.h"

namespace sorus {

struct ScalarFunction;  // graph/scalar.h

struct ScalarOp {
  using Complex = std::complex<double>;

  std::string_view name;
  int arity = 1;

  /// How it is written: "" for name(a, b), otherwise a prefix or infix sign, and how tightly it binds (larger =
  /// tighter).
  std::string_view sign = {};
  int precedence = 0;

  /// The gradient with respect to each input, in the scalar language, of the inputs a, b, c, the result y and the
  /// incoming gradient g. A text without g is the derivative of a holomorphic function and means g * conj(text).
  std::array<std::string_view, 3> gradient = {"0", "0", "0"};

  /// Values by compute type, always given three inputs; null where the operation does not exist.
  double (*real)(const double*) = nullptr;
  int64_t (*integer)(const int64_t*) = nullptr;
  Complex (*complex)(const Complex*) = nullptr;

  /// The result is a truth value; is real even if inputs are complex.
  bool boolean = false;
  bool real_valued = false;
  /// Conditions: bit i says that input i is read as a truth value.
  unsigned conditions = 0;
  /// Bit i says that the derivative by input i, an order or a parameter, is not known: its text is "nan * a".
  unsigned fixed = 0;
  /// a*b == b*a, bit for bit.
  bool commutative = false;
  /// Inputs are keys and counters: they are passed as 64-bit integers whatever the compute type is, and have to be
  /// parameters, constants or position().
  bool integer_inputs = false;

  /// Whether a last input of 0 has no result in whole numbers: that is an error of the operator that asks for it.
  bool divides = false;

  /// C with $0, $1, $2 for the inputs. By default sorus_NAME_TYPE($0, ...), with TYPE in f32 f64 i64 c128.
  std::string_view c = {};
  /// Other spelling for complex double, where `c` does not do.
  std::string_view c_complex = {};

  double flops = 1;

  /// Rewrites "pattern = result". In patterns a, b, c stand for anything and p, q for truth values.
  std::vector<std::string_view> identities = {};
  /// What the operation is in real types, if it vanishes there (conj: "a", imag: "0").
  std::string_view in_real_types = {};

  bool exists_in(DType compute) const;
};

std::span<const ScalarOp> scalar_ops();
/// Null if there is none.
const ScalarOp* find_scalar_op(std::string_view name);

/// The arguments of a body that something is divided by (`ScalarOp::divides`): none may be 0 in whole numbers.
std::vector<int> divisors(const ScalarFunction& f);

}  // namespace sorus
