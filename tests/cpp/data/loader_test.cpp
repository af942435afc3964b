// Datasets, samplers and the loader: what an epoch holds, its order, resuming, errors of workers, shutting down.
#include "sorus/data/loader.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <thread>

#include "io/temporary_folder.h"

namespace sorus::data {
namespace {

using test::error_of;

std::vector<int64_t> values(const Tensor& t) { return {t.data<int64_t>(), t.data<int64_t>() + t.numel()}; }
Tensor range(int64_t n) {
  std::vector<int64_t> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), 0);
  return Tensor::of(v, Shape{n});
}
std::shared_ptr<TensorDataset> counting(int64_t n) { return std::make_shared<TensorDataset>(TensorList{range(n)}); }

std::vector<std::vector<int64_t>> epoch(DataLoader& loader) {
  std::vector<std::vector<int64_t>> batches;
  while (auto batch = loader.next()) batches.push_back(values((*batch)[0]));
  return batches;
}

TEST(Permutation, IsOneForEverySize) {
  for (int64_t n : {0, 1, 2, 3, 5, 16, 17, 100, 1023, 1025}) {
    for (uint64_t seed : {0, 1, 7}) {
      Permutation order(n, seed);
      std::set<int64_t> seen;
      for (int64_t i = 0; i < n; ++i) seen.insert(order[i]);
      EXPECT_EQ(static_cast<int64_t>(seen.size()), n);
      if (n) {
        EXPECT_EQ(*seen.rbegin(), n - 1);
      }
    }
  }
  EXPECT_THROW(Permutation(3, 0)[3], IndexError);
  Permutation huge(int64_t{1} << 62, 1);
  EXPECT_NE(huge[0], huge[1]);
}

TEST(Permutation, LooksRandom) {
  // Every element comes to every place about equally often over the seeds: chi-square with 63 degrees of freedom.
  constexpr int64_t n = 8;
  constexpr int rounds = 8000;
  std::vector<int> counts(n * n);
  for (int seed = 0; seed < rounds; ++seed) {
    Permutation order(n, static_cast<uint64_t>(seed));
    for (int64_t i = 0; i < n; ++i) ++counts[static_cast<size_t>(i * n + order[i])];
  }
  double chi = 0, expected = double{rounds} / n;
  for (int c : counts) chi += (c - expected) * (c - expected) / expected;
  EXPECT_LT(chi, 120);
}

TEST(Datasets, RowsSubsetsAndSplits) {
  Tensor matrix = Tensor::of<float>({0, 1, 2, 3, 4, 5}, Shape{3, 2});
  TensorDataset rows({matrix, range(3)});
  TensorList sample = rows.get(2);
  EXPECT_EQ(sample[0].sizes(), (Shape{2}));
  EXPECT_EQ(sample[0].data<float>()[1], 5);
  EXPECT_EQ(values(sample[1]), (std::vector<int64_t>{2}));
  EXPECT_THROW(rows.get(3), IndexError);
  EXPECT_THROW(rows.get(-1), IndexError);
  EXPECT_NE(error_of<ValueError>([&] {
              TensorDataset({matrix, range(2)});
            }).find("[3, 2] and [2]"),
            std::string::npos);

  auto all = counting(10);
  Subset some(all, {7, 3});
  EXPECT_EQ(values(some.get(1)[0]), (std::vector<int64_t>{3}));
  EXPECT_THROW(Subset(all, {10}), IndexError);
  auto parts = random_split(all, Shape{7, 3}, 1);
  std::set<int64_t> seen;
  for (auto& part : parts) seen.insert(part->indices().begin(), part->indices().end());
  EXPECT_EQ(seen.size(), 10u);
  EXPECT_EQ(parts[0]->indices(), random_split(all, Shape{7, 3}, 1)[0]->indices());
  EXPECT_THROW(random_split(all, Shape{7, 4}, 1), ValueError);
}

TEST(Datasets, TextIsWhatComesNext) {
  TextDataset text(range(10), 3);
  EXPECT_EQ(text.size(), 3);
  EXPECT_EQ(values(text.get(2)[0]), (std::vector<int64_t>{6, 7, 8}));
  EXPECT_EQ(values(text.get(2)[1]), (std::vector<int64_t>{7, 8, 9}));
  EXPECT_EQ(TextDataset(range(10), 3, 1).size(), 7);
  EXPECT_EQ(TextDataset(range(4), 3).size(), 1);
  EXPECT_EQ(values(TextDataset(Tensor::of<int32_t>({5, 6, 7}, Shape{3}), 2).get(0)[1]), (std::vector<int64_t>{6, 7}));
  EXPECT_NE(error_of<ValueError>([&] { TextDataset(range(3), 3); }).find("3 tokens are too few"), std::string::npos);
  EXPECT_THROW(TextDataset(Tensor::zeros(Shape{9}, DType::f32), 3), TypeError);
}

