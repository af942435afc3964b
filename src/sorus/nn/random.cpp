#include "sorus/nn/random.h"

#include <algorithm>
#include <array>

#include "sorus/graph/scalar_reference.h"
#include "sorus/ops.h"
#include "sorus/tensor/copy.h"

namespace sorus::nn {

Generator::Generator(int64_t seed) : state_(Tensor::of(std::vector<int64_t>{seed, 0}, Shape{2})) {}

void Generator::manual_seed(int64_t seed) {
  state_.data<int64_t>()[0] = seed;
  state_.data<int64_t>()[1] = 0;
}

Tensor Generator::state() const {
  const int64_t* s = state_.data<int64_t>();
  return Tensor::of(std::vector<int64_t>{s[0], s[1]}, Shape{2});
}

void Generator::set_state(const Tensor& state) {
  SORUS_CHECK(state.dtype() == DType::i64 && state.sizes() == Shape{2} && state.is_contiguous(), ValueError,
              "Generator.set_state: expected int64[2] (seed, draws), not {}", state.type().to_string());
  std::copy_n(state.data<int64_t>(), 2, state_.data<int64_t>());
}

Tensor Generator::next_key() {
  if (is_tracing()) {
    static const Tensor one_draw = Tensor::of(std::vector<int64_t>{0, 1}, Shape{2});
    static const OpDef& add = find_op("add");
    GradMode off(false);
    Tensor key = clone(state_);
    call_into(add, std::array{state_, one_draw}, add.signature.default_attrs(), std::array{state_});
    return key;
  }
  Tensor key = state();
  ++state_.data<int64_t>()[1];
  return key;
}

int64_t Generator::next_bits() {
  int64_t* s = state_.data<int64_t>();
  return scalar_reference::random_bits(s[0], s[1]++, 0);
}

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
namespace {

// t = draw * factor + shift, in t's own memory.
void fill(const char* draw, const Tensor& t, double factor, double shift, Generator& generator) {
  GradMode off(false);
  auto into = [&](const char* op, std::initializer_list<Tensor> inputs, const Attrs& attrs) {
    call_into(find_op(op), TensorSpan(inputs.begin(), inputs.size()), attrs, std::array{t});
  };
  into(draw, {generator.next_key()}, {Attr(t.sizes()), Attr(t.dtype()), Attr(), Attr()});
  if (factor != 1) into("mul", {t, Tensor::weak_scalar(factor)}, {});
  if (shift != 0) into("add", {t, Tensor::weak_scalar(shift)}, find_op("add").signature.default_attrs());
}

}  // namespace

void normal_(const Tensor& t, double mean, double deviation, Generator& generator) {
  fill("randn_from", t.detach(), deviation, mean, generator);
}
void uniform_(const Tensor& t, double low, double high, Generator& generator) {
  fill("rand_from", t.detach(), high - low, low, generator);
}

}  // namespace sorus::nn
