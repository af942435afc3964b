// From scales to integers, as TensorFlow Lite computes them when a model is loaded.
#pragma once

#include <cmath>
#include <utility>

#include "sorus/graph/graph.h"

namespace sorus::importer {

/// A real factor as multiplier / 2^31 * 2^shift, the multiplier in [2^30, 2^31). ValueError if it is not finite, is
/// negative, or larger than 2^30.
struct Factor {
  int64_t multiplier = 0, shift = 0;
};
Factor fixed_factor(double real);
/// The same, for factors below 1 only where TensorFlow Lite demands that.
std::vector<Factor> channel_factors(double input_scale, const std::vector<double>& weight_scales,
                                    double output_scale);

/// Factors of a sum of two tensors: both go to one scale with `left` more bits, half that of the larger one, then to
/// that of the result.
struct SumFactors {
  Factor a, b, y;
};
SumFactors sum_factors(double a, double b, double y, int64_t left);

/// The smallest and largest integer of a type.
std::pair<int64_t, int64_t> code_range(DType t);

/// real / scale + zero_point, rounded half away from zero, as in TensorFlow Lite in f32.
int64_t quantized_number(double real, const Quantization& q);

}  // namespace sorus::importer
