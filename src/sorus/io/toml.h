// TOML 1.0 (toml.io) from files that nobody vouches for: a limit on depth, and errors that start with the file's name
// and the line. Dates and times are an error: nothing here has a use for them. A reader of its own, since on hostile
// text Debian 12's toml++ 3.3 assumes what does not hold and its toml11 3.7 reads beyond its buffer.
//
//   TomlValue t = parse_toml("[a]\nb = 3\n", "my.toml");
//   t.find("a")->find("b")->integer             // 3, from line 2
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sorus::io {

struct TomlMember;

struct TomlValue {
  enum class Kind : uint8_t { table, array, string, integer, real, boolean };
  /// How a table or array came to be, which says what may still be added to it.
  enum class Origin : uint8_t { value, implied, header, dotted };

  Kind kind = Kind::table;
  Origin origin = Origin::value;
  int line = 1;  ///< where its key stands
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string string;
  std::vector<TomlValue> items;     ///< of an array
  std::vector<TomlMember> members;  ///< of a table, in the file's order

  bool is(Kind k) const { return kind == k; }
  bool is_number() const { return kind == Kind::integer || kind == Kind::real; }
  double number() const { return kind == Kind::integer ? static_cast<double>(integer) : real; }
  /// The member of a table, or null.
  const TomlValue* find(std::string_view key) const;
  TomlValue* find(std::string_view key);
};

struct TomlMember {
  std::string name;
  TomlValue value;
};

/// Text as a file says it, in quotes.
std::string toml_quoted(std::string_view text);

/// The table of the whole file. `file` opens every message: FileError.
TomlValue parse_toml(std::string_view text, const std::string& file);

}  // namespace sorus::io
