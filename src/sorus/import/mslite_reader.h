// The reader of .ms files, as its converters of operators see it (mslite_*.cpp). Images and weights are [n, h, w, c]
// and [o, h, w, c] or [n, c, h, w] and [o, c, h, w], as each operator says; inside floats are channels-first, as in
// the graphs of the other formats.
//
// Of quantised models, convolutions, products, additions and pooling are computed in integers, with the arithmetic of
// ops/fixed_point.h; moves keep integers. Every other operator is what its floats say, rounded to the scale of its
// result.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "sorus/import/builder.h"
#include "sorus/import/flatbuffer.h"
#include "sorus/import/layers.h"

namespace sorus::importer::mslite {

struct FileTensor {
  std::string name;
  TensorType type;
  bool known_type = true;
  std::string_view data;
  Quantization quantization;
  int compression = 0;
  Tensor plain, image;  ///< the value as the file has it; as [n, c, h, w]
  Tensor codes;         ///< the integers of a quantised value, as the file has it
};

struct Op {
  FlatTable fields;
  std::vector<uint32_t> in, out;
  /// Whether a field says that channels are last: NHWC, or KHWC of older files.
  bool channels_last(int field) const {
    auto format = fields.number<int32_t>(field);
    return format == 1 || format == 7;
  }
};

const Shape kToImage{0, 3, 1, 2}, kFromImage{0, 2, 3, 1};

class Importer;
using Converter = void (*)(Importer&, const Op&);
struct OpKind {
  int number;
  const char* name;
  Converter convert;
  bool moves = false;  ///< elements are moved, not computed with
};
std::span<const OpKind> computing_kinds();
std::span<const OpKind> moving_kinds();
/// Converters to operators on integers; false: this call has none.
struct IntegerKind {
  int number;
  bool (*convert)(Importer&, const Op&);
};
std::span<const IntegerKind> integer_kinds();

Tensor activated(const Tensor& t, int kind);
Shape longs(const FlatTable& t, int field);
/// Padding [top, bottom, left, right]: pad_mode 0 as given, 1 as many places as strides, 2 none. Fields of kernel,
/// stride, dilation (-1: none), pad_mode and padding; `x` is [n, c, h, w].
Window2d window_of(const FlatTable& o, int kernel, int stride, int dilation, int mode, int pad, const Shape& x);

class Importer {
 public:
  Importer(std::string_view bytes, const std::string& path)
      : bytes_(bytes), path_(path), builder_("MindSpore Lite", path) {}
  ImportedModel run();

  size_t input(const Op& op, size_t i) const {
    SORUS_CHECK(i < op.in.size(), ValueError, "input {} is missing", i);
    return op.in[i];
  }
  size_t output(const Op& op, size_t i = 0) const {
    SORUS_CHECK(i < op.out.size(), ValueError, "output {} is missing", i);
    return op.out[i];
  }
  bool has(const Op& op, size_t i) const { return i < op.in.size(); }
  FileTensor& tensor(size_t i);

  /// The value as the file has it; what integers with a scale stand for.
  Tensor get(size_t i);
  /// As [n, c, h, w]; `last`: the operator has its channels last.
  Tensor image(size_t i, bool last);
  bool is_image(size_t i) { return tensor(i).image.defined() && !tensor(i).plain.defined(); }
  /// A result; of a quantised value these numbers are rounded to its scale.
  void set(size_t i, const Tensor& t);
  void set_image(size_t i, const Tensor& t, bool last);
  /// A constant as numbers; error if it is computed.
  Shape integers(size_t i);

  /// Whether the value is bytes with one scale that are computed, not constant.
  bool quantized(size_t i);
  /// The integers of a quantised value, or of a constant, as the file has them.
  Tensor codes(size_t i);
  void set_codes(size_t i, const Tensor& t);
  /// Makes a weight out of constants and gives it the tensor's name.
  Tensor weight(size_t i, const Tensor& prepared, const Quantization& quantization = {});
  Tensor weight_named(const std::string& name, const Tensor& constant);
  /// What a value is padded with: as `get` has it.
  double padding_value(size_t i, double real);

 private:
  Tensor raw(size_t i);
  Tensor real(const FileTensor& f, const Tensor& t) const;
  void read_tensors(const FlatTable& root);
  void convert(const FlatTable& node, int number);
  bool moves(const Op& op);

  std::string_view bytes_;
  std::string path_;
  GraphBuilder builder_;
  std::vector<FileTensor> tensors_;
  bool moving_ = false;  ///< elements of quantised values are moved: get and set are about their integers
};

}  // namespace sorus::importer::mslite
