#include "sorus/parallel/cost/unit_split.h"

#include <algorithm>

namespace sorus::parallel {

UnitSplit::UnitSplit(UnitNodes& all, const Cluster& given, const std::string& dtype, const CostOptions& options,
                     const UnitRequest& r)
    : request(r),
      unit_type(all.chain().types[static_cast<size_t>(r.type)]),
      cluster(given),
      nodes(all.of(r.type)),
      choices(nodes.size()),
      all_(all),
      balanced_(options.balanced_context) {
  for (size_t i = 0; i < nodes.size(); ++i) at[nodes[i].node] = i;
  // Recipes of 8 bits leave what stands at both ends (embedding, head) in 16.
  add_operators(dtype, options.products.empty() || unit_type.count == 1 ? dtype : options.products);
  add_values(options.memory_price);
  connect_readers();
  connect_outside();
  solution = solve(problem_, 1 << 16);
}

double UnitSplit::bytes_of(Value v) const {
  TensorType t = all_.local(v, v.type(), kReplicated, request, all_.model().is_parameter(*v.node));
  return static_cast<double>(numel(t.shape)) * static_cast<double>(size_of(t.dtype));
}

Layout UnitSplit::outside_layout(Value v) const {
  if (!request.sequence || request.tensor == 1) return kReplicated;
  for (size_t d = 0; d < v.type().shape.size(); ++d)
    if (v.type().shape[d] % (request.tensor * request.context) == 0 && all_.in_tokens(v, d))
      return static_cast<Layout>(d);
  return kReplicated;
}

double UnitSplit::convert(Layout from, Layout to, double bytes) const {
  Span span{request.tensor, request.span.stride};
  if (span.size == 1 || from == to || to == kPartial) return 0;
  if (from == kReplicated) return 0;
  if (from == kPartial)
    return collective_time(cluster, to == kReplicated ? Collective::all_reduce : Collective::reduce_scatter, bytes,
                           span);
  if (to == kReplicated) return collective_time(cluster, Collective::all_gather, bytes, span);
  return collective_time(cluster, Collective::all_to_all, bytes / static_cast<double>(span.size), span);
}

// Seconds, forward and backward, to bring the tokens together that an operator looks at beside its own.
std::pair<double, double> UnitSplit::exchange(const UnitNode& u, const std::vector<TensorType>& types,
                                              const OperatorCost& c) const {
  double there = 0, back = 0;
  for (size_t j = 0; j < types.size() && request.context > 1; ++j) {
    if (!u.tokens.whole_in[j]) continue;
    double bytes = static_cast<double>(numel(types[j].shape)) * static_cast<double>(size_of(types[j].dtype));
    Span ranks{request.context, request.tensor};
    double gather = collective_time(cluster, Collective::all_gather, bytes, ranks);
    there += gather;
    if (c.saves_input[j]) back += gather;
    if (u.needs[j]) back += collective_time(cluster, Collective::reduce_scatter, bytes, ranks);
  }
  return {there, back};
}

void UnitSplit::add_operators(const std::string& dtype, const std::string& products) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    const UnitNode& u = nodes[i];
    const Node& n = *u.node;
    if (!u.active) continue;
    for (Strategy& s : strategies(u.rule, request.tensor)) {
      if (s.factor >= 0 && request.tensor == 1) continue;
      // Experts that are dealt out to other ranks already are split again only where there are enough.
      if (u.expert_slot >= 0 && s.inputs[static_cast<size_t>(u.expert_slot)] == static_cast<Layout>(u.expert_dim) &&
          u.rule.factors[static_cast<size_t>(s.factor)].size % (request.expert * request.tensor) != 0)
        continue;
      if (s.factor >= 0) {
        // The batch belongs to data parallelism, tokens to sequence parallelism.
        bool batch = false, token = false;
        auto look = [&](Value v, Layout l) {
          if (l < 0 || all_.model().is_parameter(*v.node)) return;
          batch |= all_.in_batch(v, static_cast<size_t>(l));
          token |= all_.in_tokens(v, static_cast<size_t>(l));
        };
        for (size_t j = 0; j < n.inputs.size(); ++j)
          if (n.inputs[j]) look(n.inputs[j], s.inputs[j]);
        for (size_t o = 0; o < s.outputs.size(); ++o)
          look({const_cast<Node*>(&n), static_cast<int>(o)}, s.outputs[o]);
        if (batch || (token && !request.sequence)) continue;
      }
      double scale = static_cast<double>(request.batch_parts * request.context) *
                     (s.factor >= 0 ? static_cast<double>(request.tensor) : 1);
      std::vector<TensorType> types = all_.local_inputs(u, s, request);
      OperatorCost c = all_.cost(u, types, scale, balanced_ ? 0 : request.context);
      double saved_bytes = 0;
      for (size_t j = 0; j < n.inputs.size(); ++j)
        if (u.fused_in[j])
          saved_bytes += static_cast<double>(numel(types[j].shape)) * static_cast<double>(size_of(types[j].dtype));
      double out_bytes = 0;
      if (u.fused_out) {
        TensorType o = all_.local({const_cast<Node*>(&n), 0}, n.outputs[0], s.outputs[0], request, false);
        out_bytes = static_cast<double>(numel(o.shape)) * static_cast<double>(size_of(o.dtype));
      }
      auto time = [&](const std::vector<KernelWork>& kernels) {
        double sum = 0;
        for (KernelWork k : kernels) {
          if (!k.matrix) k.bytes = std::max(0.0, k.bytes - saved_bytes - out_bytes);
          double t = kernel_time(cluster, k, dtype, products);
          sum += u.fused_out && !k.matrix ? t - cluster.efficiency.launch_s : t;
        }
        return sum;
      };
      Choices& mine = choices[i];
      mine.forward.push_back(time(c.forward));
      mine.backward.push_back(time(c.backward));
      auto [there, back] = exchange(u, types, c);
      mine.forward_wait.push_back(exposed(there, mine.forward.back()));
      mine.backward_wait.push_back(exposed(back, mine.backward.back()));
      if (s.factor < 0)
        for (auto* list : {&c.forward, &c.backward})
          for (const KernelWork& k : *list) flops += k.matrix ? k.flops : 0;
      mine.list.push_back(std::move(s));
    }
    std::vector<double> costs;
    for (size_t k = 0; k < choices[i].list.size(); ++k)
      costs.push_back(choices[i].forward[k] + choices[i].backward[k] + choices[i].forward_wait[k] +
                      choices[i].backward_wait[k]);
    choices[i].variable = problem_.add(costs);
  }
}

