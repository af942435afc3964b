// Generated C is compiled by the system's compiler, loaded, and compared with a plain evaluation of the model as it
// was before anything was removed or fused.
#include <gtest/gtest.h>

#include <thread>

#include "built.h"
#include "random_model.h"
#include "sorus/base/error.h"
#include "sorus/device/passes.h"
#include "sorus/device/project.h"

namespace sorus::device {
namespace {

using testing::Built, testing::Bytes, testing::RandomModel, testing::RunIn, testing::RunModel;

Model residual_net(unsigned seed, Bytes* sample) {
  RandomModel r(seed);
  int64_t h = 5 + r.below(6), w = 4 + r.below(7), c = 1 + r.below(5);
  int x = r.input({1, h, w, c});
  x = r.conv(x, 6 + r.below(5), 3, 1 + r.below(2), true, false, true, true);
  x = r.conv(x, 0, 3, 1 + r.below(2), true, true, true, r.below(2) == 0);
  int y = r.conv(x, r.dims(x)[3], 3, 1, true, false, true, true);
  y = r.conv(y, r.dims(x)[3], 1, 1, true, false, false, false);
  y = r.add(y, x);
  y = r.conv(y, 7, 1, 1, true, false, true, true);
  y = r.pool(y, true);
  int flat = r.tensor({1, r.dims(y)[3]});
  r.step(RenameForm{}, {y}, flat);
  r.model.outputs = {r.dense(flat, 3 + r.below(4))};
  if (sample) {
    sample->clear();
    for (int64_t i = 0; i < h * w * c; ++i) sample->push_back(r.byte());
  }
  return r.model;
}

Bytes run_once(const Project& p, const Built& built, const std::string& name, const Bytes& sample, size_t out_bytes) {
  std::vector<int8_t> arena(static_cast<size_t>(p.arena.bytes) + 16 + 64, 0x55);
  auto* aligned = reinterpret_cast<int8_t*>((reinterpret_cast<uintptr_t>(arena.data()) + 15) & ~uintptr_t{15});
  alignas(16) int8_t in[4096], out[256];
  std::copy(sample.begin(), sample.end(), in);
  const void* inputs[] = {in};
  void* outputs[] = {out};
  EXPECT_EQ(built.function<RunModel>((name + "_run").c_str())(aligned, inputs, outputs), 0);
  EXPECT_TRUE(std::equal(sample.begin(), sample.end(), in)) << "the input was written";
  for (int i = 0; i < 32; ++i) EXPECT_EQ(aligned[p.arena.bytes + i], 0x55) << "memory after the arena was written";
  return {out, out + out_bytes};
}

TEST(Generate, RandomNetsEqualTheirPlainEvaluation) {
  int removed = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) {
    Bytes sample;
    Model model = residual_net(seed, &sample);
    Bytes expected = testing::evaluate(model, sample);
    GenerateOptions options;
    options.name = "net";
    options.size = seed % 2 == 0;
    Project p = generate(model, find_target("x86"), options);
    Built built({&p}, seed % 4 == 1 ? "-O1 -Werror -fsanitize=undefined -fno-sanitize-recover=all" : "-O1 -Werror");
    ASSERT_TRUE(built.good()) << "seed " << seed;
    EXPECT_EQ(run_once(p, built, "net", sample, expected.size()), expected) << "seed " << seed;
    Model simple = model;
    simplify(simple);
    for (const Step& s : simple.steps) removed += !s.notes.empty();
  }
  EXPECT_GT(removed, 12);
}

TEST(Generate, PassesRemoveFuseAndKeepThePeakLow) {
  Model model = residual_net(3, nullptr);
  size_t steps = model.steps.size();
  simplify(model);
  EXPECT_EQ(model.steps.size(), steps - 2);  // the addition and the change of shape
  int residuals = 0;
  for (const Step& s : model.steps) residuals += s.residual.has_value();
  EXPECT_EQ(residuals, 1);
  const auto& first = std::get<ConvForm>(model.steps[0].form);
  EXPECT_EQ(first.weight.size(), static_cast<size_t>(first.window.out_c * 9 * first.window.in_c));
}

TEST(Generate, TwoModelsInOneImageAndTwoThreads) {
  Bytes one, two;
  Model a = residual_net(21, &one), b = residual_net(22, &two);
  Bytes expect_a = testing::evaluate(a, one), expect_b = testing::evaluate(b, two);
  GenerateOptions options;
  options.name = "first";
  Project pa = generate(a, find_target("x86"), options);
  options.name = "second";
  Project pb = generate(b, find_target("x86"), options);
  Built built({&pa, &pb});
  ASSERT_TRUE(built.good());
  auto work = [&](const Project& p, const char* name, const Bytes& sample, const Bytes& expected) {
    for (int i = 0; i < 200; ++i) ASSERT_EQ(run_once(p, built, name, sample, expected.size()), expected);
  };
  std::thread other([&] { work(pa, "first", one, expect_a); });
  std::thread third([&] { work(pa, "first", one, expect_a); });
  work(pb, "second", two, expect_b);
  other.join();
  third.join();
}

TEST(Generate, WrongMemoryIsAnErrorCodeAndNothingIsWritten) {
  Bytes sample;
  Model model = residual_net(5, &sample);
  GenerateOptions options;
  options.name = "net";
  Project p = generate(model, find_target("x86"), options);
  Built built({&p});
  ASSERT_TRUE(built.good());
  auto run = built.function<RunModel>("net_run");
  auto run_in = built.function<RunIn>("net_run_in");
  auto bytes = static_cast<size_t>(p.arena.bytes);
  std::vector<int8_t> memory(bytes + 64, 0x55);
  auto* arena = reinterpret_cast<int8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 15) & ~uintptr_t{15});
  alignas(16) int8_t in[4096] = {}, out[256];
  std::fill(out, out + 256, int8_t{0x55});
  const void *inputs[] = {in}, *nothing[] = {nullptr}, *crooked[] = {in + 1};
  void *outputs[] = {out}, *nowhere[] = {nullptr};
  EXPECT_EQ(run(nullptr, inputs, outputs), 1);
  EXPECT_EQ(run(arena, nullptr, outputs), 1);
  EXPECT_EQ(run(arena, inputs, nullptr), 1);
  EXPECT_EQ(run(arena, nothing, outputs), 1);
  EXPECT_EQ(run(arena, inputs, nowhere), 1);
  EXPECT_EQ(run(arena + 4, inputs, outputs), 2);
  EXPECT_EQ(run(arena, crooked, outputs), 2);
  EXPECT_EQ(run_in(arena, bytes - 1, inputs, outputs), 3);
  EXPECT_TRUE(std::all_of(memory.begin(), memory.end(), [](int8_t v) { return v == 0x55; }));
  EXPECT_TRUE(std::all_of(out, out + 256, [](int8_t v) { return v == 0x55; }));
  EXPECT_EQ(run_in(arena, bytes, inputs, outputs), 0);
}

