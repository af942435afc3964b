#include "sorus/run/fuse.h"

#include <algorithm>
#include <limits>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "sorus/run/access.h"
#include "sorus/run/loop_role.h"

namespace sorus {
namespace {

constexpr size_t kMaxMembers = 48;
constexpr int64_t kWantedColumns = 2048;
constexpr double kBorrowedFlops = 12;

std::shared_ptr<const ScalarFunction> identity_body() {
  static const auto f = std::make_shared<const ScalarFunction>(parse_scalar("x", {"x"}));
  return f;
}

// ---- groups
// ------------------------------------------------------------------------------------------------------------

struct Group {
  int64_t points = 0;
  int64_t columns = 0;  ///< 0: not fixed yet
  std::vector<const Node*> members;
  std::unordered_map<const Node*, Domain> domains;
  std::set<int> inputs;  ///< units it reads from
};

class Fuser {
 public:
  Fuser(const Graph& graph, const Placement& placement) : graph_(graph), placement_(placement) {}

  std::vector<Unit> run() {
    for (const auto& node : graph_.nodes()) place(*node);
    borrow();
    for (const Value& v : graph_.outputs()) use(*resolve_memory(v));
    for (size_t u = 0; u < groups_.size(); ++u) {
      if (kernels_[u])
        for (const Operand& o : operands_[kernels_[u]]) use_if(o, nullptr);
      for (const Node* m : groups_[u].members)
        for (const Operand& o : operands_[m]) use_if(o, &groups_[u]);
    }
    std::vector<Unit> out;
    for (int u : ordered()) out.push_back(finished(u));
    return out;
  }

 private:
  void use(const Operand& o) { used_.insert(o.source); }
  // What a unit does not make itself it reads from memory.
  void use_if(const Operand& o, const Group* reader) {
    if (o.source && (!reader || !reader->domains.contains(o.source.node))) use(o);
  }

  // The value in memory behind `v`; views that cannot be expressed were made units when they were placed.
  std::optional<Operand> resolve_memory(const Value& v) const {
    if (copied_.contains(v.node) || !v.node->op || !v.node->op->is_view()) return placement_.home(v);
    std::optional<Operand> in = resolve_memory(v.node->inputs[0]);
    auto types = v.node->input_types();
    auto shown = v.node->op->view(TypeCall{*v.node->op, types, v.node->attrs}, in->view);
    if (!shown) return std::nullopt;
    return Operand{in->source, *shown};
  }

  void place(const Node& node) {
    if (!node.op) return;
    if (constant_of({const_cast<Node*>(&node), 0})) return;
    if (node.op->is_view()) {
      if (resolve_memory({const_cast<Node*>(&node), 0})) return;
      // No strides can show it: its input is copied in order, and the copy has the new shape.
      copied_.insert(&node);
      operands_[&node] = {*resolve_memory(node.inputs[0])};
      Role r;
      r.kind = Role::Kind::each;
      r.body = identity_body();
      r.compute = compute_type(node.outputs[0].dtype);
      r.points = node.inputs[0].type().shape;
      if (is_complex(r.compute) || numel(r.points) == 0) r.kind = Role::Kind::none;
      assign(node, r);
      return;
    }
    std::vector<Operand> operands;
    if (placement_.is_assembled(&node)) {  // a kernel with nothing to do, which its readers depend on
      for (const Value& v : placement_.parts(&node)) operands.push_back({v, {}});
      operands_[&node] = std::move(operands);
      assign(node, Role());
      return;
    }
    for (const Value& v : node.inputs) operands.push_back(v ? *resolve_memory(v) : Operand{});
    Role role = role_of(node);
    if (role.kind != Role::Kind::none && !role.slots.empty()) {
      std::vector<Operand> arguments = over_points(operands, role);
      bool possible = std::all_of(arguments.begin(), arguments.end(), [&](const Operand& o) {
        return constant_of(o.source) || access_rows(o.view, role.points, std::max<int64_t>(role.columns, 1));
      });
      if (possible && role.index_slot >= 0) {
        const Operand& index = operands[static_cast<size_t>(role.index_slot)];
        possible = !constant_of(index.source);
        index_operands_[&node] = index;
      }
      if (possible)
        operands = std::move(arguments);
      else
        role = Role();
    }
    operands_[&node] = std::move(operands);
    assign(node, std::move(role));
  }

