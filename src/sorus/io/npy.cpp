#include "sorus/io/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/io/contiguous.h"

namespace sorus::io {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxDims = 64;  // NumPy's own limit
constexpr size_t kAlignment = 64;

struct FormatType {
  std::string_view name;  // without the byte order
  DType dtype;
};
constexpr FormatType kTypes[] = {{"f8", DType::f64},     {"f4", DType::f32}, {"f2", DType::f16},  {"i8", DType::i64},
                                 {"i4", DType::i32},     {"i2", DType::i16}, {"i1", DType::i8},   {"u1", DType::u8},
                                 {"b1", DType::boolean}, {"c8", DType::c64}, {"c16", DType::c128}};

struct Header {
  DType dtype = DType::f32;
  bool swapped = false;
  bool fortran_order = false;
  Shape shape;
};

/// Reads the Python dict of the header: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Header read() {
    Header header;
    bool have_descr = false, have_order = false, have_shape = false;
    expect('{');
    while (!accept('}')) {
      std::string_view key = string();
      expect(':');
      if (key == "descr" && !have_descr) {
        have_descr = true;
        read_type(header);
      } else if (key == "fortran_order" && !have_order) {
        have_order = true;
        header.fortran_order = boolean();
      } else if (key == "shape" && !have_shape) {
        have_shape = true;
        read_shape(header.shape);
      } else {
        fail<FileError>("{}: expected each of descr, fortran_order and shape once in the header, found {}", file_,
                        quote(key));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    SORUS_CHECK(text_.empty(), FileError, "{}: expected the header to end, found {}", file_, quote(text_));
    SORUS_CHECK(have_descr && have_order && have_shape, FileError,
                "{}: the header lacks one of descr, fortran_order and shape", file_);
    return header;
  }

 private:
  void skip_space() {
    size_t n = text_.find_first_not_of(" \t\n\r");
    text_.remove_prefix(std::min(n, text_.size()));
  }
  bool accept(char c) {
    skip_space();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail<FileError>("{}: expected '{}' in the header, found {}", file_, c, quote(text_));
  }
  std::string_view string() {
    skip_space();
    char mark = text_.empty() ? '\0' : text_[0];
    size_t end = mark == '\'' || mark == '"' ? text_.find(mark, 1) : std::string_view::npos;
    SORUS_CHECK(end != std::string_view::npos, FileError, "{}: expected a string in the header, found {}", file_,
                quote(text_));
    std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }
  bool boolean() {
    skip_space();
    for (std::string_view word : {"True", "False"})
      if (text_.starts_with(word)) {
        text_.remove_prefix(word.size());
        return word == "True";
      }
    fail<FileError>("{}: fortran_order: expected True or False, found {}", file_, quote(text_));
  }

  void read_type(Header& header) {
    skip_space();
    SORUS_CHECK(text_.empty() || text_[0] != '[', FileError, "{}: structured arrays are not supported", file_);
    std::string_view descr = string();
    char order = descr.empty() ? '\0' : descr[0];
    SORUS_CHECK(order == '<' || order == '>' || order == '|' || order == '=', FileError,
                "{}: expected a type such as '<f4', found {}", file_, quote(descr));
    auto found = std::ranges::find(kTypes, descr.substr(1), &FormatType::name);
    SORUS_CHECK(found != std::end(kTypes), FileError,
                "{}: elements of type {} are not supported; save it from NumPy with .astype('int64') or another type",
                file_, quote(descr));
    header.dtype = found->dtype;
    header.swapped = order == '>';
  }

  void read_shape(Shape& shape) {
    expect('(');
    int64_t bytes = 16;  // the largest element; zeros are left out, as strides are computed from the other sizes
    while (!accept(')')) {
      skip_space();
      int64_t size = 0;
      auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), size);
      SORUS_CHECK(error == std::errc() && size >= 0, FileError, "{}: shape: expected sizes, found {}", file_,
                  quote(text_));
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      shape.push_back(size);
      SORUS_CHECK(shape.size() <= kMaxDims, FileError, "{}: shape: more than {} dimensions", file_, kMaxDims);
      SORUS_CHECK(!__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes), FileError,
                  "{}: the sizes {} overflow", file_, to_string(shape));
      if (!accept(',')) {
        SORUS_CHECK(shape.size() > 1, FileError, "{}: shape: expected ',' after a single size", file_);
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& file_;
};

/// Copies `count` numbers of `size` bytes with their bytes reversed.
void copy_swapped(const std::byte* from, std::byte* to, size_t count, size_t size) {
  for (size_t i = 0; i < count; ++i, from += size, to += size) std::reverse_copy(from, from + size, to);
}

}  // namespace

