// Protocol buffers without a schema: a message is gone through field by field, and every length is checked when it is
// read, so a damaged file is a FileError and never a read outside of it.
//
//   Message m(bytes, path);
//   for (const Field& f : m.fields())
//     if (f.number == 7) graph = f.message();
//
// ONNX needs nine kinds of message, of which a reader uses some forty fields: fewer lines than their schema.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "sorus/base/error.h"

namespace sorus::importer {

class Message;

struct Field {
  int number = 0;
  int wire = 0;            ///< 0 variable-length number, 1 eight bytes, 2 bytes, 5 four bytes
  uint64_t value = 0;      ///< of numbers
  std::string_view bytes;  ///< of wire type 2
  std::string_view file;

  int64_t integer() const { return static_cast<int64_t>(value); }
  float real() const {
    auto bits = static_cast<uint32_t>(value);
    float f;
    std::memcpy(&f, &bits, 4);
    return f;
  }
  Message message() const;
  /// Repeated numbers: packed, or this one alone. Appends.
  void append(std::vector<int64_t>& out) const;
  void append(std::vector<float>& out) const;
  void append(std::vector<double>& out) const;
};

class Message {
 public:
  Message() = default;
  Message(std::string_view bytes, std::string_view file) : bytes_(bytes), file_(file) {}
  std::vector<Field> fields() const;
  /// The last field of this number; a default one if it is not there.
  Field last(int number) const;

 private:
  std::string_view bytes_, file_;
};

}  // namespace sorus::importer
