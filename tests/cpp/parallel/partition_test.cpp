// The partitioner: every operator of the registry, and random graphs of them, on random layouts against one device.
#include "sorus/parallel/partition/partition.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "operators/reference.h"
#include "operators/samples.h"
#include "sorus/ops.h"
#include "sorus/parallel/partition/merge.h"
#include "sorus/parallel/runtime/parallel_step.h"
#include "sorus/parallel/runtime/rank_pool.h"
#include "sorus/run/execute.h"
#include "sorus/tensor/copy.h"

namespace sorus::parallel {
namespace {

using Random = std::mt19937;
int64_t below(Random& r, int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(r); }

// Replicated, or cut along a random dimension that is large enough.
Layout random_layout(Random& r, const DeviceMesh& mesh, const Shape& shape, double cut) {
  Layout l = replicated(mesh);
  Shape left = shape;
  for (int a = 0; a < mesh.axes(); ++a) {
    if (shape.empty() || std::uniform_real_distribution<double>()(r) > cut) continue;
    auto d = static_cast<size_t>(below(r, static_cast<int64_t>(shape.size())));
    if (left[d] < mesh.size(a)) continue;
    left[d] /= mesh.size(a);
    l[static_cast<size_t>(a)] = Shard(static_cast<int>(d));
  }
  return l;
}

Request random_request(Random& r, const DeviceMesh& mesh, const Graph& g) {
  Request q;
  q.mesh = mesh;
  for (size_t i = 0; i < g.inputs().size(); ++i)
    q.inputs[static_cast<int>(i)] = random_layout(r, mesh, g.inputs()[i]->outputs[0].shape, 0.7);
  for (size_t i = 0; i < g.outputs().size(); ++i)
    q.outputs[static_cast<int>(i)] = random_layout(r, mesh, g.outputs()[i].type().shape, 0.4);
  return q;
}

std::string difference(const Tensor& found, const Tensor& expected) {
  if (found.sizes() != expected.sizes() || found.dtype() != expected.dtype())
    return fmt::format("{} instead of {}", found.type().to_string(), expected.type().to_string());
  auto a = harness::elements(found), b = harness::elements(expected);
  double largest = 1;
  for (auto v : b)
    if (std::isfinite(std::abs(v))) largest = std::max(largest, std::abs(v));
  for (size_t i = 0; i < a.size(); ++i) {
    bool same = a[i] == b[i] || (std::isnan(std::abs(a[i])) && std::isnan(std::abs(b[i])));
    if (!same && !(std::abs(a[i] - b[i]) <= 1e-5 * largest))
      return fmt::format("element {} is {} instead of {}", i, a[i].real(), b[i].real());
  }
  return "";
}

Tensor block_in(const Tensor& t, const Block& b) {
  Geometry g = t.geometry();
  for (size_t d = 0; d < b.sizes.size(); ++d) g.offset += b.start[d] * g.strides[d];
  g.sizes = b.sizes;
  return t.with_geometry(g);
}

std::vector<DeviceMesh> meshes() {
  return {DeviceMesh({"a"}, {2}), DeviceMesh({"a", "b"}, {2, 2}), DeviceMesh({"a"}, {4}),
          DeviceMesh({"a", "b", "c"}, {2, 3, 2}), DeviceMesh({"a", "b"}, {5, 2})};
}

// All sets of axes, for graphs that are made while ranks run.
std::set<std::vector<int>> joint_axes(const DeviceMesh& mesh) {
  std::set<std::vector<int>> out;
  for (int set = 1; set < 1 << mesh.axes(); ++set) {
    std::vector<int> axes;
    for (int a = 0; a < mesh.axes(); ++a)
      if (set >> a & 1) axes.push_back(a);
    if (axes.size() > 1) out.insert(axes);
  }
  return out;
}

TEST(Redistribution, SeveralAxesAtOnceAreOneCollective) {
  DeviceMesh mesh({"dp", "tp", "cp"}, {2, 3, 2});
  struct {
    const char *from, *to, *expected;
  } cases[] = {{"P R P", "R R R", "all_reduce(%0, op=\"sum\", group=\"dp 2 x tp 3 x cp 2/dp+cp\")"},
               {"P R P", "S(0) R S(0)",
                "reduce_scatter(%0, dim=0, parts=4, op=\"sum\", group=\"dp 2 x tp 3 x cp 2/dp+cp\", sizes=[7, 6, 6, "
                "6], rank=3)"},
               {"S(0) S(0) S(0)", "R R R",
                "all_gather(%0, none, dim=0, parts=12, group=\"dp 2 x tp 3 x cp 2/dp+tp+cp\", sizes=[3, 2, 2, 2, "}};
  for (const auto& c : cases) {
    auto layout = [](std::string_view text) {
      Layout l;
      for (size_t at = 0, end; at < text.size(); at = end + 1) {
        end = std::min(text.find(' ', at), text.size());
        l.push_back(Placement::parse(text.substr(at, end - at)));
      }
      return l;
    };
    Graph g;
    g.set_outputs({g.add_input({DType::f32, {25, 3}, false})});
    Request q;
    q.mesh = mesh;
    q.inputs[0] = layout(c.from), q.outputs[0] = layout(c.to);
    Graph local = partition(g, propagate(g, q), 7);
    EXPECT_EQ(local.size(), 2u) << local.to_string();
    EXPECT_NE(local.to_string().find(c.expected), std::string::npos) << local.to_string();
  }
}

TEST(Redistribution, EveryLayoutFromEveryOther) {
  DeviceMesh mesh({"a", "b"}, {2, 2});
  // The second does not divide, neither in elements nor in blocks of three.
  for (const Shape& shape : {Shape{4, 8}, Shape{5, 15}}) {
    Tensor x = Tensor::empty(shape, DType::f32);
    for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = static_cast<float>(i);
    std::vector<Placement> places;
    for (const char* a : {"R", "S(0)", "S(1)", "P", "P(max)"}) places.push_back(Placement::parse(a));
    if (shape[1] % 3 == 0) places.push_back(Shard(1, 3));
    std::vector<Layout> all;
    for (const Placement& a : places)
      for (const Placement& b : places)
        if (!(a.is_shard() && b.is_shard() && a.dim == b.dim && a.unit != b.unit)) all.push_back({a, b});
    RankPool pool(mesh);
    pool.join(joint_axes(mesh));
    for (const Layout& from : all)
      for (const Layout& to : all) {
        // Through `from` and `to` back to everywhere: what comes out is what went in.
        Graph g;
        g.set_outputs({g.add_input(x.type())});
        std::vector<Propagated> legs;
        std::array<Layout, 4> stops{replicated(mesh), from, to, replicated(mesh)};
        for (size_t i = 0; i < 3; ++i) {
          Request q;
          q.mesh = mesh;
          q.inputs[0] = stops[i];
          q.outputs[0] = stops[i + 1];
          legs.push_back(propagate(g, q));
        }
        std::vector<std::string> wrong(4);
        pool.run([&](int rank) {
          Tensor y = x;
          for (const Propagated& p : legs) y = run_graph(partition(g, p, rank), std::array{y})[0];
          wrong[static_cast<size_t>(rank)] = difference(y, x);
        });
        for (const std::string& w : wrong) ASSERT_EQ(w, "") << to_string(from) << " -> " << to_string(to);
      }
  }
}

TEST(MergedCollectives, SmallSumsOfOneLevelAreOne) {
  Graph g = Graph::parse(R"(graph f(%0: f32[3], %1: f32[2, 2], %2: f32[5]) {
    %3 = all_reduce(%0, op="sum", group="g") : f32[3]
    %4 = neg(%3) : f32[3]
    %5 = all_reduce(%1, op="sum", group="g") : f32[2, 2]
    %6 = all_reduce(%4, op="sum", group="g") : f32[3]
    %7 = all_reduce(%2, op="max", group="g") : f32[5]
    return %5, %6, %7
  })");
  auto count = [](const Graph& x) {
    int n = 0;
    for (const auto& node : x.nodes()) n += node->op && node->op->name() == "all_reduce";
    return n;
  };
  Graph merged = merge_collectives(g);
  merged.verify();
  EXPECT_EQ(count(merged), 3) << "the first two together; one that waits for them, and one of another kind, alone";
  EXPECT_EQ(count(merge_collectives(g, {.small_bytes = 8})), 4) << "what is large stays alone";
}

class Partitioned : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Operators, Partitioned, testing::ValuesIn(harness::operator_names()),
                         [](const auto& info) { return harness::test_name(info.param); });

