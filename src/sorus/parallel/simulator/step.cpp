#include "sorus/parallel/simulator/step.h"

#include <algorithm>
#include <cmath>

namespace sorus::parallel {

namespace {
// Of a collective that runs beside arithmetic: the first bucket has nothing to run beside, and both share the memory.
constexpr double kExposed = 0.1;
}  // namespace

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
  UnitRequest request;
  request.batch_parts = costs.model().batch / c.micro_batch;
  request.tensor = c.tensor, request.sequence = c.sequence && c.tensor > 1, request.span = {c.tensor, 1};
  Span data_span{c.data, c.tensor}, pipe_span{c.pipeline, c.tensor * c.data};
  auto m = static_cast<double>(c.micro_batches);
  bool half = costs.dtype() == "f16" || costs.dtype() == "bf16";
  double weight = half ? 2 : 4, gradient = half && !c.gradients_32 ? 2 : 4, state = half ? 12 : 8;
  auto n_data = static_cast<double>(c.data);

  struct Stage {
    double parameters = 0, saved = 0, layer_saved = 0, recompute = 0, comm = 0, forward = 0, backward = 0, shared = 0,
           output = 0, workspace = 0, gather = 0;
  };
  std::vector<Stage> stages(static_cast<size_t>(total));
  std::vector<char> counted(chain.types.size(), 0);
  for (int64_t s = 0; s < total; ++s) {
    Stage& st = stages[static_cast<size_t>(s)];
    int first = e.cuts[static_cast<size_t>(s)], end = e.cuts[static_cast<size_t>(s) + 1];
    double period_saved = 0;
    for (int u = first; u < end; ++u) {
      request.type = chain.units[static_cast<size_t>(u)].type;
      const UnitCost& cost = costs.get(request);
      st.parameters += cost.parameters;
      st.shared += cost.shared_gradients;
      double forward = cost.forward + cost.forward_comm, backward = cost.backward + cost.backward_comm;
      // What is kept in parts is gathered again, unless that is part of making all of it again.
      double regather = 0;
      // What starts a stage without a stored input of its own (an embedding of ids) is not worth making again.
      bool repeats = chain.types[static_cast<size_t>(request.type)].count > 1;
      Recompute r = repeats ? c.recompute : Recompute::none;
      if (r == Recompute::full) {
        st.recompute += cost.forward, st.comm += cost.forward_comm, backward += forward;
        period_saved += cost.saved;
        if ((u - first) % chain.period == 0) {
          // The layer's input; the whole layer is made again at once.
          double input = u > 0 ? costs
                                     .get({chain.units[static_cast<size_t>(u - 1)].type, request.batch_parts,
                                           c.tensor, request.sequence, request.span})
                                     .output
                               : 0;
          st.saved += input;
          st.layer_saved = std::max(st.layer_saved, period_saved);
          period_saved = 0;
        }
        st.layer_saved = std::max(st.layer_saved, period_saved);
      } else {
        regather = cost.regather;
        backward += regather;
      }
      if (r == Recompute::selective) {
        st.recompute += cost.recompute_selective, backward += cost.recompute_selective;
        st.saved += cost.saved_selective;
        st.layer_saved = std::max(st.layer_saved, cost.saved - cost.saved_selective);
      } else if (r == Recompute::none) {
        st.saved += cost.saved;
      }
      st.comm += cost.forward_comm + cost.backward_comm + regather;
      st.forward += forward, st.backward += backward;
      st.output = cost.output;
      st.workspace = std::max(st.workspace, cost.workspace);
      e.flops += cost.flops * m * n_data;
    }
    if (c.zero >= 3) {
      // Parameters are gathered for the forward and again for the backward pass, layer by layer beside the
      // arithmetic.
      st.gather = collective_time(cluster, Collective::all_gather, st.parameters * weight, data_span);
      double scatter = collective_time(cluster, Collective::reduce_scatter, st.parameters * weight, data_span);
      double f = std::max(st.forward, st.gather) + kExposed * st.gather;
      double b = std::max(st.backward, st.gather + scatter) + kExposed * (st.gather + scatter);
      e.data_comm += (f - st.forward + b - st.backward) * m;
      st.forward = f, st.backward = b;
    }
    StageTime t;
    t.forward = st.forward, t.backward = st.backward;
    t.weights = (st.backward - st.recompute) * 0.5;
    // Ranks of the tensor axis hold the same output and send a part each (Narayanan et al. 2021, scatter/gather).
    if (s + 1 < total) {
      double part = c.sequence ? st.output : st.output / static_cast<double>(c.tensor);
      t.send = collective_time(cluster, Collective::send, part, pipe_span);
      if (!c.sequence && c.tensor > 1)
        t.send += collective_time(cluster, Collective::all_gather, st.output, {c.tensor, 1});
      // A send keeps the sender as long as the receiver: nothing runs beside it.
      t.forward += t.send, t.backward += s > 0 ? t.send : 0;
    }
    e.stages.push_back(t);
  }
  Timeline line = run(c.pipeline == 1 ? Schedule::one_f_one_b : c.schedule, e.stages, static_cast<int>(c.pipeline),
                      static_cast<int>(c.micro_batches), timeline != nullptr);

