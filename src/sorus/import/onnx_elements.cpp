// Converters of ONNX operators on single elements, and reductions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "sorus/import/onnx.h"
#include "sorus/ops.h"

namespace sorus::importer::onnx {
namespace {

using Binary = Tensor (*)(const Tensor&, const Tensor&);
TensorList all_of(const Node& n, Binary f) {
  Tensor y = n.at(0);
  for (size_t i = 1; i < n.in.size(); ++i) y = f(y, n.at(i));
  return {y};
}

TensorList clipped(const Node& n) {
  std::optional<Scalar> low, high;
  auto bound = [&](size_t i, const char* name) -> std::optional<Scalar> {
    if (n.opset < 11) return n.has_attribute(name) ? std::optional(Scalar(n.real(name, 0))) : std::nullopt;
    if (!n.has(i)) return std::nullopt;
    std::vector<double> v = n.constant_reals(i);
    SORUS_CHECK(v.size() == 1, ValueError, "one number is expected as '{}'", name);
    if (!is_floating(n.at(0).dtype())) return Scalar(static_cast<int64_t>(v[0]));
    return Scalar(v[0]);
  };
  low = bound(1, "min"), high = bound(2, "max");
  return {low || high ? clamp(n.at(0), low, high) : n.at(0)};
}

TensorList cast_to(const Node& n) {
  auto t = type_of(n.integer("to", 0));
  SORUS_CHECK(t, NotImplementedError, "to type number {}", n.integer("to", 0));
  return {to(n.at(0), *t)};
}

TensorList parametric(const Node& n) {
  const Tensor& x = n.at(0);
  return {where(lt(x, Tensor::weak_scalar(0.0)), x * n.at(1), x)};
}

TensorList divided(const Node& n) {
  const Tensor &a = n.at(0), &b = n.at(1);
  if (is_floating(a.dtype()) || is_floating(b.dtype())) return {a / b};
  // Integers are cut off towards zero.
  Tensor q = floor_divide(a, b), inexact = ne(q * b, a);
  return {q + to(logical_and(inexact, lt(q, Tensor::weak_scalar(int64_t{0}))), a.dtype())};
}

TensorList modulo(const Node& n) {
  return {n.integer("fmod", 0) ? fmod(n.at(0), n.at(1)) : remainder(n.at(0), n.at(1))};
}

using Reduce = Tensor (*)(const Tensor&, const std::optional<Shape>&, bool);
TensorList reduced(const Node& n, Reduce f) {
  std::optional<Shape> axes = n.list(1, "axes");
  if ((!axes || axes->empty()) && n.integer("noop_with_empty_axes", 0)) return {n.at(0)};
  if (axes && axes->empty()) axes.reset();
  return {f(n.at(0), axes, n.integer("keepdims", 1) != 0)};
}

TensorList extreme_place(const Node& n, bool largest) {
  SORUS_CHECK(!n.integer("select_last_index", 0), NotImplementedError, "with select_last_index");
  int64_t d = n.dim(n.integer("axis", 0), n.at(0));
  bool keep = n.integer("keepdims", 1) != 0;
  return {largest ? argmax(n.at(0), d, keep) : argmin(n.at(0), d, keep)};
}

#define ONE(name, expression)               \
  {                                         \
    name, [](const Node& n) -> TensorList { \
      const Tensor& x = n.at(0);            \
      return {expression};                  \
    }                                       \
  }
#define TWO(name, expression)                  \
  {                                            \
    name, [](const Node& n) -> TensorList {    \
      const Tensor &a = n.at(0), &b = n.at(1); \
      return {expression};                     \
    }                                          \
  }
#define ANY(name, expression)                                                                  \
  {                                                                                            \
    name, [](const Node& n) {                                                                  \
      return all_of(n, [](const Tensor& a, const Tensor& b) -> Tensor { return expression; }); \
    }                                                                                          \
  }
#define OVER(name, expression)                                                                                \
  {                                                                                                           \
    name, [](const Node& n) {                                                                                 \
      return reduced(                                                                                         \
          n, [](const Tensor& x, const std::optional<Shape>& d, bool keep) -> Tensor { return expression; }); \
    }                                                                                                         \
  }

const OpKind kinds[] = {
    ONE("Relu", relu(x)),
    ONE("LeakyRelu", leaky_relu(x, n.real("alpha", 0.01))),
    {"PRelu", parametric},
    ONE("Elu", elu(x, n.real("alpha", 1))),
    ONE("Selu", where(gt(x, Tensor::weak_scalar(0.0)), x, n.real("alpha", 1.67326319217681884765625) * expm1(x)) *
                    n.real("gamma", 1.05070102214813232421875)),
    ONE("Celu", elu(x / n.real("alpha", 1), 1) * n.real("alpha", 1)),
    ONE("Sigmoid", sigmoid(x)),
    ONE("HardSigmoid", clamp(x * n.real("alpha", 0.2) + n.real("beta", 0.5), Scalar(0), Scalar(1))),
    ONE("HardSwish", hardswish(x)),
    ONE("Tanh", tanh(x)),
    ONE("Softplus", softplus(x)),
    ONE("Softsign", softsign(x)),
    ONE("Mish", mish(x)),
    ONE("Erf", erf(x)),
    ONE("Gelu", gelu(x, n.text("approximate", "none"))),
    ONE("ThresholdedRelu", where(gt(x, Tensor::weak_scalar(n.real("alpha", 1))), x, Tensor::weak_scalar(0.0))),
    {"Clip", clipped},
    ONE("Neg", neg(x)),
    ONE("Abs", abs(x)),
    ONE("Exp", exp(x)),
    ONE("Log", log(x)),
    ONE("Sqrt", sqrt(x)),
    ONE("Reciprocal", reciprocal(x)),
    ONE("Floor", floor(x)),
    ONE("Ceil", ceil(x)),
    ONE("Round", round(x)),
    ONE("Sign", sign(x)),
    ONE("Sin", sin(x)),
    ONE("Cos", cos(x)),
    ONE("Tan", tan(x)),
    ONE("Asin", asin(x)),
    ONE("Acos", acos(x)),
    ONE("Atan", atan(x)),
    ONE("Sinh", sinh(x)),
    ONE("Cosh", cosh(x)),
    ONE("Not", logical_not(x)),
    ONE("IsNaN", isnan(x)),
    ONE("Identity", x),
    ONE("Dropout", x),
    {"Cast", cast_to},
    ONE("CastLike", to(x, n.at(1).dtype())),
    ANY("Add", a + b),
    TWO("Sub", a - b),
    ANY("Mul", a * b),
    {"Div", divided},
    TWO("Pow", to(pow(a, b), a.dtype())),
    {"Mod", modulo},
    ANY("Max", maximum(a, b)),
    ANY("Min", minimum(a, b)),
    ANY("Sum", a + b),
    {"Mean", [](const Node& n) -> TensorList {
       return {all_of(n, [](const Tensor& a, const Tensor& b) -> Tensor { return a + b; })[0] /
               static_cast<double>(n.in.size())};
     }},
    TWO("And", logical_and(a, b)),
    TWO("Or", logical_or(a, b)),
    TWO("Xor", logical_xor(a, b)),
    TWO("Equal", eq(a, b)),
    TWO("Less", lt(a, b)),
    TWO("LessOrEqual", le(a, b)),
    TWO("Greater", gt(a, b)),
    TWO("GreaterOrEqual", ge(a, b)),
    TWO("Where", where(a, b, n.at(2))),
    OVER("ReduceMean", mean(x, d, keep)),
    OVER("ReduceSum", sum(x, d, keep)),
    OVER("ReduceMax", amax(x, d, keep)),
    OVER("ReduceMin", amin(x, d, keep)),
    OVER("ReduceProd", prod(x, d, keep)),
    OVER("ReduceL1", sum(abs(x), d, keep)),
    OVER("ReduceL2", sqrt(sum(square(x), d, keep))),
    OVER("ReduceSumSquare", sum(square(x), d, keep)),
    OVER("ReduceLogSum", log(sum(x, d, keep))),
    {"ArgMax", [](const Node& n) { return extreme_place(n, true); }},
    {"ArgMin", [](const Node& n) { return extreme_place(n, false); }},
};

}  // namespace

std::span<const OpKind> element_kinds() { return kinds; }

}  // namespace sorus::importer::onnx