Tensor load_npy(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  std::string name = path.string();
  std::string_view text = file->text();
  SORUS_CHECK(text.starts_with(kMagic), FileError, "{}: not an npy file: it does not begin with \\x93NUMPY", name);
  SORUS_CHECK(text.size() >= 10, FileError, "{}: cut short: {} bytes", name, text.size());
  int version = static_cast<unsigned char>(text[6]);
  SORUS_CHECK(version >= 1 && version <= 3, FileError, "{}: expected version 1, 2 or 3 of the format, found {}", name,
              version);
  size_t length_bytes = version == 1 ? 2 : 4, length = 0;
  SORUS_CHECK(text.size() >= 8 + length_bytes, FileError, "{}: cut short: {} bytes", name, text.size());
  std::memcpy(&length, text.data() + 8, length_bytes);
  size_t start = 8 + length_bytes;
  SORUS_CHECK(length <= text.size() - start, FileError, "{}: cut short: expected a header of {} bytes, found {}",
              name, length, text.size() - start);
  Header header = HeaderReader(text.substr(start, length), name).read();
  start += length;

  size_t element = size_of(header.dtype), count = static_cast<size_t>(numel(header.shape)), bytes = count * element;
  SORUS_CHECK(text.size() - start == bytes, FileError, "{}: {} of shape {} needs {} bytes of data, found {}", name,
              sorus::name(header.dtype), to_string(header.shape), bytes, text.size() - start);
  Geometry geometry{header.shape, contiguous_strides(header.shape), 0};
  if (header.fortran_order) {
    int64_t stride = 1;
    for (size_t i = 0; i < header.shape.size(); ++i) {
      geometry.strides[i] = stride;
      stride *= std::max<int64_t>(header.shape[i], 1);
    }
  }

  std::byte* data = file->bytes().data() + start;
  size_t number = is_complex(header.dtype) ? element / 2 : element;
  bool aligned = reinterpret_cast<uintptr_t>(data) % number == 0;
  if (aligned && !(header.swapped && number > 1) && bytes > 0) {
    return Tensor::from_storage(Storage::wrap(data, bytes, [file] {}), geometry, header.dtype);
  }
  auto storage = Storage::allocate(bytes);
  if (header.swapped) {
    copy_swapped(data, storage->data(), bytes / number, number);
  } else if (bytes) {
    std::memcpy(storage->data(), data, bytes);
  }
  return Tensor::from_storage(storage, geometry, header.dtype);
}

void save_npy(const std::filesystem::path& path, const Tensor& tensor) {
  SORUS_CHECK(tensor.defined(), ValueError, "save_npy: the tensor for {} is not defined", path.string());
  auto found = std::ranges::find(kTypes, tensor.dtype(), &FormatType::dtype);
  SORUS_CHECK(found != std::end(kTypes), ValueError, "save_npy: NumPy has no {}; convert to float32 first",
              name(tensor.dtype()));
  const Shape& shape = tensor.sizes();
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}{}), }}",
                                   size_of(tensor.dtype()) == 1 ? '|' : '<', found->name, fmt::join(shape, ", "),
                                   shape.size() == 1 ? "," : "");
  size_t prefix = 10;  // magic, version 1, two bytes of length; 64 sizes never need more than 65,535
  size_t total = (prefix + header.size() + 1 + kAlignment - 1) / kAlignment * kAlignment;
  header.resize(total - prefix - 1, ' ');
  header += '\n';

  AtomicWriter out(path);
  out.write(kMagic);
  char version_and_length[4] = {1, 0, static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  out.write(std::string_view(version_and_length, 4));
  out.write(header);
  out.write(bytes_of(contiguous(tensor)));
  out.commit();
}

}  // namespace sorus::io
