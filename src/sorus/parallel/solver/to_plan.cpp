// The plan that a combination of dimensions stands for: its mesh, stages and marks.

#include <algorithm>
#include <map>
#include <set>

#include "sorus/parallel/solver/search.h"

namespace sorus::parallel {

Plan to_plan(UnitCosts& costs, const Candidate& c, const SearchRequest& request) {
  const StepConfig& k = c.config;
  const Cluster& cluster = costs.cluster();
  const Chain& chain = costs.chain();
  Plan p;
  p.model = costs.model().name, p.cluster = cluster.name, p.devices = request.devices;
  auto axis = [&](const char* name, AxisKind kind, int64_t size, int64_t stride) {
    PlanAxis a{name, kind, size, "", ""};
    const char* algorithm = "";
    int level = widest_level(cluster, {size, stride});
    if (level >= 0) a.level = cluster.levels[static_cast<size_t>(level)].name;
    if (kind == AxisKind::expert)
      collective_time(cluster, Collective::all_to_all, 64e6, {size, stride}, &algorithm);
    else if (kind != AxisKind::pipeline)
      collective_time(cluster, Collective::all_reduce, 64e6, {size, stride}, &algorithm);
    a.collective = algorithm;
    p.mesh.push_back(a);
  };
  axis("pp", AxisKind::pipeline, k.pipeline, k.tensor * k.replicas());
  axis("dp", AxisKind::data, k.data / k.expert, k.tensor * k.context * k.expert);
  if (k.expert > 1) axis("ep", AxisKind::expert, k.expert, k.tensor * k.context);
  if (k.context > 1) axis("cp", AxisKind::sequence, k.context, k.tensor);
  axis("tp", AxisKind::tensor, k.tensor, 1);
  if (!cluster.exceptions.empty()) p.device_of_rank = cluster.usable(request.devices);
  for (const Exception& e : cluster.exceptions)
    if (std::find(p.device_of_rank.begin(), p.device_of_rank.end(), e.device) != p.device_of_rank.end())
      p.notes.push_back(
          fmt::format("device {} has {} of the speed {}; all that meet it wait for it", e.device, e.factor,
                      e.level.empty() ? "in arithmetic" : fmt::format("of links across the {}", e.level)));
  p.global_batch = request.batch, p.micro_batch = k.micro_batch, p.micro_batches = k.micro_batches;
  p.schedule = k.pipeline > 1 ? k.schedule : Schedule::none, p.chunks = k.chunks, p.zero = k.zero;
  p.sequence_parallel = k.sequence, p.overlap = k.overlap, p.offload = k.offload;
  const StepEstimate& e = c.estimate;
  std::set<std::string> read;
  for (size_t s = 0; s + 1 < e.cuts.size(); ++s) {
    PlanStage stage;
    int first = e.cuts[s], end = e.cuts[s + 1];
    stage.first_node = s == 0 ? 0 : chain.units[static_cast<size_t>(first)].first;
    stage.end_node = chain.units[static_cast<size_t>(end) - 1].end;
    stage.from = chain.units[static_cast<size_t>(first)].name,
    stage.to = chain.units[static_cast<size_t>(end) - 1].name;
    for (int64_t i = stage.first_node; i < stage.end_node; ++i)
      for (const Value& v : costs.model().graph.nodes()[static_cast<size_t>(i)]->inputs)
        if (v && costs.model().is_parameter(*v.node) && read.insert(v.node->label).second)
          stage.parameters.push_back(v.node->label);
    stage.device = static_cast<int64_t>(s) % k.pipeline;
    stage.recompute = k.recompute;
    if (k.recompute == Recompute::full)
      for (int u = first; u < end; u += chain.period) {
        int last = std::min(end, u + chain.period);
        if (chain.types[static_cast<size_t>(chain.units[static_cast<size_t>(u)].type)].count > 1)
          stage.recomputed.emplace_back(chain.units[static_cast<size_t>(u)].first,
                                        chain.units[static_cast<size_t>(last) - 1].end);
      }
    stage.memory = e.stage_memory[static_cast<size_t>(stage.device)];
    stage.forward_s = e.stages[s].forward, stage.backward_s = e.stages[s].backward;
    p.stages.push_back(std::move(stage));
  }
  // Parameters that the tensor axis splits, by the strategies of the operators that read them, and experts.
  if (k.tensor > 1 || k.expert > 1) {
    UnitRequest q;
    q.batch_parts = costs.model().batch / k.micro_batch, q.tensor = k.tensor;
    q.sequence = k.sequence && k.tensor > 1, q.span = {k.tensor, 1}, q.expert = k.expert, q.context = k.context;
    std::map<std::string, size_t> marked;
    auto mark = [&](const Node& n, size_t slot, const char* axis, int64_t dim) {
      const std::string& name = n.inputs[slot].node->label;
      auto [it, fresh] = marked.try_emplace(name, p.marks.size());
      if (fresh) p.marks.push_back({Mark::Of::parameter, name, 0, 0, {}});
      p.marks[it->second].on.try_emplace(axis, AxisPlacement{AxisPlacement::Kind::shard, dim});
    };
    for (const Unit& unit : chain.units) {
      q.type = unit.type;
      const UnitCost& cost = costs.get(q);
      auto node = [&](int i) -> const Node& {
        return *costs.model().graph.nodes()[static_cast<size_t>(unit.first) + static_cast<size_t>(i)];
      };
      for (int i = 0; i < unit.end - unit.first; ++i) {
        const Node& n = node(i);
        const Strategy& s = cost.strategy[static_cast<size_t>(i)];
        for (size_t j = 0; j < n.inputs.size() && j < s.inputs.size(); ++j)
          if (n.inputs[j] && s.inputs[j] >= 0 && k.tensor > 1 && costs.model().is_parameter(*n.inputs[j].node))
            mark(n, j, "tp", s.inputs[j]);
      }
      for (const ExpertParameter& e : cost.expert_parameters)
        mark(node(e.node), e.slot, "ep", static_cast<int64_t>(e.dim));
    }
  }
  p.time.step = e.time, p.time.compute = e.compute, p.time.recompute = e.recompute;
  p.time.communication = e.tensor_comm + e.pipeline_comm + e.data_comm, p.time.bubble = e.bubble,
  p.time.optimizer = e.optimizer;
  p.time.offload = e.offload;
  p.memory_bytes = e.memory;
  return p;
}

}  // namespace sorus::parallel
