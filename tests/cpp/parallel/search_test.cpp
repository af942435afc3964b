// The certificate of a search against every cut of small pipelines, played.
#include "sorus/parallel/solver/search.h"

#include <gtest/gtest.h>

#include <limits>

#include "decoders.h"

namespace sorus::parallel {
namespace {

// All ways to cut a chain of so many units into stages.
std::vector<std::vector<int>> all_cuts(int units, int stages) {
  std::vector<std::vector<int>> out, open = {{0}};
  for (int s = 1; s < stages; ++s) {
    std::vector<std::vector<int>> longer;
    for (const std::vector<int>& cut : open)
      for (int next = cut.back() + 1; next <= units - (stages - s); ++next) {
        longer.push_back(cut);
        longer.back().push_back(next);
      }
    open = std::move(longer);
  }
  for (std::vector<int>& cut : open) cut.push_back(units), out.push_back(std::move(cut));
  return out;
}

TEST(Search, NoCutOfAPipelineIsFasterThanItsBound) {
  struct Case {
    Schedule schedule;
    int64_t pipeline, chunks, micro_batches;
  };
  Cluster cluster = preset_cluster("dgx-a100");
  int narrower = 0;
  for (int64_t vocab : {512, 50000}) {  // ends that weigh as much as a layer, and as much as all of them
    Model m = trace_decoder({.layers = 6, .hidden = 256, .heads = 4, .vocab = vocab, .context = 128}, 1);
    Chain chain = fold(m);
    UnitCosts costs(m, chain, cluster);
    for (const Case& c : {Case{Schedule::interleaved, 2, 2, 4}, Case{Schedule::interleaved, 2, 3, 2},
                          Case{Schedule::zero_bubble, 3, 1, 3}, Case{Schedule::zero_bubble, 4, 1, 8},
                          Case{Schedule::zero_bubble, 2, 1, 2}, Case{Schedule::one_f_one_b, 4, 1, 5}}) {
      SearchRequest request;
      request.devices = c.pipeline, request.batch = c.micro_batches;
      request.fix = {{"pp", c.pipeline},   {"schedule", static_cast<int64_t>(c.schedule)},
                     {"chunks", c.chunks}, {"micro_batch", 1},
                     {"recompute", 0},     {"offload", 0}};
      SearchResult found = search(costs, request);
      ASSERT_TRUE(found.best) << found.problem;
      EXPECT_LE(found.lower_bound_any_cut, found.lower_bound);
      EXPECT_LE(found.lower_bound, found.best->estimate.time);
      StepConfig config = found.best->config;
      double least = std::numeric_limits<double>::infinity();
      for (const std::vector<int>& cut :
           all_cuts(static_cast<int>(chain.units.size()), static_cast<int>(c.pipeline * c.chunks))) {
        config.cuts = cut;
        least = std::min(least, estimate(costs, config).time);
      }
      EXPECT_GE(least, found.lower_bound_any_cut * (1 - 1e-9)) << name(c.schedule) << " of " << c.pipeline;
      if (c.schedule == Schedule::interleaved) {
        narrower += found.lower_bound_any_cut < found.lower_bound ? 1 : 0;
      } else {
        EXPECT_GE(least, found.lower_bound * (1 - 1e-9)) << name(c.schedule) << " of " << c.pipeline;
      }
    }
  }
  EXPECT_GT(narrower, 0);  // the two bounds differ where only two cuts are looked at
}

// A search that is stopped at any moment has a plan whose bound is no higher than the whole one's, or says that it
// was stopped: it never says that no plan fits where one does.
TEST(Search, AStoppedSearchClaimsNoMoreThanItKnows) {
  Cluster cluster = preset_cluster("dgx-a100");
  Model m = trace_decoder({.layers = 6, .hidden = 256, .heads = 4, .vocab = 50000, .context = 128}, 1);
  Chain chain = fold(m);
  UnitCosts costs(m, chain, cluster);
  int stopped = 0, with_plan = 0, without = 0;
  for (double memory : {60e6, 100e6, 200e6, 400e6, 1e9}) {
    SearchRequest request;
    request.devices = 16, request.batch = 64, request.memory_bytes = memory, request.families = false;
    SearchResult whole = search(costs, request);
    ASSERT_TRUE(whole.complete);
    EXPECT_EQ(!whole.best, whole.problem.starts_with("no plan fits")) << whole.problem;
    for (int calls : {0, 1, 2, 4, 8}) {  // 0: by a limit of time, which waits a little for a plan
      int count = 0;
      request.time_limit = calls ? 0 : 1e-9;
      if (calls) request.progress = [&](double, double, size_t) { return ++count < calls; };
      SearchResult part = search(costs, request);
      if (part.complete) continue;
      ++stopped;
      EXPECT_EQ(part.problem.find("no plan fits"), std::string::npos) << part.problem;
      if (!part.best) {
        ++without;
        continue;
      }
      ++with_plan;
      ASSERT_TRUE(whole.best) << memory;
      EXPECT_LE(part.lower_bound, whole.best->estimate.time * (1 + 1e-9)) << memory;
      EXPECT_GE(part.best->estimate.time, whole.lower_bound * (1 - 1e-9)) << memory;
    }
  }
  EXPECT_GT(stopped, 0);
  EXPECT_GT(without, 0);
  EXPECT_GT(with_plan, 0);
}

}  // namespace
}  // namespace sorus::parallel
