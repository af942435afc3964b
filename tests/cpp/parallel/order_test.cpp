// Pipeline schedules: complete, in an order in which stages can wait for each other, and as known from the papers.
#include "sorus/parallel/pipeline/order.h"

#include <gtest/gtest.h>

#include <set>

#include "sorus/base/error.h"

namespace sorus::parallel {
namespace {

std::string text(std::string_view name, const PipelineShape& shape, int rank) {
  std::string s;
  for (const Turn& t : pipeline_order(name, shape, rank)) s += (s.empty() ? "" : " ") + t.to_string();
  return s;
}

TEST(PipelineOrder, AsInThePapers) {
  PipelineShape shape{2, 1, 3};
  EXPECT_EQ(text("gpipe", shape, 1), "F1.0 F1.1 F1.2 B1.0 B1.1 B1.2");
  EXPECT_EQ(text("1f1b", shape, 0), "F0.0 F0.1 B0.0 F0.2 B0.1 B0.2");
  EXPECT_EQ(text("1f1b", shape, 1), "F1.0 B1.0 F1.1 B1.1 F1.2 B1.2");
  EXPECT_EQ(text("zero-bubble", shape, 0), "F0.0 F0.1 B0.0 W0.0 F0.2 B0.1 W0.1 B0.2 W0.2");
  EXPECT_EQ(text("zero-bubble", shape, 1), "F1.0 B1.0 F1.1 B1.1 W1.0 F1.2 B1.2 W1.1 W1.2");
  EXPECT_EQ(text("interleaved", {2, 2, 2}, 1), "F1.0 F1.1 F3.0 B3.0 F3.1 B3.1 B1.0 B1.1");
}

TEST(PipelineOrder, EveryOneComesToItsEnd) {
  for (const std::string& name : pipeline_order_names())
    for (int ranks : {1, 2, 3, 4})
      for (int chunks : {1, 2, 3})
        for (int micro : {1, 2, 4, 6, 12}) {
          PipelineShape shape{ranks, chunks, micro};
          std::vector<std::vector<Turn>> turns;
          try {
            for (int r = 0; r < ranks; ++r) turns.push_back(pipeline_order(name, shape, r));
          } catch (const ValueError&) {
            continue;
          }
          std::set<std::tuple<int, int, int>> done;  // 0: forward, 1: backward, 2: its weights
          std::vector<size_t> at(static_cast<size_t>(ranks), 0);
          for (bool moved = true; moved;) {
            moved = false;
            for (size_t r = 0; r < turns.size(); ++r)
              while (at[r] < turns[r].size()) {
                const Turn& t = turns[r][at[r]];
                bool ready = t.weights    ? done.contains({1, t.stage, t.micro_batch})
                             : t.backward ? done.contains({0, t.stage, t.micro_batch}) &&
                                                (t.stage == shape.stages() - 1 ||
                                                 done.contains({1, t.stage + 1, t.micro_batch}))
                                          : t.stage == 0 || done.contains({0, t.stage - 1, t.micro_batch});
                if (!ready) break;
                EXPECT_EQ(t.stage % ranks, static_cast<int>(r));
                done.insert({t.weights ? 2 : t.backward ? 1 : 0, t.stage, t.micro_batch});
                ++at[r];
                moved = true;
              }
          }
          EXPECT_EQ(done.size(), static_cast<size_t>((is_parted(name) ? 3 : 2) * shape.stages() * micro))
              << name << " " << ranks << " ranks, " << chunks << " chunks, " << micro << " micro-batches";
        }
}

}  // namespace
}  // namespace sorus::parallel
