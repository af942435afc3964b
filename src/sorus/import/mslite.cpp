// .ms files of MindSpore Lite: tables, operators and their fields by number.
#include "sorus/import/mslite.h"

#include <algorithm>
#include <cstring>

#include "sorus/base/text.h"
#include "sorus/import/mslite_reader.h"
#include "sorus/import/quantize.h"
#include "sorus/ops.h"

namespace sorus::importer {
namespace mslite {
namespace {

std::optional<DType> type_of(int number) {
  switch (number) {
    case 30:
      return DType::boolean;
    case 32:
      return DType::i8;
    case 33:
      return DType::i16;
    case 34:
      return DType::i32;
    case 35:
      return DType::i64;
    case 37:
      return DType::u8;
    case 42:
      return DType::f16;
    case 43:
      return DType::f32;
    case 44:
      return DType::f64;
    default:
      return std::nullopt;
  }
}

bool is_byte(DType t) { return t == DType::i8 || t == DType::u8; }

const OpKind* find_kind(int number) {
  for (std::span<const OpKind> kinds : {computing_kinds(), moving_kinds()})
    for (const OpKind& k : kinds)
      if (k.number == number) return &k;
  return nullptr;
}

}  // namespace

ImportedModel Importer::run() {
  FlatTable root = FlatTable::root(bytes_, "MSL2", path_);
  std::string version = sanitize_utf8(root.text(1));
  read_tensors(root);
  std::vector<FlatTable> nodes = root.tables(6), parts = root.tables(8);
  SORUS_CHECK(parts.size() <= 1, FileError, "{}: a model of {} graphs ({}); one graph can be read", path_,
              parts.size(), version);
  auto inputs = root.numbers<uint32_t>(3), outputs = root.numbers<uint32_t>(4);
  if (!parts.empty() && inputs.empty()) inputs = parts[0].numbers<uint32_t>(1);
  if (!parts.empty() && outputs.empty()) outputs = parts[0].numbers<uint32_t>(2);
  for (uint32_t i : inputs) {
    FileTensor& f = tensor(i);
    SORUS_CHECK(f.known_type && !f.plain.defined() && !f.codes.defined(), FileError,
                "{}: input '{}' is there twice or of no known type", path_, f.name);
    if (quantized(i))
      f.codes = builder_.input(f.name, f.type, f.quantization);
    else
      f.plain = builder_.input(f.name, f.type);
  }
  int number = 0;
  for (const FlatTable& n : nodes) convert(n, ++number);
  for (uint32_t i : outputs) {
    FileTensor& f = tensor(i);
    builder_.guarded([&] {
      if (quantized(i))
        builder_.output(f.name, codes(i), f.quantization);
      else
        builder_.output(f.name, get(i), {});
    });
  }
  return builder_.finish();
}

FileTensor& Importer::tensor(size_t i) {
  SORUS_CHECK(i < tensors_.size(), FileError, "{}: the file names tensor {} of {}", path_, i, tensors_.size());
  return tensors_[i];
}

// A constant as the file has it.
Tensor Importer::raw(size_t i) {
  const FileTensor& f = tensor(i);
  SORUS_CHECK(f.known_type, NotImplementedError, "tensor '{}' is of a type that is not known", f.name);
  SORUS_CHECK(f.compression == 0, NotImplementedError, "weights '{}' that are compressed (kind {})", f.name,
              f.compression);
  auto expected = static_cast<size_t>(numel(f.type.shape)) * size_of(f.type.dtype);
  SORUS_CHECK(f.data.size() == expected && (!f.data.empty() || expected == 0), ValueError,
              "tensor '{}' is {} and has {} bytes: it is used before it is computed, or damaged", f.name,
              f.type.to_string(), f.data.size());
  Tensor t = Tensor::empty(f.type.shape, f.type.dtype);
  if (expected) std::memcpy(t.data(), f.data.data(), expected);
  return t;
}

Tensor Importer::get(size_t i) {
  FileTensor& f = tensor(i);
  if (moving_ && quantized(i)) return codes(i);
  if (f.plain.defined()) return f.plain;
  if (f.codes.defined()) return f.plain = real(f, f.codes);
  if (f.image.defined()) {
    f.plain =
        is_constant(f.image) ? computed([&] { return permute(f.image, kFromImage); }) : permute(f.image, kFromImage);
    return f.plain;
  }
  Tensor t = raw(i);
  f.plain = computed([&] { return real(f, t); });
  builder_.remember(f.plain, f.name);
  return f.plain;
}

Tensor Importer::image(size_t i, bool last) {
  FileTensor& f = tensor(i);
  if (!last) return get(i);
  if (f.image.defined()) return f.image;
  Tensor t = get(i);
  SORUS_CHECK(t.dim() == 4, ValueError, "expected an image of four dimensions, found {}", t.type().to_string());
  f.image = is_constant(t) ? computed([&] { return contiguous(permute(t, kToImage)); }) : permute(t, kToImage);
  builder_.remember(f.image, f.name);
  return f.image;
}

void Importer::set(size_t i, const Tensor& t) {
  FileTensor& f = tensor(i);
  if (!quantized(i)) {
    f.plain = t, f.image = {};
  } else if (moving_) {
    set_codes(i, t);
  } else {
    auto [low, high] = code_range(f.type.dtype);
    const Quantization& q = f.quantization;
    set_codes(i, quantize(t, q.scale[0], q.zero_point[0], low, high, f.type.dtype));
  }
}

void Importer::set_image(size_t i, const Tensor& t, bool last) {
  if (quantized(i)) return set(i, last ? permute(t, kFromImage) : t);
  tensor(i).plain = last ? Tensor() : t;
  tensor(i).image = last ? t : Tensor();
}

Shape Importer::integers(size_t i) {
  Tensor t = get(i);
  SORUS_CHECK(is_constant(t), NotImplementedError, "'{}' is computed from the inputs, not a constant",
              tensor(i).name);
  SORUS_CHECK(!is_differentiable(t.dtype()), ValueError, "'{}' should hold integers", tensor(i).name);
  Tensor wide = computed([&] { return contiguous(to(t, DType::i64)); });
  return Shape(wide.data<int64_t>(), wide.data<int64_t>() + wide.numel());
}

bool Importer::quantized(size_t i) {
  const FileTensor& f = tensor(i);
  return f.known_type && is_byte(f.type.dtype) && f.quantization.scale.size() == 1 && f.data.empty();
}

Tensor Importer::codes(size_t i) {
  FileTensor& f = tensor(i);
  if (!f.codes.defined()) f.codes = raw(i);
  return f.codes;
}

void Importer::set_codes(size_t i, const Tensor& t) {
  FileTensor& f = tensor(i);
  SORUS_CHECK(t.dtype() == f.type.dtype, ValueError, "the result is {}, but the file says that '{}' is {}",
              t.type().to_string(), f.name, f.type.to_string());
  f.codes = t, f.plain = {}, f.image = {};
  if (!is_constant(t)) builder_.annotate(t, f.quantization);
}

Tensor Importer::weight(size_t i, const Tensor& prepared, const Quantization& quantization) {
  builder_.name_weight(prepared, tensor(i).name, quantization);
  return prepared;
}
Tensor Importer::weight_named(const std::string& name, const Tensor& constant) {
  builder_.name_weight(constant, name);
  return constant;
}

double Importer::padding_value(size_t i, double real) {
  return moving_ && quantized(i) ? static_cast<double>(quantized_number(real, tensor(i).quantization)) : real;
}

// What integers with a scale and halves stand for.
Tensor Importer::real(const FileTensor& f, const Tensor& t) const {
  if (t.dtype() == DType::f16) return to(t, DType::f32);
  const Quantization& q = f.quantization;
  if (!q.known() || (t.dtype() != DType::i8 && t.dtype() != DType::i16 && t.dtype() != DType::u8)) return t;
  auto n = static_cast<int64_t>(q.scale.size());
  if (n == 1 && !is_constant(t)) return dequantize(t, q.scale[0], q.zero_point[0]);
  SORUS_CHECK(n == 1 || (t.dim() > 0 && t.size(0) == n), NotImplementedError, "'{}' of shape {} with {} scales",
              f.name, to_string(t.sizes()), n);
  Shape along(static_cast<size_t>(n == 1 ? 0 : t.dim()), 1);
  if (n > 1) along[0] = n;
  std::vector<float> scales(q.scale.begin(), q.scale.end());
  std::vector<int64_t> zeros(q.zero_point.begin(), q.zero_point.end());
  return dequantize_linear(t, Tensor::of(scales, along), Tensor::of(zeros, along));
}

void Importer::read_tensors(const FlatTable& root) {
  for (const FlatTable& t : root.tables(7)) {
    FileTensor f;
    f.name = sanitize_utf8(t.text(9));
    if (f.name.empty()) f.name = fmt::format("tensor_{}", tensors_.size());
    auto type = type_of(t.number<int32_t>(1));
    f.known_type = type.has_value();
    f.type.dtype = type.value_or(DType::f32);
    int64_t count = 1;
    for (int32_t n : t.numbers<int32_t>(2)) {
      int64_t size = n == -1 ? 1 : n;  // open sizes are 1
      SORUS_CHECK(size >= 0 && count <= (int64_t{1} << 40) / std::max<int64_t>(size, 1), FileError,
                  "{}: tensor '{}' has an impossible shape", path_, f.name);
      count *= std::max<int64_t>(size, 1);
      f.type.shape.push_back(size);
    }
    f.data = t.bytes(6);
    f.compression = t.flag(10) ? 100 : t.number<int32_t>(11);
    for (const FlatTable& q : t.tables(7)) {
      auto scale = q.number<double>(0, 1);
      if (!q.flag(6) && scale == 1) continue;  // not set
      SORUS_CHECK(std::isfinite(scale) && scale > 0, FileError, "{}: tensor '{}': {} is no scale", path_, f.name,
                  scale);
      f.quantization.scale.push_back(scale);
      f.quantization.zero_point.push_back(q.number<int32_t>(1));
    }
    if (f.quantization.scale.size() > 1) f.quantization.axis = 0;
    auto [low, high] = f.known_type && is_byte(f.type.dtype) ? code_range(f.type.dtype)
                                                             : std::pair<int64_t, int64_t>{INT32_MIN, INT32_MAX};
    for (int64_t z : f.quantization.zero_point)
      SORUS_CHECK(z >= low && z <= high, FileError, "{}: tensor '{}': the zero point {} is no {}", path_, f.name, z,
                  name(f.type.dtype));
    tensors_.push_back(std::move(f));
  }
}

// Whether an operator moves the elements of quantised values that all have one scale.
bool Importer::moves(const Op& op) {
  const Quantization* first = nullptr;
  auto same = [&](size_t i) {
    if (!quantized(i)) return true;
    if (!first) first = &tensor(i).quantization;
    return *first == tensor(i).quantization;
  };
  return !op.out.empty() && quantized(op.out[0]) && !op.in.empty() && quantized(op.in[0]) &&
         std::ranges::all_of(op.in, same) && std::ranges::all_of(op.out, same);
}

void Importer::convert(const FlatTable& node, int number) {
  FlatTable primitive = node.table(2);
  Op op;
  op.fields = primitive.table(1);
  op.in = node.numbers<uint32_t>(3);
  op.out = node.numbers<uint32_t>(4);
  int kind_number = primitive.number<uint8_t>(0);
  const OpKind* kind = find_kind(kind_number);
  bool done = builder_.convert(number, kind ? kind->name : fmt::format("number {}", kind_number), [&] {
    if (!kind) throw NotImplementedError("");
    auto integers = std::ranges::find(integer_kinds(), kind_number, &IntegerKind::number);
    if (!op.out.empty() && quantized(op.out[0]) && integers != integer_kinds().end() && integers->convert(*this, op))
      return;
    moving_ = kind->moves && moves(op);
    try {
      kind->convert(*this, op);
    } catch (...) {
      moving_ = false;
      throw;
    }
    moving_ = false;
  });
  if (done) return;
  for (uint32_t i : op.out) {
    FileTensor& f = tensor(i);
    (quantized(i) ? f.codes : f.plain) = builder_.stand_in(f.type);
  }
}

}  // namespace mslite

ImportedModel import_mslite(std::string_view bytes, const std::string& path) {
  return mslite::Importer(bytes, path).run();
}

}  // namespace sorus::importer
