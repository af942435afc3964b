// The reader of .tflite files, as its converters of operators see it (tflite_*.cpp).
#pragma once

#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "sorus/import/builder.h"
#include "sorus/import/flatbuffer.h"
#include "sorus/import/quantize.h"

namespace sorus::importer::tflite {

struct FileTensor {
  std::string name;
  TensorType type;
  bool known_type = true;  ///< strings, resources, ... are not
  bool declared = true;    ///< the shape is known
  bool variable = false;
  Quantization quantization;
  std::string_view data;  ///< empty: not a constant
};

/// The elements of a sparse constant, which lie in the file without (most of) their zeros. FileError.
std::string dense_elements(const FlatTable& sparsity, std::string_view data, const FileTensor& tensor,
                           const std::string& path);

struct FileOp {
  int number = 0;  ///< from 1
  std::string name;
  FlatTable options;
  std::vector<int> in, out;  ///< tensors; -1: not given
  std::vector<int> intermediates;
  std::string_view custom_options;
};

class Importer {
 public:
  Importer(std::string_view bytes, const std::string& path);
  ImportedModel run();

  const FileTensor& info(int tensor) const;
  bool has(const FileOp& op, size_t i) const { return i < op.in.size() && op.in[i] >= 0; }
  /// Of the tensor behind an input or output; errors where there is none.
  int in(const FileOp& op, size_t i) const;
  int out(const FileOp& op, size_t i = 0) const;

  /// The value in the file's order of dimensions; a constant is a real tensor.
  Tensor get(int tensor);
  /// An image of floats as [n, c, h, w].
  Tensor image(int tensor);
  bool is_image(int tensor) const;  ///< its value is at hand in that form only
  /// A constant as numbers; error if it is computed.
  Shape integers(int tensor);
  std::vector<double> reals(int tensor);

  /// Result of an operator. Type and shape have to be what the file says.
  void set(int tensor, const Tensor& t);
  void set_image(int tensor, const Tensor& t);
  /// Makes a weight out of constants and gives it the tensor's name.
  Tensor weight(int tensor, const Tensor& prepared, const Quantization& quantization = {});

  Tensor weight_named(const std::string& name, const Tensor& constant);
  /// A weight of an operator on floats: what integers with a scale stand for, as "dynamic range" models have them.
  /// (The format's own kernels then round activations to 8 bits while they run; here these stay floats.)
  Tensor real_weight(int tensor);
  /// What the integers of `t` stand for on the scale of a tensor.
  Tensor real(int tensor, const Tensor& t) const;

  /// A tensor that lasts from one run to the next, at first `zero_point`; and its value after this run.
  Tensor state(int tensor);
  void update(const Tensor& state, const Tensor& value);
  /// Variables, which last too: a tensor that stands for one; the one behind it, which `like` tells the type of; its
  /// new value. `run_once` runs a graph that gives them their first values.
  void name_variable(int handle, const std::string& name);
  Tensor variable(int handle, const FileTensor& like);
  void assign(int handle, int value);
  void run_once(int graph);

  /// Whether the result is integers with a scale.
  bool is_quantized(int tensor) const;
  /// The scale and zero point of a tensor that has exactly one.
  double scale(int tensor) const;
  int64_t zero_point(int tensor) const;
  /// The range of a result with an activation (a number of the format) in it. NotImplementedError for others.
  std::pair<int64_t, int64_t> activation_range(int tensor, int activation) const;
  /// Applies the activation to a float value.
  Tensor activated(const Tensor& t, int activation) const;

 private:
  struct Held {
    Tensor plain, image;
  };
  void read_tensors(const FlatTable& subgraph);
  void convert(const FlatTable& op, int number);
  void check(int tensor, const TensorType& found);
  bool is_known(int tensor) const;  ///< its value is a constant

  std::string_view bytes_;
  std::string path_;
  GraphBuilder builder_;
  std::vector<FlatTable> graphs_, buffers_;
  std::deque<std::string> dense_;  ///< elements of sparse constants
  std::vector<std::string> op_names_;
  std::vector<int> op_codes_;
  // Of the graph that is read.
  std::vector<FileTensor> tensors_;
  std::vector<Held> held_;
  std::map<int, std::string> handles_;
  std::map<std::string, Tensor> variables_, first_values_;
  bool fixed_ = false;  ///< in an operator on constants
  bool once_ = false;   ///< in a graph that gives variables their first values
};

using Converter = void (*)(Importer&, const FileOp&);
/// One kind of operator of the format: its number and its converter.
struct OpKind {
  int code;
  Converter convert;
};
std::span<const OpKind> quantized_kinds();  ///< results are integers with a scale
std::span<const OpKind> plain_kinds();      ///< floats, integers without a scale, truth values
std::span<const OpKind> moving_kinds();     ///< any: elements are moved, not computed with
void quantized_lstm_layer(Importer& f, const FileOp& op);
void lstm_layer_of_floats(Importer& f, const FileOp& op);
void variable_handle(Importer& f, const FileOp& op);
void variable_read(Importer& f, const FileOp& op);
void variable_assigned(Importer& f, const FileOp& op);
void called_once(Importer& f, const FileOp& op);
const char* op_name(int code);  ///< null if the number is not known

/// Activations of the format.
enum : int { kNone = 0, kRelu = 1, kReluN1To1 = 2, kRelu6 = 3, kTanh = 4, kSignBit = 5 };

/// The size that input 0 asks for; where it is computed, the one that the file says of the result.
inline Shape output_size(Importer& f, const FileOp& op) {
  const FileTensor& y = f.info(f.out(op));
  return is_constant(f.get(f.in(op, 0))) || !y.declared ? f.integers(op.in[0]) : y.type.shape;
}

/// Padding before and behind a dimension.
struct Padded {
  int64_t before = 0, behind = 0;
};
/// `same`: as many places as there are strides in the input, else only whole windows.
Padded padded(bool same, int64_t size, int64_t kernel, int64_t stride, int64_t dilation);

}  // namespace sorus::importer::tflite
