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
  explicit Generator(int64_t seed = 0) : seed_(seed) {}
  void manual_seed(int64_t seed) { seed_ = seed, draws_ = 0; }
  Tensor state() const;
  void set_state(const Tensor& state);
  Tensor next_key();  ///< The key of one draw; each call gives another.
  int64_t next_bits();  ///< 63 random bits.

 private:
  int64_t seed_, draws_ = 0;
};

Generator& default_generator();
void manual_seed(int64_t seed);
Tensor rand(const Shape& size, DType dtype = DType::f32, Generator& generator = default_generator());
Tensor randn(const Shape& size, DType dtype = DType::f32, Generator& generator = default_generator());
void normal_(const Tensor& t, double mean, double deviation, Generator& generator = default_generator());
void uniform_(const Tensor& t, double low, double high, Generator& generator = default_generator());

}  // namespace sorus::nn
