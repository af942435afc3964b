// Tables of functions on int16, and the numbers that go with them, as TensorFlow Lite makes them when a model is
// loaded.
#include "sorus/import/tflite_tables.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "sorus/ops.h"

namespace sorus::importer::tflite {
namespace {

Tensor stored(const std::vector<int32_t>& values) {
  Tensor t = Tensor::empty(Shape{static_cast<int64_t>(values.size())}, DType::i32);
  std::copy(values.begin(), values.end(), t.data<int32_t>());
  return t;
}

// Half of what a straight line to the next value is wrong by in the middle is taken off.
std::vector<int32_t> bent(const std::function<double(double)>& f, double from, double step, int count) {
  std::vector<int32_t> values;
  for (int i = 0; i < count; ++i) {
    double a = from + i * step;
    double line = (std::round(f(a)) + f(a + step)) / 2;
    double off = std::round((std::round(line) - std::round(f(a + step / 2))) / 2);
    values.push_back(static_cast<int32_t>(std::clamp(std::round(f(a)) - off, -32768.0, 32767.0)));
  }
  return values;
}

void expect_symmetric(const Importer& f, int x, int y) {
  SORUS_CHECK(f.info(y).type.dtype == DType::i16, NotImplementedError, "from int16 to {}",
              name(f.info(y).type.dtype));
  SORUS_CHECK(f.zero_point(x) == 0 && f.zero_point(y) == 0, ValueError, "int16 with the zero points {} and {}",
              f.zero_point(x), f.zero_point(y));
  SORUS_CHECK(f.scale(y) == 1.0 / 32768, ValueError, "the scale of the result is {}", f.scale(y));
}

}  // namespace

void curve_of_halves(Importer& f, const FileOp& op, bool is_tanh) {
  int x = f.in(op, 0), y = f.out(op);
  expect_symmetric(f, x, y);
  // 1 / (1 + exp(-x)) at multiples of 1/24; the curve bends down, so every value lies above it by half of what a
  // line lies below it.
  std::vector<int32_t> values;
  auto sigmoid = [](int halves) { return 65536 / (1 + std::exp(-halves / 48.0)); };
  for (int i = 0; i < 256; ++i) {
    double line = (sigmoid(2 * i) + sigmoid(2 * i + 2)) / 2;
    values.push_back(static_cast<int32_t>(std::floor(sigmoid(2 * i) + (sigmoid(2 * i + 1) - line) / 2 + 0.5)));
  }
  values[255] = 65535;
  values.push_back(is_tanh ? 65535 : 65534);  // beyond the table
  double scale = f.scale(x);
  int power = 0;
  bool exact = std::frexp(scale, &power) == 0.5;
  int64_t shift = power - 1 + 12, multiplier = 0;
  if (exact && (shift == 0 || (is_tanh && shift == 1))) {
    multiplier = int64_t{3} << shift, shift = 0;
  } else {
    double factor = scale * 4096 * 3;
    for (shift = 0; factor <= 32767.0 / 2 && shift <= 30; ++shift) factor *= 2;
    SORUS_CHECK(factor <= 32767, NotImplementedError, "with a scale as large as {}", scale);
    multiplier = static_cast<int64_t>(factor);
  }
  f.set(y, quantized_s_curve(f.get(x), f.weight_named(f.info(y).name + "_table", stored(values)), multiplier, shift,
                             is_tanh));
}

void softmax_of_halves(Importer& f, const FileOp& op) {
  int x = f.in(op, 0), y = f.out(op);
  expect_symmetric(f, x, y);
  auto exponential = [](double v) { return std::exp(v) * 32768; };
  auto reciprocal = [](double v) { return 1 / (1 + v) * 32768; };
  std::vector<int32_t> e = bent(exponential, -10, 10.0 / 512, 512), r = bent(reciprocal, 0, 1.0 / 512, 512);
  e.push_back(32767), r.push_back(16384);
  Factor k = fixed_factor(f.scale(x) * static_cast<double>(op.options.number<float>(0)) / (10.0 / 65535));
  SORUS_CHECK(k.shift <= 14, NotImplementedError, "with a scale as large as {}", f.scale(x));
  const std::string& name = f.info(y).name;
  f.set(y, quantized_table_softmax(f.get(x), f.weight_named(name + "_exponentials", stored(e)),
                                   f.weight_named(name + "_reciprocals", stored(r)), k.multiplier, k.shift));
}

}  // namespace sorus::importer::tflite
