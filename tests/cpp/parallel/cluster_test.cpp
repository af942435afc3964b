#include "sorus/parallel/cluster/cluster.h"

#include <gtest/gtest.h>

#include "io/mutate.h"
#include "sorus/parallel/cost/collective.h"

namespace sorus::parallel {
namespace {

std::string error_of(std::string_view text) {
  try {
    parse_cluster(text, "c.toml");
  } catch (const FileError& e) {
    return e.what();
  }
  return "";
}

TEST(Cluster, PresetsAreSoundAndTheSameAsFiles) {
  for (const std::string& name : preset_clusters()) {
    Cluster c = preset_cluster(name);
    EXPECT_EQ(c.name, name);
    std::string text = to_toml(c);
    EXPECT_EQ(to_toml(parse_cluster(text, "again")), text) << name;
  }
  EXPECT_THROW(preset_cluster("abacus"), KeyError);
}

TEST(Cluster, ErrorsNameLineAndField) {
  EXPECT_NE(error_of("name = 3\n").find("c.toml:1: name: expected text"), std::string::npos);
  EXPECT_NE(error_of("\n[device]\nmemory_gb = -1\n").find("c.toml:3: device.memory_gb: must lie in"),
            std::string::npos);
  EXPECT_NE(error_of("[device]\nmemroy_gb = 1\n").find("c.toml:2: 'memroy_gb' is not a field of device"),
            std::string::npos);
  EXPECT_NE(error_of("[device]\ntflops = { f12 = 3 }\n").find("tflops.f12"), std::string::npos);
  EXPECT_NE(error_of("[device\n").find("c.toml:1:"), std::string::npos);
  EXPECT_NE(error_of("name = \"x\"\n").find("device.memory_gb is missing"), std::string::npos);
  std::string ok = to_toml(preset_cluster("dgx-a100"));
  EXPECT_EQ(error_of(ok), "");
  EXPECT_NE(error_of(ok + "[[slow]]\ndevice = 1\nlevel = \"moon\"\n").find("the level 'moon', which is not there"),
            std::string::npos);
}

TEST(Cluster, MutatedFilesAreErrorsOrClusters) {
  test::mutate(
      to_toml(preset_cluster("tpu-v4")), [](const std::filesystem::path& path) { read_cluster(path.string()); }, 300);
}

TEST(Cluster, BrokenDevicesAreLeftOutAndSlowNodesComeLast) {
  Cluster c = preset_cluster("dgx-a100");
  c.exceptions = {{3, "", 0}, {9, "", 0.5}};
  std::vector<int64_t> d = c.usable(16);
  ASSERT_EQ(d.size(), 16u);
  EXPECT_EQ(d.front(), 16);  // the third node is the first without a flaw
  EXPECT_EQ(std::count(d.begin(), d.end(), 3), 0);
}

TEST(Cluster, WhatMeetsASlowLinkWaitsForIt) {
  Cluster c = preset_cluster("dgx-a100");
  c.exceptions = {{9, "fabric", 0.25}, {10, "fabric", 0.5}, {11, "", 0.5}};
  // Enough nodes without a flaw: nothing is slower.
  EXPECT_DOUBLE_EQ(c.as_used(16).levels[1].bandwidth, c.levels[1].bandwidth);
  c.levels[1].count = 2;
  EXPECT_DOUBLE_EQ(c.as_used(8).levels[1].bandwidth, c.levels[1].bandwidth);
  Cluster used = c.as_used(16);
  EXPECT_DOUBLE_EQ(used.levels[1].bandwidth, c.levels[1].bandwidth / 4);
  EXPECT_DOUBLE_EQ(used.levels[0].bandwidth, c.levels[0].bandwidth);
  EXPECT_DOUBLE_EQ(used.device.flops["f16"], c.device.flops["f16"] / 2);
  auto all_reduce = [](const Cluster& k, Span span) {
    return collective_time(k, Collective::all_reduce, 1e10, span);
  };
  EXPECT_DOUBLE_EQ(all_reduce(used, {8, 1}), all_reduce(c, {8, 1}));
  EXPECT_NEAR(all_reduce(used, {2, 8}) / all_reduce(c, {2, 8}), 4, 0.01);
  c.exceptions.push_back({3, "", 0});
  EXPECT_THROW(c.as_used(16), ValueError);
}

TEST(Collective, FollowsTheFormulas) {
  Cluster c = preset_cluster("dgx-a100");
  c.efficiency.network = 1;
  for (Level& l : c.levels) l.latency = 0;
  double s = 1e9, node = 300e9, rail = 25e9;
  EXPECT_DOUBLE_EQ(collective_time(c, Collective::all_reduce, s, {8, 1}), 2 * 7.0 / 8 * s / node);
  EXPECT_DOUBLE_EQ(collective_time(c, Collective::all_gather, s, {8, 1}), 7.0 / 8 * s / node);
  // Every tensor rank of a node has its own rail.
  EXPECT_DOUBLE_EQ(collective_time(c, Collective::all_reduce, s, {4, 8}), 2 * 3.0 / 4 * s / rail);
  // Hierarchical: 8 in a node, 4 nodes: across nodes an eighth, on all rails.
  EXPECT_DOUBLE_EQ(collective_time(c, Collective::all_reduce, s, {32, 1}),
                   2 * 7.0 / 8 * s / node + 2 * 3.0 / 4 * s / 8 / rail);
  EXPECT_DOUBLE_EQ(collective_time(c, Collective::send, s, {2, 4}), s / node);
  EXPECT_DOUBLE_EQ(collective_time(c, Collective::send, s, {2, 8}), s / rail);
  EXPECT_EQ(collective_time(c, Collective::all_reduce, s, {1, 1}), 0);
  EXPECT_EQ(members(c, {32, 2}), (std::vector<int64_t>{4, 8}));
  // Many ranks and little to say: a tree waits less often.
  const char* algorithm = "";
  collective_time(preset_cluster("dgx-a100"), Collective::all_reduce, 1000, {512, 8}, &algorithm);
  EXPECT_STREQ(algorithm, "tree");
}

}  // namespace
}  // namespace sorus::parallel
