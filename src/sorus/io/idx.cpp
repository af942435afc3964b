#include "sorus/io/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "sorus/base/files.h"
#include "sorus/base/text.h"

namespace sorus::io {
namespace {

constexpr size_t kMaxDims = 64, kMaxHeader = 4 + 4 * kMaxDims;
constexpr size_t kChunk = size_t{1} << 18;

/// Decompresses all of `packed`; stops after `stop` bytes where that is less.
std::string inflate_some(std::string_view packed, const std::string& name, size_t stop) {
  z_stream stream{};
  constexpr int kGzip = 16 + MAX_WBITS;
  SORUS_CHECK(inflateInit2(&stream, kGzip) == Z_OK, Error, "{}: zlib cannot start", name);
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } end{stream};

  std::string content;
  size_t used = 0;
  for (;;) {
    size_t given = std::min(packed.size() - used, kChunk);  // zlib counts in 32 bits
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + used));
    stream.avail_in = static_cast<uInt>(given);
    size_t before = content.size();
    content.resize(before + kChunk);
    stream.next_out = reinterpret_cast<Bytef*>(content.data() + before);
    stream.avail_out = static_cast<uInt>(kChunk);
    int result = inflate(&stream, Z_NO_FLUSH);
    used += given - stream.avail_in;
    content.resize(before + kChunk - stream.avail_out);
    if (content.size() >= stop) {
      content.resize(stop);
      return content;
    }
    if (result == Z_STREAM_END) {
      if (used == packed.size()) return content;
      // A gzip file may consist of several parts.
      SORUS_CHECK(inflateReset(&stream) == Z_OK, Error, "{}: zlib cannot go on", name);
      continue;
    }
    SORUS_CHECK(result == Z_OK || result == Z_BUF_ERROR, FileError, "{}: not valid gzip: {}", name,
                stream.msg ? stream.msg : "unknown problem");
    SORUS_CHECK(used < packed.size() || stream.avail_out == 0, FileError,
                "{}: cut short: the compressed data end after {} bytes", name, packed.size());
  }
}

/// At most `limit` bytes of the file's content, decompressed.
std::string content_of(const MappedFile& file, size_t limit) {
  std::string_view text = file.text();
  if (text.starts_with("\x1f\x8b")) return inflate_some(text, file.path().string(), limit);
  return std::string(text.substr(0, limit));
}

struct FormatType {
  unsigned char code;
  DType dtype;
};
constexpr FormatType kTypes[] = {{0x08, DType::u8},  {0x09, DType::i8},  {0x0B, DType::i16},
                                 {0x0C, DType::i32}, {0x0D, DType::f32}, {0x0E, DType::f64}};

}  // namespace

Tensor load_idx(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  // The header first: it says how much there is to decompress, whatever more a hostile file would swell to.
  std::string name = path.string(), text = content_of(*file, kMaxHeader);
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  SORUS_CHECK(text.size() >= 4 && byte(0) == 0 && byte(1) == 0, FileError,
              "{}: not an idx file: expected it to begin with two zero bytes", name);
  auto type = std::ranges::find(kTypes, byte(2), &FormatType::code);
  SORUS_CHECK(type != std::end(kTypes), FileError, "{}: unknown type of elements {:#04x}", name, byte(2));
  size_t dims = byte(3), start = 4 + 4 * dims, element = size_of(type->dtype);
  SORUS_CHECK(dims <= kMaxDims, FileError, "{}: {} dimensions, at most {} are expected", name, dims, kMaxDims);
  SORUS_CHECK(text.size() >= start, FileError, "{}: cut short: expected a header of {} bytes, found {}", name, start,
              text.size());
  Shape shape;
  auto bytes = static_cast<int64_t>(element);
  bool empty = false, overflow = false;
  for (size_t d = 0; d < dims; ++d) {
    size_t at = 4 + 4 * d;
    int64_t size = int64_t{byte(at)} << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
    shape.push_back(size);
    empty |= size == 0;
    // Zeros are left out: strides are computed from the other sizes.
    overflow = overflow || __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes);
  }
  SORUS_CHECK(!overflow, FileError, "{}: the sizes {} overflow", name, to_string(shape));
  if (empty) bytes = 0;
  auto needed = static_cast<size_t>(bytes);
  // Compression by deflate is at most about 1 : 1032; a claim beyond that costs no memory.
  bool possible = needed / 1100 <= file->bytes().size();
  if (possible) text = content_of(*file, start + needed + 1);
  SORUS_CHECK(possible && text.size() == start + needed, FileError,
              "{}: {} of shape {} needs {} bytes of data, found {}", name, sorus::name(type->dtype), to_string(shape),
              needed, text.size() > start + needed ? "more" : "less");
  Tensor t = Tensor::empty(shape, type->dtype);
  auto* to = static_cast<char*>(t.data());
  const char* from = text.data() + start;
  if (element == 1) {
    if (needed) std::memcpy(to, from, needed);
  } else {  // the format is big-endian
    for (size_t i = 0; i < needed; i += element) std::reverse_copy(from + i, from + i + element, to + i);
  }
  return t;
}

}  // namespace sorus::io
