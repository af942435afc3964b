// Tokenizers: text to numbers and back.
//
//   auto tokenizer = data::BpeTokenizer::train(texts, {.vocab_size = 4096, .special_tokens = {"<|endoftext|>"}});
//   std::vector<int32_t> ids = tokenizer->encode("Hello");
//   tokenizer->save("tokenizer.json");                       // Hugging Face's format for GPT-2-like models
//   auto same = data::load_tokenizer("tokenizer.json");      // whichever of the kinds below it is
//
// Byte-pair encoding works on bytes, so every text (and every malformed one) is encoded and decoded without loss.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sorus::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int64_t vocab_size() const = 0;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// The bytes of the tokens; a cut in the middle of a character is left as it is. IndexError for unknown ids.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  virtual std::optional<int32_t> token_id(std::string_view token) const = 0;
  virtual void save(const std::filesystem::path& path) const = 0;
};

std::shared_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// One token a byte.
class ByteTokenizer final : public Tokenizer {
 public:
  int64_t vocab_size() const override { return 256; }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::optional<int32_t> token_id(std::string_view token) const override;
  void save(const std::filesystem::path& path) const override;
};

/// One token a character of the text it was made from, in order of code points.
class CharTokenizer final : public Tokenizer {
 public:
  explicit CharTokenizer(std::string_view text);
  int64_t vocab_size() const override { return static_cast<int64_t>(characters_.size()); }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::optional<int32_t> token_id(std::string_view token) const override;
  void save(const std::filesystem::path& path) const override;

 private:
  std::vector<char32_t> characters_;
};

struct BpeOptions {
  int64_t vocab_size = 4096;  ///< Special tokens and the 256 bytes included.
  std::vector<std::string> special_tokens;
  int64_t min_frequency = 2;  ///< Rarer pairs are not merged.
};

/// GPT-2's tokenizer: text is cut into words (word_splitter.h), in which the pair of tokens that was merged first in
/// training is merged first.
class BpeTokenizer final : public Tokenizer {
 public:
  struct Special {
    std::string content;
    int32_t id = 0;
    bool lstrip = false, rstrip = false, special = true;
  };
  struct Merge {
    int32_t left, right, result;
  };

  static std::shared_ptr<BpeTokenizer> train(std::span<const std::string_view> texts, const BpeOptions& options);
  static std::shared_ptr<BpeTokenizer> load(const std::filesystem::path& path);
  /// `tokens[id]` are the bytes of a token, of a special one its content. Throws ValueError if they do not fit.
  BpeTokenizer(std::vector<std::string> tokens, std::vector<Merge> merges, std::vector<Special> specials,
               bool add_prefix_space = false, bool ignore_merges = false);

  int64_t vocab_size() const override { return static_cast<int64_t>(tokens_.size()); }
  std::vector<int32_t> encode(std::string_view text) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  std::optional<int32_t> token_id(std::string_view token) const override;
  void save(const std::filesystem::path& path) const override;

 private:
  struct Rule {
    int32_t rank, result;
  };
  const Rule* find_rule(int32_t left, int32_t right) const;
  void encode_section(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_words(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_word(std::string_view word, std::vector<int32_t>& ids) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views into tokens_; special tokens are not in it
  std::vector<Merge> merges_;
  std::unordered_map<uint64_t, Rule> rules_;
  std::vector<Special> specials_;
  std::array<int32_t, 256> byte_ids_;
  bool add_prefix_space_, ignore_merges_;
};

/// GPT-2's way to write bytes as printable characters, in which tokenizer.json spells tokens.
char32_t byte_to_character(unsigned char byte);

}  // namespace sorus::data
