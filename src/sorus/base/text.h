// Text: UTF-8, and the small things that error messages and reports need.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sorus {

inline constexpr char32_t kInvalidCodepoint = 0xFFFFFFFF;

/// Decodes the character at `text[at]` and moves `at` behind it. Malformed input (overlong forms and surrogates
/// included) gives kInvalidCodepoint and moves `at` by one byte.
char32_t next_codepoint(std::string_view text, size_t& at);
void append_utf8(std::string& to, char32_t codepoint);
/// Length of the longest valid prefix.
size_t valid_utf8_prefix(std::string_view text);
inline bool is_valid_utf8(std::string_view text) { return valid_utf8_prefix(text) == text.size(); }
/// Each malformed byte replaced by U+FFFD.
std::string sanitize_utf8(std::string_view text);
/// Unicode's White_Space property.
bool is_white_space(char32_t c);

/// For error messages: in quotes, control characters escaped, shortened to about `limit` bytes.
std::string quote(std::string_view text, size_t limit = 60);
/// "a, b, c and 12 more".
std::string abbreviated_list(std::span<const std::string> items, size_t limit = 4);
/// "1.5 MB", powers of 1000.
std::string human_bytes(uint64_t bytes);

/// 128 bits of a content, for caches and duplicates. Not cryptographic.
struct ContentHash {
  uint64_t high = 0, low = 0;
  auto operator<=>(const ContentHash&) const = default;
  std::string hex() const;
};
ContentHash content_hash(std::string_view bytes, uint64_t seed = 0);
/// A bijection of 64-bit numbers that looks random.
constexpr uint64_t mix_bits(uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  x ^= x >> 32;
  return x;
}

}  // namespace sorus
