#include "sorus/parallel/cost/unit_cost.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "sorus/parallel/solver/assignment.h"

namespace sorus::parallel {
namespace {

struct DimKey {
  const Node* node;
  int output;
  size_t dim;
  bool operator==(const DimKey&) const = default;
};
struct DimHash {
  size_t operator()(const DimKey& k) const {
    return std::hash<const void*>()(k.node) * 31 + static_cast<size_t>(k.output) * 7 + k.dim * 1000003;
  }
};

// Dimensions that must be split together: joined through the factors of sharding rules.
class DimClasses {
 public:
  int id(Value v, size_t dim) {
    auto [it, fresh] = ids_.try_emplace({v.node, v.index, dim}, static_cast<int>(parent_.size()));
    if (fresh) parent_.push_back(it->second);
    return find(it->second);
  }
  void join(int a, int b) { parent_[static_cast<size_t>(find(a))] = find(b); }
  int find(int a) {
    while (parent_[static_cast<size_t>(a)] != a)
      a = parent_[static_cast<size_t>(a)] = parent_[static_cast<size_t>(parent_[static_cast<size_t>(a)])];
    return a;
  }

 private:
  std::unordered_map<DimKey, int, DimHash> ids_;
  std::vector<int> parent_;
};

// A node of a unit with all that does not depend on how it is split.
struct UnitNode {
  const Node* node = nullptr;
  ShardingRule rule;
  bool active = false;         // depends on a parameter or on what comes in
  std::vector<char> needs;     // inputs that want a gradient
  std::vector<char> fused_in;  // inputs that the same kernel has just made
  bool fused_out = false;      // its result is read by the kernel that makes it, and by nobody else
  bool in_region = false;      // products of activations, and what lies between them
  bool in_experts = false;     // products with experts' parameters, and what lies between them
  int expert_slot = -1;        // the input that is such a parameter, and which of its dimensions counts experts
  size_t expert_dim = 0;
};

double elements(const Shape& s) { return static_cast<double>(numel(s)); }

}  // namespace

struct UnitCosts::State {
  const Model& model;
  const Chain& chain;
  const Cluster& cluster;
  CostOptions options;
  std::string dtype = "f32";
  std::unordered_map<const Node*, int> position;
  std::unordered_map<const Node*, int> unit_of;
  DimClasses classes;
  std::vector<int> batch_classes, token_classes;
  std::vector<std::vector<UnitNode>> units;  // by type
  std::vector<std::vector<int>> uses;        // by position: number of uses (in the whole graph)
  std::map<UnitRequest, UnitCost> made;
  int64_t experts = 0;  // the greatest number that divides the experts of all layers

  State(const Model& m, const Chain& c, const Cluster& k, CostOptions o)
      : model(m), chain(c), cluster(k), options(o) {
    const auto& nodes = m.graph.nodes();
    for (size_t i = 0; i < nodes.size(); ++i) position[nodes[i].get()] = static_cast<int>(i);
    for (size_t u = 0; u < c.units.size(); ++u)
      for (int i = c.units[u].first; i < c.units[u].end; ++i)
        unit_of[nodes[static_cast<size_t>(i)].get()] = static_cast<int>(u);
    find_dtype();
    for (const UnitType& t : c.types) units.push_back(describe(t));
    for (int i = 0; i < m.inputs; ++i) {
      const Node* in = m.graph.inputs()[static_cast<size_t>(i)];
      for (size_t d = 0; d < in->outputs[0].shape.size(); ++d)
        (d == 0 ? batch_classes : token_classes).push_back(classes.id({const_cast<Node*>(in), 0}, d));
    }
    for (int& b : batch_classes) b = classes.find(b);
    for (int& t : token_classes) t = classes.find(t);
    std::erase_if(token_classes, [&](int t) {
      return std::find(batch_classes.begin(), batch_classes.end(), t) != batch_classes.end();
    });
  }

  void find_dtype() {
    std::map<std::string, double> by_type;
    for (int i = model.inputs; i < model.inputs + model.parameters; ++i) {
      const TensorType& t = model.graph.inputs()[static_cast<size_t>(i)]->outputs[0];
      by_type[std::string(name(t.dtype))] += elements(t.shape);
    }
    double most = -1;
    for (const auto& [n, count] : by_type)
      if (count > most) most = count, dtype = n;
    if (dtype == "float16") dtype = "f16";
    if (dtype == "bfloat16") dtype = "bf16";
    if (dtype == "float32") dtype = "f32";
  }

