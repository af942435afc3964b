#include "sorus/derive/scalar_derivative.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "sorus/base/error.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

using Kind = ScalarNode::Kind;

bool is_zero(const Expr& e) { return e->kind == Kind::integer && e->integer == 0; }

// Rule variables: inputs a, b, c, result y, incoming gradient g.
constexpr int kG = 4;

// The parsed gradient of an operation with respect to one input, as an expression of a, b, c, y, g.
const Expr& rule(const ScalarOp& op, size_t input) {
  static const auto table = [] {
    std::map<std::pair<const ScalarOp*, size_t>, Expr> made;
    for (const ScalarOp& each : scalar_ops()) {
      for (size_t i = 0; i < static_cast<size_t>(each.arity); ++i) {
        std::string_view text = each.gradient[i].empty() ? "0" : each.gradient[i];
        Expr e = parse_scalar(text, {"a", "b", "c", "y", "g"}).results[0];
        if (!is_zero(e) && !depends_on_argument(e, kG)) e = call("mul", {argument(kG), call("conj", {e})});
        made[{&each, i}] = e;
      }
    }
    return made;
  }();
  return table.at({&op, input});
}

Expr sum(const Expr& a, const Expr& b) {
  if (!a || is_zero(a)) return b;
  if (!b || is_zero(b)) return a;
  return call("add", {a, b});
}

class Backward {
 public:
  explicit Backward(int argument) : wanted_(sorus::argument(argument)) {}

  // What reaches the wanted argument when seed[i] reaches root[i].
  Expr operator()(std::span<const Expr> roots, std::span<const Expr> seeds) {
    std::unordered_map<const ScalarNode*, Expr> adjoint;
    for (size_t i = 0; i < roots.size(); ++i) {
      Expr& slot = adjoint[roots[i].get()];
      slot = sum(slot, seeds[i]);
    }
    std::vector<Expr> order = users_first(roots);
    Expr total = constant(0);
    for (const Expr& e : order) {
      auto it = adjoint.find(e.get());
      if (it == adjoint.end() || !it->second || is_zero(it->second)) continue;
      Expr g = it->second;
      if (e == wanted_) {
        total = sum(total, g);
      } else if (e->is_call("select")) {
        Expr yes = (*this)({&e->inputs[1], 1}, {&g, 1}), no = (*this)({&e->inputs[2], 1}, {&g, 1});
        if (!is_zero(yes) || !is_zero(no)) total = sum(total, call("select", {e->inputs[0], yes, no}));
      } else {
        for (size_t i = 0; i < e->inputs.size(); ++i) {
          if (!matters(e->inputs[i])) continue;
          std::array<Expr, 5> with = {constant(0), constant(0), constant(0), e, g};
          std::copy(e->inputs.begin(), e->inputs.end(), with.begin());
          Expr part = simplify(substitute(rule(*e->op, i), with));
          Expr& slot = adjoint[e->inputs[i].get()];
          slot = sum(slot, part);
        }
      }
    }
    return total;
  }

 private:
  bool matters(const Expr& e) { return e->uses_argument && !e->is_boolean && depends_on_argument(e, wanted_->index); }

  // Every expression before its inputs. Branches of a choice are not entered: they are differentiated on their own.
  std::vector<Expr> users_first(std::span<const Expr> roots) {
    std::vector<Expr> order;
    std::unordered_set<const ScalarNode*> seen;
    auto visit = [&](auto& self, const Expr& e) -> void {
      if (!matters(e) || !seen.insert(e.get()).second) return;
      if (e->kind == Kind::call && !e->is_call("select")) {
        for (const Expr& input : e->inputs) self(self, input);
      }
      order.push_back(e);
    };
    for (const Expr& root : roots) visit(visit, root);
    std::reverse(order.begin(), order.end());
    return order;
  }

  Expr wanted_;
};

}  // namespace

bool has_derivative(const ScalarFunction& f, int argument) {
  for (const ScalarNode* n : topological_order(f.results)) {
    if (n->kind != Kind::call || n->op->fixed == 0) continue;
    for (size_t i = 0; i < n->inputs.size(); ++i)
      if ((n->op->fixed >> i & 1) && depends_on_argument(n->inputs[i], argument)) return false;
  }
  return true;
}

Expr derivative(const Expr& e, int argument) {
  Expr one = constant(1);
  return simplify(Backward(argument)({&e, 1}, {&one, 1}));
}

ScalarFunction gradients(const ScalarFunction& f, std::span<const int> arguments) {
  size_t results = f.results.size();
  ScalarFunction made;
  made.params = f.params;
  std::vector<Expr> seeds, shifted;
  for (size_t i = 0; i < results; ++i) {
    std::string name = results == 1 ? "g" : "g" + std::to_string(i);
    while (std::find(f.args.begin(), f.args.end(), name) != f.args.end() ||
           std::find(f.params.begin(), f.params.end(), name) != f.params.end()) {
      name += "_";
    }
    made.args.push_back(name);
    seeds.push_back(argument(static_cast<int>(i)));
  }
  for (size_t i = 0; i < f.args.size(); ++i) {
    made.args.push_back(f.args[i]);
    shifted.push_back(argument(static_cast<int>(results + i)));
  }
  std::vector<Expr> roots;
  for (const Expr& r : f.results) roots.push_back(simplify(substitute(r, shifted)));
  for (int a : arguments) {
    SORUS_ASSERT(a >= 0 && a < static_cast<int>(f.args.size()));
    made.results.push_back(simplify(Backward(static_cast<int>(results) + a)(roots, seeds)));
  }
  return made;
}

ScalarFunction gradient(const ScalarFunction& f, int argument) { return gradients(f, {&argument, 1}); }

}  // namespace sorus
