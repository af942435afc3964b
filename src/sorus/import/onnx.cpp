// .onnx files: the messages of the format and the walk over the nodes. Field numbers and type numbers are those of
// onnx.proto.
#include "sorus/import/onnx.h"

#include <algorithm>
#include <cstring>

#include "sorus/base/text.h"
#include "sorus/ops.h"

namespace sorus::importer {
namespace onnx {

std::optional<DType> type_of(int64_t number) {
  switch (number) {
    case 1:
      return DType::f32;
    case 2:
      return DType::u8;
    case 3:
      return DType::i8;
    case 5:
      return DType::i16;
    case 6:
      return DType::i32;
    case 7:
      return DType::i64;
    case 9:
      return DType::boolean;
    case 10:
      return DType::f16;
    case 11:
      return DType::f64;
    case 16:
      return DType::bf16;
    default:
      return std::nullopt;
  }
}

const Tensor& Node::at(size_t i) const {
  SORUS_CHECK(has(i), ValueError, "input {} is missing", i);
  return in[i];
}
int64_t Node::integer(std::string_view name, int64_t otherwise) const {
  auto a = attributes.find(name);
  return a == attributes.end() ? otherwise : a->second.integer.value_or(otherwise);
}
double Node::real(std::string_view name, double otherwise) const {
  auto a = attributes.find(name);
  return a == attributes.end() || !a->second.real ? otherwise : static_cast<double>(*a->second.real);
}
std::string Node::text(std::string_view name, const std::string& otherwise) const {
  auto a = attributes.find(name);
  return a == attributes.end() ? otherwise : a->second.text;
}
Shape Node::integers(std::string_view name) const {
  auto a = attributes.find(name);
  return a == attributes.end() ? Shape() : Shape(a->second.integers.begin(), a->second.integers.end());
}
Shape Node::constant_integers(size_t i) const {
  const Tensor& t = at(i);
  SORUS_CHECK(is_constant(t), NotImplementedError,
              "input {} is computed from the inputs of the model, not a constant", i);
  SORUS_CHECK(!is_differentiable(t.dtype()), ValueError, "input {} should hold integers, but is {}", i,
              sorus::name(t.dtype()));
  Tensor wide = computed([&] { return contiguous(to(t, DType::i64)); });
  return Shape(wide.data<int64_t>(), wide.data<int64_t>() + wide.numel());
}
std::vector<double> Node::constant_reals(size_t i) const {
  const Tensor& t = at(i);
  SORUS_CHECK(is_constant(t), NotImplementedError,
              "input {} is computed from the inputs of the model, not a constant", i);
  Tensor wide = computed([&] { return contiguous(to(t, DType::f64)); });
  return std::vector<double>(wide.data<double>(), wide.data<double>() + wide.numel());
}
std::optional<Shape> Node::list(size_t i, std::string_view name) const {
  if (has(i)) return constant_integers(i);
  if (has_attribute(name)) return integers(name);
  return std::nullopt;
}
int64_t Node::dim(int64_t d, const Tensor& t) const {
  SORUS_CHECK(d >= -t.dim() && d < t.dim(), ValueError, "dimension {} of {}", d, to_string(t.sizes()));
  return d < 0 ? d + t.dim() : d;
}

namespace {

Tensor tensor_of(const Message& m, const std::string& path, std::string* name = nullptr) {
  std::vector<int64_t> dims, integers;
  std::vector<float> floats;
  std::vector<double> doubles;
  int64_t type = 0;
  bool outside = false;
  std::string_view raw;
  bool has_raw = false;
  std::string called;
  for (const Field& f : m.fields()) {
    switch (f.number) {
      case 1:
        f.append(dims);
        break;
      case 2:
        type = f.integer();
        break;
      case 4:
        f.append(floats);
        break;
      case 5:
      case 7:
      case 11:
        f.append(integers);
        break;
      case 8:
        called = sanitize_utf8(f.bytes);
        break;
      case 9:
        raw = f.bytes, has_raw = true;
        break;
      case 10:
        f.append(doubles);
        break;
      case 14:
        outside = f.integer() == 1;
        break;
      default:
        break;
    }
  }
  if (name) *name = called;
  SORUS_CHECK(!outside, FileError,
              "{}: tensor '{}' lies in another file, which is not read; save the model as one file", path, called);
  auto dtype = type_of(type);
  SORUS_CHECK(dtype, NotImplementedError, "tensor '{}' is of a type that is not known, number {}", called, type);
  int64_t count = 1;
  for (int64_t n : dims) {
    SORUS_CHECK(n >= 0 && (n == 0 || count <= kMaxElements / n), FileError, "{}: tensor '{}' has an impossible shape",
                path, called);
    count *= std::max<int64_t>(n, 1);
  }
  Shape shape(dims.begin(), dims.end());
  auto elements = static_cast<size_t>(numel(shape));
  auto expect = [&](size_t found) {
    SORUS_CHECK(found == elements, FileError, "{}: tensor '{}' has {} elements, its shape {} says {}", path, called,
                found, to_string(shape), elements);
  };
  if (has_raw) {
    expect(raw.size() / size_of(*dtype));
    Tensor t = Tensor::empty(shape, *dtype);
    if (elements) std::memcpy(t.data(), raw.data(), t.nbytes());
    return t;
  }
  if (*dtype == DType::f32) {
    expect(floats.size());
    return Tensor::of(floats, shape);
  }
  if (*dtype == DType::f64) {
    expect(doubles.size());
    return Tensor::of(doubles, shape);
  }
  expect(integers.size());
  if (is_half(*dtype)) {  // their bits
    Tensor t = Tensor::empty(shape, *dtype);
    for (size_t i = 0; i < elements; ++i) t.data<uint16_t>()[i] = static_cast<uint16_t>(integers[i]);
    return t;
  }
  Tensor t = Tensor::of(integers, shape);
  return computed([&] { return to(t, *dtype); });
}

Attribute attribute_of(const Message& m, const std::string& path, std::string& name) {
  Attribute a;
  for (const Field& f : m.fields()) {
    switch (f.number) {
      case 1:
        name = sanitize_utf8(f.bytes);
        break;
      case 2:
        a.real = f.real();
        break;
      case 3:
        a.integer = f.integer();
        break;
      case 4:
        a.text = sanitize_utf8(f.bytes);
        break;
      case 5:
        a.tensor = tensor_of(f.message(), path);
        break;
      case 6:
        a.graph = true;
        break;
      case 7:
        f.append(a.reals);
        break;
      case 8:
        f.append(a.integers);
        break;
      default:
        break;
    }
  }
  return a;
}

// The type of an input; sizes that are left open are 1.
TensorType type_of(const Message& value, const std::string& path, std::string& name) {
  TensorType t;
  int64_t type = 0;
  bool tensor = false;
  for (const Field& f : value.fields()) {
    if (f.number == 1) name = sanitize_utf8(f.bytes);
    if (f.number != 2) continue;
    for (const Field& kind : f.message().fields()) {
      if (kind.number != 1) continue;
      tensor = true;
      for (const Field& part : kind.message().fields()) {
        if (part.number == 1) type = part.integer();
        if (part.number != 2) continue;
        for (const Field& dim : part.message().fields()) {
          if (dim.number != 1) continue;
          int64_t n = 0;
          for (const Field& d : dim.message().fields())
            if (d.number == 1) n = d.integer();
          t.shape.push_back(n > 0 ? n : 1);
        }
      }
    }
  }
  int64_t count = 1;
  for (int64_t n : t.shape) {
    SORUS_CHECK(count <= (int64_t{1} << 40) / n, FileError, "{}: '{}' has too many elements", path, name);
    count *= n;
  }
  auto dtype = onnx::type_of(type);
  SORUS_CHECK(tensor && dtype, FileError, "{}: '{}' is no tensor of a type that is known", path, name);
  t.dtype = *dtype;
  return t;
}

const OpKind* find_kind(std::string_view name) {
  for (std::span<const OpKind> kinds : {layer_kinds(), element_kinds(), shape_kinds(), quantized_kinds()})
    for (const OpKind& k : kinds)
      if (name == k.name) return &k;
  return nullptr;
}

class Importer {
 public:
  Importer(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path), builder_("ONNX", path) {}

