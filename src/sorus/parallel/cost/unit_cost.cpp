#include "sorus/parallel/cost/unit_cost.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "sorus/parallel/cost/unit_split.h"

namespace sorus::parallel {
namespace {

double elements(const Shape& s) { return static_cast<double>(numel(s)); }

// Whether selective recomputation makes a node's results again.
bool remade(const UnitNode& n, const CostOptions& options) {
  return options.remakes_simple ? !n.products && !n.node->op->is_view() : n.in_region;
}

// Seconds, and parameters.
void add_times(const UnitSplit& s, const CostOptions& options, UnitCost& u) {
  u.flops = s.flops;
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    if (!s.nodes[i].active) continue;
    size_t k = s.picked(i);
    u.forward += s.choices[i].forward[k], u.backward += s.choices[i].backward[k];
    u.forward_comm += s.choices[i].forward_wait[k], u.backward_comm += s.choices[i].backward_wait[k];
    if (remade(s.nodes[i], options)) u.recompute_selective += s.choices[i].forward[k];
  }
  for (const Value& v : s.order) {
    double bytes = s.bytes_of(v);
    auto it = s.shared_at.find(v);
    bool grads = s.floating(v);
    if (it == s.shared_at.end()) {
      size_t p = s.at.at(v.node);
      auto [i, j] = s.readers.at(v)[0];
      u.forward_comm += s.convert(s.out_layout(p, s.picked(p), v.index), s.chosen(i).inputs[j], bytes);
      if (grads && s.nodes[i].needs[j])
        u.backward_comm += s.convert(s.chosen(i).input_grads[j], s.out_grad(p, s.picked(p), v.index), bytes);
      continue;
    }
    const UnitSplit::Shared& shared = s.shared[it->second];
    const UnitSplit::TwoLayouts& st = s.chosen(shared);
    std::vector<Layout> gathered;
    for (auto [i, j] : s.readers.at(v)) {
      Layout to = s.chosen(i).inputs[j];
      if (std::find(gathered.begin(), gathered.end(), to) == gathered.end()) {
        u.forward_comm += s.convert(st.value, to, bytes);
        gathered.push_back(to);
      }
      if (grads && s.nodes[i].needs[j] && !shared.parameter)
        u.backward_comm += s.convert(s.chosen(i).input_grads[j], st.grad, bytes);
    }
    if (s.at.contains(v.node)) {
      size_t p = s.at.at(v.node);
      u.forward_comm += s.convert(s.out_layout(p, s.picked(p), v.index), st.value, bytes);
      if (grads) u.backward_comm += s.convert(st.grad, s.out_grad(p, s.picked(p), v.index), bytes);
    }
    if (shared.parameter) {
      double n = elements(v.type().shape);
      u.parameters += st.value >= 0 ? n / static_cast<double>(s.request.tensor) : n;
      if (st.grad == kPartial && s.request.tensor > 1) u.shared_gradients += bytes;
    }
  }
}

// What is kept for the backward pass: each memory once, views are what they show.
void add_kept(const UnitSplit& s, UnitNodes& all, const CostOptions& options, UnitCost& u) {
  auto tensor = static_cast<double>(s.request.tensor);
  std::unordered_map<Value, double> kept, kept_selective;
  auto root = [&](Value v) {
    while (s.at.contains(v.node) && s.nodes[s.at.at(v.node)].node->op->is_view())
      v = s.nodes[s.at.at(v.node)].node->inputs[0];
    return v;
  };
  auto layout_of = [&](Value v) {
    auto it = s.shared_at.find(v);
    if (it != s.shared_at.end()) return s.chosen(s.shared[it->second]).value;
    return s.at.contains(v.node) && s.nodes[s.at.at(v.node)].active
               ? s.out_layout(s.at.at(v.node), s.picked(s.at.at(v.node)), v.index)
               : kReplicated;
  };
  std::unordered_set<Value> regathered, for_remaking;
  // What products made, and what comes in, from which `v` is made again.
  auto keep_sources = [&](auto&& self, Value v) -> void {
    Value base = root(v);
    if (!for_remaking.insert(base).second || all.model().is_parameter(*base.node)) return;
    if (auto it = s.at.find(base.node); it != s.at.end() && remade(s.nodes[it->second], options)) {
      for (const Value& from : base.node->inputs)
        if (from) self(self, from);
    } else if (it != s.at.end() ? s.nodes[it->second].active : all.flows(base.node)) {
      double& mine = kept_selective[base];
      mine = std::max(mine, s.bytes_of(base) / (layout_of(base) >= 0 ? tensor : 1));
    }
  };
  auto keep = [&](Value v, Layout used, bool by_region) {
    if (all.model().is_parameter(*v.node)) return;
    bool is_inside = s.at.contains(v.node);
    if (!is_inside && !all.flows(v.node)) return;
    if (is_inside && !s.nodes[s.at.at(v.node)].active) return;
    Value base = root(v);
    if (all.model().is_parameter(*base.node)) return;
    Layout l = used >= 0 ? used : layout_of(v);
    if (used == kReplicated && l >= 0 && regathered.insert(v).second)
      u.regather += s.convert(l, kReplicated, s.bytes_of(v));
    double bytes = s.bytes_of(v) / (l >= 0 ? tensor : 1);
    double& mine = kept[base];
    // Several views of one memory together are at most all of it.
    double whole = s.bytes_of(base) / (l >= 0 ? tensor : 1);
    mine = v == base ? std::max(mine, bytes) : std::min(std::max(whole, mine), mine + bytes);
    if (options.remakes_simple) {
      keep_sources(keep_sources, base);
      return;
    }
    bool made_in_region = s.at.contains(base.node) && s.nodes[s.at.at(base.node)].in_region;
    if (!(by_region && made_in_region)) kept_selective[base] = std::max(kept_selective[base], kept[base]);
  };
  double masks = 0, masks_region = 0;
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    const Node& n = *s.nodes[i].node;
    if (!s.nodes[i].active) continue;
    const Strategy& chosen = s.chosen(i);
    OperatorCost c = all.cost(s.nodes[i], all.local_inputs(s.nodes[i], chosen, s.request));
    for (size_t j = 0; j < n.inputs.size(); ++j)
      if (n.inputs[j] && c.saves_input[j]) keep(n.inputs[j], chosen.inputs[j], s.nodes[i].in_region);
    double results = 0;
    for (size_t o = 0; o < n.outputs.size(); ++o) {
      Value v{const_cast<Node*>(&n), static_cast<int>(o)};
      if (c.saves_output[o]) keep(v, chosen.outputs[o], s.nodes[i].in_region);
      TensorType t = all.local(v, n.outputs[o], chosen.outputs[o], s.request, false);
      results += elements(t.shape) * static_cast<double>(size_of(t.dtype));
      if (draws(*n.op) && options.keeps_dropout_masks && o == 0 && s.nodes[i].needs[0])
        (s.nodes[i].in_region ? masks_region : masks) += elements(t.shape);
    }
    if (!n.op->is_view()) u.workspace = std::max(u.workspace, results);
  }
  for (const auto& [v, b] : kept) u.saved += b;
  for (const auto& [v, b] : kept_selective) u.saved_selective += b;
  u.saved += masks + masks_region, u.saved_selective += masks;
}