  // The node that stands for this one: the same place in the first unit of its type.
  Value canonical(Value v) const {
    auto it = unit_of.find(v.node);
    if (it == unit_of.end()) return v;
    const Unit& u = chain.units[static_cast<size_t>(it->second)];
    int offset = position.at(v.node) - u.first;
    return {model.graph.nodes()[static_cast<size_t>(chain.types[static_cast<size_t>(u.type)].first + offset)].get(),
            v.index};
  }
  bool inside(const Node* n, const UnitType& t) const {
    int p = position.at(n);
    return p >= t.first && p < t.end && !n->is_input();
  }

  std::vector<UnitNode> describe(const UnitType& t) {
    std::vector<UnitNode> out;
    std::unordered_map<const Node*, size_t> at;
    std::unordered_map<const Node*, int> readers;
    std::unordered_map<const Node*, char> free, gradient;
    const auto& nodes = model.graph.nodes();
    for (int i = t.first; i < t.end; ++i) {
      const Node* n = nodes[static_cast<size_t>(i)].get();
      if (n->is_input() || n->is_constant()) continue;
      UnitNode u;
      u.node = n;
      std::vector<const TensorType*> types = n->input_types();
      TypeCall call{*n->op, types, n->attrs};
      u.rule = planning_rule(call);
      u.needs.assign(n->inputs.size(), 0);
      u.fused_in.assign(n->inputs.size(), 0);
      bool differentiable = false;
      for (size_t j = 0; j < n->inputs.size(); ++j) {
        const Value& v = n->inputs[j];
        if (!v) continue;
        ++readers[v.node];
        bool parameter = model.is_parameter(*v.node), outside = !inside(v.node, t);
        bool depends = parameter || chain.flows[static_cast<size_t>(position.at(v.node))];
        u.active |= depends;
        bool flows = parameter || (outside ? depends : gradient[v.node]);
        u.needs[j] = flows && is_floating(v.type().dtype);
        differentiable |= u.needs[j];
      }
      gradient[n] = differentiable && n->op->differentiable;
      if (!gradient[n]) std::fill(u.needs.begin(), u.needs.end(), 0);
      // Dimensions that go together.
      std::vector<int> first(u.rule.factors.size(), -1);
      auto join = [&](Value v, const std::vector<int>& dims) {
        for (size_t d = 0; d < dims.size(); ++d) {
          if (dims[d] < 0) continue;
          int id = classes.id(canonical(v), d);
          int& f = first[static_cast<size_t>(dims[d])];
          if (f < 0)
            f = id;
          else
            classes.join(f, id);
        }
      };
      for (size_t j = 0; j < n->inputs.size() && j < u.rule.inputs.size(); ++j)
        if (n->inputs[j] && !model.is_parameter(*n->inputs[j].node)) join(n->inputs[j], u.rule.inputs[j]);
      for (size_t o = 0; o < u.rule.outputs.size(); ++o)
        join({const_cast<Node*>(n), static_cast<int>(o)}, u.rule.outputs[o]);
      at[n] = out.size();
      out.push_back(std::move(u));
    }
    auto matrix = [&](const UnitNode& u) { return cost(u, types_of(*u.node), {}).matrix; };
    std::vector<char> is_matrix(out.size());
    for (size_t i = 0; i < out.size(); ++i) is_matrix[i] = out[i].active && matrix(out[i]);
    // Elementwise results that one other kernel without arithmetic reads stay in registers.
    for (size_t i = 0; i < out.size(); ++i)
      for (size_t j = 0; j < out[i].node->inputs.size(); ++j) {
        const Value& v = out[i].node->inputs[j];
        if (!v || !at.contains(v.node) || is_matrix[i] || out[i].node->op->is_view()) continue;
        UnitNode& made = out[at[v.node]];
        bool simple = made.node->op->each || draws(*made.node->op);
        if (!made.active || !simple || readers[v.node] != 1 || made.node->outputs.size() != 1) continue;
        out[i].fused_in[j] = 1;
        made.fused_out = true;
      }
    find_region(out, at, is_matrix);
    find_experts(out, at, is_matrix);
    return out;
  }

  // Nodes on a way from one of the nodes to one of them.
  static std::vector<char> between(const std::vector<UnitNode>& nodes, std::unordered_map<const Node*, size_t>& at,
                                   const std::vector<char>& ends) {
    std::vector<char> from = ends, to = ends;
    auto read = [&](size_t i, const auto& see) {
      for (const Value& v : nodes[i].node->inputs)
        if (auto it = at.find(v.node); v && it != at.end()) see(it->second);
    };
    for (size_t i = 0; i < nodes.size(); ++i) read(i, [&](size_t j) { from[i] |= from[j]; });
    for (size_t i = nodes.size(); i-- > 0;)
      if (to[i]) read(i, [&](size_t j) { to[j] |= from[j]; });
    for (size_t i = 0; i < nodes.size(); ++i) from[i] &= to[i];
    return from;
  }

