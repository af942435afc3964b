// Operators through the generator: each is recorded with random constants, lowered, printed, compiled, and its result
// is compared with Sorus's own execution of the operator, to the bit.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "built.h"
#include "sorus/base/error.h"
#include "sorus/device/lower.h"
#include "sorus/device/passes.h"
#include "sorus/graph/trace.h"
#include "sorus/ops.h"
#include "sorus/tensor/tensor.h"

namespace sorus::device::testing {

class Random {
 public:
  explicit Random(unsigned seed) : random_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  /// Any bytes, or numbers.
  Tensor tensor(const Shape& shape, DType type, int64_t low = -128, int64_t high = 127) {
    Tensor t = Tensor::empty(shape, type);
    for (int64_t i = 0; i < t.numel(); ++i) {
      int64_t v = between(low, high);
      if (type == DType::i8) t.data<int8_t>()[i] = static_cast<int8_t>(v);
      if (type == DType::u8) t.data<uint8_t>()[i] = static_cast<uint8_t>(v);
      if (type == DType::i16) t.data<int16_t>()[i] = static_cast<int16_t>(v * 200);
      if (type == DType::i32) t.data<int32_t>()[i] = static_cast<int32_t>(v);
      if (type == DType::f32) t.data<float>()[i] = static_cast<float>(v) / 16;
    }
    return t;
  }
  int64_t multiplier() { return between(int64_t{1} << 30, (int64_t{1} << 31) - 1); }

 private:
  std::mt19937_64 random_;
};

struct Case {
  std::string name;
  std::vector<TensorType> inputs;
  std::function<TensorList(const TensorList&)> compute;
};

inline TracedGraph recorded(const Case& c) {
  Tracer tracer(c.name);
  {
    InterpreterScope scope(&tracer);
    TensorList inputs;
    for (const TensorType& t : c.inputs) inputs.push_back(tracer.input(t));
    for (const Tensor& t : c.compute(inputs)) tracer.output(t);
  }
  return tracer.finish();
}

inline Model lowered(const Case& c) {
  TracedGraph traced = recorded(c);
  return lower(traced.graph, traced.captures, traced.explicit_inputs, traced.explicit_outputs, traced.write_targets);
}

inline std::vector<std::byte> bytes_of(const Tensor& t) {
  Tensor flat = contiguous(t);
  auto* from = static_cast<const std::byte*>(flat.data());
  return {from, from + flat.nbytes()};
}

// All cases in one shared object, each run on a few random inputs.
inline void expect_same(const std::vector<Case>& cases, const std::string& target = "x86") {
  std::vector<Project> projects;
  for (size_t i = 0; i < cases.size(); ++i) {
    GenerateOptions options;
    options.name = "m" + std::to_string(i);
    SCOPED_TRACE(cases[i].name);
    projects.push_back(generate(lowered(cases[i]), find_target(target), options));
  }
  std::vector<const Project*> list;
  for (const Project& p : projects) list.push_back(&p);
  Built built(list, "-O0 -Werror -fsanitize=undefined -fno-sanitize-recover=all");
  ASSERT_TRUE(built.good());
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    auto run = built.function<RunModel>(("m" + std::to_string(i) + "_run").c_str());
    Random random(static_cast<unsigned>(i + 1));
    std::vector<int64_t> arena(static_cast<size_t>(projects[i].arena.bytes) / 8 + 8, 0x5555);
    auto* aligned = reinterpret_cast<int8_t*>((reinterpret_cast<uintptr_t>(arena.data()) + 15) & ~uintptr_t{15});
    int64_t kept = projects[i].arena.state_bytes;
    if (kept) built.function<void (*)(void*)>(("m" + std::to_string(i) + "_reset").c_str())(aligned);
    for (int trial = 0; trial < 3; ++trial) {
      TensorList inputs;
      for (const TensorType& t : c.inputs)
        inputs.push_back(
            random.tensor(t.shape, t.dtype, t.dtype == DType::u8 ? 0 : -128, t.dtype == DType::u8 ? 255 : 127));
      TensorList expected = c.compute(inputs);
      std::fill(aligned + kept, aligned + projects[i].arena.bytes, static_cast<int8_t>(trial));
      std::vector<const void*> in;
      std::vector<std::vector<int64_t>> memory;
      std::vector<void*> out;
      for (const Tensor& t : inputs) in.push_back(t.data());
      for (const Tensor& t : expected) memory.emplace_back(t.nbytes() / 8 + 2, 0x7777);
      for (auto& m : memory) out.push_back(m.data());
      ASSERT_EQ(run(aligned, in.data(), out.data()), 0) << c.name;
      for (size_t k = 0; k < expected.size(); ++k) {
        std::vector<std::byte> wanted = bytes_of(expected[k]);
        ASSERT_EQ(std::memcmp(out[k], wanted.data(), wanted.size()), 0) << c.name << ", result " << k;
        ASSERT_NE(wanted.size(), 0U);
      }
    }
  }
}

inline int64_t low_of(DType t) { return t == DType::u8 ? 0 : -128; }
inline int64_t high_of(DType t) { return t == DType::u8 ? 255 : 127; }
inline int64_t zero_of(DType t, Random& r) { return low_of(t) + r.between(64, 192); }

constexpr DType kBytes[] = {DType::i8, DType::u8};

}  // namespace sorus::device::testing
