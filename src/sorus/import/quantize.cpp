#include "sorus/import/quantize.h"

namespace sorus::importer {

Factor fixed_factor(double real) {
  SORUS_CHECK(std::isfinite(real) && real >= 0 && real < 1073741824.0, ValueError,
              "the ratio of scales {} is not a factor that integers can be multiplied by", real);
  if (real == 0) return {};
  int exponent = 0;
  double fraction = std::frexp(real, &exponent);
  auto m = static_cast<int64_t>(std::round(fraction * 2147483648.0));
  if (m == int64_t{1} << 31) {
    m /= 2;
    ++exponent;
  }
  if (exponent < -31) return {};
  return {m, exponent};
}

std::vector<Factor> channel_factors(double input_scale, const std::vector<double>& weight_scales,
                                    double output_scale) {
  std::vector<Factor> out;
  // One scale for all: the product is rounded to f32 first, several: it is not.
  if (weight_scales.size() == 1) {
    auto product = static_cast<double>(static_cast<float>(input_scale) * static_cast<float>(weight_scales[0]));
    out.push_back(fixed_factor(product / output_scale));
    return out;
  }
  for (double s : weight_scales) out.push_back(fixed_factor(input_scale * s / output_scale));
  return out;
}

SumFactors sum_factors(double a, double b, double y, int64_t left) {
  double twice = 2 * std::max(a, b);
  return {fixed_factor(a / twice), fixed_factor(b / twice),
          fixed_factor(twice / (static_cast<double>(int64_t{1} << left) * y))};
}

std::pair<int64_t, int64_t> code_range(DType t) {
  switch (t) {
    case DType::i8:
      return {-128, 127};
    case DType::u8:
      return {0, 255};
    case DType::i16:
      return {-32768, 32767};
    case DType::i32:
      return {INT32_MIN, INT32_MAX};
    default:
      fail<TypeError>("{} is no type of quantised values", name(t));
  }
}

int64_t quantized_number(double real, const Quantization& q) {
  double steps = std::round(static_cast<float>(real) / static_cast<float>(q.scale[0]));
  SORUS_CHECK(std::abs(steps) < 1e15, ValueError, "{} is not a number on the scale {}", real, q.scale[0]);
  return static_cast<int64_t>(steps) + q.zero_point[0];
}

}  // namespace sorus::importer
