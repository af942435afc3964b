// Mutational fuzzing that repeats: no coverage to guide it, but part of every test run. (`make fuzz` is the
// guided kind.)
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "io/temporary_folder.h"
#include "sorus/tensor/tensor.h"

namespace sorus::test {

/// Changes a valid file in a few places, thousands of times: a reader answers with tensors or with a FileError.
template <class Load>
void mutate(const std::string& valid, Load load, int rounds) {
  TemporaryFolder folder;
  std::mt19937 random(1);  // deterministic: a failure repeats
  auto below = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  const std::string_view tokens[] = {"[",   "]", "{", "}", "\"", ",", ":", "-1", "0", "18446744073709551615",
                                     "1e9", "'"};
  int loaded = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string s = valid;
    for (size_t n = 1 + below(4); n > 0 && !s.empty(); --n) {
      size_t at = below(s.size());
      switch (below(5)) {
        case 0:
          s[at] = static_cast<char>(random());
          break;
        case 1:
          s.resize(at);
          break;
        case 2:
          s.insert(at, tokens[below(std::size(tokens))]);
          break;
        case 3:
          s.erase(at, 1 + below(8));
          break;
        default:
          s[at] = static_cast<char>(s[at] ^ (1 << below(8)));
      }
    }
    put(folder / "x", s);
    try {
      load(folder / "x");
      ++loaded;
    } catch (const FileError&) {
    }
  }
  EXPECT_LT(loaded, rounds / 2);  // most mutations break something
}

/// Reads every byte.
inline int64_t touch(const Tensor& t) {
  int64_t sum = 0;
  for (size_t i = 0; i < t.nbytes(); ++i) sum += t.data<unsigned char>()[i];
  return sum;
}

}  // namespace sorus::test
