// Interleaved 1F1B (Narayanan et al. 2021): a rank has several stages that are not neighbours, and works on groups of
// as many micro-batches as there are ranks. The bubble is divided by the number of chunks.
#include <algorithm>

#include "sorus/base/error.h"
#include "sorus/parallel/pipeline/order.h"

namespace sorus::parallel {
namespace {

std::vector<Turn> interleaved(const PipelineShape& s, int rank) {
  SORUS_CHECK(s.micro_batches % s.ranks == 0, ValueError,
              "the interleaved schedule needs a multiple of {} micro-batches for {} ranks, there are {}; {} would do",
              s.ranks, s.ranks, s.micro_batches, (s.micro_batches + s.ranks - 1) / s.ranks * s.ranks);
  int total = s.micro_batches * s.chunks, group = s.ranks * s.chunks;
  // The k-th pass in one direction: groups of `ranks` micro-batches go through all chunks.
  auto turn = [&](int k, bool backward) {
    int chunk = k % group / s.ranks, micro = k / group * s.ranks + k % s.ranks;
    if (backward) chunk = s.chunks - 1 - chunk;
    return Turn{backward, chunk * s.ranks + rank, micro};
  };
  int ahead = std::min(total, (s.ranks - rank - 1) * 2 + (s.chunks - 1) * s.ranks);
  std::vector<Turn> turns;
  for (int k = 0; k < ahead; ++k) turns.push_back(turn(k, false));
  for (int k = ahead; k < total; ++k) {
    turns.push_back(turn(k, false));
    turns.push_back(turn(k - ahead, true));
  }
  for (int k = total - ahead; k < total; ++k) turns.push_back(turn(k, true));
  return turns;
}

const bool added = add_pipeline_order("interleaved", interleaved, "1F1B with several stages a rank");

}  // namespace
}  // namespace sorus::parallel