// What changes when experts are dealt out among groups of ranks: their parameters, and two all-to-alls.
void deal_out_experts(const UnitSplit& s, UnitNodes& all, UnitCost& u) {
  std::unordered_set<Value> moved;
  std::unordered_set<const Node*> counted;
  auto is_expert = [&](const Node* n) {
    auto it = s.at.find(n);
    return it != s.at.end() && s.nodes[it->second].in_experts;
  };
  for (size_t i = 0; i < s.nodes.size(); ++i) {
    if (!s.nodes[i].active) continue;
    const Node& n = *s.nodes[i].node;
    const Strategy& chosen = s.chosen(i);
    for (size_t j = 0; j < n.inputs.size(); ++j) {
      const Value& v = n.inputs[j];
      if (!v) continue;
      if (static_cast<int>(j) == s.nodes[i].expert_slot) {
        if (!counted.insert(v.node).second) continue;
        double here = elements(v.type().shape) / static_cast<double>(chosen.inputs[j] >= 0 ? s.request.tensor : 1);
        u.parameters -= here * (1 - 1 / static_cast<double>(s.request.expert));
        u.experts += here / static_cast<double>(s.request.expert);
        u.expert_parameters.push_back({all.position(&n) - s.unit_type.first, j, s.nodes[i].expert_dim});
        continue;
      }
      // Where a value goes to the experts or comes from them.
      bool flows = !all.model().is_parameter(*v.node) && all.flows(v.node);
      if (!flows || is_expert(v.node) == s.nodes[i].in_experts || !moved.insert(v).second) continue;
      TensorType t = all.local(v, v.type(), chosen.inputs[j], s.request, false);
      double time = collective_time(s.cluster, Collective::all_to_all,
                                    elements(t.shape) * static_cast<double>(size_of(t.dtype)),
                                    {s.request.expert, s.request.tensor * s.request.context});
      u.forward_comm += time;
      if (s.nodes[i].needs[j]) u.backward_comm += time;
    }
  }
}

