#include "sorus/parallel/cost/unit_nodes.h"

#include <algorithm>
#include <mutex>
#include <numeric>

namespace sorus::parallel {
namespace {

// Nodes on a way from one of the nodes to one of them.
std::vector<char> between(const std::vector<UnitNode>& nodes, NodePlaces& at, const std::vector<char>& ends) {
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

}  // namespace

int UnitNodes::DimClasses::id(Value v, size_t dim) {
  auto [it, fresh] = ids_.try_emplace({v.node, v.index, dim}, static_cast<int>(parent_.size()));
  if (fresh) parent_.push_back(it->second);
  return find(it->second);
}

int UnitNodes::DimClasses::find(int a) {
  while (parent_[static_cast<size_t>(a)] != a)
    a = parent_[static_cast<size_t>(a)] = parent_[static_cast<size_t>(parent_[static_cast<size_t>(a)])];
  return a;
}

UnitNodes::UnitNodes(const Model& model, const Chain& chain) : model_(model), chain_(chain) {
  const auto& nodes = model.graph.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) position_[nodes[i].get()] = static_cast<int>(i);
  for (const auto& n : nodes) read_.insert(n->inputs.begin(), n->inputs.end());
  read_.insert(model.graph.outputs().begin(), model.graph.outputs().end());
  for (size_t u = 0; u < chain.units.size(); ++u)
    for (int i = chain.units[u].first; i < chain.units[u].end; ++i)
      unit_of_[nodes[static_cast<size_t>(i)].get()] = static_cast<int>(u);
  for (const UnitType& t : chain.types) units_.push_back(describe(t));
  for (int i = 0; i < model.inputs; ++i) {
    const Node* in = model.graph.inputs()[static_cast<size_t>(i)];
    for (size_t d = 0; d < in->outputs[0].shape.size(); ++d)
      (d == 0 ? batch_classes_ : token_classes_).push_back(classes_.id({const_cast<Node*>(in), 0}, d));
  }
  for (auto& [v, d] : places_) place_classes_.push_back(classes_.id(canonical(v), d));
  batch_classes_.insert(batch_classes_.end(), place_classes_.begin(), place_classes_.end());
  for (int& b : batch_classes_) b = classes_.find(b);
  for (int& t : token_classes_) t = classes_.find(t);
  std::erase_if(token_classes_, [&](int t) {
    return std::find(batch_classes_.begin(), batch_classes_.end(), t) != batch_classes_.end();
  });
  find_tokens();
}

// The node that stands for this one: the same place in the first unit of its type.
Value UnitNodes::canonical(Value v) const {
  auto it = unit_of_.find(v.node);
  if (it == unit_of_.end()) return v;
  const Unit& u = chain_.units[static_cast<size_t>(it->second)];
  const int offset = position_.at(v.node) - u.first, at = chain_.types[static_cast<size_t>(u.type)].first + offset;
  return {model_.graph.nodes()[static_cast<size_t>(at)].get(), v.index};
}

bool UnitNodes::inside(const Node* n, const UnitType& t) const {
  int p = position_.at(n);
  return p >= t.first && p < t.end && !n->is_input();
}

std::vector<UnitNode> UnitNodes::describe(const UnitType& t) {
  std::vector<UnitNode> out;
  std::unordered_map<const Node*, size_t> at;
  std::unordered_map<const Node*, int> readers;
  std::unordered_map<const Node*, char> free, gradient;
  const auto& nodes = model_.graph.nodes();
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
    for (size_t o = 0; o < n->outputs.size(); ++o)
      u.read.push_back(read_.contains({const_cast<Node*>(n), static_cast<int>(o)}));
    bool differentiable = false;
    for (size_t j = 0; j < n->inputs.size(); ++j) {
      const Value& v = n->inputs[j];
      if (!v) continue;
      ++readers[v.node];
      bool parameter = model_.is_parameter(*v.node), outside = !inside(v.node, t);
      bool depends = parameter || chain_.flows[static_cast<size_t>(position_.at(v.node))];
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
        int id = classes_.id(canonical(v), d);
        int& f = first[static_cast<size_t>(dims[d])];
        if (f < 0)
          f = id;
        else
          classes_.join(f, id);
      }
    };
    for (size_t j = 0; j < n->inputs.size() && j < u.rule.inputs.size(); ++j)
      if (n->inputs[j] && !model_.is_parameter(*n->inputs[j].node)) join(n->inputs[j], u.rule.inputs[j]);
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
  for (size_t i = 0; i < out.size(); ++i) out[i].products = is_matrix[i];
  find_region(out, at, is_matrix);
  find_experts(out, at, is_matrix);
  return out;
}

// Places at experts are as many as a batch's tokens need: a dimension of what goes to them, neither the parameter's
// nor summed over.
void UnitNodes::add_places(const UnitNode& u, size_t parameter) {
  const std::vector<int>&of_parameter = u.rule.inputs[parameter], &of_result = u.rule.outputs[0];
  for (size_t d = 0; d < of_result.size(); ++d)
    if (of_result[d] >= 0 && std::find(of_parameter.begin(), of_parameter.end(), of_result[d]) == of_parameter.end())
      places_.emplace_back(Value{const_cast<Node*>(u.node), 0}, d);
}

