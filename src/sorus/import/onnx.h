// The reader of .onnx files, as its converters of operators see it (onnx_*.cpp).
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "sorus/import/builder.h"
#include "sorus/import/layers.h"
#include "sorus/import/protobuf.h"

namespace sorus::importer::onnx {

struct Attribute {
  std::optional<int64_t> integer;
  std::optional<float> real;
  std::string text;
  Tensor tensor;
  std::vector<int64_t> integers;
  std::vector<float> reals;
  bool graph = false;
};

/// A node with its inputs at hand.
struct Node {
  std::string op, name;
  int64_t opset = 0;
  TensorList in;  ///< undefined where left out
  size_t outputs = 0;
  std::map<std::string, Attribute, std::less<>> attributes;

  bool has(size_t i) const { return i < in.size() && in[i].defined(); }
  /// Input i; ValueError if it is left out.
  const Tensor& at(size_t i) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;
  double real(std::string_view name, double otherwise) const;
  std::string text(std::string_view name, const std::string& otherwise) const;
  /// A list; empty if it is left out.
  Shape integers(std::string_view name) const;
  bool has_attribute(std::string_view name) const { return attributes.contains(name); }
  /// Input i, which has to be a constant, as integers or numbers.
  Shape constant_integers(size_t i) const;
  std::vector<double> constant_reals(size_t i) const;
  /// A list that newer versions take as input i and older ones as an attribute; nothing if it is left out.
  std::optional<Shape> list(size_t i, std::string_view name) const;
  /// A dimension, counted from the front.
  int64_t dim(int64_t d, const Tensor& t) const;
};

using Converter = TensorList (*)(const Node&);
struct OpKind {
  const char* name;
  Converter convert;
};
std::span<const OpKind> layer_kinds();
std::span<const OpKind> element_kinds();
std::span<const OpKind> shape_kinds();
std::span<const OpKind> quantized_kinds();

std::optional<DType> type_of(int64_t number);
/// The window of a node over images [n, c, h, w].
Window2d window_of(const Node& n, const Tensor& x, const Shape& kernel);
/// AveragePool or MaxPool of the node's first input.
TensorList pool(const Node& n, bool maximum);
TensorList resized(const Node& n);

/// A node as the file has it.
struct FileNode {
  int number = 0;  ///< from 1
  std::string op, name, domain;
  std::vector<std::string> in, out;
  std::vector<Message> attributes;
  std::map<std::string, Attribute, std::less<>> more = {};  ///< attributes that the reader has added
};
using Constants = std::map<std::string, Tensor, std::less<>>;
/// Products between DequantizeLinear and QuantizeLinear become the QLinear operators that they stand for: sums of
/// integers. `constants`: initializers; `results`: names that the model gives out.
std::vector<FileNode> fold_quantized(const std::vector<FileNode>& nodes, const Constants& constants,
                                     const std::vector<std::string>& results);

}  // namespace sorus::importer::onnx
