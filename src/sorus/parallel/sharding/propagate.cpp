#include "sorus/parallel/sharding/propagate.h"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_set>

#include "sorus/derive/cost.h"

namespace sorus::parallel {
namespace {

constexpr int kNone = -1, kPasses = -2;

bool linear_cached(const OpDef& op, const std::vector<int>& slots) {
  thread_local std::map<std::pair<const OpDef*, std::vector<int>>, bool> known;
  auto [it, fresh] = known.try_emplace({&op, slots}, false);
  if (fresh) it->second = is_linear(op, slots);
  return it->second;
}

// Blocks of a factor that is not cut equally are blocks of every dimension that it is of.
Placement shard_of(int dim, int64_t size, const ShardFactor& f, int64_t parts) {
  return Shard(dim, f.size % parts == 0 ? 1 : size / f.size);
}

using Wishes = std::unordered_map<Value, Layout>;

class Propagation {
 public:
  Propagation(const Graph& graph, const Request& request, const Wishes& wishes)
      : graph_(graph),
        request_(request),
        wishes_(wishes),
        mesh_(request.mesh),
        versions_(request.mesh, request.communication, request.micro ? request.mesh.axes() - 1 : -1) {
    out_.mesh = mesh_;
    out_.micro_axis = request.micro ? mesh_.axes() - 1 : -1;
    out_.ranks = mesh_;
    out_.communication = request.communication;
    out_.marks = request.marks;
  }

  Propagated run() {
    place_inputs();
    demand_outputs();
    for (const auto& node : graph_.nodes()) {
      if (node->is_input()) continue;
      if (node->is_constant()) {
        made({node.get(), 0}, replicated(mesh_));
        continue;
      }
      visit(*node);
    }
    for (size_t i = 0; i < graph_.outputs().size(); ++i) fetch(graph_.outputs()[i], out_.outputs[i]);
    return std::move(out_);
  }

 private:
  struct Candidate {
    std::vector<int> factors;
    NodeChoice choice;
    double seconds = 0;
  };

  Layout wanted(const std::unordered_map<int, Layout>& from, size_t index, const Value& v, const char* what) const {
    auto it = from.find(static_cast<int>(index));
    if (it == from.end()) return replicated(mesh_);
    check_layout(mesh_, it->second, v.type().shape,
                 v.node->label.empty() ? fmt::format("{} {}", what, index) : v.node->label);
    Layout l = it->second;
    for (int a = 0; a < mesh_.axes(); ++a)  // along one rank all layouts are the same
      if (mesh_.size(a) == 1) l[static_cast<size_t>(a)] = Replicate();
    return l;
  }

  void place_inputs() {
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      Value v{graph_.inputs()[i], 0};
      out_.inputs.push_back(wanted(request_.inputs, i, v, "input"));
      versions_.add(v, out_.inputs.back());
      out_.used_as.push_back(request_.used_as.contains(static_cast<int>(i)) ? wanted(request_.used_as, i, v, "input")
                                                                            : out_.inputs.back());
      out_.layouts[v] = out_.used_as.back();
      if (out_.used_as.back() != out_.inputs.back()) gathered_.insert(v);
    }
  }

  void demand_outputs() {
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      const Value& v = graph_.outputs()[i];
      out_.outputs.push_back(wanted(request_.outputs, i, v, "output"));
      demands_[v].push_back(out_.outputs.back());
    }
    for (const auto& [v, layout] : request_.marks) {
      check_layout(mesh_, layout, v.type().shape,
                   fmt::format("%{} ({})", v.node->id, v.node->op ? v.node->op->name() : "input"));
      demands_[v].push_back(layout);
    }
  }

  void made(const Value& v, Layout layout) {
    versions_.add(v, layout);
    if (auto it = request_.marks.find(v); it != request_.marks.end() && it->second != layout) {
      fetch(v, it->second);
      layout = it->second;
    }
    out_.layouts[v] = std::move(layout);
  }

  void fetch(const Value& v, const Layout& layout) {
    out_.communication_seconds += versions_.find(v, layout).seconds;
    versions_.add(v, layout);
  }

