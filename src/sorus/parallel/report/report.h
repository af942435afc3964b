// What `sorus plan` tells, as JSON: the plan, its certificate, what was rejected, what would help. One function, so
// that the command, a service and tests see the same.
#pragma once

#include <functional>
#include <string>

#include "sorus/parallel/space/chain.h"

namespace sorus::parallel {

/// `request` is JSON: devices, batch, fix {name: value}, memory_gb, time_limit, families (what else could be done;
/// with false neither the rejected families nor the nearest plan that fits are searched), explain, timeline.
/// `cluster`: as find_cluster takes it. `progress` gets the best time so far, the bound and how much is left; false
/// stops the search.
std::string plan_report(const Model& model, const std::string& cluster, const std::string& request,
                        const std::function<bool(double, double, size_t)>& progress = {});

}  // namespace sorus::parallel
