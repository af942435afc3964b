// The plan that a combination of dimensions stands for: its mesh, stages and marks.

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
    if (kind != AxisKind::pipeline)
      collective_time(cluster, Collective::all_reduce, 64e6, {size, stride}, &algorithm);
    a.collective = algorithm;
    p.mesh.push_back(a);
  };
  axis("pp", AxisKind::pipeline, k.pipeline, k.tensor * k.data);
  axis("dp", AxisKind::data, k.data, k.tensor);
  axis("tp", AxisKind::tensor, k.tensor, 1);
  if (!cluster.exceptions.empty()) p.device_of_rank = cluster.usable(request.devices);
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
  // Parameters that the tensor axis splits, by the strategies of the operators that read them.
  if (k.tensor > 1) {
    UnitRequest q;
    q.batch_parts = costs.model().batch / k.micro_batch, q.tensor = k.tensor, q.sequence = k.sequence,
    q.span = {k.tensor, 1};
    std::set<std::string> marked;
    for (const Unit& unit : chain.units) {
      q.type = unit.type;
      const UnitCost& cost = costs.get(q);
      for (int i = unit.first; i < unit.end; ++i) {
        const Node& n = *costs.model().graph.nodes()[static_cast<size_t>(i)];
        const Strategy& s = cost.strategy[static_cast<size_t>(i - unit.first)];
        for (size_t j = 0; j < n.inputs.size() && j < s.inputs.size(); ++j)
          if (n.inputs[j] && s.inputs[j] >= 0 && costs.model().is_parameter(*n.inputs[j].node) &&
              marked.insert(n.inputs[j].node->label).second)
            p.marks.push_back({Mark::Of::parameter,
                               n.inputs[j].node->label,
                               0,
                               0,
                               {{"tp", {AxisPlacement::Kind::shard, s.inputs[j]}}}});
      }
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
