// 1F1B (Narayanan et al. 2019): as soon as the first micro-batch has come through, a rank takes one forward and one
// backward pass in turn. The bubble is GPipe's; a rank holds at most as many activations as there are ranks behind
// it.
#include <algorithm>

#include "sorus/base/error.h"
#include "sorus/parallel/pipeline/order.h"

namespace sorus::parallel {
namespace {

std::vector<Turn> one_f_one_b(const PipelineShape& shape, int rank) {
  SORUS_CHECK(shape.chunks == 1, ValueError,
              "the schedule 1f1b has one stage a rank, not {}; interleaved is the one for several", shape.chunks);
  std::vector<Turn> turns;
  int ahead = std::min(shape.micro_batches, shape.ranks - 1 - rank);
  for (int m = 0; m < ahead; ++m) turns.push_back({false, rank, m});
  for (int m = ahead; m < shape.micro_batches; ++m) {
    turns.push_back({false, rank, m});
    turns.push_back({true, rank, m - ahead});
  }
  for (int m = shape.micro_batches - ahead; m < shape.micro_batches; ++m) turns.push_back({true, rank, m});
  return turns;
}

const bool added = add_pipeline_order("1f1b", one_f_one_b, "one forward and one backward pass in turn");

}  // namespace
}  // namespace sorus::parallel