  // Factors that may be split along an axis, beside doing nothing.
  std::vector<int> options(const Node& node, const ShardingRule& rule, int axis) const {
    auto a = static_cast<size_t>(axis);
    std::vector<int> out{kNone};
    bool asked = false;
    std::vector<int> partial;
    std::optional<ShardFactor::Kind> op;
    bool one_kind = true;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!node.inputs[i]) continue;
      const Placement& p = out_.layouts.at(node.inputs[i])[a];
      asked = asked || !p.is_replicate();
      if (!p.is_partial()) continue;
      one_kind = one_kind && (!op || *op == p.op);
      op = p.op;
      partial.push_back(static_cast<int>(i));
    }
    for (size_t o = 0; o < node.outputs.size(); ++o)
      if (auto it = demands_.find({const_cast<Node*>(&node), static_cast<int>(o)}); it != demands_.end())
        for (const Layout& l : it->second) asked = asked || l[a].is_shard();
    for (size_t o = 0; o < node.outputs.size(); ++o)
      if (auto it = wishes_.find({const_cast<Node*>(&node), static_cast<int>(o)}); it != wishes_.end())
        asked = asked || it->second[a].is_shard();
    if (!asked || mesh_.size(axis) == 1) return out;
    for (size_t f = 0; f < rule.factors.size(); ++f)
      if (rule.factors[f].can_split() && fits(rule.factors[f].size, mesh_.size(axis), axis == out_.micro_axis))
        out.push_back(static_cast<int>(f));
    if (!partial.empty() && one_kind && passes(node, partial, *op)) out.push_back(kPasses);
    return out;
  }

  // Every rank has something, and every micro-batch as much as the others.
  static bool fits(int64_t size, int64_t parts, bool micro) { return size >= parts && (!micro || size % parts == 0); }

  static bool passes(const Node& node, const std::vector<int>& partial, ShardFactor::Kind op) {
    if (node.op->is_view()) return true;
    // Rounding to fewer digits before adding up would lose some.
    for (int slot : partial)
      for (const TensorType& t : node.outputs)
        if (t.dtype != node.inputs[static_cast<size_t>(slot)].type().dtype) return false;
    return op == ShardFactor::Kind::sum && linear_cached(*node.op, partial);
  }

  // The layouts that follow from the factors; nothing if they do not fit together.
  std::optional<NodeChoice> choice_of(const Node& node, const ShardingRule& rule,
                                      const std::vector<int>& factors) const {
    NodeChoice c;
    c.factors = factors;
    auto axes = static_cast<size_t>(mesh_.axes());
    std::vector<int64_t> parts(rule.factors.size(), 1);
    for (size_t f = 0; f < rule.factors.size(); ++f) {  // several axes may split one factor
      bool micro = false;
      for (size_t a = 0; a < axes; ++a)
        if (factors[a] == static_cast<int>(f)) {
          parts[f] *= mesh_.size(static_cast<int>(a));
          micro = micro || static_cast<int>(a) == out_.micro_axis;
        }
      if (parts[f] > 1 && !fits(rule.factors[f].size, parts[f], micro)) return std::nullopt;
    }
    auto side = [&](const std::vector<int>& dims, const Shape& shape, size_t a, bool output,
                    size_t slot) -> Placement {
      int f = factors[a];
      if (f == kPasses) {
        if (output) return Partial(partial_kind(node, a));
        const Value& v = node.inputs[slot];
        return v && out_.layouts.at(v)[a].is_partial() ? out_.layouts.at(v)[a] : Replicate();
      }
      if (f == kNone) return Replicate();
      const ShardFactor& factor = rule.factors[static_cast<size_t>(f)];
      for (size_t d = 0; d < dims.size(); ++d)
        if (dims[d] == f) return shard_of(static_cast<int>(d), shape[d], factor, parts[static_cast<size_t>(f)]);
      bool partial = output ? factor.kind != ShardFactor::Kind::kept : rule.is_added(slot, f);
      return partial ? Partial(factor.kind) : Replicate();
    };
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      Layout l(axes);
      if (node.inputs[i])
        for (size_t a = 0; a < axes; ++a) l[a] = side(rule.inputs[i], node.inputs[i].type().shape, a, false, i);
      c.inputs.push_back(std::move(l));
    }
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      Layout l(axes);
      for (size_t a = 0; a < axes; ++a) l[a] = side(rule.outputs[o], node.outputs[o].shape, a, true, o);
      c.outputs.push_back(std::move(l));
    }
    return c;
  }

  ShardFactor::Kind partial_kind(const Node& node, size_t a) const {
    for (const Value& v : node.inputs)
      if (v && out_.layouts.at(v)[a].is_partial()) return out_.layouts.at(v)[a].op;
    return ShardFactor::Kind::sum;
  }

  double seconds_of(const Node& node, const ShardingRule& rule, const NodeChoice& c, double arithmetic) const {
    // Micro-batches come one after the other: to split among them saves no time. Rank 0 has the largest parts.
    double total = arithmetic;
    std::vector<int> factors = c.factors;
    if (out_.micro_axis >= 0) factors[static_cast<size_t>(out_.micro_axis)] = kNone;
    std::vector<ShardPart> mine = parts_of(mesh_, rule, factors, 0);
    for (size_t f = 0; f < mine.size(); ++f)
      if (mine[f].size < rule.factors[f].size)
        total *= static_cast<double>(mine[f].size) / static_cast<double>(rule.factors[f].size);
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (node.inputs[i]) total += versions_.find(node.inputs[i], c.inputs[i]).seconds;
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      Value v{const_cast<Node*>(&node), static_cast<int>(o)};
      auto add = [&](const Layout& l) {
        total += cost_of(mesh_, redistribution(mesh_, c.outputs[o], l, out_.micro_axis), c.outputs[o],
                         node.outputs[o], request_.communication);
      };
      if (auto it = demands_.find(v); it != demands_.end())
        for (const Layout& l : it->second) add(l);
      if (auto it = wishes_.find(v); it != wishes_.end()) add(it->second);
    }
    return total;
  }

  // Whether shards of the call have the types that the layouts promise.
  bool holds(const Node& node, const ShardingRule& rule, const NodeChoice& c) const {
    // The first rank has the largest blocks, the last one the smallest.
    return holds(node, rule, c, 0) && holds(node, rule, c, mesh_.size() - 1);
  }
  bool holds(const Node& node, const ShardingRule& rule, const NodeChoice& c, int64_t rank) const {
    std::vector<TensorType> types(node.inputs.size());
    std::vector<const TensorType*> pointers(node.inputs.size(), nullptr);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (!node.inputs[i]) continue;
      types[i] = node.inputs[i].type();
      types[i].shape = block_of(mesh_, c.inputs[i], types[i].shape, rank).sizes;
      pointers[i] = &types[i];
    }
    auto whole = node.input_types();
    Attrs attrs = shard_attrs(TypeCall{*node.op, whole, node.attrs}, rule, parts_of(mesh_, rule, c.factors, rank));
    try {
      std::vector<TensorType> results = infer_types(TypeCall{*node.op, pointers, attrs});
      for (size_t o = 0; o < results.size(); ++o)
        if (results[o].shape != block_of(mesh_, c.outputs[o], node.outputs[o].shape, rank).sizes) return false;
    } catch (const Error&) {
      return false;
    }
    return true;
  }

  void visit(const Node& node) {
    auto types = node.input_types();
    TypeCall call{*node.op, types, node.attrs};
    auto axes = static_cast<size_t>(mesh_.axes());
    std::vector<Candidate> candidates;
    ShardingRule rule = sharding_rule(call);
    std::vector<std::vector<int>> choices;
    bool only_whole = true;
    for (size_t a = 0; a < axes; ++a) {
      choices.push_back(options(node, rule, static_cast<int>(a)));
      only_whole = only_whole && choices.back().size() == 1;
    }
    if (only_whole) {
      take(node, *choice_of(node, rule, std::vector<int>(axes, kNone)));
      return;
    }
    // What is cut to save memory only is not computed with in pieces, but by what makes its new value.
    bool demanded = false, reads_gathered = false;
    for (size_t o = 0; o < node.outputs.size(); ++o)
      demanded = demanded || demands_.contains({const_cast<Node*>(&node), static_cast<int>(o)});
    for (const Value& v : node.inputs) reads_gathered = reads_gathered || (v && gathered_.contains(v));
    auto keeps_whole = [&](const NodeChoice& c) {
      if (demanded || !reads_gathered) return true;
      for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (!node.inputs[i] || !gathered_.contains(node.inputs[i])) continue;
        for (size_t a = 0; a < axes; ++a)  // along an axis where it is whole when used
          if (out_.layouts.at(node.inputs[i])[a].is_replicate() && c.inputs[i][a].is_shard()) return false;
      }
      return true;
    };
    Cost cost = sorus::cost_of(call);
    double arithmetic = cost.flops / request_.flops_per_second + cost.bytes / request_.memory_bytes_per_second;
    std::vector<int> factors(axes, kNone);
    auto enumerate = [&](auto&& self, size_t a) -> void {
      if (a == axes) {
        if (auto c = choice_of(node, rule, factors); c && keeps_whole(*c))
          candidates.push_back({factors, *c, seconds_of(node, rule, *c, arithmetic)});
        return;
      }
      for (int f : choices[a]) {
        factors[a] = f;
        self(self, a + 1);
      }
    };
    enumerate(enumerate, 0);
    std::stable_sort(candidates.begin(), candidates.end(),
                     [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
    for (const Candidate& c : candidates)
      if (holds(node, rule, c.choice)) {
        take(node, c.choice);
        return;
      }
    fail<Error>("no layout fits {} in the graph {}", node.op->name(), graph_.name());
  }

  void take(const Node& node, NodeChoice c) {
    for (size_t i = 0; i < node.inputs.size(); ++i)
      if (node.inputs[i]) fetch(node.inputs[i], c.inputs[i]);
    for (size_t o = 0; o < node.outputs.size(); ++o)
      made({const_cast<Node*>(&node), static_cast<int>(o)}, c.outputs[o]);
    out_.choices.emplace(&node, std::move(c));
  }

  const Graph& graph_;
  const Request& request_;
  const Wishes& wishes_;
  const DeviceMesh& mesh_;
  Versions versions_;
  std::unordered_map<Value, std::vector<Layout>> demands_;
  std::unordered_set<Value> gathered_;
  Propagated out_;
};