TEST_P(Partitioned, GivesWhatOneDeviceGives) {
  const OpDef& op = find_op(GetParam());
  // Shapes that depend on values are not in graphs; collectives are tried with the groups that the partitioner makes.
  bool collective = false;
  for (int i = 0; i < op.signature.attrs; ++i) collective |= op.signature.attr_param(i).name == "group";
  if (op.value_shaped || harness::tested_by(op) || harness::has_free_values(op) || collective) return;
  Random r(7);
  std::vector<DeviceMesh> all = meshes();
  std::vector<std::unique_ptr<RankPool>> pools;
  for (const DeviceMesh& m : all) {
    pools.push_back(std::make_unique<RankPool>(m));
    pools.back()->join(joint_axes(m));
  }
  for (const std::string& line : harness::samples_of(op)) {
    harness::Sizes sizes;
    for (char c : harness::letters_of(line)) sizes[c] = 12;
    harness::Sample s = harness::make_sample(op, line, sizes);
    TensorList inputs;
    std::vector<size_t> given;
    for (size_t i = 0; i < s.inputs.size(); ++i)
      if (s.inputs[i].defined()) given.push_back(i), inputs.push_back(s.inputs[i]);
    auto f = [&](TensorSpan in) {
      TensorList all_inputs(s.inputs.size());
      for (size_t i = 0; i < given.size(); ++i) all_inputs[given[i]] = in[i];
      return call(op, all_inputs, s.attrs);
    };
    TensorList expected = f(inputs);
    TracedGraph traced;
    try {
      traced = trace(f, inputs);
    } catch (const Error& e) {
      ASSERT_NE(std::string(e.what()).find("depends on values"), std::string::npos) << e.what();
      continue;
    }
    Graph g = prepare_for_partition(traced.graph);
    for (int trial = 0; trial < 5; ++trial) {
      size_t which = static_cast<size_t>(below(r, static_cast<int64_t>(all.size())));
      const DeviceMesh& mesh = all[which];
      Request q = random_request(r, mesh, g);
      Propagated p = propagate(g, q);
      std::vector<TensorList> results(static_cast<size_t>(mesh.size()));
      pools[which]->run([&](int rank) {
        TensorList all_inputs = inputs, mine;
        all_inputs.insert(all_inputs.end(), traced.captures.begin(), traced.captures.end());
        for (size_t i = 0; i < all_inputs.size(); ++i) {
          const Tensor& t = all_inputs[i];
          Tensor view = block_in(t, block_of(mesh, p.inputs[i], t.sizes(), rank)),
                 block = Tensor::empty(view.sizes(), t.dtype());
          copy_elements(block, view);
          block.impl()->weak = t.impl()->weak;
          mine.push_back(block);
        }
        Graph local = partition(g, p, rank);
        local.verify();
        results[static_cast<size_t>(rank)] = run_graph(local, mine);
      });
      for (size_t rank = 0; rank < results.size(); ++rank)
        for (size_t o = 0; o < expected.size(); ++o) {
          Block b = block_of(mesh, p.outputs[o], expected[o].sizes(), static_cast<int64_t>(rank));
          ASSERT_EQ(difference(results[rank][o], contiguous(block_in(expected[o], b))), "")
              << line << " on " << mesh.to_string() << " rank " << rank << " result " << o << "\n"
              << partition(g, p, static_cast<int64_t>(rank)).to_string();
        }
    }
  }
}

}  // namespace
}  // namespace sorus::parallel