  // Products with a parameter that has a dimension which the activations and the result keep.
  void find_experts(std::vector<UnitNode>& out, std::unordered_map<const Node*, size_t>& at,
                    const std::vector<char>& is_matrix) {
    std::vector<char> ends(out.size(), 0);
    for (size_t i = 0; i < out.size(); ++i) {
      const Node& n = *out[i].node;
      const ShardingRule& rule = out[i].rule;
      if (!is_matrix[i] || rule.outputs.size() != 1) continue;
      auto holds = [](const std::vector<int>& dims, int f) {
        return std::find(dims.begin(), dims.end(), f) != dims.end();
      };
      for (size_t j = 0; j < n.inputs.size() && !ends[i]; ++j) {
        if (!n.inputs[j] || !model.is_parameter(*n.inputs[j].node)) continue;
        for (size_t d = 0; d < rule.inputs[j].size() && !ends[i]; ++d) {
          int f = rule.inputs[j][d];
          if (f < 0 || rule.factors[static_cast<size_t>(f)].kind != ShardFactor::Kind::kept ||
              !holds(rule.outputs[0], f))
            continue;
          for (size_t k = 0; k < n.inputs.size(); ++k)
            if (k != j && n.inputs[k] && !model.is_parameter(*n.inputs[k].node) && holds(rule.inputs[k], f))
              ends[i] = 1;
          if (!ends[i]) continue;
          out[i].expert_slot = static_cast<int>(j), out[i].expert_dim = d;
          experts = std::gcd(experts, rule.factors[static_cast<size_t>(f)].size);
        }
      }
    }
    std::vector<char> inside = between(out, at, ends);
    for (size_t i = 0; i < out.size(); ++i) out[i].in_experts = inside[i];
  }

  // Products of activations with activations, and what lies between two of them.
  void find_region(std::vector<UnitNode>& out, std::unordered_map<const Node*, size_t>& at,
                   const std::vector<char>& is_matrix) {
    std::vector<char> from(out.size(), 0), to(out.size(), 0), parameter(out.size(), 0);
    for (size_t i = 0; i < out.size(); ++i) {
      bool any = false;
      for (const Value& v : out[i].node->inputs) {
        if (!v) continue;
        bool p = model.is_parameter(*v.node) ||
                 (at.contains(v.node) && out[at[v.node]].node->op->is_view() && parameter[at[v.node]]);
        any |= p;
        if (at.contains(v.node) && from[at[v.node]]) from[i] = 1;
      }
      parameter[i] = any;
      if (is_matrix[i] && !any) from[i] = to[i] = 1;
    }
    for (size_t i = out.size(); i-- > 0;)
      if (to[i])
        for (const Value& v : out[i].node->inputs)
          if (v && at.contains(v.node) && from[at[v.node]]) to[at[v.node]] = 1;
    for (size_t i = 0; i < out.size(); ++i) out[i].in_region = from[i] && to[i];
  }

  static std::vector<TensorType> types_of(const Node& n) {
    std::vector<TensorType> t;
    for (const TensorType* p : n.input_types()) t.push_back(p ? *p : TensorType{});
    return t;
  }

  // `scale`: what to divide by if the operator cannot be called with these types.
  OperatorCost cost(const UnitNode& u, const std::vector<TensorType>& types, double scale = 1) {
    const Node& n = *u.node;
    std::string key = n.op->name();
    std::vector<const TensorType*> pointers;
    for (size_t i = 0; i < n.inputs.size(); ++i) {
      pointers.push_back(n.inputs[i] ? &types[i] : nullptr);
      key += n.inputs[i] ? types[i].to_string() : "-";
      key += u.needs[i] ? "'" : "";
    }
    for (const Attr& a : n.attrs) key += "," + a.to_string();
    static std::mutex mutex;
    static std::unordered_map<std::string, OperatorCost> known;  // what a call costs does not depend on the model
    std::lock_guard lock(mutex);
    auto it = known.find(key);
    if (it != known.end()) return it->second;
    OperatorCost c;
    try {
      c = operator_cost(*n.op, pointers, n.attrs, u.needs);
    } catch (const Error&) {  // an attribute that states a size
      c = operator_cost(*n.op, n.input_types(), n.attrs, u.needs);
      for (auto* list : {&c.forward, &c.backward})
        for (KernelWork& k : *list) k.flops /= scale, k.bytes /= scale;
    }
    if (known.size() > 50000) known.clear();
    return known.emplace(key, c).first->second;
  }

