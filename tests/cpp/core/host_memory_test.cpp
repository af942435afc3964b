// Tensors in host memory: what is put out comes back as it was, and a compiled step stays within the limit.
#include <gtest/gtest.h>

#include <random>

#include "sorus/autodiff/tape.h"

#include "sorus/ops.h"
#include "sorus/run/compiled.h"
#include "sorus/run/execute.h"
#include "sorus/run/residency.h"
#include "sorus/tensor/host_memory.h"

namespace sorus {
namespace {

using Range = HostMemory::Range;

struct Limit {
  explicit Limit(size_t bytes) { set_memory_limit(bytes); }
  ~Limit() { set_memory_limit(0); }
};

TEST(HostMemory, KeepsWhatIsPutOut) {
  Limit limit(1 << 20);
  HostMemory& memory = *HostMemory::active();
  size_t before = memory.statistics().held;
  TensorList tensors;
  for (int i = 0; i < 8; ++i) tensors.push_back(full(Shape{1 << 16}, Scalar(double(i)), DType::f32));
  EXPECT_EQ(memory.statistics().held - before, 8 * (size_t{1} << 18));
  EXPECT_LE(memory.resident(), memory.limit());
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(tensors[static_cast<size_t>(i)].data<float>()[0], static_cast<float>(i));
    EXPECT_EQ(tensors[static_cast<size_t>(i)].data<float>()[65535], static_cast<float>(i));
  }
  tensors.clear();
  EXPECT_EQ(memory.statistics().held, before);
  EXPECT_EQ(zeros(Shape{1 << 16}).data<float>()[7], 0.0f);
}

TEST(HostMemory, RefusesATinyLimit) { EXPECT_THROW(set_memory_limit(1000), ValueError); }

// No order of replacement moves less: compared with all of them.
TEST(Residency, MovesTheLeastThereIs) {
  Limit limit(1 << 20);
  HostMemory& memory = *HostMemory::active();
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    constexpr int kBlocks = 6, kRoom = 3, kSteps = 7;
    std::vector<std::vector<Range>> steps(kSteps);
    std::vector<std::vector<int>> touched(kSteps);
    for (int s = 0; s < kSteps; ++s) {
      steps[static_cast<size_t>(s)].push_back({100, 16 - kRoom});  // always needed: takes the rest of the room
      for (int n = 0; n < 2; ++n) {
        int b = static_cast<int>(random() % kBlocks);
        touched[static_cast<size_t>(s)].push_back(b);
        steps[static_cast<size_t>(s)].push_back({static_cast<HostMemory::Block>(b), 1});
      }
    }
    // The fewest fetches of one run and of two, by dynamic programming over what is in reach.
    constexpr int kSets = 1 << kBlocks, kFar = 1 << 20;
    auto at = [](std::vector<int>& v, int i) -> int& { return v[static_cast<size_t>(i)]; };
    auto count = [](int set) { return __builtin_popcount(static_cast<unsigned>(set)); };
    std::vector<int> cost(kSets, kFar);
    cost[0] = 0;
    int fewest[2];
    for (int run = 0; run < 2; ++run) {
      for (const auto& blocks : touched) {
        int need = 0;
        for (int b : blocks) need |= 1 << b;
        std::vector<int> next(kSets, kFar);
        for (int from = 0; from < kSets; ++from)
          for (int to = 0; to < kSets; ++to)
            if ((to & need) == need && count(to) <= kRoom && (to & ~(from | need)) == 0)
              at(next, to) = std::min(at(next, to), at(cost, from) + count(to & ~from));
        cost = next;
      }
      fewest[run] = *std::min_element(cost.begin(), cost.end());
    }
    Residency residency(memory, steps, [](size_t) { return std::string("a step"); });
    size_t moved = 0;
    for (const Residency::Traffic& t : residency.traffic()) moved += t.at_once / HostMemory::kBlock;
    EXPECT_EQ(moved, static_cast<size_t>(fewest[1] - fewest[0])) << "seed " << seed;
  }
}

