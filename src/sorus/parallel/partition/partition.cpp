#include "sorus/parallel/partition/partition.h"

#include <algorithm>
#include <optional>
#include <span>
#include <unordered_set>

#include "sorus/run/passes.h"

namespace sorus::parallel {
namespace {

class Partition {
 public:
  Partition(const Graph& graph, const Propagated& p, int64_t rank)
      : from_(graph),
        p_(p),
        mesh_(p.mesh),
        rank_(rank),
        versions_(p.mesh, p.communication, p.micro_axis),
        to_(graph.name()) {}

  LocalGraph run() {
    find_gathered();
    find_sums();
    for (size_t i = 0; i < from_.inputs().size(); ++i) {
      Node* in = from_.inputs()[i];
      TensorType t = in->outputs[0];
      t.shape = block_of(mesh_, p_.inputs[i], t.shape, rank_).sizes;
      add({in, 0}, p_.inputs[i], to_.add_input(t, in->label));
    }
    for (const auto& node : from_.nodes()) {
      if (node->is_input()) continue;
      if (node->is_constant()) {
        const TensorType& t = node->outputs[0];
        add({node.get(), 0}, replicated(mesh_), to_.add_constant(node->constant.scalar(), t.dtype, t.weak));
        continue;
      }
      split(*node);
    }
    std::vector<Value> outputs;
    for (size_t i = 0; i < from_.outputs().size(); ++i) outputs.push_back(get(from_.outputs()[i], p_.outputs[i]));
    to_.set_outputs(std::move(outputs));
    local_.graph = std::move(to_);
    return std::move(local_);
  }

 private:
  void add(const Value& v, const Layout& layout, Value local) {
    size_t i = versions_.add(v, layout);
    auto& have = locals_[v];
    if (have.size() <= i) have.resize(i + 1);
    have[i] = local;
    local_.layouts.try_emplace(local, layout);
  }

  // Inputs that are whole when used only, and what the first result depends on, the forward pass. Micro-batches share
  // what was gathered.
  void find_gathered() {
    if (p_.micro_axis >= 0) return;
    for (size_t i = 0; i < from_.inputs().size(); ++i)
      if (p_.inputs[i] != p_.used_as[i]) gathered_.emplace(Value{from_.inputs()[i], 0}, p_.inputs[i]);
    if (gathered_.empty() || from_.outputs().empty()) return;
    forward_.insert(from_.outputs()[0].node);
    for (size_t i = from_.size(); i-- > 0;)
      if (const Node& node = *from_.nodes()[i]; forward_.contains(&node))
        for (const Value& v : node.inputs)
          if (v) forward_.insert(v.node);
  }

  // Sums over ranks that somebody will read: they are made as soon as the ranks' parts are, so that gradients are on
  // their way while the backward pass goes on. All ranks find the same, since the graph of one device decides.
  void find_sums() {
    auto wants = [&](const Value& v, const Layout& wanted) {
      if (!v.node->op) return;
      const Layout& made = p_.choices.at(v.node).outputs[static_cast<size_t>(v.index)];
      bool sums = false;
      for (size_t a = 0; a < made.size(); ++a) sums |= made[a].is_partial() && !wanted[a].is_partial();
      auto& list = sums_[v];
      if (sums && std::find(list.begin(), list.end(), wanted) == list.end()) list.push_back(wanted);
    };
    for (const auto& node : from_.nodes()) {
      if (!node->op) continue;
      const NodeChoice& c = p_.choices.at(node.get());
      for (size_t i = 0; i < node->inputs.size(); ++i)
        if (node->inputs[i]) wants(node->inputs[i], c.inputs[i]);
    }
    for (size_t i = 0; i < from_.outputs().size(); ++i) wants(from_.outputs()[i], p_.outputs[i]);
  }

