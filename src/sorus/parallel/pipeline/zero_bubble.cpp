// Zero bubble, ZB-H1 (Qi et al. 2023): 1F1B whose backward pass hands the gradient of its inputs on before it
// computes those of its weights. These fill the time at the end in which a rank would wait: rank r puts off those of
// r micro-batches, and holds what they read for that long.
#include <algorithm>

#include "sorus/parallel/pipeline/order.h"

namespace sorus::parallel {
namespace {

std::vector<Turn> zero_bubble(const PipelineShape& shape, int rank) {
  std::vector<Turn> turns;
  int behind = std::min(shape.micro_batches, rank), next = 0;
  auto weights = [&] { turns.push_back({true, rank, next++, true}); };
  for (const Turn& t : pipeline_order("1f1b", shape, rank)) {
    turns.push_back(t);
    if (t.backward && t.micro_batch >= behind) weights();
  }
  while (next < shape.micro_batches) weights();
  return turns;
}

const bool added = add_pipeline_order("zero-bubble", zero_bubble, "1f1b with the weights' gradients put off", true);

}  // namespace
}  // namespace sorus::parallel
