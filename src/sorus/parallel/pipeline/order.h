// In which order the ranks of a pipeline work on the stages and micro-batches.
//
//   pipeline_order("1f1b", {.ranks = 4, .chunks = 1, .micro_batches = 8}, 1)     // F0 F1 F2 B0 F3 B1 ...
//
// Stage s runs at rank s % ranks; with several chunks a rank has every ranks-th stage. All orders take the
// micro-batches of a stage's backward pass in the same sequence, so that sums over them have the same bits. A new
// schedule is one file that registers its order:
//
//   const bool added = add_pipeline_order("gpipe", gpipe, "all forward passes, then all backward passes");
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sorus::parallel {

struct PipelineShape {
  int ranks = 1, chunks = 1, micro_batches = 1;
  int stages() const { return ranks * chunks; }
};

struct Turn {
  bool backward = false;
  int stage = 0, micro_batch = 0;
  bool weights = false;  ///< of a backward pass: the part that no other stage waits for
  bool operator==(const Turn&) const = default;
  std::string to_string() const;  ///< "F2.0": stage 2, micro-batch 0; "B2.0", "W2.0"
};

using PipelineOrder = std::vector<Turn> (*)(const PipelineShape& shape, int rank);
/// `parted`: its backward passes have the part for weights apart.
bool add_pipeline_order(std::string name, PipelineOrder order, std::string doc, bool parted = false);
/// ValueError with the names there are, or what the schedule asks of the shape.
std::vector<Turn> pipeline_order(std::string_view name, const PipelineShape& shape, int rank);
bool is_parted(std::string_view name);
std::vector<std::string> pipeline_order_names();

}  // namespace sorus::parallel