  ImportedModel run() {
    Message graph;
    bool found = false;
    for (const Field& f : Message(bytes_, path_).fields()) {
      if (f.number == 7 && f.wire == 2) graph = f.message(), found = true;
      if (f.number != 8) continue;
      std::string domain;
      int64_t version = 0;
      for (const Field& o : f.message().fields()) {
        if (o.number == 1) domain = sanitize_utf8(o.bytes);
        if (o.number == 2) version = o.integer();
      }
      if (domain.empty() || domain == "ai.onnx") opset_ = version;
    }
    SORUS_CHECK(found, FileError, "{}: there is no graph in the file", path_);
    SORUS_CHECK(opset_ >= 7 && opset_ <= 25, FileError, "{}: operators of version {}; versions 7 to 25 can be read",
                path_, opset_);
    std::vector<Message> nodes, inputs, outputs;
    for (const Field& f : graph.fields()) {
      if (f.number == 1) nodes.push_back(f.message());
      if (f.number == 5) {
        std::string name;
        builder_.guarded([&] {
          Tensor t = tensor_of(f.message(), path_, &name);
          builder_.remember(t, name);
          values_[name] = t;
        });
      }
      if (f.number == 11) inputs.push_back(f.message());
      if (f.number == 12) outputs.push_back(f.message());
    }
    for (const Message& m : inputs) {
      std::string name;
      TensorType t = type_of(m, path_, name);
      if (!values_.contains(name)) values_[name] = builder_.input(name, t);  // older files list initializers too
    }
    std::vector<FileNode> read;
    std::vector<std::string> results;
    for (const Message& m : nodes) read.push_back(node_of(m, static_cast<int>(read.size()) + 1));
    for (const Message& m : outputs) results.push_back(sanitize_utf8(m.last(1).bytes));
    for (const FileNode& node : fold_quantized(read, values_, results)) convert(node);
    for (const std::string& name : results) {
      if (stopped_) break;
      auto v = values_.find(name);
      SORUS_CHECK(v != values_.end(), FileError, "{}: the output '{}' is not computed", path_, name);
      builder_.guarded([&] { builder_.output(name, v->second); });
    }
    return builder_.finish();
  }

