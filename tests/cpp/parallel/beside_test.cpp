// Collectives beside arithmetic: the order of what happens, and that results stay the same to the bit.
#include <cmath>
#include <cstring>
#include <map>

#include "parallel/ranks.h"
#include "sorus/autodiff/tape.h"
#include "sorus/base/profile.h"
#include "sorus/compile/compile.h"
#include "sorus/ops.h"
#include "sorus/optim/optimizer.h"
#include "sorus/parallel/runtime/parallel_step.h"
#include "sorus/run/beside.h"

namespace sorus::parallel {
namespace {

using test::at_ranks;
using test::Kind;
using test::require;

constexpr BesideOptions kNever{.least_bytes = -1}, kAlways{.least_bytes = 0};

Tensor waves(const Shape& shape, double shift) {
  Tensor t = Tensor::empty(shape, DType::f32);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<float>()[i] = static_cast<float>(0.3 * std::sin(0.7 * static_cast<double>(i) + shift));
  return t;
}

// ---- the order alone

// Two layers of a backward pass: products 0 and 2 make what 1 and 3 sum over the ranks, for the updates 4 and 5.
struct Backward {
  std::vector<ScheduleUnit> units{{{}, {0}, {}},  {{0}, {1}, {}}, {{}, {2}, {}},
                                  {{2}, {3}, {}}, {{1}, {4}, {}}, {{3}, {5}, {}}};
  std::vector<BesideUnit> what;
  std::vector<int> order{0, 1, 4, 2, 3, 5};
  explicit Backward(double sum_seconds) {
    for (int u = 0; u < 6; ++u) {
      bool sum = u == 1 || u == 3;
      what.push_back({sum ? sum_seconds : 1, sum, sum ? 1000 : 0, "dp", sum});
    }
  }
};

TEST(RunBeside, WhatReadsASumIsPutOffUntilItIsThere) {
  Backward b(0.5);
  BesidePlan p = run_beside(b.units, b.what, b.order, kAlways);
  EXPECT_EQ(p.order, (std::vector<int>{0, 1, 2, 4, 3, 5})) << "the other product runs meanwhile";
  EXPECT_EQ(p.wait_at[1], 3);
  EXPECT_EQ(p.wait_at[3], 0) << "nothing is left to run beside the last";
  p = run_beside(b.units, b.what, b.order, kNever);
  EXPECT_EQ(p.order, b.order);
  EXPECT_EQ(p.wait_at, std::vector<int>(6, 0));
  p = run_beside(b.units, b.what, b.order, {.least_bytes = 1001});
  EXPECT_EQ(p.order, b.order) << "too little to be worth it";
}

TEST(RunBeside, SlowSumsGoOnWhileOthersStart) {
  Backward b(10);
  BesidePlan p = run_beside(b.units, b.what, b.order, kAlways);
  EXPECT_EQ(p.order, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(p.wait_at[1], 4);
  EXPECT_EQ(p.wait_at[3], 5) << "the first update runs beside it";
  p = run_beside(b.units, b.what, b.order, {.least_bytes = 0, .most_on_its_way = 1500});
  EXPECT_EQ(p.order, (std::vector<int>{0, 1, 2, 4, 3, 5})) << "not both at once: they take memory";
}

TEST(RunBeside, WhatOverwritesWaitsForReadersThatWerePutOff) {
  // 2 reads the sum and value 9, which 3 replaces.
  std::vector<ScheduleUnit> units{{{}, {0}, {}}, {{0}, {1}, {}}, {{1, 9}, {2}, {}}, {{9}, {3}, {9}}, {{}, {4}, {}}};

  std::vector<BesideUnit> what(5, {1, false, 0, "", false});
  what[1] = {5, true, 10, "g", true};
  BesidePlan p = run_beside(units, what, {0, 1, 2, 3, 4}, kAlways);
  EXPECT_EQ(p.order, (std::vector<int>{0, 1, 4, 2, 3}));
}

// ---- graphs

TracedGraph two_sums(int64_t n) {
  TracedGraph t;
  std::string text = R"(graph f(%0: f32[N, N], %1: f32[N, N]) {
    %2 = mm(%0, %1) : f32[N, N]
    %3 = all_reduce(%2, op="sum", group="world") : f32[N, N]
    %4 = tanh(%3) : f32[N, N]
    %5 = mm(%1, %0) : f32[N, N]
    %6 = mm(%5, %0) : f32[N, N]
    %7 = all_reduce(%6, op="sum", group="world") : f32[N, N]
    %8 = mm(%7, %4) : f32[N, N]
    return %8, %4
  })";
  for (size_t at; (at = text.find('N')) != std::string::npos;) text.replace(at, 1, std::to_string(n));
  t.graph = Graph::parse(text);
  t.explicit_inputs = 2;
  t.explicit_outputs = 2;
  return t;
}

TEST(Beside, ResultsAreEqualToTheBitOnThreadsAndProcesses) {
  CompiledGraph(two_sums(96)).report();  // loops are built once, here
  for (Kind kind : {Kind::threads, Kind::processes})
    at_ranks(kind, 2, [](comm::Communicator& c) {
      CompiledGraph never(two_sums(96), kNever), always(two_sums(96), kAlways);
      require(never.report().exchanges == 2 && never.report().beside == 0, "none beside");
      require(always.report().beside >= 1, "one beside");
      for (int i = 0; i < 20; ++i) {
        TensorList in{waves({96, 96}, i + c.rank()), waves({96, 96}, 2 * i - c.rank())};
        TensorList a = never.run(in), b = always.run(in);
        for (size_t k = 0; k < a.size(); ++k)
          require(std::memcmp(a[k].data(), b[k].data(), a[k].nbytes()) == 0, "other bits");
      }
    });
}

// ---- training

struct Ranks final : Executor {
  ParallelStep step;
  Ranks(TracedGraph t, Request r, ExecutionOptions o) : step(std::move(t), std::move(r), std::move(o)) {}
  TensorList run(TensorSpan in) override { return step.run(in); }
};

// Parameters after some steps of a network of four layers under data parallelism, with ZeRO its state cut.
TensorList train(int ranks, bool zero, const BesideOptions& beside, std::vector<ProfileEvent>* events = nullptr) {
  TensorList parameters;
  for (int i = 0; i < 4; ++i) {
    parameters.push_back(waves({272, 272}, i));
    set_requires_grad(parameters.back(), true);
  }
  optim::AdamW optimizer({{parameters}}, {.lr = 0.01});
  TensorFunction body = [&](TensorSpan in) -> TensorList {
    Tensor x = in[0];
    for (const Tensor& p : parameters) x = tanh(matmul(x, p));
    Tensor loss = mean(square(x));
    backward(loss);
    optimizer.step();
    optimizer.zero_grad();
    return {loss.detach()};
  };
  MakeExecutor make = [&](TracedGraph t, TensorSpan) -> std::shared_ptr<Executor> {
    Request r;
    r.mesh = DeviceMesh({"dp"}, {ranks});
    r.inputs[0] = {Shard(0)};
    for (size_t c = 0; zero && c < t.captures.size(); ++c) {
      bool parameter =
          std::ranges::any_of(parameters, [&](const Tensor& p) { return p.storage() == t.captures[c].storage(); });
      if (!parameter && t.captures[c].dim() == 2) r.inputs[t.explicit_inputs + static_cast<int>(c)] = {Shard(0)};
    }
    ExecutionOptions options;
    options.beside = beside;
    return std::make_shared<Ranks>(std::move(t), r, options);
  };
  Recording recording(body, TensorList{waves({32, 272}, 0)}, "step", make);
  for (int s = 0; s < 3; ++s) {
    std::optional<Profile> profile;
    if (events && s == 2) profile.emplace();
    recording.run(TensorList{waves({32, 272}, s)});
    if (profile) profile->stop(), *events = profile->events();
  }
  TensorList out;
  for (const Tensor& p : parameters) out.push_back(contiguous(p.detach()));
  return out;
}

TEST(Beside, GradientsAreSummedWhileTheBackwardPassRuns) {
  for (bool zero : {false, true}) {
    std::vector<ProfileEvent> events, in_place;
    TensorList beside = train(2, zero, kAlways, &events), never = train(2, zero, kNever, &in_place);
    for (size_t i = 0; i < beside.size(); ++i)
      EXPECT_EQ(std::memcmp(beside[i].data(), never[i].data(), beside[i].nbytes()), 0) << "parameter " << i;
    std::map<std::string, int> kinds;
    std::map<int, int> under_way;  // by lane
    int computed_meanwhile = 0;
    for (const ProfileEvent& e : events) {
      std::string kind = e.kind;
      ++kinds[kind];
      if (kind == "start") ++under_way[e.lane];
      if (kind == "wait") --under_way[e.lane];
      if ((kind == "loop" || kind == "kernel") && under_way[e.lane] > 0) ++computed_meanwhile;
    }
    EXPECT_GT(kinds["start"], 0) << "ZeRO " << zero;
    EXPECT_EQ(kinds["start"], kinds["wait"]);
    EXPECT_EQ(kinds["start"], kinds["beside"]);
    EXPECT_GT(computed_meanwhile, 0);
    for (const ProfileEvent& e : in_place) EXPECT_STRNE(e.kind, "start");
    EXPECT_TRUE(std::ranges::any_of(in_place, [](const auto& e) { return std::string_view(e.kind) == "exchange"; }));
  }
}

TEST(Beside, TheOrderIsThatOfEveryRun) {
  auto order = [] {
    std::vector<ProfileEvent> events;
    train(2, false, kAlways, &events);
    std::map<int, std::vector<std::string>> lanes;
    for (const ProfileEvent& e : events)
      if (e.depth == 0 && std::string_view(e.kind) != "beside") lanes[e.lane].push_back(e.kind + (" " + e.name));
    std::multiset<std::vector<std::string>> out;
    for (auto& [lane, what] : lanes) out.insert(what);
    return out;
  };
  EXPECT_EQ(order(), order());
}

}  // namespace
}  // namespace sorus::parallel