  // The operands as arguments of the body, each with the strides it has over the points.
  static std::vector<Operand> over_points(const std::vector<Operand>& operands, const Role& role) {
    std::vector<Operand> out;
    for (size_t i = 0; i < role.slots.size(); ++i) {
      const Operand& o = operands[static_cast<size_t>(role.slots[i])];
      Geometry g{role.points, Shape(role.points.size(), 0), o.view.offset};
      for (size_t d = 0; d < role.dims[i].size(); ++d)
        if (role.dims[i][d] >= 0) g.strides[static_cast<size_t>(role.dims[i][d])] += o.view.strides[d];
      out.push_back({o.source, std::move(g)});
    }
    return out;
  }

  void assign(const Node& node, Role role) {
    if (role.kind == Role::Kind::none) {
      unit_of_[&node] = new_unit(&node);
      return;
    }
    roles_[&node] = role;
    std::set<int, std::greater<>> candidates;
    for (const Operand& o : operands_[&node])
      if (o.source && unit_of_.contains(o.source.node)) candidates.insert(unit_of_[o.source.node]);
    for (int u : candidates)
      if (!kernels_[static_cast<size_t>(u)] && join(node, role, u)) return;
    int u = new_unit(nullptr);
    groups_[static_cast<size_t>(u)].points = numel(role.points);
    bool joined = join(node, role, u);
    SORUS_ASSERT(joined);
  }

  int new_unit(const Node* kernel) {
    groups_.emplace_back();
    kernels_.push_back(kernel);
    int u = static_cast<int>(groups_.size()) - 1;
    if (kernel)
      for (const Operand& o : operands_[kernel])
        if (o.source && unit_of_.contains(o.source.node)) groups_.back().inputs.insert(unit_of_[o.source.node]);
    if (kernel && kernel->op->calls_ranks()) {  // in the order of the graph, whatever is fused
      if (last_call_ >= 0) groups_.back().inputs.insert(last_call_);
      last_call_ = u;
    }
    return u;
  }

  bool depends(int unit, int on) const {
    std::vector<int> pending{unit};
    std::unordered_set<int> seen;
    while (!pending.empty()) {
      int u = pending.back();
      pending.pop_back();
      if (u == on) return true;
      for (int next : groups_[static_cast<size_t>(u)].inputs)
        if (seen.insert(next).second) pending.push_back(next);
    }
    return false;
  }

  // Whether all reads of the group's members are possible with rows of `columns`.
  bool expressible(const Group& g, int64_t columns) const {
    if (g.points % columns != 0) return false;
    for (const Node* m : g.members) {
      if (g.domains.at(m) == Domain::row) continue;
      for (const Operand& o : operands_.at(m))
        if (!g.domains.contains(o.source.node) && !constant_of(o.source) &&
            !access_rows(o.view, roles_.at(m).points, columns))
          return false;
    }
    return true;
  }

