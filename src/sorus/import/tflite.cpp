// .tflite files: the tables of the format and the walk over the operators. Field numbers and type numbers are those
// of TensorFlow Lite's schema, version 3.
#include "sorus/import/tflite.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "sorus/base/text.h"
#include "sorus/import/layers.h"
#include "sorus/ops.h"

namespace sorus::importer {
namespace tflite {
namespace {

std::optional<DType> type_of(int number) {
  switch (number) {
    case 0:
      return DType::f32;
    case 1:
      return DType::f16;
    case 2:
      return DType::i32;
    case 3:
      return DType::u8;
    case 4:
      return DType::i64;
    case 6:
      return DType::boolean;
    case 7:
      return DType::i16;
    case 9:
      return DType::i8;
    case 10:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

constexpr int64_t kMaxScales = 1 << 20;

Quantization quantization_of(const FlatTable& t, const FileTensor& tensor, const std::string& path) {
  Quantization q;
  std::vector<float> scale = t.numbers<float>(2);
  std::vector<int64_t> zero = t.numbers<int64_t>(3);
  if (scale.empty()) return q;
  SORUS_CHECK(static_cast<int64_t>(scale.size()) <= kMaxScales, FileError, "{}: tensor '{}' has {} scales", path,
              tensor.name, scale.size());
  for (float s : scale)
    SORUS_CHECK(std::isfinite(s) && s >= 0, FileError, "{}: tensor '{}': {} is no scale", path, tensor.name, s);
  q.scale.assign(scale.begin(), scale.end());
  for (size_t i = 0; i < scale.size(); ++i) {
    int64_t z = i < zero.size() ? zero[i] : zero.size() == 1 ? zero[0] : 0;
    SORUS_CHECK(z >= INT32_MIN && z <= INT32_MAX, FileError, "{}: tensor '{}': {} is no zero point", path,
                tensor.name, z);
    q.zero_point.push_back(z);
  }
  if (scale.size() == 1) return q;
  // Files in use name a dimension that does not exist, or the wrong one: then it is the one of that size.
  const Shape& s = tensor.type.shape;
  auto named = t.number<int32_t>(6);
  auto fits = [&](int64_t d) {
    return d >= 0 && d < static_cast<int64_t>(s.size()) &&
           s[static_cast<size_t>(d)] == static_cast<int64_t>(scale.size());
  };
  q.axis = named;
  for (int64_t d = 0; !fits(q.axis) && d < static_cast<int64_t>(s.size()); ++d)
    if (fits(d)) q.axis = static_cast<int>(d);
  SORUS_CHECK(fits(q.axis), FileError, "{}: tensor '{}' of shape {} has {} scales, which fit no dimension", path,
              tensor.name, to_string(s), scale.size());
  return q;
}

}  // namespace

Importer::Importer(std::string_view bytes, const std::string& path)
    : bytes_(bytes), path_(path), builder_("TensorFlow Lite", path) {}

void Importer::read_tensors(const FlatTable& subgraph) {
  tensors_.clear(), held_.clear(), handles_.clear();
  for (const FlatTable& t : subgraph.tables(0)) {
    FileTensor f;
    f.name = sanitize_utf8(t.text(3));
    auto type = type_of(t.number<uint8_t>(1));
    f.known_type = type.has_value();
    f.type.dtype = type.value_or(DType::f32);
    f.variable = t.flag(5);
    std::vector<int32_t> shape = t.numbers<int32_t>(0);
    f.declared = t.has(0);
    int64_t count = 1;
    for (int32_t n : shape) {
      SORUS_CHECK(n >= -1, FileError, "{}: tensor '{}' has a dimension of size {}", path_, f.name, n);
      f.declared &= n >= 0;
      f.type.shape.push_back(std::max(n, 1));
      SORUS_CHECK(f.type.shape.back() <= (int64_t{1} << 40) / count, FileError,
                  "{}: tensor '{}' has too many elements", path_, f.name);
      count *= f.type.shape.back();
      f.type.shape.back() = n == -1 ? 1 : n;
    }
    auto buffer = t.number<uint32_t>(2);
    SORUS_CHECK(buffer == 0 || buffer < buffers_.size(), FileError, "{}: tensor '{}' names buffer {} of {}", path_,
                f.name, buffer, buffers_.size());
    if (buffer < buffers_.size()) {
      f.data = buffers_[buffer].bytes(0);
      auto offset = buffers_[buffer].number<uint64_t>(1), size = buffers_[buffer].number<uint64_t>(2);
      if (f.data.empty() && offset > 1 && size > 0) {  // large files keep buffers behind the tables
        SORUS_CHECK(offset <= bytes_.size() && size <= bytes_.size() - offset, FileError,
                    "{}: buffer {} ends outside of the file", path_, buffer);
        f.data = bytes_.substr(offset, size);
      }
    }
    if (!f.data.empty() && f.known_type && t.has(6))
      f.data = dense_.emplace_back(dense_elements(t.table(6), f.data, f, path_));
    if (!f.data.empty() && f.known_type) {
      auto expected = static_cast<size_t>(numel(f.type.shape)) * size_of(f.type.dtype);
      SORUS_CHECK(f.data.size() >= expected, FileError, "{}: tensor '{}' is {}, but has {} bytes", path_, f.name,
                  f.type.to_string(), f.data.size());
    }
    f.quantization = quantization_of(t.table(4), f, path_);
    tensors_.push_back(std::move(f));
  }
  held_.resize(tensors_.size());
}

ImportedModel Importer::run() {
  FlatTable model = FlatTable::root(bytes_, "TFL3", path_);
  auto version = model.number<uint32_t>(0);
  SORUS_CHECK(version == 3, FileError, "{}: version {} of the format; version 3 can be read", path_, version);
  graphs_ = model.tables(2), buffers_ = model.tables(4);
  SORUS_CHECK(!graphs_.empty(), FileError, "{}: there is no graph in the file", path_);
  for (const FlatTable& c : model.tables(1)) {
    // Numbers up to 126 were kept in one byte; newer ones have a field of their own.
    int code = std::max<int>(c.number<int8_t>(0), c.number<int32_t>(3));
    const char* known = op_name(code);
    std::string custom = sanitize_utf8(c.text(1));
    op_codes_.push_back(code);
    op_names_.push_back(known ? custom.empty() ? known : fmt::format("{} '{}'", known, custom)
                              : fmt::format("number {}", code));
  }
  const FlatTable graph = graphs_[0];
  read_tensors(graph);
  auto checked = [&](int32_t t) {
    SORUS_CHECK(t >= 0 && static_cast<size_t>(t) < tensors_.size(), FileError, "{}: the graph names tensor {} of {}",
                path_, t, tensors_.size());
    return t;
  };
  for (int32_t t : graph.numbers<int32_t>(1)) {
    const FileTensor& f = info(checked(t));
    SORUS_CHECK(f.known_type, FileError, "{}: input '{}' has a type that is not known", path_, f.name);
    SORUS_CHECK(!held_[static_cast<size_t>(t)].plain.defined(), FileError, "{}: input '{}' is there twice", path_,
                f.name);
    held_[static_cast<size_t>(t)].plain = builder_.input(f.name, f.type, f.quantization);
  }
  int number = 0;
  for (const FlatTable& op : graph.tables(3)) convert(op, ++number);
  for (int32_t t : graph.numbers<int32_t>(2)) {
    const FileTensor& f = info(checked(t));
    builder_.guarded([&] { builder_.output(f.name, get(t), f.quantization); });
  }
  return builder_.finish();
}

void Importer::convert(const FlatTable& table, int number) {
  FileOp op;
  op.number = number;
  auto code = table.number<uint32_t>(0);
  SORUS_CHECK(code < op_codes_.size(), FileError, "{}: operator {} has kind {} of {}", path_, number, code,
              op_codes_.size());
  op.name = op_names_[code];
  op.options = table.table(4);
  op.custom_options = table.bytes(5);
  auto tensors = [&](int field) {
    std::vector<int> out;
    for (int32_t t : table.numbers<int32_t>(field)) {
      SORUS_CHECK(t >= -1 && t < static_cast<int64_t>(tensors_.size()), FileError,
                  "{}: operator {} ({}) names tensor {} of {}", path_, number, op.name, t, tensors_.size());
      out.push_back(t);
    }
    return out;
  };
  op.in = tensors(1);
  op.out = tensors(2);
  op.intermediates = tensors(8);
  auto find = [&](std::span<const OpKind> kinds) -> const OpKind* {
    auto found = std::ranges::find(kinds, op_codes_[code], &OpKind::code);
    return found == kinds.end() ? nullptr : &*found;
  };
  bool done = builder_.convert(number, op.name, [&] {
    bool integers = !op.out.empty() && op.out[0] >= 0 && is_quantized(op.out[0]);
    const OpKind* kind = find(integers ? quantized_kinds() : plain_kinds());
    if (!kind) kind = find(moving_kinds());
    if (!kind && find(integers ? plain_kinds() : quantized_kinds()))
      throw NotImplementedError(integers ? "on integers" : "on floats");
    if (!kind) throw NotImplementedError("");
    // Shapes that a file computes from shapes, and the like: what depends on constants only is computed now.
    fixed_ = !op.in.empty() && std::ranges::all_of(op.in, [&](int t) { return t < 0 || is_known(t); });
    if (fixed_)
      computed([&] { kind->convert(*this, op); });
    else
      kind->convert(*this, op);
  });
  fixed_ = false;
  for (int t : op.out) {
    if (t < 0 || done) continue;
    const FileTensor& f = info(t);
    held_[static_cast<size_t>(t)] = {builder_.stand_in(f.type), {}};
  }
}

const FileTensor& Importer::info(int tensor) const { return tensors_[static_cast<size_t>(tensor)]; }

int Importer::in(const FileOp& op, size_t i) const {
  SORUS_CHECK(has(op, i), ValueError, "input {} is missing", i);
  return op.in[i];
}
int Importer::out(const FileOp& op, size_t i) const {
  SORUS_CHECK(i < op.out.size() && op.out[i] >= 0, ValueError, "output {} is missing", i);
  return op.out[i];
}

Tensor Importer::get(int tensor) {
  Held& h = held_[static_cast<size_t>(tensor)];
  if (h.plain.defined()) return h.plain;
  if (h.image.defined()) {
    Shape back{0, 2, 3, 1};
    return h.plain = is_constant(h.image) ? computed([&] { return permute(h.image, back); }) : permute(h.image, back);
  }
  const FileTensor& f = info(tensor);
  SORUS_CHECK(f.known_type, NotImplementedError, "tensor '{}' has a type that is not known", f.name);
  SORUS_CHECK(!f.data.empty() || numel(f.type.shape) == 0, ValueError, "tensor '{}' is used before it is computed",
              f.name);
  Tensor t = Tensor::empty(f.type.shape, f.type.dtype);
  if (t.numel() > 0) std::memcpy(t.data(), f.data.data(), t.nbytes());
  return h.plain = t;
}

bool Importer::is_image(int tensor) const {
  const Held& h = held_[static_cast<size_t>(tensor)];
  return h.image.defined() && !h.plain.defined();
}

Tensor Importer::image(int tensor) {
  Held& h = held_[static_cast<size_t>(tensor)];
  if (h.image.defined()) return h.image;
  Tensor t = get(tensor);
  SORUS_CHECK(t.dim() == 4, ValueError, "expected an image of four dimensions, found {}", t.type().to_string());
  Shape first{0, 3, 1, 2};
  return h.image = is_constant(t) ? computed([&] { return contiguous(permute(t, first)); }) : permute(t, first);
}

Shape Importer::integers(int tensor) {
  Tensor t = get(tensor);
  SORUS_CHECK(is_constant(t), NotImplementedError, "'{}' is computed from the inputs, not a constant",
              info(tensor).name);
  SORUS_CHECK(is_integral(t.dtype()), ValueError, "'{}' should hold integers, but is {}", info(tensor).name,
              name(t.dtype()));
  Tensor wide = computed([&] { return contiguous(to(t, DType::i64)); });
  return Shape(wide.data<int64_t>(), wide.data<int64_t>() + wide.numel());
}

std::vector<double> Importer::reals(int tensor) {
  Tensor t = get(tensor);
  SORUS_CHECK(is_constant(t), NotImplementedError, "'{}' is computed from the inputs, not a constant",
              info(tensor).name);
  Tensor wide = computed([&] { return contiguous(to(t, DType::f64)); });
  return std::vector<double>(wide.data<double>(), wide.data<double>() + wide.numel());
}

void Importer::check(int tensor, const TensorType& found) {
  const FileTensor& f = info(tensor);
  SORUS_CHECK(f.known_type, NotImplementedError, "its result '{}' has a type that is not known", f.name);
  SORUS_CHECK(found.dtype == f.type.dtype && (!f.declared || found.shape == f.type.shape), ValueError,
              "the result is {}, but the file says that '{}' is {}", found.to_string(), f.name, f.type.to_string());
}

void Importer::set(int tensor, const Tensor& t) {
  check(tensor, t.type());
  if (!is_constant(t)) builder_.annotate(t, info(tensor).quantization);
  held_[static_cast<size_t>(tensor)] = {t, {}};
}

void Importer::set_image(int tensor, const Tensor& t) {
  const Shape& s = t.sizes();
  check(tensor, {t.dtype(), Shape{s[0], s[2], s[3], s[1]}});
  held_[static_cast<size_t>(tensor)] = {{}, t};
}

bool Importer::is_known(int tensor) const {
  const Held& h = held_[static_cast<size_t>(tensor)];
  if (h.plain.defined() || h.image.defined()) return is_constant(h.plain.defined() ? h.plain : h.image);
  return !info(tensor).data.empty() && !info(tensor).variable;
}

Tensor Importer::weight(int tensor, const Tensor& prepared, const Quantization& quantization) {
  if (!is_constant(prepared) || fixed_) return prepared;
  builder_.name_weight(prepared, info(tensor).name, quantization);
  return prepared;
}

Tensor Importer::weight_named(const std::string& name, const Tensor& constant) {
  if (fixed_) return constant;
  builder_.name_weight(constant, name);
  return constant;
}

Tensor Importer::real(int tensor, const Tensor& t) const {
  const Quantization& q = info(tensor).quantization;
  SORUS_CHECK(q.known(), ValueError, "'{}' has no scale", info(tensor).name);
  if (q.scale.size() == 1) return dequantize(t, scale(tensor), zero_point(tensor));
  Shape along = along_dim(t.dim(), q.axis, static_cast<int64_t>(q.scale.size()));
  std::vector<float> scales(q.scale.begin(), q.scale.end());
  std::vector<int64_t> zeros(q.zero_point.begin(), q.zero_point.end());
  return dequantize_linear(t, Tensor::of(scales, along), Tensor::of(zeros, along));
}

Tensor Importer::real_weight(int tensor) {
  Tensor t = get(tensor);
  if (is_floating(t.dtype()) || !is_constant(t) || !info(tensor).quantization.known()) return t;
  return computed([&] { return real(tensor, t); });
}

Tensor Importer::state(int tensor) {
  Held& h = held_[static_cast<size_t>(tensor)];
  const FileTensor& f = info(tensor);
  if (!h.plain.defined()) {
    SORUS_CHECK(f.known_type && numel(f.type.shape) < kMaxElements / 8, ValueError, "'{}' cannot be a state", f.name);
    int64_t first = f.type.dtype == DType::i8 && f.quantization.zero_point.size() == 1 ? zero_point(tensor) : 0;
    h.plain = computed([&] { return full(f.type.shape, Scalar(first), f.type.dtype); });
    builder_.name_weight(h.plain, f.name, f.quantization);
  }
  return h.plain;
}

void Importer::update(const Tensor& state, const Tensor& value) {
  static const OpDef& copy = find_op("copy");
  call_into(copy, std::array{state, value}, {}, std::array{state});
}

bool Importer::is_quantized(int tensor) const {
  return info(tensor).quantization.known() && is_integral(info(tensor).type.dtype);
}

double Importer::scale(int tensor) const {
  const FileTensor& f = info(tensor);
  SORUS_CHECK(f.quantization.scale.size() == 1 && f.quantization.scale[0] > 0, ValueError,
              "'{}' should have one positive scale", f.name);
  return f.quantization.scale[0];
}
int64_t Importer::zero_point(int tensor) const {
  const FileTensor& f = info(tensor);
  SORUS_CHECK(f.quantization.zero_point.size() == 1, ValueError, "'{}' should have one zero point", f.name);
  auto [low, high] = code_range(f.type.dtype);
  SORUS_CHECK(f.quantization.zero_point[0] >= low && f.quantization.zero_point[0] <= high, ValueError,
              "the zero point {} of '{}' is no {}", f.quantization.zero_point[0], f.name, sorus::name(f.type.dtype));
  return f.quantization.zero_point[0];
}

std::pair<int64_t, int64_t> Importer::activation_range(int tensor, int activation) const {
  scale(tensor);
  const Quantization& q = info(tensor).quantization;
  auto range = code_range(info(tensor).type.dtype);
  auto &low = range.first, &high = range.second;
  auto at_least = [&](double x) { low = std::max(low, quantized_number(x, q)); };
  auto at_most = [&](double x) { high = std::min(high, quantized_number(x, q)); };
  if (activation == kRelu || activation == kRelu6) at_least(0);
  if (activation == kReluN1To1) at_least(-1), at_most(1);
  if (activation == kRelu6) at_most(6);
  SORUS_CHECK(activation <= kRelu6, NotImplementedError, "a fused activation of kind {}", activation);
  return {low, high};
}

Tensor Importer::activated(const Tensor& t, int activation) const {
  switch (activation) {
    case kNone:
      return t;
    case kRelu:
      return relu(t);
    case kReluN1To1:
      return clamp(t, Scalar(-1), Scalar(1));
    case kRelu6:
      return clamp(t, Scalar(0), Scalar(6));
    case kTanh:
      return tanh(t);
    default:
      fail<NotImplementedError>("a fused activation of kind {}", activation);
  }
}

Padded padded(bool same, int64_t size, int64_t kernel, int64_t stride, int64_t dilation) {
  SORUS_CHECK(stride > 0 && dilation > 0 && kernel > 0, ValueError, "stride, dilation and kernel must be positive");
  if (!same) return {};
  int64_t places = (size + stride - 1) / stride;
  int64_t total = std::max<int64_t>(0, (places - 1) * stride + (kernel - 1) * dilation + 1 - size);
  return {total / 2, total - total / 2};
}

}  // namespace tflite

ImportedModel import_tflite(std::string_view bytes, const std::string& path) {
  return tflite::Importer(bytes, path).run();
}

}  // namespace sorus::importer