// Products with a parameter that has a dimension which the activations and the result keep.
void UnitNodes::find_experts(std::vector<UnitNode>& out, NodePlaces& at, const std::vector<char>& is_matrix) {
  std::vector<char> ends(out.size(), 0);
  for (size_t i = 0; i < out.size(); ++i) {
    const Node& n = *out[i].node;
    const ShardingRule& rule = out[i].rule;
    if (!is_matrix[i] || rule.outputs.size() != 1) continue;
    auto holds = [](const std::vector<int>& dims, int f) {
      return std::find(dims.begin(), dims.end(), f) != dims.end();
    };
    for (size_t j = 0; j < n.inputs.size() && !ends[i]; ++j) {
      if (!n.inputs[j] || !model_.is_parameter(*n.inputs[j].node)) continue;
      for (size_t d = 0; d < rule.inputs[j].size() && !ends[i]; ++d) {
        int f = rule.inputs[j][d];
        if (f < 0 || rule.factors[static_cast<size_t>(f)].kind != ShardFactor::Kind::kept ||
            !holds(rule.outputs[0], f))
          continue;
        for (size_t k = 0; k < n.inputs.size(); ++k)
          if (k != j && n.inputs[k] && !model_.is_parameter(*n.inputs[k].node) && holds(rule.inputs[k], f))
            ends[i] = 1;
        if (!ends[i]) continue;
        add_places(out[i], j);
        out[i].expert_slot = static_cast<int>(j), out[i].expert_dim = d;
        experts_ = std::gcd(experts_, rule.factors[static_cast<size_t>(f)].size);
      }
    }
  }
  std::vector<char> inside = between(out, at, ends);
  for (size_t i = 0; i < out.size(); ++i) out[i].in_experts = inside[i];
}