  bool in_class(const std::vector<int>& wanted, Value v, size_t dim) {
    int id = classes.id(canonical(v), dim);
    return std::find(wanted.begin(), wanted.end(), id) != wanted.end();
  }

  // The shape that a rank sees: its part of the batch, and of what is split.
  TensorType local(Value v, const TensorType& type, Layout layout, const UnitRequest& r, bool parameter) {
    TensorType t = type;
    for (size_t d = 0; d < t.shape.size(); ++d) {
      if (!parameter && r.batch_parts > 1 && t.shape[d] % r.batch_parts == 0 && in_class(batch_classes, v, d))
        t.shape[d] /= r.batch_parts;
      if (layout == static_cast<Layout>(d)) t.shape[d] = std::max<int64_t>(1, t.shape[d] / r.tensor);
    }
    return t;
  }

  UnitCost solve_unit(const UnitRequest& r);
  void deal_out_experts(const UnitRequest& r, UnitCost& u, const std::vector<UnitNode>& nodes,
                        const std::unordered_map<const Node*, size_t>& at,
                        const std::function<const Strategy&(size_t)>& chosen);
};

namespace {

double convert_time(const Cluster& c, Layout from, Layout to, double bytes, Span span) {
  if (span.size == 1 || from == to || to == kPartial) return 0;
  if (from == kReplicated) return 0;
  if (from == kPartial)
    return collective_time(c, to == kReplicated ? Collective::all_reduce : Collective::reduce_scatter, bytes, span);
  if (to == kReplicated) return collective_time(c, Collective::all_gather, bytes, span);
  return collective_time(c, Collective::all_to_all, bytes / static_cast<double>(span.size), span);
}

}  // namespace

UnitCost UnitCosts::State::solve_unit(const UnitRequest& r) {
  const UnitType& type = chain.types[static_cast<size_t>(r.type)];
  std::vector<UnitNode>& nodes = units[static_cast<size_t>(r.type)];
  Span span{r.tensor, r.span.stride};
  Assignment problem;

  // Choices of the operators.
  struct Choices {
    std::vector<Strategy> list;
    std::vector<double> forward, backward;
    int variable = -1;
  };
  std::vector<Choices> choices(nodes.size());
  std::unordered_map<const Node*, size_t> at;
  for (size_t i = 0; i < nodes.size(); ++i) at[nodes[i].node] = i;
  double flops = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    UnitNode& u = nodes[i];
    const Node& n = *u.node;
    if (!u.active) continue;
    for (Strategy& s : strategies(u.rule, r.tensor)) {
      if (s.factor >= 0 && r.tensor == 1) continue;
      // Experts that are dealt out to other ranks already are split again only where there are enough.
      if (u.expert_slot >= 0 && s.inputs[static_cast<size_t>(u.expert_slot)] == static_cast<Layout>(u.expert_dim) &&
          u.rule.factors[static_cast<size_t>(s.factor)].size % (r.expert * r.tensor) != 0)
        continue;
      if (s.factor >= 0) {
        // The batch belongs to data parallelism, tokens to sequence parallelism.
        bool batch = false, token = false;
        auto look = [&](Value v, Layout l) {
          if (l < 0 || model.is_parameter(*v.node)) return;
          batch |= in_class(batch_classes, v, static_cast<size_t>(l));
          token |= in_class(token_classes, v, static_cast<size_t>(l));
        };
        for (size_t j = 0; j < n.inputs.size(); ++j)
          if (n.inputs[j]) look(n.inputs[j], s.inputs[j]);
        for (size_t o = 0; o < s.outputs.size(); ++o)
          look({const_cast<Node*>(&n), static_cast<int>(o)}, s.outputs[o]);
        if (batch || (token && !r.sequence)) continue;
      }
      std::vector<TensorType> types = types_of(n);
      double scale = static_cast<double>(r.batch_parts) * (s.factor >= 0 ? static_cast<double>(r.tensor) : 1);
      for (size_t j = 0; j < n.inputs.size(); ++j)
        if (n.inputs[j])
          types[j] = local(n.inputs[j], types[j], s.inputs[j], r, model.is_parameter(*n.inputs[j].node));
      OperatorCost c = cost(u, types, scale);
      double saved_bytes = 0;
      for (size_t j = 0; j < n.inputs.size(); ++j)
        if (u.fused_in[j]) saved_bytes += elements(types[j].shape) * static_cast<double>(size_of(types[j].dtype));
      double out_bytes = 0;
      if (u.fused_out) {
        TensorType o = local({const_cast<Node*>(&n), 0}, n.outputs[0], s.outputs[0], r, false);
        out_bytes = elements(o.shape) * static_cast<double>(size_of(o.dtype));
      }
      auto time = [&](std::vector<KernelWork> kernels) {
        double sum = 0;
        for (KernelWork k : kernels) {
          if (!k.matrix) k.bytes = std::max(0.0, k.bytes - saved_bytes - out_bytes);
          double t = kernel_time(cluster, k, dtype);
          sum += u.fused_out && !k.matrix ? t - cluster.efficiency.launch_s : t;
        }
        return sum;
      };
      Choices& mine = choices[i];
      mine.forward.push_back(time(c.forward));
      mine.backward.push_back(time(c.backward));
      if (s.factor < 0)
        for (auto* list : {&c.forward, &c.backward})
          for (const KernelWork& k : *list) flops += k.matrix ? k.flops : 0;
      mine.list.push_back(std::move(s));
    }
    std::vector<double> costs;
    for (size_t k = 0; k < choices[i].list.size(); ++k)
      costs.push_back(choices[i].forward[k] + choices[i].backward[k]);
    choices[i].variable = problem.add(costs);
  }

