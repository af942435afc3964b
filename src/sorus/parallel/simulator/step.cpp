#include "sorus/parallel/simulator/step.h"

#include <algorithm>
#include <cmath>

namespace sorus::parallel {

std::vector<int> equal_cuts(const Chain& chain, int64_t stages) {
  int n = static_cast<int>(chain.units.size()), period = chain.period;
  // The longest run in which types repeat with the period.
  int best_first = 0, best_length = 0;
  for (int first = 0; first < n;) {
    int end = first + period;
    while (end < n &&
           chain.units[static_cast<size_t>(end)].type == chain.units[static_cast<size_t>(end - period)].type)
      ++end;
    if (end > n) end = n;
    if (end - first > best_length) best_first = first, best_length = end - first;
    first = std::max(first + 1, end - period + 1);
  }
  int layers = best_length / period;
  std::vector<int> cuts = {0};
  for (int64_t s = 1; s < stages; ++s) {
    // Larger stages first where the layers do not divide.
    auto before = static_cast<int>((static_cast<int64_t>(layers) * s + stages - 1) / stages);
    cuts.push_back(layers >= stages ? best_first + before * period
                                    : static_cast<int>(static_cast<int64_t>(n) * s / stages));
  }
  cuts.push_back(n);
  return cuts;
}

double slowest_of(int64_t replicas, double spread) {
  return replicas > 1 ? 1 + spread * std::sqrt(2 * std::log(static_cast<double>(replicas))) : 1;
}

double ParameterBytes::resident(const StepConfig& c) const {
  auto n = static_cast<double>(c.replicas());
  return weight / (c.zero >= 3 ? n : 1) + gradient / (c.zero >= 2 ? n : 1) +
         (c.offload.optimizer ? 0 : state / (c.zero >= 1 ? n : 1));
}

ParameterBytes parameter_bytes(const UnitCosts& costs, const StepConfig& c) {
  bool half = costs.dtype() == "f16" || costs.dtype() == "bf16";
  return {half ? 2.0 : 4.0, half && !c.gradients_32 ? 2.0 : 4.0, half ? 12.0 : 8.0};
}

namespace {

// Of values that there are one for each parameter: those of a device when data-parallel ranks share them. Experts
// that are dealt out are on fewer ranks.
double shared_out(const StepConfig& c, const UnitLoad& load, bool shared) {
  if (!shared) return load.parameters;
  auto n = static_cast<double>(c.replicas());
  return (load.parameters - load.experts) / n + load.experts * static_cast<double>(c.expert) / n;
}

// Seconds of a collective over the ranks that have the same parameters, with so many bytes for each.
double over_replicas(const Cluster& cluster, const StepConfig& c, const UnitLoad& load, Collective kind,
                     double bytes) {
  Span all{c.replicas(), c.tensor}, same_experts{c.replicas() / c.expert, c.tensor * c.expert};
  return collective_time(cluster, kind, (load.parameters - load.experts) * bytes, all) +
         collective_time(cluster, kind, load.experts * bytes, same_experts);
}

}  // namespace

UnitLoad unit_load(UnitCosts& costs, const StepConfig& c, int type) {
  const UnitCost& u = costs.get({type,
                                 costs.model().batch / c.micro_batch,
                                 c.tensor,
                                 c.sequence && c.tensor > 1,
                                 {c.tensor, 1},
                                 c.expert,
                                 c.context});
  UnitLoad l;
  double there = u.forward_comm, back = u.backward_comm;
  if (c.overlap_tensor) there = exposed(there, u.forward), back = exposed(back, u.backward);
  l.forward = u.forward + there, l.backward = u.backward + back;
  l.comm = there + back;
  l.parameters = u.parameters, l.experts = u.experts, l.shared = u.shared_gradients;
  l.output = u.output, l.workspace = u.workspace, l.flops = u.flops;
  // What starts a stage without a stored input of its own (an embedding of ids) is not worth making again.
  bool repeats = costs.chain().types[static_cast<size_t>(type)].count > 1;
  Recompute r = repeats ? c.recompute : Recompute::none;
  if (r == Recompute::full) {
    // What is kept in parts and needed whole is gathered in making all of it again.
    l.recompute = u.forward, l.comm += there, l.backward += l.forward;
    l.remade = u.saved, l.again = true;
  } else {
    l.backward += u.regather, l.comm += u.regather;
    l.saved = u.saved;
  }
  if (r == Recompute::selective) {
    l.recompute = u.recompute_selective, l.backward += u.recompute_selective;
    l.saved = u.saved_selective, l.remade = u.saved - u.saved_selective;
  }
  if (c.micro_batches > 1) {
    const Cluster& cluster = costs.cluster();
    l.backward += cluster.efficiency.accumulate * shared_out(c, l, c.zero >= 2) * parameter_bytes(costs, c).add() /
                  (cluster.device.memory_bandwidth * cluster.efficiency.memory);
  }
  l.weights = (l.backward - l.recompute) / 2;
  return l;
}

StepEstimate estimate(UnitCosts& costs, const StepConfig& c, Timeline* timeline) {
  const Chain& chain = costs.chain();
  const Cluster& cluster = costs.cluster();
  int64_t total = c.pipeline * c.chunks;
  SORUS_CHECK(static_cast<int64_t>(chain.units.size()) >= total, ValueError,
              "the model has {} layers, which is fewer than {} stages", chain.units.size(), total);
  SORUS_CHECK(costs.model().batch % c.micro_batch == 0, ValueError,
              "a micro-batch of {} does not divide the traced batch of {}", c.micro_batch, costs.model().batch);
  StepEstimate e;
  e.cuts = c.cuts.empty() ? equal_cuts(chain, total) : c.cuts;
  Span pipe_span{c.pipeline, c.tensor * c.replicas()};
  auto m = static_cast<double>(c.micro_batches);
  ParameterBytes bytes = parameter_bytes(costs, c);
  std::vector<UnitLoad> loads;
  for (size_t t = 0; t < chain.types.size(); ++t) loads.push_back(unit_load(costs, c, static_cast<int>(t)));
  auto n_data = static_cast<double>(c.replicas());

  struct Stage {
    UnitLoad sum;
    double layer = 0, forward = 0, backward = 0;
    double gather = 0, scatter = 0;  // ZeRO 3
  };
  std::vector<Stage> stages(static_cast<size_t>(total));
  for (int64_t s = 0; s < total; ++s) {
    Stage& st = stages[static_cast<size_t>(s)];
    UnitLoad& sum = st.sum;
    int first = e.cuts[static_cast<size_t>(s)], end = e.cuts[static_cast<size_t>(s) + 1];
    double layer = 0;
    for (int u = first; u < end; ++u) {
      const UnitLoad& l = loads[static_cast<size_t>(chain.units[static_cast<size_t>(u)].type)];
      sum.forward += l.forward, sum.backward += l.backward, sum.weights += l.weights;
      sum.recompute += l.recompute, sum.comm += l.comm;
      sum.parameters += l.parameters, sum.experts += l.experts, sum.shared += l.shared, sum.saved += l.saved;
      if (c.zero >= 3) {  // layer by layer
        st.gather += over_replicas(cluster, c, l, Collective::all_gather, bytes.weight);
        st.scatter += over_replicas(cluster, c, l, Collective::reduce_scatter, bytes.weight);
      }
      sum.output = l.output, sum.workspace = std::max(sum.workspace, l.workspace);
      e.flops += l.flops * m * n_data;
      // A whole layer is made again at once, from its input.
      if (l.again && (u - first) % chain.period == 0) {
        sum.saved += u > 0 ? loads[static_cast<size_t>(chain.units[static_cast<size_t>(u - 1)].type)].output : 0;
        layer = 0;
      }
      layer = l.again ? layer + l.remade : l.remade;
      st.layer = std::max(st.layer, layer);
    }
    st.forward = sum.forward, st.backward = sum.backward;
    if (c.zero >= 3) {
      // Parameters are gathered for the forward and again for the backward pass, layer by layer beside the
      // arithmetic.
      double f = std::max(st.forward, st.gather) + kExposed * st.gather;
      double back = st.gather + st.scatter, b = std::max(st.backward, back) + kExposed * back;
      e.data_comm += (f - st.forward + b - st.backward) * m;
      st.forward = f, st.backward = b;
    }
    StageTime t;
    t.forward = st.forward, t.backward = st.backward;
    t.weights = sum.weights + (st.backward - sum.backward) / 2;
    // Ranks of the tensor axis hold the same output and send a part each (Narayanan et al. 2021, scatter/gather).
    if (s + 1 < total) {
      double part = c.sequence ? sum.output : sum.output / static_cast<double>(c.tensor);
      t.send = collective_time(cluster, Collective::send, part, pipe_span);
      if (!c.sequence && c.tensor > 1)
        t.send += collective_time(cluster, Collective::all_gather, sum.output, {c.tensor, 1});
      // A send keeps the sender as long as the receiver: nothing runs beside it.
      t.forward += t.send, t.backward += s > 0 ? t.send : 0;
    }
    e.stages.push_back(t);
  }
  Timeline line = run(c.pipeline == 1 ? Schedule::one_f_one_b : c.schedule, e.stages, static_cast<int>(c.pipeline),
                      c.micro_batches, timeline != nullptr);

  // After the last backward pass, by device.
  double after = 0;
  size_t slowest = 0;
  for (int64_t d = 0; d < c.pipeline; ++d) {
    UnitLoad all;  // parameters of the device's stages
    for (int64_t k = 0; k < c.chunks; ++k) {
      const UnitLoad& sum = stages[static_cast<size_t>(k * c.pipeline + d)].sum;
      all.parameters += sum.parameters, all.experts += sum.experts, all.shared += sum.shared;
    }
    double reduce = 0;
    if (c.replicas() > 1 && c.zero < 3) {
      auto over = [&](Collective kind) { return over_replicas(cluster, c, all, kind, bytes.weight); };
      reduce = c.zero == 0 ? over(Collective::all_reduce)
                           : over(Collective::reduce_scatter) + over(Collective::all_gather);
      // Beside the last backward pass of the device.
      if (c.overlap)
        reduce = std::max(reduce * kExposed,
                          reduce - stages[static_cast<size_t>(d)].backward * static_cast<double>(c.chunks));
    }
    reduce += collective_time(cluster, Collective::all_reduce, all.shared, {c.tensor, 1});
    double updated = shared_out(c, all, c.zero >= 1);
    double update_bytes = updated * bytes.update();
    double update = update_bytes / (cluster.device.memory_bandwidth * cluster.efficiency.memory);
    double host = 0;
    if (c.offload.optimizer) {
      host = c.offload.host_update ? std::max(updated * (bytes.gradient + bytes.weight) / cluster.host.bandwidth,
                                              update_bytes / cluster.host.memory_bandwidth)
                                   : updated * 2 * bytes.state / cluster.host.bandwidth;
      update = c.offload.host_update ? 0 : update;
    }
    double waits = line.last_end[static_cast<size_t>(d)] * (slowest_of(c.replicas(), cluster.efficiency.spread) - 1);
    reduce += waits;
    double end = line.last_end[static_cast<size_t>(d)] + reduce + update + host;
    if (end > after) {
      after = end, slowest = static_cast<size_t>(d);
      e.optimizer = update, e.offload = host;
      e.data_comm = (c.zero >= 3 ? e.data_comm / static_cast<double>(total) : 0) + reduce;
    }
  }
  // A head tied to the embedding at the other end of the pipeline: the two gradients are added.
  e.time = after;
  e.compute = 0;
  for (int64_t k = 0; k < c.chunks; ++k) {
    size_t s = static_cast<size_t>(k * c.pipeline) + slowest;
    const Stage& st = stages[s];
    e.recompute += st.sum.recompute * m, e.tensor_comm += st.sum.comm * m;
    e.pipeline_comm += (e.stages[s].forward - st.forward + e.stages[s].backward - st.backward) * m;
    e.compute += (st.forward + st.backward - st.sum.recompute - st.sum.comm) * m;
  }
  e.bubble = line.last_end[slowest] - line.busy[slowest];

  // Memory.
  for (int64_t d = 0; d < c.pipeline; ++d) {
    StageMemory mem;
    double layer = 0, workspace = 0;
    for (int64_t k = 0; k < c.chunks; ++k) {
      const Stage& st = stages[static_cast<size_t>(k * c.pipeline + d)];
      mem.parameters += shared_out(c, st.sum, c.zero >= 3) * bytes.weight;
      mem.gradients += shared_out(c, st.sum, c.zero >= 2) * bytes.gradient;
      mem.optimizer += shared_out(c, st.sum, c.zero >= 1) * bytes.state;
      mem.activations += st.sum.saved * static_cast<double>(line.most_alive[static_cast<size_t>(k * c.pipeline + d)]);
      layer = std::max(layer, st.layer), workspace = std::max(workspace, st.sum.workspace);
    }
    // Chunks are not fullest at the same time: a device holds so many passes at once, whatever their chunk.
    if (c.chunks > 1) {
      double sum = 0, alive = 0, most = 0;
      for (int64_t k = 0; k < c.chunks; ++k) {
        size_t s = static_cast<size_t>(k * c.pipeline + d);
        sum += stages[s].sum.saved, alive += static_cast<double>(line.most_alive[s]);
      }
      most =
          std::min(alive, static_cast<double>(std::min(c.micro_batches * c.chunks,
                                                       (c.pipeline - d - 1) * 2 + (c.chunks - 1) * c.pipeline + 1)));
      mem.activations = sum / static_cast<double>(c.chunks) * most;
    }
    mem.activations += layer;
    mem.buffers = workspace;
    if (c.offload.optimizer) {
      e.host_memory = std::max(e.host_memory, mem.optimizer);
      mem.optimizer = 0;
    }
    e.stage_memory.push_back(mem);
    e.memory = std::max(e.memory, mem.total());
  }
  if (timeline) *timeline = std::move(line);
  return e;
}

}  // namespace sorus::parallel
