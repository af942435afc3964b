// Lower bounds on the time of a combination of dimensions that hold for every way to cut its pipeline.
//
//   Bounds bounds(costs, memory);
//   bounds.quick(candidate);                  // microseconds, by the sums over all layers: combinations are ordered
//   by it bounds.of_all_cuts(candidate, limit);     // 0.1 ms, by solver/cuts.h, with the cuts to try
#pragma once

#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "sorus/parallel/solver/search.h"

namespace sorus::parallel {

class Bounds {
 public:
  /// `memory`: bytes of a device. The costs must outlive it.
  Bounds(UnitCosts& costs, double memory) : costs_(costs), chain_(costs.chain()), memory_(memory) {}
  /// Seconds that no cut of the pipeline can go below, into `candidate.bound`, and whether some cut may fit.
  bool quick(Candidate& candidate);
  /// The same for all cuts of this combination, more exactly; infinite if it is not below `limit` or nothing fits.
  /// Leaves the cuts to try. Interleaved pipelines have two: equal numbers of layers, and balanced ones.
  double of_all_cuts(Candidate& candidate, double limit);

 private:
  // What the units of one (tensor, sequence, micro-batch, recomputation) cost, by type and all together.
  struct Loads {
    std::vector<UnitLoad> types;
    UnitLoad total;  // of all units; `saved` has the layers' inputs that are kept
    double input_slack = 0;
    // Of the types that repeat: the least share of the forward pass in a unit's time, the most of weights' gradients;
    // and how much the other types take less or more of them.
    double forward_share = 1, weights_share = 0, forward_less = 0, weights_more = 0;
    double least_output = 0;
  };

  const Loads& loads(const StepConfig& k);
  /// Seconds of one device behind its last pass, and in reducing gradients, for each of its parameters.
  std::pair<double, double> behind(const StepConfig& k) const;

  UnitCosts& costs_;
  const Chain& chain_;
  double memory_;
  std::map<std::tuple<int64_t, bool, int64_t, Recompute, int64_t, int64_t, double>, Loads> loads_;
};

}  // namespace sorus::parallel
