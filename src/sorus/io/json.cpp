#include "sorus/io/json.h"

#include <set>
#include <vector>

namespace sorus::io {

namespace {
constexpr int kMaxDepth = 64;
}

Json parse_json(std::string_view text, const std::string& file) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    SORUS_CHECK(depth < kMaxDepth, FileError, "{}: JSON nested deeper than {} levels", file, kMaxDepth);
    switch (event) {
      case Json::parse_event_t::object_start:
        keys.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        SORUS_CHECK(keys.back().insert(parsed.get<std::string>()).second, FileError,
                    "{}: the key {} appears twice in one JSON object", file, quote(parsed.get<std::string>()));
        break;
      default:
        break;
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), watch);
  } catch (const nlohmann::json::exception& e) {
    // The library's message ends with the text it stopped at, which may be long and is not always valid UTF-8.
    std::string reason = sanitize_utf8(e.what());
    if (reason.size() > 200) reason = sanitize_utf8(reason.substr(0, 200)) + "...";
    fail<FileError>("{}: malformed JSON: {}", file, reason);
  }
}

std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return fmt::format("an object of {} members", value.size());
    case Json::value_t::array:
      return fmt::format("an array of {}", value.size());
    case Json::value_t::string:
      return "the string " + quote(value.get_ref<const std::string&>());
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    default:
      return "the number " + value.dump();
  }
}

bool bool_member(const Json& object, const char* key, bool otherwise, const std::string& where) {
  SORUS_CHECK(object.is_object(), FileError, "{}: expected an object, found {}", where, describe(object));
  auto found = object.find(key);
  if (found == object.end() || found->is_null()) return otherwise;
  SORUS_CHECK(found->is_boolean(), FileError, "{}: '{}': expected true or false, found {}", where, key,
              describe(*found));
  return found->get<bool>();
}

}  // namespace sorus::io