TEST(Loader, BatchesOfAnEpoch) {
  DataLoader loader(counting(7), {.batch_size = 3});
  EXPECT_EQ(loader.size(), 3);
  EXPECT_EQ(epoch(loader), (std::vector<std::vector<int64_t>>{{0, 1, 2}, {3, 4, 5}, {6}}));
  EXPECT_EQ(loader.state().epoch, 1);
  DataLoader full(counting(7), {.batch_size = 3, .drop_last = true});
  EXPECT_EQ(epoch(full).size(), 2u);
  DataLoader none(counting(0), {.batch_size = 3, .shuffle = true, .num_workers = 2});
  EXPECT_TRUE(epoch(none).empty());
}

TEST(Loader, OrderDependsOnSeedAndEpochButNotOnWorkers) {
  auto data = counting(101);
  auto epochs = [&](uint64_t seed, int workers) {
    DataLoader loader(data, {.batch_size = 7, .shuffle = true, .seed = seed, .num_workers = workers});
    return std::pair(epoch(loader), epoch(loader));
  };
  auto [first, second] = epochs(1, 0);
  std::set<int64_t> seen;
  for (auto& batch : first) seen.insert(batch.begin(), batch.end());
  EXPECT_EQ(seen.size(), 101u);
  EXPECT_NE(first, second);
  EXPECT_NE(first, epochs(2, 0).first);
  for (int workers : {1, 2, 5}) EXPECT_EQ(epochs(1, workers), std::pair(first, second)) << workers;
}

TEST(Loader, ResumesInTheMiddleOfAnEpoch) {
  for (int workers : {0, 3}) {
    LoaderOptions options{.batch_size = 4, .shuffle = true, .seed = 9, .num_workers = workers};
    DataLoader loader(counting(50), options);
    epoch(loader);
    for (int i = 0; i < 5; ++i) loader.next();
    LoaderState state = loader.state();
    auto rest = epoch(loader);
    auto after = epoch(loader);
    EXPECT_EQ(rest.size(), 8u);

    options.seed = 0;  // the state brings its own
    DataLoader other(counting(50), options);
    other.next();
    other.load_state(state);
    EXPECT_EQ(other.state(), state);
    EXPECT_EQ(epoch(other), rest);
    EXPECT_EQ(epoch(other), after);
    DataLoader wrong(counting(51), options);
    EXPECT_NE(error_of<ValueError>([&] { wrong.load_state(state); }).find("50 samples in batches of 4"),
              std::string::npos);
  }
}

/// Fails at one sample and takes its time, more for some samples than for others.
class Fragile final : public Dataset {
 public:
  explicit Fragile(int64_t bad) : bad_(bad) {}
  int64_t size() const override { return 40; }
  TensorList get(int64_t i) const override {
    ++calls;
    std::this_thread::sleep_for(std::chrono::microseconds(i % 5 * 200));
    SORUS_CHECK(i != bad_, ValueError, "sample {} is broken", i);
    return {Tensor::of<int64_t>({i}, Shape{})};
  }
  mutable std::atomic<int> calls{0};

 private:
  int64_t bad_;
};

TEST(Loader, ErrorsOfWorkersComeWithTheirBatch) {
  for (int workers : {0, 1, 3}) {
    DataLoader loader(std::make_shared<Fragile>(9), {.batch_size = 2, .num_workers = workers});
    for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(values((*loader.next())[0])[0], 2 * i);
    EXPECT_NE(error_of<ValueError>([&] { loader.next(); }).find("sample 9 is broken"), std::string::npos);
    EXPECT_EQ(values((*loader.next())[0]), (std::vector<int64_t>{10, 11}));
    EXPECT_EQ(epoch(loader).size(), 14u);
  }
}

TEST(Loader, WorkersKeepToTheirLeadAndStop) {
  auto data = std::make_shared<Fragile>(-1);
  {
    DataLoader loader(data, {.batch_size = 1, .num_workers = 2, .prefetch = 3});
    loader.next();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_LE(data->calls, 7);
  }
  int calls = data->calls;
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(data->calls, calls);
}

TEST(Loader, WhatCannotBeStacked) {
  EXPECT_NE(error_of<ValueError>([] {
              stack_samples({{Tensor::zeros(Shape{2}, DType::f32)}, {Tensor::zeros(Shape{3}, DType::f32)}});
            }).find("f32[2] in one sample and f32[3]"),
            std::string::npos);
  EXPECT_THROW(DataLoader(counting(3), {.batch_size = 0}), ValueError);
  Tensor columns = Tensor::of<float>({0, 1, 2, 3}, Shape{2, 2}).with_geometry({{2, 2}, {1, 2}, 0});
  TensorList batch = stack_samples({{columns}, {columns}});
  EXPECT_EQ(batch[0].sizes(), (Shape{2, 2, 2}));
  EXPECT_EQ(batch[0].data<float>()[5], 2);
}

}  // namespace
}  // namespace sorus::data
