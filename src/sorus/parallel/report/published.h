// Training steps of language models as papers print them: shape, degrees of parallelism, device. Predicts seconds and
// memory. A row is JSON with the columns' names; what is missing gets a default, which the answer tells.
#pragma once

#include <string>

namespace sorus::parallel {

/// `cluster`: TOML whose efficiency is used, "" for the device's preset. The answer is JSON: iter_time_s, mem_gb
/// (2^30 bytes, as papers print them), parts, defaults; or `note` with the reason why a row cannot be expressed.
std::string simulate_published(const std::string& row, const std::string& cluster);
/// What the planner finds for the row's model, devices and batch, beside the arrangement that the row has: published
/// and found (iter_time_s, mem_gb), whether the published one `fits`; or `note`. 0: no `time_limit` (seconds).
std::string compare_published(const std::string& row, const std::string& cluster, double time_limit);

}  // namespace sorus::parallel