  // Values: what comes in, parameters, and what several read. A state is a layout of the value and one of its
  // gradient.
  struct State2 {
    Layout value, grad;
  };
  struct Shared {
    std::vector<State2> states;
    int variable = -1;
    Value value;
    bool parameter = false, boundary = false;
    double bytes = 0;
  };
  std::vector<Shared> shared;
  std::unordered_map<Value, size_t> shared_at;
  std::unordered_map<Value, std::vector<std::pair<size_t, size_t>>> readers;  // node, slot
  std::vector<Value> order;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].active) continue;
    for (size_t j = 0; j < nodes[i].node->inputs.size(); ++j) {
      const Value& v = nodes[i].node->inputs[j];
      if (!v) continue;
      bool is_inside = at.contains(v.node);
      if (is_inside && !nodes[at[v.node]].active) continue;
      if (!is_inside && !model.is_parameter(*v.node) && !chain.flows[static_cast<size_t>(position.at(v.node))])
        continue;
      auto& list = readers[v];
      if (list.empty()) order.push_back(v);
      list.emplace_back(i, j);
    }
  }
  auto bytes_of = [&](Value v) {
    TensorType t = local(v, v.type(), kReplicated, r, model.is_parameter(*v.node));
    return elements(t.shape) * static_cast<double>(size_of(t.dtype));
  };
  // The layout between units: tokens are split where that is asked for and possible.
  auto outside_layout = [&](Value v) {
    if (!r.sequence || r.tensor == 1) return kReplicated;
    for (size_t d = 0; d < v.type().shape.size(); ++d)
      if (v.type().shape[d] % r.tensor == 0 && in_class(token_classes, v, d)) return static_cast<Layout>(d);
    return kReplicated;
  };
  auto convert = [&](Layout from, Layout to, double bytes) { return convert_time(cluster, from, to, bytes, span); };
  // Parameters that every rank holds whole cost memory (with gradients and optimizer state several times their bytes)
  // and have their gradients added up once a step. Seconds a byte, small beside what it costs to move one.
  double tie = options.memory_price;
  for (const Value& v : order) {
    bool parameter = model.is_parameter(*v.node), is_inside = at.contains(v.node);
    if (is_inside && readers[v].size() == 1) continue;
    Shared s;
    s.value = v, s.parameter = parameter, s.boundary = !is_inside && !parameter, s.bytes = bytes_of(v);
    if (s.boundary) {
      Layout l = outside_layout(v);
      s.states = {{l, l >= 0 ? l : kReplicated}};
    } else {
      s.states = {{kReplicated, kReplicated}, {kReplicated, kPartial}};
      std::vector<Layout> dims;
      for (auto [i, j] : readers[v])
        for (const Strategy& st : choices[i].list)
          if (st.inputs[j] >= 0 && std::find(dims.begin(), dims.end(), st.inputs[j]) == dims.end())
            dims.push_back(st.inputs[j]);
      if (is_inside)
        for (const Strategy& st : choices[at[v.node]].list)
          if (Layout l = st.outputs[static_cast<size_t>(v.index)];
              l >= 0 && std::find(dims.begin(), dims.end(), l) == dims.end())
            dims.push_back(l);
      for (Layout d : dims) s.states.push_back({d, d});
    }
    std::vector<double> costs;
    for (const State2& st : s.states) {
      double c = 0;
      if (parameter) {
        c = tie * (st.value >= 0 ? s.bytes / static_cast<double>(r.tensor) : s.bytes);
        if (st.grad == kPartial) c += tie * s.bytes;
      }
      costs.push_back(c);
    }
    s.variable = problem.add(costs);
    shared_at[v] = shared.size();
    shared.push_back(std::move(s));
  }

  auto floating = [](Value v) { return is_floating(v.type().dtype); };
  auto out_layout = [&](size_t i, size_t k, int o) { return choices[i].list[k].outputs[static_cast<size_t>(o)]; };
  auto out_grad = [&](size_t i, size_t k, int o) { return choices[i].list[k].output_grads[static_cast<size_t>(o)]; };
  for (const Value& v : order) {
    double bytes = bytes_of(v);
    bool is_inside = at.contains(v.node), grads = floating(v);
    auto it = shared_at.find(v);
    if (it == shared_at.end()) {
      size_t p = at[v.node];
      auto [i, j] = readers[v][0];
      bool needs = nodes[i].needs[j];
      std::vector<double> cost;
      for (size_t a = 0; a < choices[p].list.size(); ++a)
        for (size_t b = 0; b < choices[i].list.size(); ++b) {
          const Strategy& st = choices[i].list[b];
          double c = convert(out_layout(p, a, v.index), st.inputs[j], bytes);
          if (grads && needs) c += convert(st.input_grads[j], out_grad(p, a, v.index), bytes);
          cost.push_back(c);
        }
      problem.connect(choices[p].variable, choices[i].variable, std::move(cost));
      continue;
    }
    Shared& s = shared[it->second];
    for (auto [i, j] : readers[v]) {
      std::vector<double> cost;
      for (const State2& st : s.states)
        for (const Strategy& use : choices[i].list) {
          double c = convert(st.value, use.inputs[j], bytes);
          if (grads && nodes[i].needs[j])
            c += s.parameter ? (use.input_grads[j] == st.grad || st.grad == kPartial
                                    ? 0
                                    : convert(use.input_grads[j], st.grad, bytes))
                             : convert(use.input_grads[j], st.grad, bytes);
          cost.push_back(c);
        }
      problem.connect(s.variable, choices[i].variable, std::move(cost));
    }
    if (is_inside) {
      size_t p = at[v.node];
      std::vector<double> cost;
      for (size_t a = 0; a < choices[p].list.size(); ++a)
        for (const State2& st : s.states) {
          double c = convert(out_layout(p, a, v.index), st.value, bytes);
          if (grads) c += convert(st.grad, out_grad(p, a, v.index), bytes);
          cost.push_back(c);
        }
      problem.connect(choices[p].variable, s.variable, std::move(cost));
    }
  }
  // What leaves the unit.
  Value last;
  {
    const Unit* unit = nullptr;
    for (const Unit& u : chain.units)
      if (u.type == r.type && u.first == type.first) unit = &u;
    std::vector<Value> leaving;
    for (size_t p = static_cast<size_t>(unit->end); p < model.graph.nodes().size(); ++p)
      for (const Value& v : model.graph.nodes()[p]->inputs)
        if (v && at.contains(v.node) && nodes[at[v.node]].active &&
            std::find(leaving.begin(), leaving.end(), v) == leaving.end())
          leaving.push_back(v);
    for (const Value& v : leaving) {
      last = v;
      Layout wanted = outside_layout(v), grad = wanted >= 0 ? wanted : kReplicated;
      double bytes = bytes_of(v);
      auto it = shared_at.find(v);
      if (it != shared_at.end()) {
        Shared& s = shared[it->second];
        for (size_t k = 0; k < s.states.size(); ++k)
          problem.nodes[static_cast<size_t>(s.variable)][k] +=
              convert(s.states[k].value, wanted, bytes) + convert(grad, s.states[k].grad, bytes);
      } else {
        size_t p = at[v.node];
        for (size_t k = 0; k < choices[p].list.size(); ++k)
          problem.nodes[static_cast<size_t>(choices[p].variable)][k] +=
              convert(out_layout(p, k, v.index), wanted, bytes) + convert(grad, out_grad(p, k, v.index), bytes);
      }
    }
  }

  Solution solution = solve(problem, 1 << 16);

  // Account for it.
  UnitCost u;
  auto picked = [&](size_t i) {
    return static_cast<size_t>(solution.choice[static_cast<size_t>(choices[i].variable)]);
  };
  auto chosen = [&](size_t i) -> const Strategy& { return choices[i].list[picked(i)]; };
  u.flops = flops;
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].active) continue;
    size_t k = picked(i);
    u.forward += choices[i].forward[k], u.backward += choices[i].backward[k];
    if (nodes[i].in_region) u.recompute_selective += choices[i].forward[k];
  }
  for (const Value& v : order) {
    double bytes = bytes_of(v);
    auto it = shared_at.find(v);
    bool grads = floating(v);
    if (it == shared_at.end()) {
      size_t p = at[v.node];
      auto [i, j] = readers[v][0];
      u.forward_comm += convert(out_layout(p, picked(p), v.index), chosen(i).inputs[j], bytes);
      if (grads && nodes[i].needs[j])
        u.backward_comm += convert(chosen(i).input_grads[j], out_grad(p, picked(p), v.index), bytes);
      continue;
    }
    Shared& s = shared[it->second];
    const State2& st = s.states[static_cast<size_t>(solution.choice[static_cast<size_t>(s.variable)])];
    std::vector<Layout> gathered;
    for (auto [i, j] : readers[v]) {
      Layout to = chosen(i).inputs[j];
      if (std::find(gathered.begin(), gathered.end(), to) == gathered.end()) {
        u.forward_comm += convert(st.value, to, bytes);
        gathered.push_back(to);
      }
      if (grads && nodes[i].needs[j] && !s.parameter)
        u.backward_comm += convert(chosen(i).input_grads[j], st.grad, bytes);
    }
    if (at.contains(v.node)) {
      size_t p = at[v.node];
      u.forward_comm += convert(out_layout(p, picked(p), v.index), st.value, bytes);
      if (grads) u.backward_comm += convert(st.grad, out_grad(p, picked(p), v.index), bytes);
    }
    if (s.parameter) {
      double n = elements(v.type().shape);
      u.parameters += st.value >= 0 ? n / static_cast<double>(r.tensor) : n;
      if (st.grad == kPartial && r.tensor > 1) u.shared_gradients += bytes;
    }
  }
  // Kept for the backward pass: each memory once, views are what they show.
  std::unordered_map<Value, double> kept, kept_selective;
  auto root = [&](Value v) {
    while (at.contains(v.node) && nodes[at[v.node]].node->op->is_view()) v = nodes[at[v.node]].node->inputs[0];
    return v;
  };
  auto layout_of = [&](Value v) {
    auto it = shared_at.find(v);
    if (it != shared_at.end())
      return shared[it->second]
          .states[static_cast<size_t>(solution.choice[static_cast<size_t>(shared[it->second].variable)])]
          .value;
    return at.contains(v.node) && nodes[at[v.node]].active ? out_layout(at[v.node], picked(at[v.node]), v.index)
                                                           : kReplicated;
  };
  std::unordered_set<Value> regathered;
  auto keep = [&](Value v, Layout used, bool by_region) {
    if (model.is_parameter(*v.node)) return;
    bool is_inside = at.contains(v.node);
    if (!is_inside && !chain.flows[static_cast<size_t>(position.at(v.node))]) return;
    if (is_inside && !nodes[at[v.node]].active) return;
    Value base = root(v);
    if (model.is_parameter(*base.node)) return;
    Layout l = used >= 0 ? used : layout_of(v);
    if (used == kReplicated && l >= 0 && regathered.insert(v).second)
      u.regather += convert(l, kReplicated, bytes_of(v));
    double bytes = bytes_of(v) / (l >= 0 ? static_cast<double>(r.tensor) : 1);
    double& mine = kept[v == base ? base : base];
    // Several views of one memory together are at most all of it.
    double whole = bytes_of(base) / (l >= 0 ? static_cast<double>(r.tensor) : 1);
    mine = v == base ? std::max(mine, bytes) : std::min(std::max(whole, mine), mine + bytes);
    bool made_in_region = at.contains(base.node) && nodes[at[base.node]].in_region;
    if (!(by_region && made_in_region)) kept_selective[base] = std::max(kept_selective[base], kept[base]);
  };
  double masks = 0, masks_region = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& n = *nodes[i].node;
    if (!nodes[i].active) continue;
    const Strategy& s = chosen(i);
    std::vector<TensorType> types = types_of(n);
    for (size_t j = 0; j < n.inputs.size(); ++j)
      if (n.inputs[j]) types[j] = local(n.inputs[j], types[j], s.inputs[j], r, model.is_parameter(*n.inputs[j].node));
    OperatorCost c = cost(nodes[i], types, 1);
    for (size_t j = 0; j < n.inputs.size(); ++j)
      if (n.inputs[j] && c.saves_input[j]) keep(n.inputs[j], s.inputs[j], nodes[i].in_region);
    double results = 0;
    for (size_t o = 0; o < n.outputs.size(); ++o) {
      Value v{const_cast<Node*>(&n), static_cast<int>(o)};
      if (c.saves_output[o]) keep(v, s.outputs[o], nodes[i].in_region);
      TensorType t = local(v, n.outputs[o], s.outputs[o], r, false);
      results += elements(t.shape) * static_cast<double>(size_of(t.dtype));
      if (draws(*n.op) && options.keeps_dropout_masks && o == 0 && nodes[i].needs[0])
        (nodes[i].in_region ? masks_region : masks) += elements(t.shape);
    }
    if (!n.op->is_view()) u.workspace = std::max(u.workspace, results);
  }
  if (r.expert > 1) deal_out_experts(r, u, nodes, at, chosen);
  for (const auto& [v, b] : kept) u.saved += b;
  for (const auto& [v, b] : kept_selective) u.saved_selective += b;
  u.saved += masks + masks_region, u.saved_selective += masks;
  if (last) {
    u.output_whole = bytes_of(last);
    u.output = u.output_whole / (outside_layout(last) >= 0 ? static_cast<double>(r.tensor) : 1);
  }
  u.strategy.resize(static_cast<size_t>(type.end - type.first));
  for (size_t i = 0; i < nodes.size(); ++i)
    if (nodes[i].active) u.strategy[static_cast<size_t>(position.at(nodes[i].node) - type.first)] = chosen(i);
  return u;
}