// Products of activations with activations, and what lies between two of them.
void UnitNodes::find_region(std::vector<UnitNode>& out, NodePlaces& at, const std::vector<char>& is_matrix) const {
  std::vector<char> from(out.size(), 0), to(out.size(), 0), parameter(out.size(), 0);
  for (size_t i = 0; i < out.size(); ++i) {
    bool any = false;
    for (const Value& v : out[i].node->inputs) {
      if (!v) continue;
      bool p = model_.is_parameter(*v.node) ||
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

std::vector<TensorType> UnitNodes::types_of(const Node& n) {
  std::vector<TensorType> t;
  for (const TensorType* p : n.input_types()) t.push_back(p ? *p : TensorType{});
  return t;
}

OperatorCost UnitNodes::cost(const UnitNode& u, const std::vector<TensorType>& types, double scale,
                             int64_t blocks) const {
  const Node& n = *u.node;
  Attrs attrs = n.attrs;
  if (int f = u.tokens.factor; blocks > 1 && f >= 0 && u.rule.factors[static_cast<size_t>(f)].placed) {
    std::vector<ShardPart> parts;
    for (const ShardFactor& factor : u.rule.factors) parts.push_back({0, factor.size});
    parts[static_cast<size_t>(f)] = shard_part(parts[static_cast<size_t>(f)].size, blocks, blocks - 1);
    std::vector<const TensorType*> whole = n.input_types();
    attrs = shard_attrs(TypeCall{*n.op, whole, n.attrs}, u.rule, parts);
  }
  std::string key = n.op->name();
  std::vector<const TensorType*> pointers;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    pointers.push_back(n.inputs[i] ? &types[i] : nullptr);
    key += n.inputs[i] ? types[i].to_string() : "-";
    key += u.needs[i] ? "'" : "";
  }
  for (char r : u.read) key += r ? "." : "!";
  for (const Attr& a : attrs) key += "," + a.to_string();
  static std::mutex mutex;
  static std::unordered_map<std::string, OperatorCost> known;  // what a call costs does not depend on the model
  std::lock_guard lock(mutex);
  auto it = known.find(key);
  if (it != known.end()) return it->second;
  OperatorCost c;
  try {
    c = operator_cost(*n.op, pointers, attrs, u.needs, u.read);
  } catch (const Error&) {  // an attribute that states a size
    c = operator_cost(*n.op, n.input_types(), n.attrs, u.needs, u.read);
    for (auto* list : {&c.forward, &c.backward})
      for (KernelWork& k : *list) k.flops /= scale, k.bytes /= scale;
  }
  if (known.size() > 50000) known.clear();
  return known.emplace(key, c).first->second;
}

bool UnitNodes::in_class(const std::vector<int>& wanted, Value v, size_t dim) {
  int id = classes_.id(canonical(v), dim);
  return std::find(wanted.begin(), wanted.end(), id) != wanted.end();
}

TensorType UnitNodes::part(Value v, const TensorType& type, Layout layout, const UnitRequest& r, bool parameter,
                           int tokens) {
  TensorType t = type;
  for (size_t d = 0; d < t.shape.size(); ++d) {
    if (!parameter && r.batch_parts > 1 && t.shape[d] % r.batch_parts == 0 && in_batch(v, d))
      t.shape[d] /= r.batch_parts;
    if (static_cast<int>(d) == tokens && t.shape[d] % r.context == 0) t.shape[d] /= r.context;
    if (layout == static_cast<Layout>(d)) t.shape[d] = std::max<int64_t>(1, t.shape[d] / r.tensor);
  }
  return t;
}

TensorType UnitNodes::local(Value v, const TensorType& type, Layout layout, const UnitRequest& r, bool parameter) {
  return part(v, type, layout, r, parameter, parameter || r.context == 1 ? -1 : token_dim(v));
}

std::vector<TensorType> UnitNodes::local_inputs(const UnitNode& u, const Strategy& strategy, const UnitRequest& r) {
  std::vector<TensorType> types = types_of(*u.node);
  for (size_t j = 0; j < types.size(); ++j)
    if (const Value& v = u.node->inputs[j])
      types[j] = part(v, types[j], strategy.inputs[j], r, model_.is_parameter(*v.node), u.tokens.in[j]);
  return types;
}

// The first dimension of tokens; or where a dimension of the batch has them behind it, that.
int UnitNodes::token_dim(Value v) {
  const Shape& shape = v.type().shape;
  for (size_t d = 0; d < shape.size(); ++d)
    if (in_class(context_classes_, v, d)) return static_cast<int>(d);
  for (size_t d = 0; d < shape.size(); ++d)
    if (in_batch(v, d) &&
        ((shape[d] > model_.batch && shape[d] % (model_.batch * tokens_) == 0) || in_class(place_classes_, v, d)))
      return static_cast<int>(d);
  return -1;
}

// How each operator's tokens are dealt out: along the factor of its rule that its result's tokens are of.
void UnitNodes::find_tokens() {
  tokens_ = 0;
  for (int i = 0; i < model_.inputs; ++i) {
    const Node* in = model_.graph.inputs()[static_cast<size_t>(i)];
    const Shape& shape = in->outputs[0].shape;
    if (shape.size() < 2) continue;
    context_classes_.push_back(classes_.id({const_cast<Node*>(in), 0}, 1));
    tokens_ = std::gcd(tokens_, shape[1]);
  }
  if (tokens_ == 0) tokens_ = 1;
  bool possible = true;
  for (std::vector<UnitNode>& unit : units_)
    for (UnitNode& u : unit) {
      const Node& n = *u.node;
      u.tokens.in.assign(n.inputs.size(), -1), u.tokens.whole_in.assign(n.inputs.size(), 0);
      auto factor_at = [](const std::vector<int>& dims, int d) {
        return d < 0 || d >= static_cast<int>(dims.size()) ? -1 : dims[static_cast<size_t>(d)];
      };
      auto is_parameter = [&](size_t j) { return n.inputs[j] && model_.is_parameter(*n.inputs[j].node); };
      size_t slots = std::min(n.inputs.size(), u.rule.inputs.size());
      Value seen{const_cast<Node*>(&n), 0};
      int f = u.rule.outputs.empty() ? -1 : factor_at(u.rule.outputs[0], token_dim(seen));
      bool shown = f >= 0;
      for (size_t j = 0; j < slots && f < 0; ++j)
        if (n.inputs[j] && !is_parameter(j)) seen = n.inputs[j], f = factor_at(u.rule.inputs[j], token_dim(seen));
      if (f < 0) continue;
      const ShardFactor& factor = u.rule.factors[static_cast<size_t>(f)];
      // Ranks that share a batch each count the places of their own tokens at experts (models/decoder.h).
      bool own = in_batch(seen, static_cast<size_t>(token_dim(seen)));
      // A result without tokens (a loss) is what data-parallel ranks each have of their own as well.
      bool splits = factor.can_split() || factor.placed || n.op->is_view() || own || !shown;
      if (splits) u.tokens.factor = f;
      for (size_t j = 0; j < slots; ++j) {
        if (!n.inputs[j]) continue;
        auto it = std::find(u.rule.inputs[j].begin(), u.rule.inputs[j].end(), f);
        bool has = it != u.rule.inputs[j].end();
        // A sum over tokens with a parameter splits the parameter: that is another axis.
        if (has && is_parameter(j) && !shown) possible = false;
        if (is_parameter(j)) continue;
        if (splits && has)
          u.tokens.in[j] = static_cast<int>(it - u.rule.inputs[j].begin());
        else
          u.tokens.whole_in[j] = !n.op->is_view() &&
                                 chain_.flows[static_cast<size_t>(position_.at(n.inputs[j].node))] &&
                                 token_dim(n.inputs[j]) >= 0;
      }
      // Every rank would do all of it.
      if (!splits && u.active) possible = false;
    }
  if (!possible) tokens_ = 1;
}

}  // namespace sorus::parallel
