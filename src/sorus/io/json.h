// JSON from files that nobody vouches for: a limit on depth, no key twice in an object, and errors that start with
// the file's name and say what was expected and found.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "sorus/base/error.h"
#include "sorus/base/text.h"

namespace sorus::io {

using Json = nlohmann::json;

/// `file` opens every message.
Json parse_json(std::string_view text, const std::string& file);

/// "the string 'abc'", "an array of 3", ...
std::string describe(const Json& value);

/// The member `key` of `object`; fails unless it exists and `is_right(value)`.
template <class Predicate>
const Json& member(const Json& object, const char* key, const char* expected, Predicate is_right,
                   const std::string& where) {
  SORUS_CHECK(object.is_object(), FileError, "{}: expected an object, found {}", where, describe(object));
  auto found = object.find(key);
  SORUS_CHECK(found != object.end(), FileError, "{}: '{}' is missing, expected {}", where, key, expected);
  SORUS_CHECK(is_right(*found), FileError, "{}: '{}': expected {}, found {}", where, key, expected, describe(*found));
  return *found;
}

inline const Json& object_member(const Json& object, const char* key, const std::string& where) {
  return member(
      object, key, "an object", [](const Json& v) { return v.is_object(); }, where);
}
inline const Json& array_member(const Json& object, const char* key, const std::string& where) {
  return member(
      object, key, "an array", [](const Json& v) { return v.is_array(); }, where);
}
inline std::string string_member(const Json& object, const char* key, const std::string& where) {
  return member(
             object, key, "a string", [](const Json& v) { return v.is_string(); }, where)
      .get<std::string>();
}
/// `otherwise` when the member is missing or null.
bool bool_member(const Json& object, const char* key, bool otherwise, const std::string& where);

}  // namespace sorus::io
