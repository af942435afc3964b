#include "sorus/import/protobuf.h"

namespace sorus::importer {
namespace {

struct Cursor {
  std::string_view bytes, file;
  size_t at = 0;

  [[noreturn]] void broken() const { fail<FileError>("{}: damaged: a field ends outside of its message", file); }
  uint64_t number() {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at >= bytes.size()) broken();
      auto byte = static_cast<unsigned char>(bytes[at++]);
      v |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return v;
    }
    fail<FileError>("{}: damaged: a number of more than 64 bits", file);
  }
  std::string_view take(uint64_t n) {
    if (n > bytes.size() - at) broken();
    at += n;
    return bytes.substr(at - n, n);
  }
  uint64_t fixed(size_t n) {
    std::string_view b = take(n);
    uint64_t v = 0;
    std::memcpy(&v, b.data(), n);
    return v;
  }
};

template <class T, size_t size>
void append_fixed(const Field& f, int wire, std::vector<T>& out) {
  auto one = [&](uint64_t v) {
    T t;
    std::memcpy(&t, &v, size);
    out.push_back(t);
  };
  if (f.wire == wire) return one(f.value);
  Cursor c{f.bytes, f.file};
  while (f.wire == 2 && c.at < f.bytes.size()) one(c.fixed(size));
}

}  // namespace

std::vector<Field> Message::fields() const {
  std::vector<Field> out;
  Cursor c{bytes_, file_};
  while (c.at < bytes_.size()) {
    uint64_t key = c.number();
    Field f;
    f.file = file_;
    f.number = static_cast<int>(key >> 3 & 0x1FFFFFFF);
    f.wire = static_cast<int>(key & 7);
    switch (f.wire) {
      case 0:
        f.value = c.number();
        break;
      case 1:
        f.value = c.fixed(8);
        break;
      case 2:
        f.bytes = c.take(c.number());
        break;
      case 5:
        f.value = c.fixed(4);
        break;
      default:
        fail<FileError>("{}: damaged: a field of kind {}", file_, f.wire);
    }
    out.push_back(f);
  }
  return out;
}

Field Message::last(int number) const {
  Field found;
  for (const Field& f : fields())
    if (f.number == number) found = f;
  return found;
}

Message Field::message() const { return {bytes, file}; }

void Field::append(std::vector<int64_t>& out) const {
  if (wire == 0) return out.push_back(integer());
  Cursor c{bytes, file};
  while (wire == 2 && c.at < bytes.size()) out.push_back(static_cast<int64_t>(c.number()));
}
void Field::append(std::vector<float>& out) const { append_fixed<float, 4>(*this, 5, out); }
void Field::append(std::vector<double>& out) const { append_fixed<double, 8>(*this, 1, out); }

}  // namespace sorus::importer