  bool join(const Node& node, const Role& role, int u) {
    Group& g = groups_[static_cast<size_t>(u)];
    if (g.members.size() >= kMaxMembers) return false;
    int64_t n = numel(role.points), columns = g.columns;
    Domain domain = Domain::full;
    if (role.kind == Role::Kind::each && n != g.points) {
      if (!columns || columns == 1 || n * columns != g.points) return false;
      domain = Domain::row;
    } else if (n != g.points) {
      return false;
    }
    if (role.kind == Role::Kind::reduce) {
      domain = role.columns == 0 ? Domain::total : role.over_rows ? Domain::column : Domain::row;
      if (role.columns) {
        if (columns && columns != role.columns) return false;
        if (!columns && !expressible(g, role.columns)) return false;
        columns = role.columns;
      }
    }
    if (role.position && role.kind == Role::Kind::each) {
      if (domain != Domain::full || (columns && columns != role.columns)) return false;
      if (!columns && !expressible(g, role.columns)) return false;
      columns = role.columns;
    }
    // Indices are checked before the loop, so they have to be in memory.
    if (role.index_slot >= 0 &&
        g.domains.contains(operands_[&node][static_cast<size_t>(role.index_slot)].source.node))
      return false;
    bool row_only = domain == Domain::row && role.kind == Role::Kind::each;
    for (const Operand& o : operands_[&node]) {
      if (constant_of(o.source)) continue;
      auto it = g.domains.find(o.source.node);
      if (it == g.domains.end()) {
        int64_t c = row_only ? 1 : columns ? columns : 1;
        if (!access_rows(o.view, role.points, c)) return false;
        if (unit_of_.contains(o.source.node) && depends(unit_of_[o.source.node], u)) return false;
        continue;
      }
      // Results of sums over rows are there only at the end; the others must be read where they were computed.
      if (it->second == Domain::column || it->second == Domain::total) return false;
      if (it->second == Domain::full && (row_only || !is_linear(o.view, role.points))) return false;
      if (it->second == Domain::row && row_only) {
        if (!is_linear(o.view, role.points)) return false;  // a transposed one is another row's
      } else if (it->second == Domain::row) {
        auto a = access_rows(o.view, role.points, columns);
        if (!a || o.view.offset != 0 || a->inner != 0) return false;
        if (!(a->rows.size() == 1 && a->rows[0].stride == 1) && g.points != columns) return false;
      }
    }
    g.columns = columns;
    g.members.push_back(&node);
    g.domains[&node] = domain;
    for (const Operand& o : operands_[&node])
      if (o.source && unit_of_.contains(o.source.node) && unit_of_[o.source.node] != u)
        g.inputs.insert(unit_of_[o.source.node]);
    unit_of_[&node] = u;
    return true;
  }

  // ---- computing again instead of storing ----
  //
  // A value that is cheap to make from what is in memory anyway is made again by every loop that reads it, and never
  // stored: a layer norm keeps its input and a mean and deviation a row, not what it computed from them. What would
  // be gone by then may be kept instead, if it takes less: logits in bf16, not their logarithms in f32.

  struct Read {
    const Node* reader;
    const Operand* operand;
  };

  void borrow() {
    std::unordered_map<const Node*, std::vector<Read>> reads;
    for (const auto& node : graph_.nodes()) {
      if (!unit_of_.contains(node.get())) continue;
      for (const Operand& o : operands_[node.get()]) {
        if (!o.source) continue;
        last_read_[o.source] = std::max(last_read_[o.source], node->id);
        if (unit_of_.contains(o.source.node) && unit_of_[o.source.node] != unit_of_[node.get()])
          reads[o.source.node].push_back({node.get(), &o});
      }
    }
    for (const Value& v : graph_.outputs()) last_read_[resolve_memory(v)->source] = std::numeric_limits<int>::max();
    for (const auto& node : graph_.nodes()) {
      auto found = reads.find(node.get());
      if (found == reads.end()) continue;
      bool all = node->outputs.size() == 1 && roles_.contains(node.get()) &&
                 last_read_[{node.get(), 0}] != std::numeric_limits<int>::max();
      for (const Read& r : found->second) all = all && can_borrow(*node, r);
      if (!all) {
        stored_.insert(node.get());
        continue;
      }
      for (const Read& r : found->second) {
        Chain chain(*node, r.reader->id);
        collect(*node, groups_[static_cast<size_t>(unit_of_[r.reader])], chain);
        take(chain, unit_of_[r.reader]);
      }
    }
  }

  bool can_borrow(const Node& node, const Read& r) {
    int u = unit_of_[r.reader];
    if (kernels_[static_cast<size_t>(u)]) return false;
    const Group& g = groups_[static_cast<size_t>(u)];
    if (numel(node.outputs[0].shape) != g.points || !is_linear(r.operand->view, roles_[r.reader].points))
      return false;
    if (g.domains.at(r.reader) == Domain::row && roles_[r.reader].kind == Role::Kind::each) return false;
    Chain chain(node, r.reader->id);
    return collect(node, g, chain) && g.members.size() + chain.nodes.size() <= kMaxMembers;
  }

