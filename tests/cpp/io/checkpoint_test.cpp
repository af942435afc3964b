// Checkpoints: round trip, rotation, what is left by writers that were killed, and files of another model.
#include "sorus/io/checkpoint.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/temporary_folder.h"

namespace sorus::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::put;
using test::TemporaryFolder;

Tensor vector(std::vector<float> v) { return Tensor::of(v, Shape{static_cast<int64_t>(v.size())}); }
Checkpoint at_step(int64_t step) {
  return {{{"w", vector({static_cast<float>(step), 1})}}, {{"step", step}, {"best", nullptr}, {"lr", 0.1}}};
}
std::vector<std::string> names(const CheckpointFolder& folder) {
  std::vector<std::string> result;
  for (auto& p : folder.list()) result.push_back(p.filename().string());
  return result;
}

TEST(Checkpoint, RoundTrip) {
  TemporaryFolder folder;
  save_checkpoint(folder / "c", at_step(7));
  Checkpoint c = load_checkpoint(folder / "c");
  EXPECT_EQ(c.state, at_step(7).state);
  EXPECT_EQ(c.tensors.at("w").data<float>()[0], 7);
  save_safetensors(folder / "plain", {{"w", vector({1})}});
  EXPECT_TRUE(load_checkpoint(folder / "plain").state.empty());
  save_safetensors(folder / "bad", {}, {{"sorus.state", "[1"}});
  EXPECT_NE(error_of<FileError>([&] { load_checkpoint(folder / "bad"); }).find("sorus.state"), std::string::npos);
}

TEST(Checkpoint, KeepsTheLastOnes) {
  TemporaryFolder folder;
  CheckpointFolder checkpoints(folder / "run", 2);
  EXPECT_FALSE(checkpoints.latest());
  for (int64_t step : {5, 10, 100}) checkpoints.save(step, at_step(step));
  EXPECT_EQ(names(checkpoints),
            (std::vector<std::string>{"step-000000010.safetensors", "step-000000100.safetensors"}));
  EXPECT_EQ(load_checkpoint(*checkpoints.latest()).state["step"], 100);
  // Going back to an earlier step does not remove what was just written.
  fs::path path = checkpoints.save(1, at_step(1));
  EXPECT_TRUE(fs::exists(path));
  EXPECT_EQ(names(checkpoints).size(), 2u);
}

TEST(Checkpoint, BrokenOnesAreNotTheLatest) {
  TemporaryFolder folder;
  CheckpointFolder checkpoints(folder / "run");
  checkpoints.save(1, at_step(1));
  fs::path second = checkpoints.save(2, at_step(2));
  fs::resize_file(second, fs::file_size(second) - 1);
  put(folder / "run/step-000000003.safetensors", "");
  put(folder / "run/step-x.safetensors", "");
  put(folder / "run/step-000000009.safetensors.tmp-1-0", "half");
  std::vector<std::string> problems;
  EXPECT_EQ(load_checkpoint(*checkpoints.latest(&problems)).state["step"], 1);
  EXPECT_EQ(problems.size(), 2u);
}

TEST(Checkpoint, AKillNeverLosesAnOlderOne) {
  TemporaryFolder folder;
  CheckpointFolder checkpoints(folder / "run", 1);
  checkpoints.save(0, at_step(0));
  int64_t last = 0;
  for (int round = 0; round < 20; ++round) {
    pid_t child = fork();
    if (child == 0) {
      for (int64_t step = last + 1;; ++step) {
        Checkpoint c = at_step(step);
        c.tensors["large"] = Tensor::zeros(Shape{100'000}, DType::u8);
        checkpoints.save(step, c);
      }
    }
    ASSERT_GT(child, 0);
    usleep(static_cast<useconds_t>(2000 + round * 1700));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    auto latest = checkpoints.latest();
    ASSERT_TRUE(latest);
    int64_t step = load_checkpoint(*latest).state["step"];
    EXPECT_GE(step, last);
    last = step;
  }
  checkpoints.save(last + 1, at_step(last + 1));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / "run"), fs::directory_iterator()), 1);  // no temporaries
}

TEST(Checkpoint, OfAnotherModel) {
  TensorMap model{{"a", vector({1, 2})}, {"b", vector({3})}, {"c", vector({4})}};
  TensorMap other{{"a", vector({1, 2, 3})}, {"b", vector({9})}};
  for (int i = 0; i < 20; ++i) other[fmt::format("h.{}", i)] = vector({1});
  std::string message = error_of<ValueError>([&] { copy_tensors(other, model, "x.safetensors"); });
  EXPECT_TRUE(
      message.starts_with("x.safetensors: the tensors are those of another model (3 expected, 22 found):\n"
                          "  1 missing: 'c'\n  20 unexpected: 'h.0'"))
      << message;
  EXPECT_NE(message.find("1 of another shape: 'a': expected [2], found [3]"), std::string::npos) << message;
  EXPECT_LT(message.size(), 400u);
  EXPECT_EQ(model["b"].data<float>()[0], 3);  // nothing was copied

  Tensor half = Tensor::zeros(Shape{2}, DType::bf16);
  uint32_t version = half.storage()->version();
  copy_tensors({{"a", vector({1, 2})}}, {{"a", half}}, "x");
  EXPECT_EQ(half.with_geometry({{}, {}, 1}).item().to_double(), 2);
  EXPECT_GT(half.storage()->version(), version);
}

}  // namespace
}  // namespace sorus::io
