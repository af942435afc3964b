// Where a pipeline is cut into stages, and how fast no cut can be.
//
// A schedule fixes the order of the passes of each device. Device d with stage [first, end) of the chain, whose
// passes take f and b seconds, therefore has to wait: before its first forward pass for those of the stages before it
// (F_d seconds of one micro-batch), between its first forward and its first backward pass for the stages behind it
// (R_d seconds), in which it does only the c_d forward passes that 1F1B lets it do, and in the same way between its
// last forward and last backward pass, in which it does only c_d backward passes:
//
//   T >= F_d + m (f + b) + max(0, R_d - c_d f) + max(0, R_d - c_d b) + what the device does after its last pass
//
// and also with the backward passes of the stages before it in place of the last term. With equal stages each of
// these is the well-known (m + p - 1)(f + b). A stage that begins later in the chain may end later (the bound grows
// with the end and falls with the beginning; so does memory), so filling the stages from the first as far as a limit
// T allows finds a cut that keeps all bounds below T if there is one. Halving the interval of T gives the least T: no
// cut at all is faster, and the cut that was found is a good one to try.
#pragma once

#include <cstdint>
#include <vector>

#include "sorus/parallel/plan/plan.h"

namespace sorus::parallel {

/// One unit of the chain for one micro-batch; see UnitLoad.
struct CutUnit {
  double forward = 0, backward = 0, weights = 0, parameters = 0, saved = 0;
};

struct CutProblem {
  Schedule schedule = Schedule::one_f_one_b;  ///< or gpipe, zero_bubble: one stage a device
  int64_t stages = 1, micro_batches = 1;
  std::vector<CutUnit> units;
  double send = 0;      ///< the least that a send to a neighbour takes
  double waiting = 1;   ///< how much longer the slowest of the replicas takes
  double finish = 0;    ///< seconds behind the last pass for each parameter of the device
  double reduce = 0;    ///< seconds for each parameter that reducing gradients takes, beside the last backward pass
  double exposed = 0;   ///< part of it that nothing hides
  double resident = 0;  ///< bytes for each parameter
  double memory = 0;    ///< bytes of a device
  double slack = 0;     ///< bytes of each micro-batch alive by which `saved` may be counted too high
};

struct CutBound {
  double time = 0;        ///< infinite if no cut fits into memory, or none keeps below the limit
  std::vector<int> cuts;  ///< first unit of each stage, and the number of units
};

/// The least bound of any cut. One that is not below `limit` may be given as infinite.
CutBound bound_of_all_cuts(const CutProblem& problem, double limit);

/// Cuts that make the slowest stage as fast as possible: contiguous parts of least maximum.
std::vector<int> balanced_cuts(const std::vector<double>& cost, int64_t parts);

}  // namespace sorus::parallel