  // Nodes to compute, inputs first, so that a loop has a value `when` it runs.
  struct Chain {
    Chain(const Node& node, int at) : when(at), bytes_left(node.outputs[0].nbytes() - 1) {}
    std::vector<const Node*> nodes;
    int when;
    double flops_left = kBorrowedFlops;
    int64_t bytes_left;       // of what may be kept in place of the value
    std::vector<Value> kept;  // longer than it would be
  };

  // False if that is not worth it.
  bool collect(const Node& node, const Group& g, Chain& chain) {
    if (g.domains.contains(&node) || std::ranges::find(chain.nodes, &node) != chain.nodes.end()) return true;
    auto role = roles_.find(&node);
    if (role == roles_.end() || role->second.kind != Role::Kind::each || node.outputs.size() != 1 ||
        role->second.position || copied_.contains(&node) || numel(role->second.points) != g.points)
      return false;
    if ((chain.flops_left -= flops(*role->second.body)) < 0) return false;
    int64_t columns = g.columns ? g.columns : 1;
    for (const Operand& o : operands_[&node]) {
      if (constant_of(o.source)) continue;
      bool small = numel(o.source.type().shape) * 16 <= g.points;
      bool stays = small || (last_read_[o.source] >= chain.when && in_memory(o.source));
      if (stays && access_rows(o.view, role->second.points, columns)) continue;
      if (is_linear(o.view, role->second.points) && collect(*o.source.node, g, chain)) continue;
      if (!can_keep(o.source, chain) || !access_rows(o.view, role->second.points, columns)) return false;
      chain.kept.push_back(o.source);
    }
    chain.nodes.push_back(&node);
    return true;
  }

  bool can_keep(const Value& v, Chain& chain) const {
    if (v.node->is_input() || !in_memory(v)) return false;  // an input may be overwritten
    if (std::ranges::find(chain.kept, v) != chain.kept.end()) return true;
    int64_t bytes = v.type().nbytes();
    if (bytes > chain.bytes_left) return false;
    chain.bytes_left -= bytes;
    return true;
  }

  // Inputs and what kernels make are in memory whatever the loops do; others if some reader cannot do without.
  bool in_memory(const Value& v) const {
    auto u = unit_of_.find(v.node);
    if (u == unit_of_.end()) return v.node->is_input();
    return kernels_[static_cast<size_t>(u->second)] != nullptr || stored_.contains(v.node);
  }