  // After the last backward pass, by device.
  double after = 0;
  size_t slowest = 0;
  for (int64_t d = 0; d < c.pipeline; ++d) {
    double parameters = 0, shared = 0;
    for (int64_t k = 0; k < c.chunks; ++k) {
      parameters += stages[static_cast<size_t>(k * c.pipeline + d)].parameters;
      shared += stages[static_cast<size_t>(k * c.pipeline + d)].shared;
    }
    double reduce = 0;
    if (c.data > 1 && c.zero < 3) {
      double bytes = parameters * weight;
      reduce = c.zero == 0 ? collective_time(cluster, Collective::all_reduce, bytes, data_span)
                           : collective_time(cluster, Collective::reduce_scatter, bytes, data_span) +
                                 collective_time(cluster, Collective::all_gather, bytes, data_span);
      // Beside the last backward pass of the device.
      if (c.overlap)
        reduce = std::max(reduce * kExposed,
                          reduce - stages[static_cast<size_t>(d)].backward * static_cast<double>(c.chunks));
    }
    reduce += collective_time(cluster, Collective::all_reduce, shared, {c.tensor, 1});
    double updated = c.zero >= 1 ? parameters / n_data : parameters;
    // Gradient, copy and moments are read, the last three and the weight written; the norm reads gradients once more.
    double update_bytes = updated * (2 * gradient + 2 * state + weight);
    double update = update_bytes / (cluster.device.memory_bandwidth * cluster.efficiency.memory);
    double host = 0;
    if (c.offload.optimizer) {
      host = c.offload.host_update ? std::max(updated * (gradient + weight) / cluster.host.bandwidth,
                                              update_bytes / cluster.host.memory_bandwidth)
                                   : updated * 2 * state / cluster.host.bandwidth;
      update = c.offload.host_update ? 0 : update;
    }
    double waits = line.last_end[static_cast<size_t>(d)] * (slowest_of(c.data, cluster.efficiency.spread) - 1);
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
    e.recompute += st.recompute * m, e.tensor_comm += st.comm * m;
    e.pipeline_comm += (e.stages[s].forward - st.forward + e.stages[s].backward - st.backward) * m;
    e.compute += (st.forward + st.backward - st.recompute - st.comm) * m;
  }
  e.bubble = line.last_end[slowest] - line.busy[slowest];

  // Memory.
  for (int64_t d = 0; d < c.pipeline; ++d) {
    StageMemory mem;
    double layer = 0, workspace = 0;
    for (int64_t k = 0; k < c.chunks; ++k) {
      const Stage& st = stages[static_cast<size_t>(k * c.pipeline + d)];
      mem.parameters += st.parameters * weight, mem.gradients += st.parameters * gradient,
          mem.optimizer += st.parameters * state;
      mem.activations += st.saved * line.most_alive[static_cast<size_t>(k * c.pipeline + d)];
      layer = std::max(layer, st.layer_saved), workspace = std::max(workspace, st.workspace);
    }
    // Chunks are not fullest at the same time: a device holds so many passes at once, whatever their chunk.
    if (c.chunks > 1) {
      double sum = 0, alive = 0, most = 0;
      for (int64_t k = 0; k < c.chunks; ++k) {
        size_t s = static_cast<size_t>(k * c.pipeline + d);
        sum += stages[s].saved, alive += line.most_alive[s];
      }
      most =
          std::min(alive, static_cast<double>(std::min(c.micro_batches * c.chunks,
                                                       (c.pipeline - d - 1) * 2 + (c.chunks - 1) * c.pipeline + 1)));
      mem.activations = sum / static_cast<double>(c.chunks) * most;
    }
    mem.activations += layer;
    mem.buffers = workspace;
    if (c.zero >= 1) mem.optimizer /= n_data;
    if (c.zero >= 2) mem.gradients /= n_data;
    if (c.zero >= 3) mem.parameters /= n_data;
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
