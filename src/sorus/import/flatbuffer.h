// FlatBuffers without a schema: tables are read by field number, and every offset is checked when it is followed, so
// a damaged file is a FileError and never a read outside of it.
//
//   FlatTable model = FlatTable::root(bytes, "TFL3", path);
//   for (FlatTable t : model.tables(4)) use(t.bytes(0));
//
// Two formats are read with it (.tflite and .ms), each a page of field numbers. The schema compiler would give as
// many lines of schema and a verifier that has to be asked; here nothing can be read unchecked. The format: a table
// starts with a signed offset back to its vtable, which lists for each field where in the table it is; strings,
// vectors and tables are reached by unsigned offsets forward.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "sorus/base/error.h"

namespace sorus::importer {

class FlatTable {
 public:
  FlatTable() = default;  ///< A table without fields: what an absent one reads as.
  /// The root table. FileError unless `identifier` (4 letters, or "" for any) is at byte 4. `file` starts messages.
  static FlatTable root(std::string_view bytes, std::string_view identifier, std::string_view file);

  explicit operator bool() const { return table_ > 0; }
  bool has(int field) const { return place(field, 0) != 0; }

  /// A number, or `otherwise` where the field is left out.
  template <class T>
  T number(int field, T otherwise = T()) const {
    size_t at = place(field, sizeof(T));
    return at == 0 ? otherwise : load<T>(at);
  }
  bool flag(int field, bool otherwise = false) const { return number<uint8_t>(field, otherwise) != 0; }
  /// Empty where the field is left out.
  std::string_view text(int field) const { return bytes(field); }
  std::string_view bytes(int field) const { return elements(field, 1).bytes; }
  template <class T>
  std::vector<T> numbers(int field) const {
    Elements e = elements(field, sizeof(T));
    std::vector<T> out(e.bytes.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), e.bytes.data(), e.bytes.size());
    return out;
  }
  FlatTable table(int field) const;
  std::vector<FlatTable> tables(int field) const;

 private:
  struct Elements {
    size_t at = 0;
    std::string_view bytes;
  };
  FlatTable(std::string_view all, std::string_view file, size_t at);
  template <class T>
  T load(size_t at) const {
    if (at > all_.size() || sizeof(T) > all_.size() - at) broken(at);
    T v;
    std::memcpy(&v, all_.data() + at, sizeof(T));
    return v;
  }
  size_t place(int field, size_t size) const;
  size_t target(size_t at) const { return at + load<uint32_t>(at); }
  Elements elements(int field, size_t size) const;
  [[noreturn]] void broken(size_t at) const;

  std::string_view all_, file_;
  size_t table_ = 0, vtable_ = 0;
  uint16_t vtable_size_ = 0, table_size_ = 0;
};

}  // namespace sorus::importer