 private:
  static FileNode node_of(const Message& m, int number) {
    FileNode n;
    n.number = number;
    for (const Field& f : m.fields()) {
      switch (f.number) {
        case 1:
          n.in.push_back(sanitize_utf8(f.bytes));
          break;
        case 2:
          n.out.push_back(sanitize_utf8(f.bytes));
          break;
        case 3:
          n.name = sanitize_utf8(f.bytes);
          break;
        case 4:
          n.op = sanitize_utf8(f.bytes);
          break;
        case 5:
          n.attributes.push_back(f.message());
          break;
        case 7:
          n.domain = sanitize_utf8(f.bytes);
          break;
        default:
          break;
      }
    }
    return n;
  }

  void convert(const FileNode& file) {
    Node n;
    n.opset = opset_, n.op = file.op, n.name = file.name, n.attributes = file.more;
    const std::string& domain = file.domain;
    const std::vector<std::string>&in = file.in, &out = file.out;
    int number = file.number;
    bool standard = domain.empty() || domain == "ai.onnx" || domain == "com.microsoft";
    n.outputs = out.size();
    std::string shown = standard ? n.op : domain + "." + n.op;
    const OpKind* kind = standard ? find_kind(n.op) : nullptr;
    if (stopped_) {
      if (!kind) builder_.unknown(number, shown);
      return;
    }
    bool done = builder_.convert(number, shown, [&] {
      for (const Message& a : file.attributes) {
        std::string name;
        Attribute value = attribute_of(a, path_, name);
        n.attributes[name] = std::move(value);
      }
      for (const std::string& name : in) {
        auto v = values_.find(name);
        SORUS_CHECK(name.empty() || v != values_.end(), ValueError, "'{}' is used before it is computed", name);
        n.in.push_back(name.empty() ? Tensor() : v->second);
      }
      if (!kind) throw NotImplementedError("");
      // What depends on constants only is computed now, unless it would not be worth its room.
      bool constant = std::ranges::all_of(n.in, [](const Tensor& t) { return is_constant(t); });
      TensorList results = constant ? computed([&] { return kind->convert(n); }) : kind->convert(n);
      SORUS_CHECK(results.size() >= out.size() || out.empty(), NotImplementedError, "with {} outputs", out.size());
      for (size_t i = 0; i < out.size(); ++i) {
        if (out[i].empty()) continue;
        if (is_constant(results[i])) builder_.remember(results[i], out[i]);
        values_[out[i]] = results[i];
      }
    });
    // The file does not say what shapes are in between, so from here on only names are looked at.
    stopped_ = !done;
  }

  std::string_view bytes_;
  std::string path_;
  GraphBuilder builder_;
  int64_t opset_ = 0;
  bool stopped_ = false;  ///< after an operator that cannot be converted
  Constants values_;
};

}  // namespace

}  // namespace onnx

ImportedModel import_onnx(std::string_view bytes, const std::string& path) {
  return onnx::Importer(bytes, path).run();
}

}  // namespace sorus::importer
