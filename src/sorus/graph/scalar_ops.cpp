#include "sorus/graph/scalar_ops.h"

#include <cmath>
#include <limits>
#include <unordered_map>

#include "sorus/graph/scalar_reference.h"

namespace sorus {
namespace {
using namespace scalar_reference;
using Complex = std::complex<double>;

// The three inputs as a, b and c; unary plus turns the lambda into a plain function pointer.
#define SORUS_BODY(type, ...)                                    \
  +[](const type* v) -> type {                                   \
    [[maybe_unused]] const type a = v[0], b = v[1], c = v[2];    \
    return static_cast<type>(__VA_ARGS__);                       \
  }
#define REAL(...) .real = SORUS_BODY(double, __VA_ARGS__)
#define INTEGER(...) .integer = SORUS_BODY(int64_t, __VA_ARGS__)
#define COMPLEX(...) .complex = SORUS_BODY(Complex, __VA_ARGS__)
// The same text in all types.
#define NUMBER(...) REAL(__VA_ARGS__), INTEGER(__VA_ARGS__), COMPLEX(__VA_ARGS__)
#define FIELD(...) REAL(__VA_ARGS__), COMPLEX(__VA_ARGS__)
// Wraps around instead of overflowing, as PyTorch's integers do.
#define WRAP(sign) INTEGER(static_cast<uint64_t>(a) sign static_cast<uint64_t>(b))

std::vector<ScalarOp> make_table() {
  return {
      // ---- arithmetic ----
      {.name = "select", .arity = 3, .sign = "?:", .precedence = 1,
       .gradient = {"0", "a ? g : 0", "a ? 0 : g"},
       NUMBER(truth(a) ? b : c), .conditions = 1, .c = "($0 ? $1 : $2)",
       .identities = {"true ? a : b = a", "false ? a : b = b", "a ? b : b = b", "!a ? b : c = a ? c : b",
                      "p ? true : false = p"}},
      {.name = "add", .arity = 2, .sign = "+", .precedence = 9, .gradient = {"g", "g"},
       REAL(a + b), WRAP(+), COMPLEX(a + b), .commutative = true, .c = "($0 + $1)",
       .identities = {"-0.0 + a = a", "a + (-b) = a - b", "(-a) + b = b - a"}},
      {.name = "sub", .arity = 2, .sign = "-", .precedence = 9, .gradient = {"g", "-g"},
       REAL(a - b), WRAP(-), COMPLEX(a - b), .c = "($0 - $1)",
       .identities = {"a - 0 = a", "a - (-b) = a + b"}},
      {.name = "mul", .arity = 2, .sign = "*", .precedence = 10, .gradient = {"b", "a"},
       REAL(a * b), WRAP(*), COMPLEX(a * b), .commutative = true, .c = "($0 * $1)",
       .identities = {"1 * a = a", "-1 * a = -a", "(-a) * (-b) = a * b"}},
      {.name = "div", .arity = 2, .sign = "/", .precedence = 10, .gradient = {"g / conj(b)", "-g * conj(y / b)"},
       FIELD(a / b), .c = "($0 / $1)", .flops = 4, .identities = {"a / 1 = a", "a / -1 = -a"}},
      {.name = "neg", .sign = "-", .precedence = 11, .gradient = {"-g"},
       REAL(-a), INTEGER(-static_cast<uint64_t>(a)), COMPLEX(-a), .c = "(-$0)", .identities = {"-(-a) = a"}},
      {.name = "pow", .arity = 2,
       .gradient = {"b == 0 ? 0 : g * conj(b * pow(a, b - 1))",
                    "a == 0 && real(b) >= 0 ? 0 : g * conj(y * log(a))"},
       REAL(std::pow(a, b)), INTEGER(integer_power(a, b)), COMPLEX(complex_power(a, b)), .flops = 30,
       .identities = {"pow(a, 0) = 1", "pow(a, 1) = a", "pow(a, 2) = a * a", "pow(a, 3) = a * a * a",
                      "pow(a, -1) = 1 / a", "pow(a, -2) = 1 / (a * a)", "pow(a, 0.5) = sqrt(a)",
                      "pow(a, -0.5) = rsqrt(a)"}},
      {.name = "floordiv", .arity = 2, REAL(floor_divide(a, b)), INTEGER(floor_divide(a, b)), .flops = 12},
      {.name = "truncdiv", .arity = 2, REAL(std::trunc(a / b)), INTEGER(truncated_divide(a, b)), .flops = 5},
      {.name = "remainder", .arity = 2, .gradient = {"g", "-g * floordiv(a, b)"},
       REAL(python_remainder(a, b)), INTEGER(python_remainder(a, b)), .flops = 12},
      {.name = "fmod", .arity = 2, .gradient = {"g", "-g * truncdiv(a, b)"},
       REAL(std::fmod(a, b)), INTEGER(truncated_remainder(a, b)), .flops = 10},

      // ---- comparison and choice ----
      {.name = "lt", .arity = 2, .sign = "<", .precedence = 4, REAL(a < b), INTEGER(a < b),
       COMPLEX(a.real() < b.real()), .boolean = true, .c = "($0 < $1)", .c_complex = "(creal($0) < creal($1))"},
      {.name = "le", .arity = 2, .sign = "<=", .precedence = 4, REAL(a <= b), INTEGER(a <= b),
       COMPLEX(a.real() <= b.real()), .boolean = true, .c = "($0 <= $1)", .c_complex = "(creal($0) <= creal($1))"},
      {.name = "gt", .arity = 2, .sign = ">", .precedence = 4, REAL(a > b), INTEGER(a > b),
       COMPLEX(a.real() > b.real()), .boolean = true, .c = "($0 > $1)", .c_complex = "(creal($0) > creal($1))"},
      {.name = "ge", .arity = 2, .sign = ">=", .precedence = 4, REAL(a >= b), INTEGER(a >= b),
       COMPLEX(a.real() >= b.real()), .boolean = true, .c = "($0 >= $1)", .c_complex = "(creal($0) >= creal($1))"},
      {.name = "eq", .arity = 2, .sign = "==", .precedence = 4, NUMBER(a == b ? 1.0 : 0.0), .boolean = true,
       .commutative = true, .c = "($0 == $1)"},
      {.name = "ne", .arity = 2, .sign = "!=", .precedence = 4, NUMBER(a != b ? 1.0 : 0.0), .boolean = true,
       .commutative = true, .c = "($0 != $1)"},
      {.name = "and", .arity = 2, .sign = "&&", .precedence = 3, NUMBER(truth(a) && truth(b) ? 1.0 : 0.0),
       .boolean = true, .conditions = 3, .commutative = true, .c = "($0 & $1)",
       .identities = {"true && p = p", "false && a = false", "p && p = p"}},
      {.name = "or", .arity = 2, .sign = "||", .precedence = 2, NUMBER(truth(a) || truth(b) ? 1.0 : 0.0),
       .boolean = true, .conditions = 3, .commutative = true, .c = "($0 | $1)",
       .identities = {"false || p = p", "true || a = true", "p || p = p"}},
      {.name = "not", .sign = "!", .precedence = 11, NUMBER(truth(a) ? 0.0 : 1.0), .boolean = true, .conditions = 1,
       .c = "(!$0)", .identities = {"!(!p) = p", "!(a == b) = a != b", "!(a != b) = a == b"}},
      {.name = "min", .arity = 2,
       .gradient = {"a == b ? 0.5 * g : (a > b ? 0 : g)", "a == b ? 0.5 * g : (a < b ? 0 : g)"},
       REAL(a < b || a != a ? a : b), INTEGER(a < b ? a : b), .identities = {"min(a, a) = a"}},
      {.name = "max", .arity = 2,
       .gradient = {"a == b ? 0.5 * g : (a < b ? 0 : g)", "a == b ? 0.5 * g : (a > b ? 0 : g)"},
       REAL(a > b || a != a ? a : b), INTEGER(a > b ? a : b), .identities = {"max(a, a) = a"}},
      {.name = "fmin", .arity = 2,
       .gradient = {"a <= b || isnan(b) ? g : 0", "a <= b || isnan(b) ? 0 : g"},
       REAL(a < b || b != b ? a : b), INTEGER(a < b ? a : b)},
      {.name = "fmax", .arity = 2,
       .gradient = {"a >= b || isnan(b) ? g : 0", "a >= b || isnan(b) ? 0 : g"},
       REAL(a > b || b != b ? a : b), INTEGER(a > b ? a : b)},
      {.name = "isnan", REAL(std::isnan(a)), INTEGER(0), COMPLEX(std::isnan(a.real()) || std::isnan(a.imag())),
       .boolean = true},
      {.name = "isinf", REAL(std::isinf(a)), INTEGER(0), COMPLEX(std::isinf(a.real()) || std::isinf(a.imag())),
       .boolean = true},
      {.name = "isfinite", REAL(std::isfinite(a)), INTEGER(1),
       COMPLEX(std::isfinite(a.real()) && std::isfinite(a.imag())), .boolean = true},
      {.name = "signbit", REAL(std::signbit(a)), INTEGER(a < 0), .boolean = true},

      // ---- bits ----
      {.name = "bitor", .arity = 2, .sign = "|", .precedence = 5, INTEGER(a | b), .commutative = true, .c = "($0 | $1)"},
      {.name = "bitxor", .arity = 2, .sign = "^", .precedence = 6, INTEGER(a ^ b), .commutative = true,
       .c = "($0 ^ $1)"},
      {.name = "bitand", .arity = 2, .sign = "&", .precedence = 7, INTEGER(a & b), .commutative = true,
       .c = "($0 & $1)"},
      {.name = "bitnot", .sign = "~", .precedence = 11, INTEGER(~a), .c = "(~$0)"},
      {.name = "shl", .arity = 2, .sign = "<<", .precedence = 8, INTEGER(shift_left(a, b))},
      {.name = "shr", .arity = 2, .sign = ">>", .precedence = 8, INTEGER(shift_right(a, b))},

      // ---- rounding and sign ----
      {.name = "floor", REAL(std::floor(a)), INTEGER(a)},
      {.name = "ceil", REAL(std::ceil(a)), INTEGER(a)},
      {.name = "round", REAL(std::nearbyint(a)), INTEGER(a)},
      {.name = "trunc", REAL(std::trunc(a)), INTEGER(a)},
      {.name = "abs", .gradient = {"real(g) * sign(a)"}, REAL(std::fabs(a)), INTEGER(a < 0 ? -static_cast<uint64_t>(a) : a),
       COMPLEX(std::abs(a)), .real_valued = true, .identities = {"abs(abs(a)) = abs(a)", "abs(-a) = abs(a)"}},
      {.name = "sign",
       .gradient = {"imag(conj(y) * g) == 0 ? 0 : complex(0, imag(conj(y) * g)) * y / abs(a)"},
       REAL((a > 0) - (a < 0)), INTEGER((a > 0) - (a < 0)), COMPLEX(a == 0.0 ? a : a / std::abs(a))},
      {.name = "copysign", .arity = 2, .gradient = {"a == 0 ? 0 : g * (y / a)"}, REAL(std::copysign(a, b))},

      // ---- exponentials and logarithms ----
      {.name = "exp", .gradient = {"y"}, FIELD(std::exp(a)), .flops = 12},
      {.name = "exp2", .gradient = {"y * 0.6931471805599453"}, REAL(std::exp2(a)),
       COMPLEX(std::exp(a * 0.6931471805599453)), .flops = 12},
      {.name = "expm1", .gradient = {"y + 1"}, REAL(std::expm1(a)), COMPLEX(complex_expm1(a)), .flops = 14},
      {.name = "log", .gradient = {"g / conj(a)"}, FIELD(std::log(a)), .flops = 14},
      {.name = "log1p", .gradient = {"g / conj(a + 1)"}, REAL(std::log1p(a)), COMPLEX(complex_log1p(a)), .flops = 16},
      {.name = "log2", .gradient = {"g / conj(a * 0.6931471805599453)"}, REAL(std::log2(a)),
       COMPLEX(std::log(a) / 0.6931471805599453), .flops = 14},
      {.name = "log10", .gradient = {"g / conj(a * 2.302585092994046)"}, FIELD(std::log10(a)), .flops = 14},
      {.name = "sqrt", .gradient = {"g / conj(2 * y)"}, FIELD(std::sqrt(a)), .flops = 4},
      {.name = "rsqrt", .gradient = {"-0.5 * (y * y * y)"}, FIELD(1.0 / std::sqrt(a)), .flops = 8},
      {.name = "sigmoid", .gradient = {"y * (1 - y)"}, REAL(1 / (1 + std::exp(-a))), COMPLEX(1.0 / (1.0 + std::exp(-a))),
       .flops = 16},

      // ---- trigonometry ----
      {.name = "sin", .gradient = {"cos(a)"}, FIELD(std::sin(a)), .flops = 14},
      {.name = "cos", .gradient = {"-sin(a)"}, FIELD(std::cos(a)), .flops = 14},
      {.name = "tan", .gradient = {"1 + y * y"}, FIELD(std::tan(a)), .flops = 20},
      {.name = "asin", .gradient = {"g / conj(sqrt(1 - a * a))"}, FIELD(std::asin(a)), .flops = 20},
      {.name = "acos", .gradient = {"-g / conj(sqrt(1 - a * a))"}, FIELD(std::acos(a)), .flops = 20},
      {.name = "atan", .gradient = {"g / conj(1 + a * a)"}, FIELD(std::atan(a)), .flops = 20},
      {.name = "atan2", .arity = 2, .gradient = {"g * (b / (a * a + b * b))", "-g * (a / (a * a + b * b))"},
       REAL(std::atan2(a, b)), .flops = 25},
      {.name = "sinh", .gradient = {"cosh(a)"}, FIELD(std::sinh(a)), .flops = 20},
      {.name = "cosh", .gradient = {"sinh(a)"}, FIELD(std::cosh(a)), .flops = 20},
      {.name = "tanh", .gradient = {"1 - y * y"}, FIELD(std::tanh(a)), .flops = 18},
      {.name = "asinh", .gradient = {"g / conj(sqrt(1 + a * a))"}, FIELD(std::asinh(a)), .flops = 25},
      {.name = "acosh", .gradient = {"g / conj(sqrt(a - 1) * sqrt(a + 1))"}, FIELD(std::acosh(a)), .flops = 25},
      {.name = "atanh", .gradient = {"g / conj(1 - a * a)"}, FIELD(std::atanh(a)), .flops = 25},
      {.name = "hypot", .arity = 2, .gradient = {"g * (a / y)", "g * (b / y)"}, REAL(std::hypot(a, b)), .flops = 8},

      // ---- special functions ----
      {.name = "erf", .gradient = {"1.1283791670955126 * exp(-(a * a))"}, REAL(std::erf(a)), .flops = 24},
      {.name = "erfc", .gradient = {"-1.1283791670955126 * exp(-(a * a))"}, REAL(std::erfc(a)), .flops = 30},
      {.name = "erfinv", .gradient = {"0.8862269254527580 * exp(y * y)"}, REAL(inverse_erf(a)), .flops = 40},
      {.name = "lgamma", .gradient = {"digamma(a)"}, REAL(std::lgamma(a)), .flops = 50},
      {.name = "digamma", .gradient = {"polygamma(1, a)"}, REAL(digamma(a)), .flops = 50},
      {.name = "polygamma", .arity = 2, .gradient = {"0", "polygamma(a + 1, b)"}, REAL(polygamma(a, b)), .flops = 100},

      // ---- complex numbers ----
      {.name = "conj", .gradient = {"conj(g)"}, REAL(a), INTEGER(a), COMPLEX(std::conj(a)), .flops = 0,
       .identities = {"conj(conj(a)) = a", "conj(r) = r", "conj(complex(r, s)) = complex(r, -s)"}, .in_real_types = "a"},
      {.name = "real", .gradient = {"real(g)"}, REAL(a), INTEGER(a), COMPLEX(a.real()), .real_valued = true, .flops = 0,
       .identities = {"real(r) = r", "real(complex(r, s)) = r"}, .in_real_types = "a"},
      {.name = "imag", .gradient = {"complex(0, real(g))"}, REAL(0), INTEGER(0), COMPLEX(a.imag()),
       .real_valued = true, .flops = 0, .identities = {"imag(r) = 0", "imag(complex(r, s)) = s"}, .in_real_types = "0"},
      {.name = "complex", .arity = 2, .gradient = {"real(g)", "imag(g)"}, REAL(a), INTEGER(a),
       COMPLEX(Complex(a.real(), b.real())), .flops = 0, .in_real_types = "a"},
      {.name = "arg",
       .gradient = {"s = real(g) / (real(a) * real(a) + imag(a) * imag(a));"
                    "imag(a) == 0 && real(a) == 0 ? 0 : complex(imag(a) == 0 ? 0 : -imag(a) * s,"
                    " imag(a) == 0 && real(g) == 0 ? 0 : real(a) * s)"},
       REAL(a < 0 ? 3.14159265358979323846 : a != a ? a : 0), COMPLEX(std::arg(a)), .real_valued = true, .flops = 25},

      // ---- random numbers: pure functions of two keys and the element's position ----
      {.name = "uniform", .arity = 3, REAL(uniform(v)), .integer_inputs = true, .flops = 40},
      {.name = "normal", .arity = 3, REAL(normal(v)), .integer_inputs = true, .flops = 80},
      {.name = "bits", .arity = 3, INTEGER(random_bits(a, b, c)), .integer_inputs = true, .flops = 40},
  };
}
}  // namespace

bool ScalarOp::exists_in(DType compute) const {
  if (is_complex(compute)) return complex != nullptr;
  return compute == DType::i64 ? integer != nullptr : real != nullptr;
}

std::span<const ScalarOp> scalar_ops() {
  static const std::vector<ScalarOp> table = make_table();
  return table;
}

const ScalarOp* find_scalar_op(std::string_view name) {
  static const auto index = [] {
    std::unordered_map<std::string_view, const ScalarOp*> map;
    for (const ScalarOp& op : scalar_ops()) map.emplace(op.name, &op);
    return map;
  }();
  auto it = index.find(name);
  return it == index.end() ? nullptr : it->second;
}

}  // namespace sorus