// The element type of most parameters: in that most arithmetic is done.
std::string dtype_of(const Model& model) {
  std::map<std::string, double> by_type;
  for (int i = model.inputs; i < model.inputs + model.parameters; ++i) {
    const TensorType& t = model.graph.inputs()[static_cast<size_t>(i)]->outputs[0];
    by_type[std::string(name(t.dtype))] += elements(t.shape);
  }
  double most = -1;
  std::string dtype = "f32";
  for (const auto& [n, count] : by_type)
    if (count > most) most = count, dtype = n;
  if (dtype == "float16") dtype = "f16";
  if (dtype == "bfloat16") dtype = "bf16";
  if (dtype == "float32") dtype = "f32";
  return dtype;
}

}  // namespace

struct UnitCosts::State {
  const Cluster& cluster;
  CostOptions options;
  std::string dtype;
  UnitNodes nodes;
  std::map<UnitRequest, UnitCost> made;

  UnitCost solve_unit(const UnitRequest& r);
};

UnitCost UnitCosts::State::solve_unit(const UnitRequest& r) {
  UnitSplit s(nodes, cluster, dtype, options, r);
  UnitCost u;
  add_times(s, options, u);
  add_kept(s, nodes, options, u);
  if (r.expert > 1) deal_out_experts(s, nodes, u);
  if (s.last) {
    u.output_whole = s.bytes_of(s.last);
    u.output = u.output_whole / (s.outside_layout(s.last) >= 0 ? static_cast<double>(r.tensor) : 1);
  }
  u.strategy.resize(static_cast<size_t>(s.unit_type.end - s.unit_type.first));
  for (size_t i = 0; i < s.nodes.size(); ++i)
    if (s.nodes[i].active)
      u.strategy[static_cast<size_t>(nodes.position(s.nodes[i].node) - s.unit_type.first)] = s.chosen(i);
  return u;
}

int64_t UnitCosts::experts() const { return std::max<int64_t>(1, state_->nodes.experts()); }
int64_t UnitCosts::tokens() const { return state_->nodes.tokens(); }

UnitCosts::UnitCosts(const Model& model, const Chain& chain, const Cluster& cluster, CostOptions options)
    : state_(new State{cluster, std::move(options), dtype_of(model), UnitNodes(model, chain), {}}) {}
UnitCosts::~UnitCosts() = default;
const Model& UnitCosts::model() const { return state_->nodes.model(); }
const Chain& UnitCosts::chain() const { return state_->nodes.chain(); }
const Cluster& UnitCosts::cluster() const { return state_->cluster; }
const std::string& UnitCosts::dtype() const { return state_->dtype; }

const UnitCost& UnitCosts::get(const UnitRequest& request) {
  auto it = state_->made.find(request);
  if (it == state_->made.end()) it = state_->made.emplace(request, state_->solve_unit(request)).first;
  return it->second;
}

}  // namespace sorus::parallel
