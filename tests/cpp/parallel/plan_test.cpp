#include "sorus/parallel/plan/plan.h"

#include <gtest/gtest.h>

#include "io/mutate.h"
#include "sorus/base/files.h"

namespace sorus::parallel {
namespace {

Plan sample() {
  Plan p;
  p.model = "gpt", p.cluster = "dgx-a100", p.devices = 16, p.graph_hash = 18446744073709551615u;
  p.mesh = {{"pp", AxisKind::pipeline, 2, "fabric", ""},
            {"dp", AxisKind::data, 2, "node", "hierarchical"},
            {"tp", AxisKind::tensor, 4, "node", "ring"}};
  p.global_batch = 32, p.micro_batch = 2, p.micro_batches = 8, p.schedule = Schedule::interleaved, p.chunks = 2;
  p.zero = 1, p.sequence_parallel = true, p.offload.optimizer = true;
  for (int64_t i = 0; i < 4; ++i) {
    PlanStage s;
    s.first_node = i * 10, s.end_node = i * 10 + 10, s.device = i % 2, s.recompute = Recompute::selective;
    s.recomputed = {{i * 10 + 1, i * 10 + 3}};
    s.memory.activations = 1e9, s.forward_s = 0.25;
    p.stages.push_back(s);
  }
  p.marks.push_back({Mark::Of::parameter, "h.0.w", 0, 0, {{"tp", {AxisPlacement::Kind::shard, 1}}}});
  p.marks.push_back({Mark::Of::node, "x", 7, 1, {{"tp", {AxisPlacement::Kind::partial, 0}}, {"dp", {}}}});
  p.time.step = 1.5, p.memory_bytes = 2e9, p.notes = {"a \"note\""};
  return p;
}

std::string error_of(const auto& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Plan, IsTheSameAfterWritingAndReading) {
  std::string text = to_json(sample());
  Plan back = plan_from_json(text, "plan.json");
  EXPECT_EQ(to_json(back), text);
  EXPECT_EQ(back.graph_hash, sample().graph_hash);
  EXPECT_EQ(back.marks[1].on.at("tp"), (AxisPlacement{AxisPlacement::Kind::partial, 0}));
  EXPECT_EQ(
      back.to_string(),
      "pp 2 x dp 2 x tp 4, interleaved with 2 chunks, 8 micro-batches of 2, sequence parallel, ZeRO 1, selective "
      "recomputation, optimizer state on the host");
}

TEST(Plan, RanksCountTheLastAxisFastest) {
  Plan p = sample();
  EXPECT_EQ(p.coordinate(13, 0), 1);  // 13 = (1 * 2 + 1) * 4 + 1
  EXPECT_EQ(p.coordinate(13, 1), 1);
  EXPECT_EQ(p.coordinate(13, 2), 1);
  EXPECT_EQ(p.coordinate(4, 1), 1);
  EXPECT_EQ(p.size(AxisKind::expert), 1);
}

TEST(Plan, CheckNamesWhatContradicts) {
  auto with = [](const auto& change) {
    return error_of([&] {
      Plan p = sample();
      change(p);
      p.check();
    });
  };
  EXPECT_EQ(with([](Plan&) {}), "");
  EXPECT_NE(with([](Plan& p) { p.devices = 32; }).find("the mesh has 16 devices, 'devices' says 32"),
            std::string::npos);
  EXPECT_NE(with([](Plan& p) { p.global_batch = 33; }).find("are not the 33 samples"), std::string::npos);
  EXPECT_NE(with([](Plan& p) { p.stages.pop_back(); }).find("3 stages; a pipeline of 2 with 2 chunks a device has 4"),
            std::string::npos);
  EXPECT_NE(
      with([](Plan& p) { p.stages[1].first_node = 11; }).find("stage 1 begins at node 11, the one before ends at 10"),
      std::string::npos);
  EXPECT_NE(with([](Plan& p) { p.marks[0].on["cp"] = {}; }).find("names the mesh axis 'cp'"), std::string::npos);
  EXPECT_NE(with([](Plan& p) { p.zero = 4; }).find("'zero' must be 0, 1, 2 or 3, not 4"), std::string::npos);
  EXPECT_NE(with([](Plan& p) { p.schedule = Schedule::one_f_one_b; }).find("2 chunks need the interleaved"),
            std::string::npos);
}

TEST(Plan, FilesThatAreNotPlansSayWhy) {
  auto read = [](const std::string& text) { return error_of([&] { plan_from_json(text, "p.json"); }); };
  EXPECT_NE(read("{}").find("p.json: not a plan"), std::string::npos);
  EXPECT_NE(read(R"({"format": "sorus-plan", "version": 2})").find("version 2"), std::string::npos);
  EXPECT_NE(read(R"({"format": "sorus-plan", "version": 1, "zeor": 3})").find("'zeor'"), std::string::npos);
  EXPECT_NE(read(R"({"format": "sorus-plan", "version": 1, "mesh": [{"name": "x", "kind": "dta"}]})")
                .find("p.json: mesh[0]: 'kind': 'dta' is not a kind of mesh axis"),
            std::string::npos);
  EXPECT_NE(read(R"({"format": "sorus-plan", "version": 1, "stages": [{}],
                     "marks": [{"name": "w", "on": {"tp": "S"}}]})")
                .find("marks[0]: 'on': 'S' is not a placement"),
            std::string::npos);
}

TEST(Plan, MutatedFilesAreErrorsOrPlans) {
  test::mutate(
      to_json(sample()), [](const std::filesystem::path& path) { read_plan(path.string()); }, 400);
}

}  // namespace
}  // namespace sorus::parallel