TEST(Generate, WhatCannotBeKeptIsAnError) {
  Model model = residual_net(6, nullptr);
  GenerateOptions options;
  options.name = "Net";
  EXPECT_THROW(generate(model, find_target("x86"), options), ValueError);
  options.name = "net";
  options.ram_limit = 10;
  try {
    generate(model, find_target("cortex-m4"), options);
    FAIL();
  } catch (const ValueError& e) {
    EXPECT_NE(std::string(e.what()).find("at most 10 bytes"), std::string::npos) << e.what();
  }
  EXPECT_THROW(find_target("abacus"), ValueError);
}

TEST(Kernel, TemplatesKeepLinesByConstants) {
  Values v{{"A", "0"}, {"B", "3"}};
  EXPECT_EQ(fill("?A gone\n!A kept $B\n?B!A both\n", v), "kept 3\nboth\n");
  EXPECT_EQ(fill("$P_f($B) $FN_g", v), "$P_f(3) $FN_g\n");
  EXPECT_THROW(fill("$C", v), Error);
}

TEST(Kernel, SlidingGap) {
  Window w;  // a 3 x 3 window over 4 x 5 pixels of two channels
  w.in_h = w.out_h = 4, w.in_w = w.out_w = 5, w.in_c = w.out_c = 2, w.kernel_h = w.kernel_w = 3,
  w.pad_top = w.pad_left = 1;
  EXPECT_EQ(sliding_gap(w, 1, 1, true), (5 + 1) * 2);   // one row and one pixel
  EXPECT_EQ(sliding_gap(w, 1, 1, false), (5 + 2) * 2);  // its own window is still read while it is written
}

}  // namespace
}  // namespace sorus::device