// What is made whole along axes along which all its readers take the same block.
void add_wishes(const Graph& graph, const Propagated& found, Wishes& wishes) {
  std::unordered_map<Value, std::vector<const Layout*>> uses;
  for (const auto& node : graph.nodes())
    if (auto it = found.choices.find(node.get()); it != found.choices.end())
      for (size_t i = 0; i < node->inputs.size(); ++i)
        if (node->inputs[i]) uses[node->inputs[i]].push_back(&it->second.inputs[i]);
  for (size_t i = 0; i < graph.outputs().size(); ++i) uses[graph.outputs()[i]].push_back(&found.outputs[i]);
  for (const auto& [v, layouts] : uses) {
    if (!found.choices.contains(v.node) || wishes.contains(v)) continue;
    const Layout &made = found.layouts.at(v), &used = *layouts[0];
    bool smaller = made != used;
    for (const Layout* l : layouts) smaller = smaller && *l == used;
    for (size_t a = 0; smaller && a < made.size(); ++a)
      smaller = made[a] == used[a] ||
                (made[a].is_replicate() && used[a].is_shard() && static_cast<int>(a) != found.micro_axis);
    if (smaller) wishes.emplace(v, used);
  }
}

}  // namespace

std::string Propagated::group(const std::vector<int>& axes) const {
  if (axes.back() == micro_axis) return mesh.group(axes);  // a name only: its collectives are none between ranks
  std::vector<int> there;
  for (int a : axes) there.push_back(a + first_axis);
  return ranks.group(there);
}

