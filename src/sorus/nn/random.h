// Generators: who draws, and how often it has drawn.
//
//   manual_seed(1337);
//   Tensor x = nn::randn({2, 3});             // from default_generator()
//   Tensor saved = default_generator().state();   // int64 (seed, draws): a checkpoint keeps it, set_state resumes
#pragma once

#include "sorus/tensor/tensor.h"

namespace sorus::nn {

class Generator {
 public:
  explicit Generator(int64_t seed = 0);
  void manual_seed(int64_t seed);
  Tensor state() const;  ///< a copy
  void set_state(const Tensor& state);
  /// The key of one draw; each call gives another. A recorded function draws anew in each run.
  Tensor next_key();
  int64_t next_bits();  ///< 63 random bits.

 private:
  Tensor state_;  ///< (seed, draws): memory, so that a recording can capture and advance it
};

Generator& default_generator();
void manual_seed(int64_t seed);
Tensor rand(const Shape& size, DType dtype = DType::f32, Generator& generator = default_generator());
Tensor randn(const Shape& size, DType dtype = DType::f32, Generator& generator = default_generator());
void normal_(const Tensor& t, double mean, double deviation, Generator& generator = default_generator());
void uniform_(const Tensor& t, double low, double high, Generator& generator = default_generator());

}  // namespace sorus::nn
