#include "sorus/parallel/space/layout.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "sorus/graph/trace.h"

namespace sorus::parallel {
namespace {

// A composite without a rule of its own: the dimensions that all operators of its body keep.
ShardingRule of_body(const TypeCall& call, const ShardingRule& whole) {
  Tracer tracer("body");
  TensorList in;
  std::vector<Value> inputs, outputs;
  for (const TensorType* t : call.inputs) in.push_back(t ? tracer.input(*t) : Tensor());
  {
    InterpreterScope scope(&tracer);
    GradMode off(false);
    for (const Tensor& t : call.op.body(Call{call.op, in, call.attrs})) {
      outputs.push_back(tracer.value_of(t));
      tracer.output(t);
    }
    for (const Tensor& t : in) inputs.push_back(t.defined() ? tracer.value_of(t) : Value{});
  }
  TracedGraph traced = tracer.finish();
  std::map<std::tuple<const Node*, int, size_t>, int> ids;
  std::vector<int> parent;
  std::vector<char> bad;
  auto find = [&](int a) {
    while (parent[static_cast<size_t>(a)] != a) a = parent[static_cast<size_t>(a)];
    return a;
  };
  auto id = [&](Value v, size_t d) {
    auto [it, fresh] = ids.try_emplace({v.node, v.index, d}, static_cast<int>(parent.size()));
    if (fresh) parent.push_back(it->second), bad.push_back(0);
    return find(it->second);
  };
  for (const auto& n : traced.graph.nodes()) {
    if (!n->op) continue;
    std::vector<const TensorType*> types = n->input_types();
    ShardingRule r = planning_rule(TypeCall{*n->op, types, n->attrs});
    std::vector<int> first(r.factors.size(), -1);
    auto join = [&](Value v, const std::vector<int>& dims) {
      for (size_t d = 0; d < dims.size(); ++d) {
        if (dims[d] < 0) continue;
        int me = id(v, d), &f = first[static_cast<size_t>(dims[d])];
        char either = bad[static_cast<size_t>(me)];
        if (f >= 0) {
          f = find(f);
          either |= bad[static_cast<size_t>(f)];
          parent[static_cast<size_t>(me)] = f;
        } else {
          f = me;
        }
        bad[static_cast<size_t>(f)] =
            either || r.factors[static_cast<size_t>(dims[d])].kind != ShardFactor::Kind::kept;
      }
    };
    for (size_t j = 0; j < n->inputs.size() && j < r.inputs.size(); ++j)
      if (n->inputs[j]) join(n->inputs[j], r.inputs[j]);
    for (size_t o = 0; o < r.outputs.size(); ++o) join({n.get(), static_cast<int>(o)}, r.outputs[o]);
  }
  ShardingRule out;
  std::map<int, int> factor_of;
  auto place = [&](Value v, const TensorType& type) {
    std::vector<int> dims;
    for (size_t d = 0; d < type.shape.size(); ++d) {
      int c = id(v, d);
      auto [it, fresh] = factor_of.try_emplace(c, static_cast<int>(out.factors.size()));
      if (fresh)
        out.factors.push_back({fmt::format("b{}", out.factors.size()), type.shape[d],
                               bad[static_cast<size_t>(c)] ? ShardFactor::Kind::whole : ShardFactor::Kind::kept});
      dims.push_back(type.shape[d] == 1 ? -1 : it->second);
    }
    return dims;
  };
  for (size_t i = 0; i < inputs.size(); ++i)
    out.inputs.push_back(inputs[i] ? place(inputs[i], *call.inputs[i]) : std::vector<int>());
  for (size_t o = 0; o < outputs.size(); ++o) out.outputs.push_back(place(outputs[o], outputs[o].type()));
  // A kept factor that no result shows would be a partial result of unknown kind.
  for (size_t f = 0; f < out.factors.size(); ++f) {
    bool shown = false;
    for (const auto& dims : out.outputs)
      shown |= std::find(dims.begin(), dims.end(), static_cast<int>(f)) != dims.end();
    if (!shown) out.factors[f].kind = ShardFactor::Kind::whole;
  }
  return out.outputs.size() == whole.outputs.size() ? out : whole;
}

}  // namespace

bool draws(const OpDef& op) {
  const auto& params = op.signature.params;
  return op.random ||
         std::any_of(params.begin(), params.end(), [](const Param& p) { return p.is_tensor() && p.name == "key"; });
}

std::string layout_text(Layout l) { return l == kReplicated ? "R" : l == kPartial ? "P" : fmt::format("S({})", l); }

ShardingRule planning_rule(const TypeCall& call) {
  ShardingRule r = sharding_rule(call);
  // Not in the space yet: tables that are split by rows, attention by queries, and sums that start from a partial
  // one.
  for (size_t f = 0; f < r.factors.size(); ++f) {
    bool added = r.factors[f].placed;
    for (size_t i = 0; i < r.added.size(); ++i) added = added || r.is_added(i, static_cast<int>(f));
    if (added) r.factors[f].kind = ShardFactor::Kind::whole;
  }
  bool any = std::any_of(r.factors.begin(), r.factors.end(), [](const ShardFactor& f) { return f.can_split(); });
  if (any || call.inputs.empty() || !call.inputs[0]) return r;
  if (call.op.body) return of_body(call, r);
  return r;
}

std::vector<Strategy> strategies(const ShardingRule& rule, int64_t parts) {
  Strategy same;
  same.inputs.assign(rule.inputs.size(), kReplicated);
  same.input_grads = same.inputs;
  same.outputs.assign(rule.outputs.size(), kReplicated);
  same.output_grads = same.outputs;
  std::vector<Strategy> out = {same};
  for (size_t f = 0; f < rule.factors.size(); ++f) {
    const ShardFactor& factor = rule.factors[f];
    if (!factor.can_split() || factor.size % parts != 0) continue;
    Strategy s = same;
    s.factor = static_cast<int>(f);
    auto place = [&](const std::vector<int>& dims) {
      auto it = std::find(dims.begin(), dims.end(), static_cast<int>(f));
      return it == dims.end() ? kReplicated : static_cast<Layout>(it - dims.begin());
    };
    for (size_t i = 0; i < rule.inputs.size(); ++i) {
      s.inputs[i] = place(rule.inputs[i]);
      // Every rank sees a part of what the input does, so each has a part of its gradient.
      s.input_grads[i] = s.inputs[i] >= 0 ? s.inputs[i] : kPartial;
    }
    for (size_t o = 0; o < rule.outputs.size(); ++o) {
      s.outputs[o] = place(rule.outputs[o]);
      if (s.outputs[o] < 0 && factor.kind != ShardFactor::Kind::kept) s.outputs[o] = kPartial;
      s.output_grads[o] = s.outputs[o] >= 0 ? s.outputs[o] : kReplicated;
    }
    out.push_back(std::move(s));
  }
  return out;
}

}  // namespace sorus::parallel
