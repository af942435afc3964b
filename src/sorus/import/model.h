// Models of other frameworks, as graphs: .tflite (TensorFlow Lite), .onnx and .ms (MindSpore Lite).
//
//   ImportedModel m = import_model("kws.tflite");
//   std::cout << m.traced.graph.to_string(true);
//   TensorList out = run_traced(m.traced, {samples});
//
// **The graph** has the model's inputs first, then its weights (`traced.captures`, in the same order), each labelled
// with its name in the file. Nodes know where they come from: `source` is the file, the number of the operator in it
// and its name there. What only depends on constants has been computed.
//
// **Float models** become the operators that everybody uses (conv2d, linear, ...), with images as [n, c, h, w]
// inside; where the file says [n, h, w, c], inputs and outputs keep that, and permutations stand only where they have
// to.
//
// **Quantised models** stay in integers and give what the reference kernels of TensorFlow Lite give, to the bit:
//
//   %5 = quantized_conv2d(%0, %1, %2, %3, %4, stride=[2, 2], padding=[4, 5, 1, 1], dilation=[1, 1], groups=1,
//        input_zero_point=83, weight_zero_point=0, zero_point=-128, quant_min=-128, quant_max=127)
//        : i8[1, 25, 5, 64] quantized(scale=[0.0235], zero_point=[-128], axis=-1)
//
// - Operators named `quantized_*` take and give int8, uint8 or int16, channels last, weights [o, kh, kw, c / groups]
//   (also depthwise ones: groups = c). They carry zero points, ranges and ratios of scales, never a scale: the ratios
//   are a 31-bit multiplier and a shift (ops/fixed_point.h), for convolutions and products in two int32 inputs, one
//   number each or one for every output channel. A fused ReLU is the range quant_min .. quant_max.
// - Each is a composite or a scalar body: OpDef::body or ::each is the integer arithmetic to print, plan or check
// with.
// - Moves (reshape, cat, permute, slice, pad with the zero point, ...) are the ordinary operators on integers.
// - What a value's integers mean is written on the value: `Value::quantization()`, scales and zero points, for
// weights
//   along axis 0. Nothing that computes reads it.
// - `quantize` and `dequantize` are the ends of integer parts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sorus/graph/trace.h"

namespace sorus::importer {

/// An input or output of a model.
struct Port {
  std::string name;
  TensorType type;
  Quantization quantization;
};

struct ImportedModel {
  std::string format;  ///< "TensorFlow Lite", "ONNX", "MindSpore Lite"
  TracedGraph traced;
  std::vector<Port> inputs, outputs;
  /// Operators as the file names them, with how many there are, in order of first use.
  std::vector<std::pair<std::string, int>> operators;
};

/// Reads a model; the kind of file is told by its content. FileError for files that cannot be read or make no sense;
/// NotImplementedError that lists all operators of the file that are not known, with their nodes.
ImportedModel import_model(const std::filesystem::path& path);

ImportedModel import_tflite(std::string_view bytes, const std::string& path);
ImportedModel import_onnx(std::string_view bytes, const std::string& path);

}  // namespace sorus::importer
