// GPipe (Huang et al. 2019): all micro-batches forward, then all backward. Every one's activations are held.
#include "sorus/parallel/pipeline/order.h"

namespace sorus::parallel {
namespace {

std::vector<Turn> gpipe(const PipelineShape& shape, int rank) {
  std::vector<Turn> turns;
  for (int c = 0; c < shape.chunks; ++c)
    for (int m = 0; m < shape.micro_batches; ++m) turns.push_back({false, c * shape.ranks + rank, m});
  for (int c = shape.chunks; c-- > 0;)
    for (int m = 0; m < shape.micro_batches; ++m) turns.push_back({true, c * shape.ranks + rank, m});
  return turns;
}

const bool added = add_pipeline_order("gpipe", gpipe, "all forward passes, then all backward passes");

}  // namespace
}  // namespace sorus::parallel