  void take(const Chain& chain, int u) {
    Group& g = groups_[static_cast<size_t>(u)];
    for (const Value& v : chain.kept) last_read_[v] = std::max(last_read_[v], chain.when);
    for (const Node* n : chain.nodes) {
      if (g.domains.contains(n)) continue;
      g.members.push_back(n);
      g.domains[n] = Domain::full;
      for (const Operand& o : operands_[n])
        if (o.source && unit_of_.contains(o.source.node) && unit_of_[o.source.node] != u)
          g.inputs.insert(unit_of_[o.source.node]);
    }
    // Users come after what they use.
    std::stable_sort(g.members.begin(), g.members.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
  }

  std::vector<int> ordered() const {
    std::vector<int> order;
    std::vector<char> state(groups_.size(), 0);
    auto visit = [&](auto& self, int u) -> void {
      if (state[static_cast<size_t>(u)]) return;
      state[static_cast<size_t>(u)] = 1;
      for (int in : groups_[static_cast<size_t>(u)].inputs) self(self, in);
      order.push_back(u);
    };
    for (size_t u = 0; u < groups_.size(); ++u) visit(visit, static_cast<int>(u));
    return order;
  }

  // Rows as long as the reads allow, for loops that nothing has fixed.
  int64_t chosen_columns(const Group& g) const {
    if (g.columns) return g.columns;
    int64_t best = 1;
    std::set<int64_t> tried;
    for (const Node* m : g.members) {
      const Shape& s = roles_.at(m).points;
      int64_t product = 1;
      for (size_t d = s.size(); d-- > 0;) {
        product *= s[d];
        if (product > best && (best < 64 || product <= kWantedColumns) && tried.insert(product).second &&
            expressible(g, product))
          best = product;
      }
    }
    // A long contiguous run is cut into pieces, so that there are rows to share out.
    if (best < kWantedColumns || g.points > best) {
      for (int64_t c = std::min(g.points, kWantedColumns); c > best; --c)
        if (g.points % c == 0 && expressible(g, c)) return c;
    }
    if (best > 2 * kWantedColumns)
      for (int64_t c = kWantedColumns; c >= 256; --c)
        if (best % c == 0 && expressible(g, c)) return c;
    return best;
  }

  Unit finished(int u) {
    Unit unit;
    const Group& g = groups_[static_cast<size_t>(u)];
    if ((unit.node = kernels_[static_cast<size_t>(u)])) {
      unit.operands = operands_[unit.node];
      return unit;
    }
    FusedLoop& loop = unit.loop;
    loop.columns = chosen_columns(g);
    loop.rows = g.points / loop.columns;
    unit.members = g.members;
    std::unordered_map<Value, int> buffers, values;
    auto buffer_of = [&](const Value& v, bool written) {
      auto [it, fresh] = buffers.try_emplace(v, static_cast<int>(unit.buffers.size()));
      if (fresh) {
        unit.buffers.push_back(v);
        unit.written.push_back(written);
        loop.buffers.push_back(v.type().dtype);
      }
      return it->second;
    };
    for (const Node* m : g.members) {
      const Role& role = roles_.at(m);
      Domain domain = g.domains.at(m);
      bool row_only = domain == Domain::row && role.kind == Role::Kind::each;
      std::vector<FusedInput> inputs;
      for (const Operand& o : operands_.at(m)) {
        FusedInput in;
        if (auto c = constant_of(o.source)) {
          in.kind = FusedInput::Kind::constant;
          in.constant = *c;
        } else if (auto it = values.find(o.source); it != values.end()) {
          in.index = it->second;
        } else {
          in.kind = FusedInput::Kind::buffer;
          in.index = buffer_of(o.source, false);
          in.access = *access_rows(o.view, role.points, row_only ? 1 : loop.columns);
          if (row_only) in.access.inner = 0;
          in.offset = o.view.offset;
        }
        inputs.push_back(std::move(in));
      }
      if (role.position) inputs.emplace_back().kind = FusedInput::Kind::column;
      if (role.index_slot >= 0) unit.checks.push_back({m, index_operands_.at(m), role.index_size});
      for (size_t r = 0; r < m->outputs.size(); ++r) {
        FusedValue v;
        v.domain = domain;
        v.compute = role.compute;
        v.body = role.body;
        v.result = static_cast<int>(r);
        v.params = role.params;
        v.inputs = inputs;
        v.reduction = role.reduction;
        v.type = m->outputs[r].dtype;
        Value value{const_cast<Node*>(m), static_cast<int>(r)};
        if (role.after) {
          FusedValue sum = v;
          FusedInput given;
          given.index = static_cast<int>(loop.values.size());
          sum.type = v.compute;
          loop.values.push_back(std::move(sum));
          v.body = role.after;
          v.reduction = Reduction::none;
          for (FusedInput& in : v.inputs) in.access.inner = 0;
          v.inputs.push_back(std::move(given));
        }
        bool own = unit_of_.at(m) == u;  // not one that another loop makes as well
        if (own && used_.contains(value)) v.output = buffer_of(value, true);
        values[value] = static_cast<int>(loop.values.size());
        loop.values.push_back(std::move(v));
      }
    }
    return unit;
  }

  const Graph& graph_;
  const Placement& placement_;
  std::vector<Group> groups_;
  std::vector<const Node*> kernels_;
  std::unordered_map<const Node*, std::vector<Operand>> operands_;
  std::unordered_map<const Node*, Role> roles_;
  std::unordered_map<const Node*, int> unit_of_;
  std::unordered_set<const Node*> copied_;
  std::unordered_map<const Node*, Operand> index_operands_;
  std::unordered_set<Value> used_;
  std::unordered_set<const Node*> stored_;    // read by other loops from memory
  int last_call_ = -1;                        // unit of the last call of other ranks
  std::unordered_map<Value, int> last_read_;  // id of the last node that reads it
};

}  // namespace

std::vector<Unit> fuse(const Graph& graph, const Placement& placement) { return Fuser(graph, placement).run(); }

}  // namespace sorus
