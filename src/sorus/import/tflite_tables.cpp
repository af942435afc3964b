// Tables of functions on bytes and int16, and the numbers that go with them, as TensorFlow Lite makes them when a
// model is loaded.
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

// The results for all numbers of a type, the smallest first, by a function that gives the number.
Tensor all_of(DType type, const std::function<int64_t(int64_t)>& f) {
  auto [low, high] = code_range(type);
  Tensor t = Tensor::empty(Shape{256}, type);
  auto* bytes = static_cast<uint8_t*>(t.data());
  for (int64_t v = low; v <= high; ++v) bytes[v - low] = static_cast<uint8_t>(std::clamp(f(v), low, high));
  return t;
}

// Rounded to a float where it is stored, whatever operations the compiler makes of an expression.
float in_float(double v) {
  volatile float stored = static_cast<float>(v);
  return stored;
}

}  // namespace

void looked_up(Importer& f, const FileOp& op, const std::function<float(float)>& function) {
  int x = f.in(op, 0), y = f.out(op);
  DType type = f.info(x).type.dtype;
  SORUS_CHECK((type == DType::i8 || type == DType::u8) && f.info(y).type.dtype == type, NotImplementedError, "on {}",
              name(type));
  auto scale = static_cast<float>(f.scale(x)), finer = 1 / static_cast<float>(f.scale(y));
  int64_t from = f.zero_point(x), to = f.zero_point(y);
  Tensor table = all_of(type, [&](int64_t v) {
    float real = function(in_float(static_cast<double>(scale) * static_cast<double>(v - from)));
    float code = std::round(in_float(static_cast<double>(real) * static_cast<double>(finer)));
    if (std::isnan(code)) return to;
    return static_cast<int64_t>(std::clamp(code, -65536.0f, 65536.0f)) + to;
  });
  f.set(y, quantized_look_up(f.get(x), f.weight_named(f.info(y).name + "_table", table)));
}

void gelu_of_bytes(Importer& f, const FileOp& op) {
  if (op.options.flag(0))
    return looked_up(f, op, [](float x) {
      const double root = std::sqrt(2 / 3.14159265358979323846);
      return static_cast<float>(0.5 * x * (1 + std::tanh(root * (x + 0.044715 * x * x * x))));
    });
  looked_up(f, op, [](float x) { return static_cast<float>(0.5 * x * std::erfc(-x * std::sqrt(0.5))); });
}

Tensor on_scale_of(Importer& f, const Tensor& t, int from, int to) {
  const FileTensor& y = f.info(to);
  SORUS_CHECK(y.type.dtype == DType::u8, NotImplementedError, "'{}' and '{}' with different scales",
              f.info(from).name, y.name);
  double ratio = in_float(f.scale(from) * static_cast<double>(1 / static_cast<float>(f.scale(to))));
  double shift = in_float(-static_cast<double>(f.zero_point(from)) * ratio);
  Tensor table = all_of(DType::u8, [&](int64_t v) {
    float real = in_float(in_float(static_cast<double>(v) * ratio) + shift);
    return static_cast<int64_t>(std::clamp(std::round(real), -65536.0f, 65536.0f)) + f.zero_point(to);
  });
  if (is_constant(t)) return computed([&] { return quantized_look_up(t, table); });
  return quantized_look_up(t, f.weight_named(fmt::format("{}_as_{}", f.info(from).name, y.name), table));
}

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
