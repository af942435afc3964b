// Forms of integer operators other than sums of products under a window (graph/device_form.h, which includes this).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sorus/graph/op.h"

namespace sorus {

/// From a 32-bit sum to 8 bits, with the double rounding of TFLite's reference kernels:
/// clamp(zero_point + round(round(sum * multiplier / 2^31) * 2^shift), low, high).
struct Rescale {
  std::vector<int32_t> multiplier;  ///< one, or one for each output channel
  std::vector<int32_t> shift;       ///< left if positive; as many
  int32_t zero_point = 0, low = -128, high = 127;
  /// Where there are any, sums are multiplied with these floats instead, and rounded half to even: ONNX's arithmetic.
  std::vector<float> real = {};
  /// One rounding, with multipliers of 16 bits: 64-bit sums of int16 (ops/quantized_elementwise.cpp,
  /// requantize_wide).
  bool wide = false;

  int32_t multiplier_of(int64_t channel) const {
    return multiplier[multiplier.size() == 1 ? 0 : static_cast<size_t>(channel)];
  }
  int32_t shift_of(int64_t channel) const { return shift[shift.size() == 1 ? 0 : static_cast<size_t>(channel)]; }
  float real_of(int64_t channel) const { return real[real.size() == 1 ? 0 : static_cast<size_t>(channel)]; }
};

/// Sums of integers as 8 bits, by real factors; one factor for all or one for each index of the last dimension. What
/// stands behind sums of products is done where those are stored (fuse_rescales).
struct RescaleForm {
  int64_t rows = 0, channels = 1;
  Rescale rescale;
};

/// A scalar body on integers, or between integers and floats: the result is contiguous, operands lie as their strides
/// say (0: broadcast). The parameters are in the body as constants.
struct IntegerEachForm {
  struct Operand {
    Shape strides;                ///< one a dimension of the result
    std::vector<int64_t> values;  ///< of a constant; empty: the next input of the step
    int32_t offset = 0;           ///< is added when an element is read: 128 for unsigned bytes
  };
  Shape sizes;
  std::vector<Operand> operands;  ///< one an argument of the body
  std::shared_ptr<const ScalarFunction> body;
  DType compute = DType::i64;
  int32_t offset = 0;  ///< is taken off the result: 128 for unsigned bytes
};

/// Elements of two int8 tensors, each times the other: (a - zero_a) * (b - zero_b), rescaled.
struct ProductForm {
  int64_t elements = 0;
  int32_t zero_a = 0, zero_b = 0;
  Rescale rescale;
};

/// Over some dimensions: a sum that is rescaled, an extremum (of floats too), or the place of the first one.
struct ReduceForm {
  enum class Kind : uint8_t { sum, maximum, minimum, place_of_maximum, place_of_minimum } kind = Kind::sum;
  Shape sizes;                ///< of the input
  std::vector<char> reduced;  ///< one a dimension
  int32_t input_zero = 0;     ///< sums: of the input
  Rescale rescale;
  bool sums = false;      ///< the result is the sums themselves
  bool is_float = false;  ///< extrema and their places
};

/// Every element of an image times weights [out_c, kernel_h, kernel_w, in_c], added up where they fall.
struct TransposedForm {
  int64_t batch = 1, in_h = 1, in_w = 1, in_c = 1, out_h = 1, out_w = 1, out_c = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_top = 0, pad_left = 0;
  int64_t dilation_h = 1, dilation_w = 1;
  std::vector<int8_t> weight;
  std::vector<int64_t> bias;
  int32_t input_zero = 0, weight_zero = 0;
  Rescale rescale;
  bool is_float = false;
  bool halves = false;  ///< input and result are int16
  std::vector<float> weight_f, bias_f;
  int64_t macs() const { return batch * in_h * in_w * in_c * kernel_h * kernel_w * out_c; }
};

/// An image of another size: each result lies between two rows and two columns.
struct BlendForm {
  struct Place {
    int32_t low = 0, high = 0, part = 0;  ///< how far from low to high, in 1024ths
  };
  int64_t batch = 1, in_h = 1, in_w = 1, channels = 1;
  std::vector<Place> rows, columns;
  int32_t rounding_zero = 0;  ///< halves are rounded away from this value
  /// Where there are any: how much of the low one and how much of the high one, in floats instead of 1024ths; every
  /// product and sum is rounded to a float (TensorFlow Lite's uint8).
  std::vector<float> row_weights = {}, column_weights = {};
};

/// Products of two matrices, of which one may be a constant: [rows, depth] times [depth, columns], for each index of
/// a batch.
struct MatmulForm {
  int64_t rows = 1, depth = 1, columns = 1;
  Shape batch;             ///< sizes
  Shape a_steps, b_steps;  ///< by dimension of the batch: elements from one matrix to the next, 0 where broadcast
  int32_t zero_a = 0, zero_b = 0;
  Rescale rescale;
  bool is_float = false;
  std::vector<float> a_values, b_values;  ///< of a constant of floats; empty: the next input
  int64_t macs() const { return numel(batch) * rows * depth * columns; }
};

/// A function of int16 by a table with straight lines between (ops/quantized_tables.cpp, quantized_s_curve).
struct CurveForm {
  int64_t elements = 0;
  std::vector<int32_t> table;
  int32_t multiplier = 0, shift = 0;
  bool is_tanh = false;
};

/// Softmax over rows of int16 by two tables (quantized_table_softmax).
struct TableSoftmaxForm {
  int64_t rows = 1, columns = 1;
  std::vector<int32_t> exponentials, reciprocals;
  Rescale rescale;  ///< of differences; has no zero point and no range
};

/// Elements of one dimension at given or computed places: [outer, input, inner] -> [outer, places, inner].
struct TakeForm {
  int64_t outer = 1, input = 1, inner = 1, count = 0;
  std::vector<int32_t> places;  ///< empty: they are the last input
  Tensor table = {};            ///< what is taken from, if it is a constant
};

/// One step of a layer of filters (ops/quantized_image.cpp, SVDF): inputs are the features and the state, int16
/// [rows, filters, memory], which is changed in place.
struct SvdfForm {
  static constexpr int changed_input = 1;  ///< and result 1 is its new value
  int64_t rows = 1, features = 1, filters = 1, memory = 1, rank = 1;
  std::vector<int8_t> feature;  ///< [filters, features]
  std::vector<int16_t> time;    ///< [filters, memory]
  std::vector<int32_t> bias;    ///< [filters / rank]
  int32_t input_zero = 0;
  Rescale fresh, rescale;  ///< of the newest feature, of the result
  int64_t limit = 0;  ///< sums may need more than 32 bits: they are in 64, and kept between this and its negative
  int64_t macs() const { return rows * filters * (features + memory); }
};

}  // namespace sorus
