// GPT-2 folders in C++: round trip, mutated files; next_token. What transformers makes of them: test_gpt2_files.py.
#include "sorus/models/gpt2.h"

#include <gtest/gtest.h>

#include "io/mutate.h"
#include "sorus/base/files.h"
#include "sorus/models/sample.h"

namespace sorus::models {
namespace {

using test::put;
using test::TemporaryFolder;

nn::GPTConfig small() { return {.vocab_size = 20, .block_size = 6, .n_layer = 2, .n_head = 2, .n_embd = 4}; }

TEST(Gpt2, WhatIsSavedIsLoaded) {
  TemporaryFolder folder;
  nn::manual_seed(3);
  nn::GPT model(small());
  save_gpt2(model, folder.path());
  auto same = load_gpt2(folder.path());
  EXPECT_FALSE(same->is_training());
  auto expected = model.state_dict(), found = same->state_dict();
  ASSERT_EQ(expected.size(), found.size());
  for (auto& [name, t] : expected) EXPECT_EQ(std::memcmp(t.data(), found.at(name).data(), t.nbytes()), 0) << name;
}

TEST(Gpt2, NextTokenWithACache) {
  nn::manual_seed(3);
  nn::GPT model(small());
  std::vector<int64_t> ids{1, 2}, cached{1, 2};
  nn::GPTCache cache;
  nn::Generator generator;
  for (int i = 0; i < 10; ++i) {  // beyond block_size
    ids.push_back(next_token(model, ids, {.temperature = 0}, generator));
    cached.push_back(next_token(model, cached, {.temperature = 0}, generator, &cache));
  }
  EXPECT_EQ(ids, cached);
  EXPECT_EQ(cache.length(), 6);
}

TEST(Fuzz, Gpt2Folders) {
  TemporaryFolder folder;
  save_gpt2(nn::GPT({.vocab_size = 2, .block_size = 1, .n_layer = 1, .n_head = 1, .n_embd = 1}), folder.path());
  std::string config = read_file(folder / "config.json"), weights = read_file(folder / "model.safetensors");
  auto load = [&](const std::string& file) {
    return [&, file](const std::filesystem::path& mutated) {
      put(folder / file, read_file(mutated));
      load_gpt2(folder.path());
    };
  };
  test::mutate(config, load("config.json"), 500);
  put(folder / "config.json", config);
  test::mutate(weights, load("model.safetensors"), 500);
}

}  // namespace
}  // namespace sorus::models