void UnitSplit::add_values(double memory_price) {
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!nodes[i].active) continue;
    for (size_t j = 0; j < nodes[i].node->inputs.size(); ++j) {
      const Value& v = nodes[i].node->inputs[j];
      if (!v) continue;
      bool is_inside = at.contains(v.node);
      if (is_inside && !nodes[at.at(v.node)].active) continue;
      if (!is_inside && !all_.model().is_parameter(*v.node) && !all_.flows(v.node)) continue;
      auto& list = readers[v];
      if (list.empty()) order.push_back(v);
      list.emplace_back(i, j);
    }
  }
  // Parameters that every rank holds whole cost memory (with gradients and optimizer state several times their bytes)
  // and have their gradients added up once a step. Seconds a byte, small beside what it costs to move one.
  double tie = memory_price;
  for (const Value& v : order) {
    bool parameter = all_.model().is_parameter(*v.node), is_inside = at.contains(v.node);
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
        for (const Strategy& st : choices[at.at(v.node)].list)
          if (Layout l = st.outputs[static_cast<size_t>(v.index)];
              l >= 0 && std::find(dims.begin(), dims.end(), l) == dims.end())
            dims.push_back(l);
      for (Layout d : dims) s.states.push_back({d, d});
    }
    std::vector<double> costs;
    for (const TwoLayouts& st : s.states) {
      double c = 0;
      if (parameter) {
        c = tie * (st.value >= 0 ? s.bytes / static_cast<double>(request.tensor) : s.bytes);
        if (st.grad == kPartial) c += tie * s.bytes;
      }
      costs.push_back(c);
    }
    s.variable = problem_.add(costs);
    shared_at[v] = shared.size();
    shared.push_back(std::move(s));
  }
}

void UnitSplit::connect_readers() {
  for (const Value& v : order) {
    double bytes = bytes_of(v);
    bool is_inside = at.contains(v.node), grads = floating(v);
    auto it = shared_at.find(v);
    if (it == shared_at.end()) {
      size_t p = at.at(v.node);
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
      problem_.connect(choices[p].variable, choices[i].variable, std::move(cost));
      continue;
    }
    Shared& s = shared[it->second];
    for (auto [i, j] : readers[v]) {
      std::vector<double> cost;
      for (const TwoLayouts& st : s.states)
        for (const Strategy& use : choices[i].list) {
          double c = convert(st.value, use.inputs[j], bytes);
          if (grads && nodes[i].needs[j])
            c += s.parameter ? (use.input_grads[j] == st.grad || st.grad == kPartial
                                    ? 0
                                    : convert(use.input_grads[j], st.grad, bytes))
                             : convert(use.input_grads[j], st.grad, bytes);
          cost.push_back(c);
        }
      problem_.connect(s.variable, choices[i].variable, std::move(cost));
    }
    if (is_inside) {
      size_t p = at.at(v.node);
      std::vector<double> cost;
      for (size_t a = 0; a < choices[p].list.size(); ++a)
        for (const TwoLayouts& st : s.states) {
          double c = convert(out_layout(p, a, v.index), st.value, bytes);
          if (grads) c += convert(st.grad, out_grad(p, a, v.index), bytes);
          cost.push_back(c);
        }
      problem_.connect(choices[p].variable, s.variable, std::move(cost));
    }
  }
}

// What leaves the unit.
void UnitSplit::connect_outside() {
  const Unit* unit = nullptr;
  for (const Unit& u : all_.chain().units)
    if (u.type == request.type && u.first == unit_type.first) unit = &u;
  std::vector<Value> leaving;
  for (size_t p = static_cast<size_t>(unit->end); p < all_.model().graph.nodes().size(); ++p)
    for (const Value& v : all_.model().graph.nodes()[p]->inputs)
      if (v && at.contains(v.node) && nodes[at.at(v.node)].active &&
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
        problem_.nodes[static_cast<size_t>(s.variable)][k] +=
            convert(s.states[k].value, wanted, bytes) + convert(grad, s.states[k].grad, bytes);
    } else {
      size_t p = at.at(v.node);
      for (size_t k = 0; k < choices[p].list.size(); ++k)
        problem_.nodes[static_cast<size_t>(choices[p].variable)][k] +=
            convert(out_layout(p, k, v.index), wanted, bytes) + convert(grad, out_grad(p, k, v.index), bytes);
    }
  }
}

}  // namespace sorus::parallel
