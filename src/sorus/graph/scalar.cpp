#include "sorus/graph/scalar.h"

#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

#include "sorus/base/error.h"
#include "sorus/graph/scalar_ops.h"

namespace sorus {
namespace {

using Kind = ScalarNode::Kind;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
  return hash * 0xBF58476D1CE4E5B9u;
}

uint64_t hash_of(const ScalarNode& n) {
  uint64_t h = mix(static_cast<uint64_t>(n.kind) + 1, static_cast<uint64_t>(n.index));
  h = mix(h, static_cast<uint64_t>(n.integer));
  h = mix(h, std::bit_cast<uint64_t>(n.real));
  h = mix(h, reinterpret_cast<uintptr_t>(n.op));
  for (const Expr& input : n.inputs) h = mix(h, reinterpret_cast<uintptr_t>(input.get()));
  return h;
}

// Inputs are interned already, so equality of nodes is shallow.
bool same(const ScalarNode& a, const ScalarNode& b) {
  return a.kind == b.kind && a.index == b.index && a.integer == b.integer &&
         std::bit_cast<uint64_t>(a.real) == std::bit_cast<uint64_t>(b.real) && a.op == b.op && a.inputs == b.inputs;
}

// All living expressions of the process. Entries are weak: an expression dies with its last user.
class Pool {
 public:
  Expr intern(ScalarNode&& node) {
    node.hash = hash_of(node);
    std::lock_guard lock(mutex_);
    auto [first, last] = nodes_.equal_range(node.hash);
    for (auto it = first; it != last; ++it) {
      if (!same(*it->second.first, node)) continue;
      if (Expr living = it->second.second.lock()) return living;
    }
    auto* made = new ScalarNode(std::move(node));
    Expr e(made, [this](const ScalarNode* dying) { drop(dying); });
    nodes_.emplace(made->hash, std::pair{made, std::weak_ptr<const ScalarNode>(e)});
    return e;
  }

 private:
  void drop(const ScalarNode* dying) {
    {
      std::lock_guard lock(mutex_);
      auto [first, last] = nodes_.equal_range(dying->hash);
      for (auto it = first; it != last; ++it) {
        if (it->second.first != dying) continue;
        nodes_.erase(it);
        break;
      }
    }
    delete dying;  // Outside the lock: it drops its inputs.
  }

  std::mutex mutex_;
  std::unordered_multimap<uint64_t, std::pair<const ScalarNode*, std::weak_ptr<const ScalarNode>>> nodes_;
};

Expr intern(ScalarNode&& node) {
  static Pool& pool = *new Pool;  // Never destroyed: expressions in static variables outlive everything.
  return pool.intern(std::move(node));
}

// Arithmetic that keeps real inputs real even if the arguments around it are complex.
bool keeps_real(const ScalarOp& op) {
  return op.name == "add" || op.name == "sub" || op.name == "mul" || op.name == "div" || op.name == "neg" ||
         op.name == "select" || op.name == "conj";
}

}  // namespace

bool ScalarNode::is_call(std::string_view name) const { return kind == Kind::call && op->name == name; }

Expr constant(double value) {
  bool negative_zero = value == 0 && std::signbit(value);
  if (value == std::trunc(value) && std::fabs(value) <= 0x1p53 && !negative_zero) {
    return constant(static_cast<int64_t>(value));
  }
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  ScalarNode n;
  n.kind = Kind::real;
  n.real = value;
  n.is_real = true;
  return intern(std::move(n));
}
Expr constant(int64_t value) {
  ScalarNode n;
  n.kind = Kind::integer;
  n.integer = value;
  n.is_real = true;
  return intern(std::move(n));
}
Expr constant(bool value) {
  ScalarNode n;
  n.kind = Kind::boolean;
  n.integer = value;
  n.is_real = n.is_boolean = true;
  return intern(std::move(n));
}
Expr argument(int index) {
  ScalarNode n;
  n.kind = Kind::argument;
  n.index = index;
  n.uses_argument = true;
  return intern(std::move(n));
}
Expr parameter(int index) {
  ScalarNode n;
  n.kind = Kind::parameter;
  n.index = index;
  return intern(std::move(n));
}
Expr position() {
  ScalarNode n;
  n.kind = Kind::position;
  n.is_real = n.uses_position = true;
  return intern(std::move(n));
}

Expr call(std::string_view name, std::vector<Expr> inputs) {
  const ScalarOp* op = find_scalar_op(name);
  SORUS_CHECK(op, ValueError, "the scalar language has no operation '{}'", name);
  return call(*op, std::move(inputs));
}

