// Scalar expressions as text, with no more parentheses than needed.

#include <cmath>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

using Kind = ScalarNode::Kind;
constexpr int kAtom = 100;
constexpr int kUnary = 11;

std::string number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);  // The shortest that reads back to the same number.
  // Beyond 2^53 whole numbers are reals too, and must not read back as integers.
  return text.find_first_of(".e") == text.npos ? text + ".0" : text;
}

class Printer {
 public:
  Printer(std::span<const std::string> args, std::span<const std::string> params) : args_(args), params_(params) {}

  std::string function(std::span<const Expr> results) {
    std::unordered_map<const ScalarNode*, int> uses;
    std::vector<const ScalarNode*> order = topological_order(results);
    for (const Expr& r : results) ++uses[r.get()];
    for (const ScalarNode* n : order) {
      for (const Expr& input : n->inputs) ++uses[input.get()];
    }
    std::string text;
    int count = 0;
    for (const ScalarNode* n : order) {
      if (n->kind != Kind::call || uses[n] < 2) continue;
      std::string name;
      do {
        name = fmt::format("t{}", count++);
      } while (taken(name));
      text += fmt::format("{} = {}; ", name, expression(n, 0));
      names_[n] = name;
    }
    for (size_t i = 0; i < results.size(); ++i) text += (i ? ", " : "") + expression(results[i].get(), 0);
    return text;
  }

  // `tightness` is the precedence that the place asks for; looser expressions get parentheses.
  std::string expression(const ScalarNode* n, int tightness) {
    auto [text, precedence] = bare(n);
    return precedence < tightness ? "(" + text + ")" : text;
  }

 private:
  bool taken(const std::string& name) const {
    for (const std::string& a : args_) {
      if (a == name) return true;
    }
    for (const std::string& p : params_) {
      if (p == name) return true;
    }
    return false;
  }

  std::pair<std::string, int> bare(const ScalarNode* n) {
    auto it = names_.find(n);
    if (it != names_.end()) return {it->second, kAtom};
    auto index = static_cast<size_t>(n->index);
    switch (n->kind) {
      case Kind::real:
        return {number(n->real), std::signbit(n->real) ? kUnary : kAtom};
      case Kind::integer:
        return {fmt::format("{}", n->integer), n->integer < 0 ? kUnary : kAtom};
      case Kind::boolean:
        return {n->integer ? "true" : "false", kAtom};
      case Kind::argument:
        return {index < args_.size() ? args_[index] : fmt::format("x{}", index), kAtom};
      case Kind::parameter:
        return {index < params_.size() ? params_[index] : fmt::format("p{}", index), kAtom};
      case Kind::position:
        return {"position()", kAtom};
      case Kind::call:
        break;
    }
    const ScalarOp& op = *n->op;
    auto input = [&](int i, int tightness) { return expression(n->inputs[static_cast<size_t>(i)].get(), tightness); };
    int p = op.precedence;
    if (op.sign.empty()) {
      std::string text;
      for (int i = 0; i < op.arity; ++i) text += (i ? ", " : "") + input(i, 0);
      return {fmt::format("{}({})", op.name, text), kAtom};
    }
    if (op.arity == 3) return {fmt::format("{} ? {} : {}", input(0, p + 1), input(1, p), input(2, p)), p};
    if (op.arity == 2) return {fmt::format("{} {} {}", input(0, p), op.sign, input(1, p + 1)), p};
    // -(2) is the negation of a constant, -2 a constant.
    std::string inner = input(0, p);
    bool digit =
        !inner.empty() && (std::isdigit(static_cast<unsigned char>(inner[0])) || inner == "inf" || inner == "nan");
    if (digit || inner[0] == '-') inner = "(" + inner + ")";
    return {std::string(op.sign) + inner, p};
  }

  std::span<const std::string> args_, params_;
  std::unordered_map<const ScalarNode*, std::string> names_;
};

}  // namespace

std::string ScalarFunction::to_string() const { return Printer(args, params).function(results); }

std::string to_string(const Expr& e, std::span<const std::string> args, std::span<const std::string> params) {
  return Printer(args, params).function({&e, 1});
}

}  // namespace sorus
