// Simplification: constant folding and the identities of the table, bottom-up until nothing changes.

#include <cmath>
#include <map>
#include <unordered_map>

#include "sorus/base/error.h"
#include "sorus/graph/scalar.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

using Kind = ScalarNode::Kind;

// "pattern = result" of the table, parsed. Variables are arguments: 0..2 stand for anything (a, b, c), 3 and 4 for
// truth values (p, q), 5 and 6 for expressions without imaginary part (r, s).
struct Identity {
  Expr pattern, result;
};
constexpr int kVariables = 7;
using Bindings = std::array<Expr, kVariables>;

const std::vector<std::string>& variables() {
  static const std::vector<std::string> names = {"a", "b", "c", "p", "q", "r", "s"};
  return names;
}

const std::vector<Identity>& identities_of(const ScalarOp& op) {
  static const auto table = [] {
    std::map<const ScalarOp*, std::vector<Identity>> made;
    for (const ScalarOp& each : scalar_ops()) {
      std::vector<Identity>& list = made[&each];
      for (std::string_view text : each.identities) {
        size_t equals = text.find(" = ");
        SORUS_ASSERT(equals != text.npos);
        list.push_back({parse_scalar(text.substr(0, equals), variables()).results[0],
                        parse_scalar(text.substr(equals + 3), variables()).results[0]});
      }
    }
    return made;
  }();
  return table.at(&op);
}

bool match(const Expr& pattern, const Expr& e, Bindings& bound) {
  if (pattern->kind == Kind::argument) {
    if (pattern->index >= 5 && !e->is_real) return false;
    if ((pattern->index == 3 || pattern->index == 4) && !e->is_boolean) return false;
    Expr& slot = bound[static_cast<size_t>(pattern->index)];
    if (!slot) slot = e;
    return slot == e;
  }
  if (pattern->kind != Kind::call) return pattern == e;
  if (e->kind != Kind::call || e->op != pattern->op) return false;
  for (size_t i = 0; i < e->inputs.size(); ++i) {
    if (!match(pattern->inputs[i], e->inputs[i], bound)) return false;
  }
  return true;
}

// The value of an operation on constants, or null. NaN is not folded: sqrt(-1) is one in reals but not in complex
// numbers; and integers beyond 2^53 stay, since they would be rounded.
Expr fold(const ScalarOp& op, const std::vector<Expr>& inputs) {
  if (op.integer_inputs) return nullptr;
  double reals[3] = {};
  int64_t integers[3] = {};
  bool all_integer = true, small = true;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]->is_constant()) return nullptr;
    reals[i] = inputs[i]->as_double();
    integers[i] = inputs[i]->integer;
    all_integer &= inputs[i]->kind != Kind::real;
    small &= inputs[i]->kind == Kind::real || std::llabs(inputs[i]->integer) <= int64_t{1} << 53;
  }
  if (op.name == "select") return inputs[integers[0] != 0 || reals[0] != 0 ? 1 : 2];
  if (op.name == "complex") return inputs[1]->as_double() == 0 ? inputs[0] : nullptr;
  if (!op.real) return all_integer && op.integer ? constant(op.integer(integers)) : nullptr;
  if (!small) return nullptr;
  double value = op.real(reals);
  if (std::isnan(value)) return nullptr;
  if (op.boolean) return constant(value != 0);
  if (all_integer && !(std::fabs(value) <= 0x1p53)) return nullptr;
  return constant(value);
}

class Simplifier {
 public:
  explicit Simplifier(bool real_types) : real_types_(real_types) {}

  Expr operator()(const Expr& e) {
    if (e->kind != Kind::call) return e;
    auto it = done_.find(e.get());
    if (it != done_.end()) return it->second;
    std::vector<Expr> inputs;
    for (const Expr& input : e->inputs) inputs.push_back((*this)(input));
    Expr result = rewrite(call(*e->op, std::move(inputs)));
    keep_.push_back(e);
    done_.emplace(e.get(), result);
    return result;
  }

 private:
  Expr rewrite(const Expr& e) {
    const ScalarOp& op = *e->op;
    if (real_types_ && !op.in_real_types.empty()) return op.in_real_types == "a" ? e->inputs[0] : constant(0);
    if (Expr value = fold(op, e->inputs)) return value;
    for (const Identity& identity : identities_of(op)) {
      Bindings bound;
      if (!match(identity.pattern, e, bound)) continue;
      return (*this)(substitute(identity.result, bound));
    }
    return e;
  }

  bool real_types_;
  std::unordered_map<const ScalarNode*, Expr> done_;
  std::vector<Expr> keep_;  // Keys of done_ must not be freed and their addresses used again.
};

ScalarFunction map_results(const ScalarFunction& f, bool real_types) {
  ScalarFunction g = f;
  Simplifier simplifier(real_types);
  for (Expr& r : g.results) r = simplifier(r);
  return g;
}

}  // namespace

Expr simplify(const Expr& e) { return Simplifier(false)(e); }
ScalarFunction simplify(const ScalarFunction& f) { return map_results(f, false); }
ScalarFunction specialize(const ScalarFunction& f, DType compute) { return map_results(f, !is_complex(compute)); }

}  // namespace sorus
