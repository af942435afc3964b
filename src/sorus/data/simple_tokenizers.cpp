// Tokenizers of bytes and of characters.
#include <algorithm>

#include "sorus/base/error.h"
#include "sorus/base/files.h"
#include "sorus/base/text.h"
#include "sorus/data/tokenizer.h"
#include "sorus/io/json.h"

namespace sorus::data {

std::vector<int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string ByteTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) {
    SORUS_CHECK(id >= 0 && id < 256, IndexError, "decode: token {} is not a byte", id);
    text += static_cast<char>(id);
  }
  return text;
}

std::optional<int32_t> ByteTokenizer::token_id(std::string_view token) const {
  return token.size() == 1 ? std::optional<int32_t>(static_cast<unsigned char>(token[0])) : std::nullopt;
}

void ByteTokenizer::save(const std::filesystem::path& path) const {
  write_file(path, R"({"sorus_tokenizer":"bytes"})");
}

CharTokenizer::CharTokenizer(std::string_view text) {
  std::vector<bool> seen(0x110000);
  for (size_t at = 0; at < text.size();) {
    size_t start = at;
    char32_t c = next_codepoint(text, at);
    SORUS_CHECK(c != kInvalidCodepoint, ValueError, "CharTokenizer: the text is not UTF-8 at byte {}", start);
    seen[c] = true;
  }
  for (char32_t c = 0; c < seen.size(); ++c)
    if (seen[c]) characters_.push_back(c);
}

std::vector<int32_t> CharTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t start = at;
    char32_t c = next_codepoint(text, at);
    auto found = std::ranges::lower_bound(characters_, c);
    SORUS_CHECK(found != characters_.end() && *found == c, ValueError,
                "encode: the character {} at byte {} is not in the vocabulary of {}",
                quote(text.substr(start, at - start)), start, vocab_size());
    ids.push_back(static_cast<int32_t>(found - characters_.begin()));
  }
  return ids;
}

std::string CharTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (int32_t id : ids) {
    SORUS_CHECK(id >= 0 && id < vocab_size(), IndexError, "decode: token {} is outside the vocabulary of {}", id,
                vocab_size());
    append_utf8(text, characters_[static_cast<size_t>(id)]);
  }
  return text;
}

std::optional<int32_t> CharTokenizer::token_id(std::string_view token) const {
  size_t at = 0;
  if (token.empty()) return std::nullopt;
  char32_t c = next_codepoint(token, at);
  auto found = std::ranges::lower_bound(characters_, c);
  if (at != token.size() || found == characters_.end() || *found != c) return std::nullopt;
  return static_cast<int32_t>(found - characters_.begin());
}

void CharTokenizer::save(const std::filesystem::path& path) const {
  std::string all;
  for (char32_t c : characters_) append_utf8(all, c);
  write_file(path, R"({"sorus_tokenizer":"characters","characters":)" + io::Json(all).dump() + "}");
}

}  // namespace sorus::data
