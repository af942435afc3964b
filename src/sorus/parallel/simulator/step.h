// One training step of a configuration: how long it takes and what it holds, on the slowest and the fullest device.
//
// The pipeline is played pass by pass with the times of its stages; what a stage costs comes from the units of the
// chain (cost/unit_cost.h). Around it stand the reduction of gradients, the optimizer, ZeRO's gathering and traffic
// with the host.
//
// Mixed precision with Adam takes 18 bytes a parameter: 2 of the 16-bit weight, 4 of its 32-bit gradient, 12 of the
// 32-bit copy and the two moments (Rajbhandari et al. 2020, with gradients added up in 32 bits); 16 in 32 bits.
#pragma once

#include "sorus/parallel/cost/unit_cost.h"
#include "sorus/parallel/plan/plan.h"
#include "sorus/parallel/schedule/schedule.h"

namespace sorus::parallel {

struct StepConfig {
  int64_t data = 1, tensor = 1, pipeline = 1, chunks = 1;
  int64_t expert = 1;   ///< of the data-parallel ranks, so many together have each expert once
  int64_t context = 1;  ///< ranks that share the tokens of every sample
  int64_t micro_batch = 1, micro_batches = 1;
  Schedule schedule = Schedule::one_f_one_b;
  int zero = 0;
  bool sequence = false;
  Recompute recompute = Recompute::none;
  bool overlap = false;         ///< gradients are reduced while the backward pass runs
  bool overlap_tensor = false;  ///< what tensor parallelism communicates goes in pieces beside the products around it
  bool gradients_32 = true;     ///< kept in 32 bits
  PlanOffload offload;
  std::vector<int> cuts;  ///< first unit of each stage but the first; empty: equal parts
  int64_t devices() const { return replicas() * tensor * pipeline; }
  /// Ranks that have the same parameters.
  int64_t replicas() const { return data * context; }
  int64_t batch() const { return data * micro_batch * micro_batches; }
};

struct StepEstimate {
  double time = 0;
  double compute = 0, recompute = 0, tensor_comm = 0, pipeline_comm = 0, data_comm = 0, bubble = 0, optimizer = 0,
         offload = 0;
  double host_memory = 0;                 ///< bytes of the host, for each device
  double memory = 0;                      ///< bytes of the fullest device
  std::vector<StageMemory> stage_memory;  ///< by device of the pipeline
  std::vector<StageTime> stages;
  std::vector<int> cuts;  ///< first unit of each stage, and the number of units
  double flops = 0;       ///< of the model, of one step, all devices
};

/// What one unit adds to its stage for each micro-batch: seconds and bytes of a rank.
struct UnitLoad {
  double forward = 0, backward = 0;  ///< with waits for the tensor axis and what is made again
  double recompute = 0, comm = 0;    ///< parts of these
  double weights = 0;                ///< the part of `backward` that zero-bubble schedules put off
  double parameters = 0, shared = 0;
  double experts = 0;  ///< of the parameters, those of experts that are dealt out
  double saved = 0;    ///< kept for the backward pass, but for the inputs of layers that are made again
  double remade = 0;   ///< what is there while a layer is made again
  bool again = false;  ///< its layer is made again from the layer's input
  double output = 0, workspace = 0, flops = 0;
};
UnitLoad unit_load(UnitCosts& costs, const StepConfig& config, int type);

/// Bytes of a parameter in one place.
struct ParameterBytes {
  double weight = 4, gradient = 4, state = 8;
  /// What the optimizer reads and writes: gradient, copy and moments are read, the last three and the weight written;
  /// the norm reads gradients once more.
  double update() const { return 2 * gradient + 2 * state + weight; }
  /// What adding the gradient of a micro-batch to those of the others reads and writes.
  double add() const { return weight + 2 * gradient; }
  /// On a device, for each parameter of its stages that all data-parallel ranks have; experts take more.
  double resident(const StepConfig& config) const;
};
ParameterBytes parameter_bytes(const UnitCosts& costs, const StepConfig& config);

/// Where the pipeline is cut: equal numbers of repeated layers, with what stands before and behind them at the ends.
std::vector<int> equal_cuts(const Chain& chain, int64_t stages);
/// How much longer the slowest of `replicas` takes, whose times spread by `spread`: the expected largest of so many
/// normal numbers, 1 + spread sqrt(2 ln n).
double slowest_of(int64_t replicas, double spread);
StepEstimate estimate(UnitCosts& costs, const StepConfig& config, Timeline* timeline = nullptr);

}  // namespace sorus::parallel