std::vector<ShardPart> parts_of(const DeviceMesh& mesh, const ShardingRule& rule, const std::vector<int>& factors,
                                int64_t rank) {
  std::vector<ShardPart> out;
  for (size_t f = 0; f < rule.factors.size(); ++f) {
    ShardPart p{0, rule.factors[f].size};
    for (size_t a = 0; a < factors.size(); ++a)
      if (factors[a] == static_cast<int>(f)) {
        int axis = static_cast<int>(a);
        ShardPart inner = shard_part(p.size, mesh.size(axis), mesh.coordinate(rank, axis));
        p = {p.start + inner.start, inner.size};
      }
    out.push_back(p);
  }
  return out;
}

Versions::Source Versions::find(const Value& v, const Layout& wanted) const {
  const std::vector<Layout>& have = have_.at(v);
  Source best;
  best.seconds = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < have.size(); ++i) {
    if (have[i] == wanted) return {i, {}, 0};
    std::vector<Move> moves = redistribution(mesh_, have[i], wanted, time_);
    double seconds = cost_of(mesh_, moves, have[i], v.type(), model_);
    if (seconds < best.seconds) best = {i, std::move(moves), seconds};
  }
  return best;
}

size_t Versions::add(const Value& v, const Layout& layout) {
  std::vector<Layout>& have = have_[v];
  auto it = std::find(have.begin(), have.end(), layout);
  if (it != have.end()) return static_cast<size_t>(it - have.begin());
  have.push_back(layout);
  return have.size() - 1;
}

Propagated propagate(const Graph& graph, const Request& request) {
  constexpr int kRounds = 8;  // each goes one node further back along a chain
  Wishes wishes;
  for (int round = 1;; ++round) {
    Propagated found = Propagation(graph, request, wishes).run();
    size_t before = wishes.size();
    add_wishes(graph, found, wishes);
    if (wishes.size() == before || round == kRounds) return found;
  }
}

}  // namespace sorus::parallel