Expr call(const ScalarOp& op, std::vector<Expr> inputs) {
  SORUS_CHECK(static_cast<int>(inputs.size()) == op.arity, ValueError,
              "scalar operation '{}' takes {} inputs, not {}", op.name, op.arity, inputs.size());
  if (op.commutative && inputs[1]->is_constant() && !inputs[0]->is_constant()) std::swap(inputs[0], inputs[1]);
  ScalarNode n;
  n.kind = Kind::call;
  n.op = &op;
  n.is_boolean = op.boolean || (op.name == "select" && inputs[1]->is_boolean && inputs[2]->is_boolean);
  bool real_inputs = true;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ScalarNode& input = *inputs[i];
    n.uses_argument |= input.uses_argument;
    n.uses_position |= input.uses_position;
    bool condition = op.conditions >> i & 1;
    if (!condition && !input.is_real) real_inputs = false;
    SORUS_CHECK(!op.integer_inputs || input.kind == Kind::parameter || input.kind == Kind::integer ||
                    input.kind == Kind::position || input.kind == Kind::argument,
                ValueError, "scalar operation '{}': keys must be parameters or integers, and the counter position()",
                op.name);
  }
  n.is_real = n.is_boolean || op.real_valued || !op.complex || (keeps_real(op) && real_inputs);
  n.inputs = std::move(inputs);
  return intern(std::move(n));
}

std::vector<const ScalarNode*> topological_order(std::span<const Expr> roots) {
  std::vector<const ScalarNode*> order;
  std::unordered_set<const ScalarNode*> seen;
  auto visit = [&](auto& self, const ScalarNode* n) -> void {
    if (!seen.insert(n).second) return;
    for (const Expr& input : n->inputs) self(self, input.get());
    order.push_back(n);
  };
  for (const Expr& root : roots) visit(visit, root.get());
  return order;
}

namespace {
bool contains_leaf(const Expr& e, Kind kind, int index) {
  for (const ScalarNode* n : topological_order({&e, 1})) {
    if (n->kind == kind && n->index == index) return true;
  }
  return false;
}
double flops_of(std::span<const Expr> roots) {
  double sum = 0;
  for (const ScalarNode* n : topological_order(roots)) {
    if (n->kind == Kind::call && (n->uses_argument || n->uses_position)) sum += n->op->flops;
  }
  return sum;
}
}  // namespace

bool depends_on_argument(const Expr& e, int index) {
  return e->uses_argument && contains_leaf(e, Kind::argument, index);
}
bool depends_on_parameter(const Expr& e, int index) { return contains_leaf(e, Kind::parameter, index); }
double flops(const ScalarFunction& f) { return flops_of(f.results); }
double flops(const Expr& e) { return flops_of({&e, 1}); }

bool supports(const ScalarFunction& f, DType compute) {
  ScalarFunction special = specialize(f, compute);
  for (const ScalarNode* n : topological_order(special.results)) {
    if (n->kind == Kind::call && !n->op->exists_in(compute)) return false;
    if (n->kind == Kind::real && compute == DType::i64) return false;
  }
  return true;
}

Expr substitute(const Expr& e, std::span<const Expr> args, std::span<const Expr> params) {
  std::unordered_map<const ScalarNode*, Expr> done;
  auto visit = [&](auto& self, const Expr& x) -> Expr {
    if (x->kind == Kind::argument && !args.empty()) return args[static_cast<size_t>(x->index)];
    if (x->kind == Kind::parameter && !params.empty()) return params[static_cast<size_t>(x->index)];
    if (x->kind != Kind::call) return x;
    auto it = done.find(x.get());
    if (it != done.end()) return it->second;
    std::vector<Expr> inputs;
    for (const Expr& input : x->inputs) inputs.push_back(self(self, input));
    Expr made = inputs == x->inputs ? x : call(*x->op, std::move(inputs));
    done.emplace(x.get(), made);
    return made;
  };
  return visit(visit, e);
}

std::string ScalarFunction::canonical() const {
  ScalarFunction plain = *this;
  for (size_t i = 0; i < args.size(); ++i) plain.args[i] = fmt::format("x{}", i);
  for (size_t i = 0; i < params.size(); ++i) plain.params[i] = fmt::format("p{}", i);
  return plain.to_string();
}

uint64_t ScalarFunction::hash() const {
  uint64_t h = 0xCBF29CE484222325u;  // FNV-1a: it has to be the same in every build.
  for (char c : canonical()) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return h;
}

}  // namespace sorus
