// Search: the fastest way to run a step that fits, over all dimensions together, with a proof of how good it is.
//
// Every combination of data, expert, tensor, sequence and pipeline parallelism, micro-batch, schedule, ZeRO,
// recomputation and offload gets a lower bound on its time that holds for every way to cut the pipeline; the
// combination of least bound is looked at next. First its bound for all cuts is worked out exactly (solver/cuts.h);
// when that is still the least, its step is played (simulator/step.h) with the cuts that bound suggests. This ends
// when no bound is below the best time. The least bound that was met on the way is the certificate: no plan of the
// space is faster, whatever its cuts. (Interleaved pipelines are cut into equal numbers of layers or into balanced
// parts. What other cuts of theirs could gain at most is told apart: `lower_bound_any_cut`.)
//
//   SearchResult r = search(costs, {.devices = 1024, .batch = 1536});
//   r.best.time, r.lower_bound           // no plan of the space is faster than the second
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "sorus/parallel/simulator/step.h"

namespace sorus::parallel {

struct SearchRequest {
  int64_t devices = 1, batch = 1;
  /// Dimensions that are given: dp (with ep), ep, cp, tp, pp, micro_batch, chunks, zero, sp (0 or 1), recompute (0
  /// none, 1 selective, 2 full), schedule (0 none .. 4 zero-bubble), offload (0 or 1).
  std::map<std::string, int64_t> fix;
  bool overlap_tensor = false;  ///< of plans with sequence parallelism; see StepConfig
  double memory_bytes = 0;      ///< of a device; 0: the cluster's
  double time_limit = 0;        ///< seconds; 0: none
  bool families = true;         ///< estimate the best of each family as well
  std::function<bool(double best, double bound, size_t left)> progress;  ///< false: stop
};

struct Candidate {
  StepConfig config;
  double bound = 0;                    ///< seconds that no cut goes below
  std::vector<std::vector<int>> cuts;  ///< to try, once the bound is worked out
  StepEstimate estimate;
  std::string family;  ///< "dp x tp x pp, ZeRO 1"
};

struct SearchResult {
  std::optional<Candidate> best;
  double lower_bound = 0, seconds = 0;
  double lower_bound_any_cut = 0;  ///< the same if interleaved pipelines could be cut anywhere
  size_t space = 0, estimated = 0;
  bool complete = true;             ///< false: stopped by the time limit
  std::vector<Candidate> families;  ///< the best of each other family, fastest first
  /// Without a plan: why, by how much, and the nearest that would fit.
  std::string problem;
  std::optional<Candidate> nearest;
};

SearchResult search(UnitCosts& costs, const SearchRequest& request);
/// The plan that a candidate stands for.
Plan to_plan(UnitCosts& costs, const Candidate& candidate, const SearchRequest& request);

}  // namespace sorus::parallel