  // For the backward pass, once `after` is there.
  Value get_again(const Value& v, const Layout& wanted, const Value& after) {
    const Layout& stored = gathered_.at(v);
    auto& made = again_[v];
    for (const auto& [layout, local] : made)
      if (layout == wanted) return local;
    Value local = locals_.at(v)[0];
    Layout now = stored;
    local = follow(local, redistribution(mesh_, stored, wanted), now, v, after);
    made.emplace_back(wanted, local);
    return local;
  }

  void split(const Node& node) {
    const NodeChoice& c = p_.choices.at(&node);
    std::vector<Value> inputs(node.inputs.size());
    Value after;  // what else the operator waits for
    std::vector<size_t> later;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const Value& v = node.inputs[i];
      if (!v) continue;
      if (auto it = gathered_.find(v);
          it != gathered_.end() && !forward_.contains(&node) && c.inputs[i] != it->second) {
        later.push_back(i);
        continue;
      }
      inputs[i] = get(v, c.inputs[i]);
      if (v.node->op && !forward_.contains(v.node)) after = inputs[i];
    }
    for (size_t i : later)
      inputs[i] = after ? get_again(node.inputs[i], c.inputs[i], after) : get(node.inputs[i], c.inputs[i]);
    auto types = node.input_types();
    TypeCall whole{*node.op, types, node.attrs};
    Attrs attrs = node.attrs;
    if (has_shard_attrs(*node.op)) {
      ShardingRule rule = sharding_rule(whole);
      attrs = shard_attrs(whole, rule, parts_of(mesh_, rule, c.factors, rank_));
    }
    Node* made = to_.add(*node.op, std::move(inputs), std::move(attrs), node.source);
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      Value v{const_cast<Node*>(&node), static_cast<int>(o)};
      add(v, c.outputs[o], {made, static_cast<int>(o)});
      if (auto mark = p_.marks.find(v); mark != p_.marks.end()) get(v, mark->second);
      for (const Layout& wanted : sums_[v]) get(v, wanted);
    }
  }

  Value get(const Value& v, const Layout& wanted) {
    Versions::Source source = versions_.find(v, wanted);
    if (source.moves.empty()) return locals_.at(v)[source.version];
    Value local;
    if (std::optional<Value> again = made_in_place(v, source, wanted)) {
      local = *again;
    } else {
      local = locals_.at(v)[source.version];
      Layout now = versions_.of(v)[source.version];
      local = follow(local, source.moves, now, v);
    }
    add(v, wanted, local);
    return local;
  }

  // A block of what is the same everywhere (a constant, an expanded number, a draw) is made as that block at once.
  std::optional<Value> made_in_place(const Value& v, const Versions::Source& source, const Layout& wanted) {
    const Node& node = *v.node;
    if (!node.op || node.outputs.size() != 1 || !has_shard_attrs(*node.op)) return std::nullopt;
    for (const Move& m : source.moves)
      if (m.kind != Move::Kind::slice) return std::nullopt;
    for (const Placement& p : p_.choices.at(&node).outputs[0])
      if (!p.is_replicate()) return std::nullopt;
    auto types = node.input_types();
    TypeCall call{*node.op, types, node.attrs};
    ShardingRule rule = sharding_rule(call);
    const Shape& shape = node.outputs[0].shape;
    Block b = block_of(mesh_, wanted, shape, rank_);
    std::vector<ShardPart> parts = parts_of(mesh_, rule, {}, rank_);
    for (const Placement& p : wanted) {
      if (!p.is_shard()) continue;
      auto d = static_cast<size_t>(p.dim);
      int f = rule.outputs[0][d];
      if (f < 0 || rule.factors[static_cast<size_t>(f)].kind != ShardFactor::Kind::kept) return std::nullopt;
      for (const auto& dims : rule.inputs)
        if (std::find(dims.begin(), dims.end(), f) != dims.end()) return std::nullopt;
      int64_t unit = shape[d] / rule.factors[static_cast<size_t>(f)].size;
      if (b.start[d] % unit || b.sizes[d] % unit) return std::nullopt;
      parts[static_cast<size_t>(f)] = {b.start[d] / unit, b.sizes[d] / unit};
    }
    std::vector<Value> inputs;
    for (const Value& in : node.inputs) inputs.push_back(in ? get(in, replicated(mesh_)) : Value{});
    Value made{to_.add(*node.op, std::move(inputs), shard_attrs(call, rule, parts), node.source), 0};
    if (made.type().shape != b.sizes) return std::nullopt;
    local_.layouts.try_emplace(made, wanted);
    return made;
  }

