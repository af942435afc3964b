// What a device has to know about an operator: its form.
//
// Generated C for small devices has few kernels, one for each form of computation, and each target brings its own. An
// operator says in its entry which form a call takes, with all constants in it:
//
//   op("sigmoid(input)").each(...)                     // nothing: a scalar body is printed as it is
//   device_form("quantized_conv2d", [](const DeviceCall& c) -> std::optional<DeviceForm> { ConvForm f; ...; return f;
//   }) device_form("conv2d", rule, channels_last(2))      // reads and writes images whose channels lie last in
//   memory
//
// Images of a device lie in memory as batch, height, width, channels, whatever the order of their dimensions in the
// graph is (MemoryOrder below). Passes (device/passes.h) work on forms and
// never ask for an operator's name: a convolution, a depthwise convolution and a dense layer are one form, so what is
// known about one (constant channels, a fused addition) holds for all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "sorus/graph/integer_forms.h"
#include "sorus/graph/layer_forms.h"
#include "sorus/graph/op.h"

namespace sorus {

/// int32 sum -> int8 (device/reference.cpp): what generated code computes, to the bit.
int32_t rescaled(int64_t sum, int32_t multiplier, int32_t shift);

/// Geometry of a window that slides over height and width.
struct Window {
  int64_t batch = 1, in_h = 1, in_w = 1, in_c = 1, out_h = 1, out_w = 1, out_c = 1;
  int64_t kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;  ///< what lies outside counts as the input's zero point