// What changes when experts are dealt out among groups of ranks: their parameters, and two all-to-alls.
void UnitCosts::State::deal_out_experts(const UnitRequest& r, UnitCost& u, const std::vector<UnitNode>& nodes,
                                        const std::unordered_map<const Node*, size_t>& at,
                                        const std::function<const Strategy&(size_t)>& chosen) {
  const UnitType& type = chain.types[static_cast<size_t>(r.type)];
  std::unordered_set<Value> moved;
  std::unordered_set<const Node*> counted;
  auto is_expert = [&](const Node* n) {
    auto it = at.find(n);
    return it != at.end() && nodes[it->second].in_experts;
  };
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].active) continue;
    const Node& n = *nodes[i].node;
    const Strategy& s = chosen(i);
    for (size_t j = 0; j < n.inputs.size(); ++j) {
      const Value& v = n.inputs[j];
      if (!v) continue;
      if (static_cast<int>(j) == nodes[i].expert_slot) {
        if (!counted.insert(v.node).second) continue;
        double here = elements(v.type().shape) / static_cast<double>(s.inputs[j] >= 0 ? r.tensor : 1);
        u.parameters -= here * (1 - 1 / static_cast<double>(r.expert));
        u.experts += here / static_cast<double>(r.expert);
        u.expert_parameters.push_back({position.at(&n) - type.first, j, nodes[i].expert_dim});
        continue;
      }
      // Where a value goes to the experts or comes from them.
      bool flows = !model.is_parameter(*v.node) && chain.flows[static_cast<size_t>(position.at(v.node))];
      if (!flows || is_expert(v.node) == nodes[i].in_experts || !moved.insert(v).second) continue;
      TensorType t = local(v, v.type(), s.inputs[j], r, false);
      double time = collective_time(cluster, Collective::all_to_all,
                                    elements(t.shape) * static_cast<double>(size_of(t.dtype)), {r.expert, r.tensor});
      u.forward_comm += time;
      if (nodes[i].needs[j]) u.backward_comm += time;
    }
  }
}

int64_t UnitCosts::experts() const { return std::max<int64_t>(1, state_->experts); }

UnitCosts::UnitCosts(const Model& model, const Chain& chain, const Cluster& cluster, CostOptions options)
    : state_(std::make_unique<State>(model, chain, cluster, options)) {}
UnitCosts::~UnitCosts() = default;
const Model& UnitCosts::model() const { return state_->model; }
const Chain& UnitCosts::chain() const { return state_->chain; }
const Cluster& UnitCosts::cluster() const { return state_->cluster; }
const std::string& UnitCosts::dtype() const { return state_->dtype; }

const UnitCost& UnitCosts::get(const UnitRequest& request) {
  auto it = state_->made.find(request);
  if (it == state_->made.end()) it = state_->made.emplace(request, state_->solve_unit(request)).first;
  return it->second;
}

}  // namespace sorus::parallel