  // `now`: how the local value lies, before and after. `whole`: the value that it is a block of.
  Value follow(Value local, const std::vector<Move>& moves, Layout& now, const Value& whole,
               const Value& after = {}) {
    for (size_t i = 0; i < moves.size();) {
      size_t n = joint_moves(moves, i, p_.micro_axis);
      local = move(local, std::span(moves).subspan(i, n), now, whole, after);
      local_.layouts.try_emplace(local, now);
      i += n;
    }
    return local;
  }
  // Moves that one collective does.
  Value move(const Value& local, std::span<const Move> moves, Layout& now, const Value& whole, const Value& after) {
    const SourceLocation& source = whole.node->source;
    const Move& m = moves[0];
    Layout before = now;
    std::vector<int> axes;
    for (const Move& each : moves) {
      apply_move(each, now);
      axes.push_back(each.axis);
    }
    if (m.axis == p_.micro_axis) return over_time(local, m, source);
    std::sort(axes.begin(), axes.end());
    if (axes.size() > 1) local_.joint_axes.insert(axes);
    std::vector<int> peers = mesh_.peers(rank_, axes);
    auto me = std::find(peers.begin(), peers.end(), static_cast<int>(rank_)) - peers.begin();
    Collective c{m, p_.group(axes), static_cast<int64_t>(peers.size()), me, {}, {}};
    auto sizes = [&](const Layout& l) {  // of the peers' blocks of the dimension that `l` cuts
      const Placement& cut = l[static_cast<size_t>(m.axis)];
      Shape out;
      for (int r : peers)
        if (cut.is_shard())
          out.push_back(block_of(mesh_, l, whole.type().shape, r).sizes[static_cast<size_t>(cut.dim)]);
      return out;
    };
    c.cut = sizes(now), c.joined = sizes(before);
    return between_ranks(local, c, source, after);
  }

  Value call(const char* name, std::vector<Value> inputs, Attrs attrs, const SourceLocation& source) {
    return {to_.add(find_op(name), std::move(inputs), std::move(attrs), source), 0};
  }

  // Over micro-batches, which are of one size, there are two collectives only; a block of what they give is cut out
  // of it.
  Value over_time(const Value& v, const Move& m, const SourceLocation& source) {
    int64_t n = mesh_.size(m.axis), at = mesh_.coordinate(rank_, m.axis);
    Attr group(p_.group({m.axis})), op(std::string(reduction_name(m.op)));
    auto whole = [&](const char* name, std::vector<Value> inputs, Attrs attrs, Move::Kind kind, int dim) {
      Value r = call(name, std::move(inputs), std::move(attrs), source);
      Move over = m;
      over.kind = kind;
      over.dim = dim;
      local_.over_micro_batches.emplace(r.node, over);
      Layout l = local_.layouts.at(v);
      l[static_cast<size_t>(m.axis)] = Replicate();
      local_.layouts.try_emplace(r, l);
      return r;
    };
    auto sum = [&] { return whole("all_reduce", {v}, {op, group}, Move::Kind::all_reduce, -1); };
    auto join = [&](int dim) {
      return whole("all_gather", {v, Value{}}, {Attr(dim), Attr(n), group, Attr(), Attr(0)}, Move::Kind::all_gather,
                   dim);
    };
    auto cut = [&](const Value& r) {
      int64_t length = r.type().shape[static_cast<size_t>(m.dim)] / n;
      return call("slice", {r}, {Attr(m.dim), Attr(at * length), Attr((at + 1) * length), Attr(1)}, source);
    };
    switch (m.kind) {
      case Move::Kind::slice:
        return cut(v);
      case Move::Kind::all_reduce:
        return sum();
      case Move::Kind::all_gather:
        return join(m.dim);
      case Move::Kind::reduce_scatter:
        return cut(sum());
      case Move::Kind::all_to_all:
        return cut(join(m.from));
      case Move::Kind::mask:
        break;
    }
    fail<NotImplementedError>("a value that is the same for all micro-batches cannot become a partial one of them");
  }