TEST(Residency, AheadOfAStepComesWhatHasRoomBesideTheRunningOne) {
  Limit limit(1 << 20);
  HostMemory& memory = *HostMemory::active();
  // 16 blocks of room; each step needs 4 of its own and 4 that all need: one step's are computed with, one step's
  // come in.
  constexpr size_t kSteps = 10;
  std::vector<std::vector<Range>> steps;
  for (size_t s = 0; s < kSteps; ++s) steps.push_back({{400, 4}, {static_cast<HostMemory::Block>(200 + 4 * s), 4}});
  Residency residency(
      memory, steps, [](size_t) { return std::string("a step"); }, true);
  std::vector<Residency::Traffic> traffic = residency.traffic();
  for (size_t s = 2; s < kSteps; ++s) {
    EXPECT_EQ(traffic[s].at_once, 0U) << s;
    EXPECT_LE(traffic[s].ahead, 4 * HostMemory::kBlock) << s;
  }
  // What is in reach is what the step needs, within the limit, from the first run on.
  TensorList held;
  for (int i = 0; i < 6; ++i) held.push_back(full(Shape{1 << 17}, Scalar(double(i)), DType::f32));  // 8 blocks each
  std::vector<std::vector<Range>> real;
  for (const Tensor& t : held) real.push_back({memory.range_of(t.data(), t.nbytes())});
  Residency of_tensors(
      memory, real, [](size_t) { return std::string("a step"); }, true);
  for (int run = 0; run < 3; ++run) {
    of_tensors.begin();
    for (size_t s = 0; s < real.size(); ++s) {
      of_tensors.before(s);
      memory.wait();
      std::vector<HostMemory::Block> there = memory.resident_blocks();
      EXPECT_LE(there.size(), 16U);
      for (HostMemory::Block b = real[s][0].first; b < real[s][0].first + real[s][0].count; ++b)
        EXPECT_TRUE(std::binary_search(there.begin(), there.end(), b)) << "run " << run << ", step " << s;
      EXPECT_EQ(static_cast<float*>(held[s].data())[77], static_cast<float>(s));
    }
  }
}

TEST(Residency, ACompiledStepStaysWithinTheLimitAndKeepsItsNumbers) {
  constexpr int kLayers = 12;
  auto train = [&](std::vector<float>& losses) {
    TensorList weights, moments;
    for (int i = 0; i < kLayers; ++i) {
      weights.push_back(
          reshape(sin(arange(Scalar(0.0), Scalar(256.0 * 256.0), Scalar(1.0)) * (i + 1.0)), Shape{256, 256}) * 0.05);
      moments.push_back(zeros(Shape{256, 256}));
    }
    Tensor x = reshape(cos(arange(Scalar(0.0), Scalar(2048.0), Scalar(1.0))), Shape{8, 256});
    for (Tensor& w : weights) set_requires_grad(w, true);
    CompiledGraph step(trace(
        [&](TensorSpan in) {
          Tensor h = in[0];
          for (const Tensor& w : weights) h = tanh(matmul(h, w)) + h;
          Tensor loss = mean(square(h - 1.0));
          backward(loss);
          GradMode off(false);
          static const OpDef& copy = find_op("copy");
          for (size_t i = 0; i < weights.size(); ++i) {
            Tensor m = moments[i] * 0.9 + grad_of(weights[i]);
            call_into(copy, std::array{moments[i], m}, {}, std::array{moments[i]});
            call_into(copy, std::array{weights[i], weights[i] - m * 0.1}, {}, std::array{weights[i]});
            set_grad(weights[i], {});
          }
          return TensorList{loss};
        },
        std::array{x}));
    for (int i = 0; i < 4; ++i) losses.push_back(static_cast<float>(step.run(std::array{x})[0].item().to_double()));
    return step.report().moved_bytes;
  };
  std::vector<float> free_losses, limited_losses;
  train(free_losses);
  Limit limit(2 << 20);  // a third of weights and moments
  HostMemory::Statistics before = HostMemory::active()->statistics();
  int64_t moved = train(limited_losses);
  HostMemory::Statistics after = HostMemory::active()->statistics();
  EXPECT_EQ(free_losses, limited_losses);
  EXPECT_GT(moved, 0);
  EXPECT_GT(after.brought_in, before.brought_in);
  EXPECT_LE(after.peak_resident, size_t{2} << 20);
}

TEST(Residency, AStepThatIsTooLargeIsNamed) {
  Limit limit(1 << 20);
  Tensor x = zeros(Shape{1 << 19});
  CompiledGraph f(trace([&](TensorSpan in) { return TensorList{in[0] + sum(x)}; }, std::array{zeros(Shape{1})}));
  try {
    f.run(std::array{zeros(Shape{1})});
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("sum"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("memory limit"), std::string::npos);
  }
}

}  // namespace
}  // namespace sorus
