#include "sorus/nn/random.h"

#include "sorus/graph/scalar_reference.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::nn {

Tensor Generator::state() const { return Tensor::of(std::vector<int64_t>{seed_, draws_}, Shape{2}); }

void Generator::set_state(const Tensor& state) {
  SORUS_CHECK(state.dtype() == DType::i64 && state.sizes() == Shape{2} && state.is_contiguous(), ValueError,
              "Generator.set_state: expected int64[2] (seed, draws), not {}", state.type().to_string());
  seed_ = state.data<int64_t>()[0], draws_ = state.data<int64_t>()[1];
}

Tensor Generator::next_key() {
  Tensor key = state();
  ++draws_;
  return key;
}

int64_t Generator::next_bits() { return scalar_reference::random_bits(seed_, draws_++, 0); }

Generator& default_generator() {
  static Generator generator;
  return generator;
}
void manual_seed(int64_t seed) { default_generator().manual_seed(seed); }

Tensor rand(const Shape& size, DType dtype, Generator& generator) {
  return rand_from(generator.next_key(), size, dtype);
}
Tensor randn(const Shape& size, DType dtype, Generator& generator) {
  return randn_from(generator.next_key(), size, dtype);
}
void normal_(const Tensor& t, double mean, double deviation, Generator& generator) {
  GradMode off(false);
  copy_elements(t, randn(t.sizes(), t.dtype(), generator) * deviation + mean);
}
void uniform_(const Tensor& t, double low, double high, Generator& generator) {
  GradMode off(false);
  copy_elements(t, rand(t.sizes(), t.dtype(), generator) * (high - low) + low);
}

}  // namespace sorus::nn