  struct Collective {
    const Move& move;
    std::string group;
    int64_t ranks, rank;
    Shape cut, joined;  // sizes of the blocks of the dimension that is cut, and of the one that is joined
  };
  static Attr unless_equal(const Shape& sizes) { return all_equal(sizes) ? Attr() : Attr(sizes); }

  Value between_ranks(const Value& v, const Collective& c, const SourceLocation& source, const Value& after) {
    const Move& m = c.move;
    Attr group(c.group), op(std::string(reduction_name(m.op))), n(c.ranks), me(c.rank);
    switch (m.kind) {
      case Move::Kind::slice: {
        int64_t start = 0;
        for (int64_t r = 0; r < c.rank; ++r) start += c.cut[static_cast<size_t>(r)];
        int64_t end = start + c.cut[static_cast<size_t>(c.rank)];
        return call("slice", {v}, {Attr(m.dim), Attr(start), Attr(end), Attr(1)}, source);
      }
      case Move::Kind::all_reduce:
        return call("all_reduce", {v}, {op, group}, source);
      case Move::Kind::all_gather:
        return call("all_gather", {v, after}, {Attr(m.dim), n, group, unless_equal(c.joined), me}, source);
      case Move::Kind::reduce_scatter:
        return call("reduce_scatter", {v}, {Attr(m.dim), n, op, group, unless_equal(c.cut), me}, source);
      case Move::Kind::all_to_all:
        return call("all_to_all", {v},
                    {Attr(m.dim), Attr(m.from), n, group, unless_equal(c.cut), unless_equal(c.joined), me}, source);
      case Move::Kind::mask: {
        // The same candidate at every rank is as good as one.
        bool sum = m.op == ShardFactor::Kind::sum, product = m.op == ShardFactor::Kind::prod;
        if (c.rank == 0 || (!sum && !product)) return v;
        // It depends on the value, so that collectives in front of it come at all ranks, in the same order.
        Value never = call("full", {}, {Attr(Shape{}), Attr(false), Attr(DType::boolean)}, source);
        Value neutral = call("full", {}, {Attr(Shape{}), Attr(sum ? 0 : 1), Attr(v.type().dtype)}, source);
        return call("where", {never, v, neutral}, {}, source);
      }
    }
    return v;
  }

  const Graph& from_;
  const Propagated& p_;
  const DeviceMesh& mesh_;
  int64_t rank_;
  Versions versions_;
  std::unordered_map<Value, std::vector<Value>> locals_;
  std::unordered_map<Value, Layout> gathered_;  // and how they are stored
  std::unordered_set<const Node*> forward_;
  std::unordered_map<Value, std::vector<Layout>> sums_;
  std::unordered_map<Value, std::vector<std::pair<Layout, Value>>> again_;
  Graph to_;
  LocalGraph local_;
};

}  // namespace

Graph prepare_for_partition(const Graph& graph) {
  Graph g = simplify_graph(
      expand_composites(simplify_graph(graph), [](const OpDef& op) { return op.is_kernel_in_graphs(); }));
  // Every output is made by some node.
  for (Value& v : g.outputs())
    if (!v.node->op) v = {g.add(find_op("clone"), {v}, {}), 0};
  return g;
}

Graph partition(const Graph& graph, const Propagated& propagated, int64_t rank) {
  return Partition(graph, propagated, rank).run().graph;
}

LocalGraph partition_local(const Graph& graph, const Propagated& propagated, int64_t rank) {
  return Partition(graph, propagated, rank).run();
}

}  // namespace sorus::parallel