  int64_t pixels() const { return batch * out_h * out_w; }
  /// Whether every position of the window lies inside the input.
  bool inside() const {
    return pad_top == 0 && pad_left == 0 && (out_h - 1) * stride_h + (kernel_h - 1) * dilation_h < in_h &&
           (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w < in_w;
  }
};

/// Sums of products: convolution, depthwise convolution (`depthwise`: output channel c sees input channel
/// c / (out_c / in_c)) and dense layers (a window of one pixel). Either int8 with int32 sums or float.
/// Bounds of floats from here on are none.
constexpr float kNoBound = 3.4e38F;

struct ConvForm {
  Window window;
  bool depthwise = false;
  bool is_float = false;
  std::vector<int8_t> weight;  ///< [out_c, kernel_h, kernel_w, in_c]; depthwise [kernel_h, kernel_w, out_c]
  std::vector<int64_t> bias;   ///< out_c
  int32_t input_zero = 0;      ///< zero point of the input
  int32_t weight_zero = 0;     ///< of asymmetric weights, as 8-bit numbers between -128 and 127
  Rescale rescale;
  bool halves = false;  ///< input and result are int16
  bool sums = false;    ///< the result is the sums themselves
  bool bytes() const { return !is_float && !halves && !sums; }
  std::vector<float> weight_f, bias_f;
  float low_f = -kNoBound, high_f = kNoBound;
  int64_t macs() const {
    return window.pixels() * window.out_c * window.kernel_h * window.kernel_w * (depthwise ? 1 : window.in_c);
  }
};

struct PoolForm {
  enum class Kind : uint8_t { average, maximum, sum } kind = Kind::average;
  Window window;  ///< out_c == in_c; averages count what lies inside
  bool is_float = false;
  bool halves = false;  ///< int16
  int32_t low = -128, high = 127;
  int32_t rounding_zero = 0;  ///< means are rounded away from this value
  float scale_f = 1;          ///< sums of floats are multiplied with it
  float low_f = -kNoBound, high_f = kNoBound;
};

/// Sum or difference of two int8 tensors with scales of their own (TFLite's ADD and SUB), or of two float tensors.
struct AddForm {
  int64_t elements = 0;
  bool is_float = false;
  bool negate_b = false;
  int32_t zero_a = 0, zero_b = 0;  ///< zero points of the inputs
  int32_t left_shift = 20;
  int32_t multiplier_a = 0, shift_a = 0, multiplier_b = 0, shift_b = 0;
  Rescale rescale;
  float low_f = -kNoBound, high_f = kNoBound;
};

/// Any function of one 8-bit element: a table of its 256 results, for -128 to 127.
struct TableForm {
  int64_t elements = 0;
  std::vector<int8_t> table;
};

/// Softmax over rows of int8 (gemmlowp's fixed point) or float.
struct SoftmaxForm {
  int64_t rows = 1, columns = 1;
  bool is_float = false;
  int32_t multiplier = 0, shift = 0;  ///< of differences: beta * scale in Q5.26
  float beta = 1;
};

/// One value around a tensor.
struct PadForm {
  Window window;  ///< pad_top, pad_left and the sizes of input and output; a kernel of 1
  bool is_float = false;
  int32_t value = 0;
  float value_f = 0;
};

/// Floats: clamp(input * scale + shift, low, high), one scale and shift for all or one for each index of the last
/// dimension in memory. What stands behind a sum of products goes into its weights (fold_lines).
struct LineForm {
  int64_t rows = 0, channels = 1;
  std::vector<float> scale{1}, shift{0};
  float low = -kNoBound, high = kNoBound;
  float scale_of(int64_t c) const { return scale[scale.size() == 1 ? 0 : static_cast<size_t>(c)]; }
  float shift_of(int64_t c) const { return shift[shift.size() == 1 ? 0 : static_cast<size_t>(c)]; }
};

/// A scalar body on floats: the result is contiguous; operands lie as their strides say (0: broadcast).
struct EachForm {
  struct Operand {
    Geometry geometry;          ///< sizes are those of the result, dimensions in the result's memory order
    std::vector<float> values;  ///< of a constant; empty: the next input of the step
  };
  Shape sizes;
  std::vector<Operand> operands;  ///< one an argument of the body
  std::shared_ptr<const ScalarFunction> body;
  std::vector<double> params;
};

/// Elements of the input in another order, or some of them: permutation, slice, copy of a broadcast.
struct MoveForm {
  Geometry from;  ///< the place of each element of the result, which is contiguous, in the input
};

/// Parts side by side: each row of the result is a row of the first part, then one of the second, and so on.
struct JoinForm {
  int64_t rows = 1;
  std::vector<int64_t> widths;    ///< elements of a row, by part
  std::vector<Tensor> constants;  ///< by part; undefined: the next input
};

/// The result does not depend on what is computed.
struct ConstantForm {
  Tensor value;
};

/// The same bytes under another shape.
struct RenameForm {
  size_t of = 0;  ///< among the computed inputs
};

struct DeviceForm : std::variant<ConvForm, PoolForm, AddForm, TableForm, SoftmaxForm, PadForm, RenameForm, LineForm,
                                 EachForm, MoveForm, JoinForm, ConstantForm, IntegerEachForm, RescaleForm, ReduceForm,
                                 TransposedForm, BlendForm, MatmulForm, TakeForm, SvdfForm, RecurrentForm, LstmForm,
                                 AttentionForm, LookupForm, ProductForm, CurveForm, TableSoftmaxForm> {
  using variant::variant;
};

/// What a rule sees: types, attributes, and the values of those inputs that are constants (undefined: computed on the
/// device). The inputs that are not constants are, in order, the inputs of the form.
struct DeviceCall {
  const OpDef& op;
  const Attrs& attrs;
  std::span<const TensorType* const> inputs;
  std::span<const Tensor> constants;
  std::span<const TensorType> outputs;
  /// The dimensions of computed inputs (all that have the rank of the first) from outermost to innermost in memory.
  Shape order = {};
  /// The same of the result, where the rule says it; the inputs' if the rank is the same, else in order.
  mutable std::optional<Shape> result_order = {};
  /// Where a dimension (negative: from the end) lies in memory, and a shape with its dimensions in that order.
  int64_t place(int64_t dim) const;
  Shape in_memory(const Shape& shape) const;
  /// Which results something reads.
  std::vector<char> used = {};
  bool uses(size_t result) const { return result < used.size() && used[result] != 0; }
  const TensorType& input(int slot) const { return *inputs[static_cast<size_t>(slot)]; }
  bool has(int slot) const { return static_cast<size_t>(slot) < inputs.size() && inputs[slot] != nullptr; }
  /// The value of a constant input; ValueError if it is computed.
  const Tensor& constant(int slot) const;
  bool is_constant(int slot) const { return has(slot) && constants[static_cast<size_t>(slot)].defined(); }
  int64_t integer(std::string_view attr) const;
  double number(std::string_view attr) const;
  bool is_none(std::string_view attr) const;
  const Shape& integers(std::string_view attr) const;
};

/// The form of a call; nothing if this call has none.
using DeviceRule = std::function<std::optional<DeviceForm>(const DeviceCall&)>;
/// The order in memory that a rule wants of its computed inputs, given the one in which the first lies.
using MemoryOrder = std::function<Shape(const DeviceCall&, const Shape& now)>;
/// As the dimensions are numbered; as the input lies; images with `spatial` dimensions, with or without a batch.
Shape in_order(const DeviceCall& c, const Shape& now);
Shape as_it_is(const DeviceCall& c, const Shape& now);
MemoryOrder channels_last(int spatial);

/// The facet, said in the file of the operator, beside its entry. It is kept here and not in OpDef so that what
/// includes op.h need not know forms. Returns true.
bool device_form(std::string_view op, DeviceRule rule, MemoryOrder order = in_order);
/// The operator's rule, or null.
const DeviceRule* device_rule(const OpDef& op);
const MemoryOrder& device_order(const OpDef& op);

/// Elements of a constant tensor of any type, in order, as T; empty if the tensor is undefined.
std::vector<int64_t> integers_of(const Tensor& t);
std::vector<float> reals_of(const Tensor& t);

}  // namespace sorus
